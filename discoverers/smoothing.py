"""Stage 1: denoised states and derivatives by scalable mechanistic networks, state by state.

The smoother is the least-squares problem of the S-MNN paper (section 3.1) with the data as "initial
values" at every time, no governing rows, and a weight on the Taylor rows that is chosen by exact
generalised cross-validation. Its normal matrix is block tridiagonal, so states, leverages and the
effective degrees of freedom cost O(T).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gpu_solver import BlockTridiagonal

from .channel_problem import (
    LEAST_FREEDOM,
    freedom_left,
    row_weights,
    standardised,
    taylor_blocks,
    typical_precision,
)
from .stretches import trial_stretches

__all__ = ["ChannelFit", "smooth_channels"]

Array = NDArray[np.float64]

SMOOTHER_ORDER = 3
"""R of the smoother: it penalises jumps of the third derivative."""

SMOOTHNESS_GRID = 10.0 ** np.arange(-8.0, 10.0)
"""Weights tried first, in units of the data's own weight; clean data take the lowest."""

LAST_RESORT = 1e300
"""Score of a weight that is better than none."""

REFINED_STEPS = 10.0 ** np.array([-0.5, -0.25, 0.25, 0.5])


@dataclass(frozen=True)
class ChannelFit:
    """One state over all runs, smoothed.

    Attributes
    ----------
    derivatives : tuple of ndarray of shape (n, R + 1)
        The state and its time derivatives (per unit of the steps' time) at every node of each run;
        0 where a run has too few data to tell them.
    variances : tuple of ndarray of shape (n, R + 1)
        Of the derivatives, if the precision that was given is the inverse variance of the data;
        infinite where nothing tells them.
    leverage : tuple of ndarray of shape (n,)
        d value_i / d data_i, 0 where nothing was measured; they sum to the degrees of freedom.
    smoothness : float
        The weight that cross-validation chose.
    """

    derivatives: tuple[Array, ...]
    variances: tuple[Array, ...]
    leverage: tuple[Array, ...]
    smoothness: float

    @property
    def values(self) -> tuple[Array, ...]:
        """The state itself, (n,) per run."""
        return tuple(part[:, 0] for part in self.derivatives)

    @property
    def slopes(self) -> tuple[Array, ...]:
        """First derivatives, (n,) per run."""
        return tuple(part[:, 1] for part in self.derivatives)


@dataclass(frozen=True)
class _Solved:
    """Fits of several channels that share their data's weights, for one smoothness weight."""

    y: list[Array]  # per run (n, R+1, channels)
    variances: list[Array]  # per run (n, R+1)
    leverage: list[Array]  # per run (n,)
    gcv: Array  # (channels,)


def _solve(
    blocks: Sequence[tuple[Array, Array]],
    data: Sequence[Array],
    precision: Sequence[Array],
    smoothness: float,
    order: int,
) -> _Solved:
    fits, leverages, spreads = [], [], []
    for (diagonal, lower), x, weight in zip(blocks, data, precision, strict=True):
        # What a run does not tell stays 0 and of no precision.
        y = np.zeros((len(weight), order + 1, x.shape[1]))
        variances = np.full((len(weight), order + 1), np.inf)
        fits.append(y)
        spreads.append(variances)
        leverages.append(np.zeros(len(weight)))
        if not weight.any():  # no matrix to solve with
            continue
        matrix = smoothness * diagonal
        matrix[:, 0, 0] += weight
        factor = BlockTridiagonal(matrix, smoothness * lower).factorize()
        if factor.failed.any():
            # Too stiff for float64: such a weight is never the best one.
            return _Solved([], [], [], np.full(x.shape[1], np.inf))
        right = np.zeros((*matrix.shape[:2], x.shape[1]))
        right[:, 0, :] = weight[:, None] * x
        told = slice(matrix.shape[1])
        y[:, told] = factor.solve(right, columns=True)
        variances[:, told] = factor.variances()
        leverages[-1] = weight * variances[:, 0]
    residual = sum(
        (weight[:, None] * (x - y[:, 0, :]) ** 2).sum(axis=0)
        for x, y, weight in zip(data, fits, precision, strict=True)
    )
    freedom = freedom_left(precision, leverages)
    if freedom <= LEAST_FREEDOM:
        # Rounding tells nothing of so little. A channel with data at every tenth node comes here
        # at weights that are right for a dense one, and would be taken for free of noise.
        return _Solved(fits, spreads, leverages, np.full(data[0].shape[1], LAST_RESORT))
    return _Solved(fits, spreads, leverages, residual / freedom**2)


@dataclass(frozen=True)
class _Tried:
    """Smoothness weights tried for some channels; only fits that are a channel's best are held."""

    blocks: Sequence[tuple[Array, Array]]
    data: Sequence[Array]
    precision: Sequence[Array]
    order: int
    scores: dict[float, Array] = field(default_factory=dict)
    held: dict[float, _Solved] = field(default_factory=dict)

    def solution(self, weight: float) -> _Solved:
        """The fit at a weight."""
        if weight not in self.held:
            found = _solve(self.blocks, self.data, self.precision, weight, self.order)
            self.held[weight], self.scores[weight] = found, found.gcv
        return self.held[weight]

    def least(self, weights: Iterable[float], position: int) -> float:
        """The weight of the lowest score for one channel."""
        weights = list(weights)
        for weight in weights:
            if weight not in self.scores:
                self.solution(weight)
                best = {
                    min(self.scores, key=lambda one: float(self.scores[one][channel]))
                    for channel in range(self.data[0].shape[1])
                }
                for spare in set(self.held) - best:
                    del self.held[spare]
        return min(weights, key=lambda weight: float(self.scores[weight][position]))


def smooth_channels(
    steps: Sequence[Array],
    X: Sequence[Array],
    precision: Sequence[Array],
    orders: Sequence[int] | None = None,
) -> tuple[ChannelFit, ...]:
    """Smooth every state of every run, each state with its own cross-validated weight.

    Parameters
    ----------
    steps : sequence of ndarray of shape (n - 1,)
        Time steps of each run, in a unit in which they are about 1.
    X : sequence of ndarray of shape (n, V)
        Measured states. Entries with precision 0 are not read.
    precision : sequence of ndarray of shape (n, V)
        Weights of the data, 0 for what was not measured; only their ratios within a state matter.
    orders : sequence of int, optional
        R of each state, 3 by default: derivatives up to the R-th are told, and jumps of the R-th
        are penalised. A run with fewer than R + 2 data of a state has a lower one there.

    Returns
    -------
    tuple of ChannelFit, one per state

    Raises
    ------
    ValueError
        If steps are too uneven for any weight to be solved in float64.
    """
    n_states = X[0].shape[1]
    orders = [SMOOTHER_ORDER] * n_states if orders is None else list(orders)
    scales = np.array(
        [typical_precision(np.concatenate([p[:, v] for p in precision])) for v in range(n_states)]
    )
    given: list[float | None] = [None] * n_states
    trial = trial_stretches(precision)
    if trial:
        scores = _smoothed(
            [steps[run][rows.start : rows.stop - 1] for run, rows in trial],
            [X[run][rows] for run, rows in trial],
            [precision[run][rows] for run, rows in trial],
            orders,
            scales,
            given,
        )
        given = [fit.smoothness for fit in scores]
    return _smoothed(steps, X, precision, orders, scales, given)


def _smoothed(
    steps: Sequence[Array],
    X: Sequence[Array],
    precision: Sequence[Array],
    orders: Sequence[int],
    scales: Array,
    given: Sequence[float | None],
) -> tuple[ChannelFit, ...]:
    """Smooth with the weights given, or with those of the lowest score where there are none."""
    n_states = len(orders)
    fits: list[ChannelFit | None] = [None] * n_states
    # States that share their weights share every factorisation.
    stacked = np.concatenate(precision)
    groups: dict[tuple[bytes, int, float | None], list[int]] = {}
    for v, order in enumerate(orders):
        key = (stacked[:, v] / scales[v]).tobytes(), order, given[v]
        groups.setdefault(key, []).append(v)
    taylor: dict[tuple[int, int], tuple[Array, Array]] = {}
    for (_, order, known), members in groups.items():
        weights = [part[:, members[0]] / scales[members[0]] for part in precision]
        blocks = []
        for run, weight in enumerate(weights):
            own = _order_for(int(np.count_nonzero(weight)), order)
            if (run, own) not in taylor:
                taylor[run, own] = taylor_blocks(steps[run], own, row_weights(steps[run], own))
            blocks.append(taylor[run, own])
        data, centre, spread = standardised([x[:, members] for x in X], weights)
        tried = _Tried(blocks, data, weights, order)
        for position, v in enumerate(members):
            chosen = tried.solution(known) if known is not None else None
            best = known
            # What stretches take may be too stiff for the whole in float64.
            if chosen is None or best is None or not chosen.y:
                best = tried.least(SMOOTHNESS_GRID, position)
                if best != SMOOTHNESS_GRID[0]:
                    best = tried.least([best, *(best * REFINED_STEPS)], position)
                chosen = tried.solution(best)
            if not chosen.y:
                raise ValueError(
                    f"t has steps from {min(map(np.min, steps)):.3g} to "
                    f"{max(map(np.max, steps)):.3g} times the median step: too uneven for float64. "
                    "Pass the stretches between long gaps as runs of their own, or average samples "
                    "that nearly coincide."
                )
            shift = np.zeros(order + 1)
            shift[0] = centre[position]
            fits[v] = ChannelFit(
                derivatives=tuple(shift + spread[position] * y[:, :, position] for y in chosen.y),
                variances=tuple(part / scales[v] for part in chosen.variances),
                leverage=tuple(chosen.leverage),
                smoothness=float(best),
            )
    return tuple(fit for fit in fits if fit is not None)


def _order_for(n_data: int, order: int) -> int:
    """R of a run with so many data: more than the polynomials that smoothness alone leaves free."""
    return min(order, n_data - 2) if n_data > 2 else max(n_data - 1, 0)
