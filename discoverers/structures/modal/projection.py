"""Fit modes by variable projection: only frequencies, dampings and nonlinear forces are searched.

How much each channel sees of each mode is linear, and is eliminated (Golub & Pereyra 1973; the
Jacobian is Kaufman's). The likelihood counts independent samples and not rows: residuals of a
model that lacks modes are as slow as the modes are.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .model import ModalModel

__all__ = ["Channels", "DampingPrior", "Fitted", "evaluate", "fit_modes", "tangent_space"]

Array = NDArray[np.float64]

STEP_LIMIT = 0.3
"""Largest step of a logarithm (frequency, damping, width) in one iteration."""

CLEAR = 1e-3
"""Smallest part of a column that no earlier one explains, where Cholesky's factor will do."""

DECREASE = 3e-3
"""Decrease of the objective (twice a log-likelihood) that is not worth another iteration."""


@dataclass(frozen=True)
class DampingPrior:
    """Normal prior on the logarithm of every damping ratio."""

    median: float
    spread: float


@dataclass(frozen=True, eq=False)
class Channels:
    """What was measured, and how much information it holds.

    Attributes
    ----------
    y : ndarray of shape (N, C)
        All runs, one after the other; 0 where not measured.
    seen : ndarray of bool, shape (N, C)
    root_weight : ndarray of shape (N,)
    sense : ndarray of int, shape (C,)
        Which of the model's senses each channel is.
    floor : ndarray of shape (C,)
        Sum of squares that counts as noise in any case.
    independent : float
        Number of independent samples in a fully measured channel.
    """

    y: Array
    seen: NDArray[np.bool_]
    root_weight: Array
    sense: NDArray[np.intp]
    floor: Array
    independent: float

    @property
    def n_independent(self) -> float:
        """Independent samples of all channels together."""
        return float(self.share.sum() * self.independent)

    @property
    def share(self) -> Array:
        """Measured share of each channel, (C,)."""
        return np.asarray(self.seen.mean(axis=0))

    def counting(self, independent: float) -> Channels:
        """The same measurements with another number of independent samples."""
        return replace(self, independent=independent)

    @cached_property
    def plain(self) -> NDArray[np.bool_]:
        """Channels that were measured throughout, with equal weights of 1."""
        return np.asarray(self.seen.all(axis=0) & np.all(self.root_weight == 1.0))

    def rows(self, values: Array, channel: int) -> Array:
        """Weighted rows of an array (N, ...) where the channel was measured."""
        if self.plain[channel]:
            return values
        seen = self.seen[:, channel]
        weight = self.root_weight[seen]
        return np.asarray(values[seen] * weight.reshape(-1, *(1,) * (values.ndim - 1)))


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model with the weights that suit it best.

    Attributes
    ----------
    model : ModalModel
    weights : ndarray of shape (C, K)
        Of the inputs' columns, then of each mode's.
    owned : tuple of slice
        Each mode's columns.
    sense : ndarray of int, shape (C,)
        Which of the model's senses each channel is.
    bases : tuple of ndarray
        Orthonormal basis of each channel's weighted columns.
    columns : tuple of ndarray
        The weighted columns.
    residuals : tuple of ndarray
        Of each channel, weighted.
    rss : ndarray of shape (C,)
    objective : float
        Twice the negative log-likelihood and log-prior, up to a constant.
    criterion : float
        `objective` and the price of all parameters (Schwarz 1978, with independent samples).
    converged : bool
    """

    model: ModalModel
    weights: Array
    owned: tuple[slice, ...]
    sense: NDArray[np.intp]
    bases: tuple[Array, ...]
    columns: tuple[Array, ...]
    residuals: tuple[Array, ...]
    rss: Array
    objective: float
    criterion: float
    converged: bool = True

    @property
    def n_parameters(self) -> int:
        """Nonlinear parameters and weights."""
        return len(self.model.vector()) + self.weights.size


def evaluate(model: ModalModel, channels: Channels, prior: DampingPrior) -> Fitted | None:
    """Weights, residuals and objective at the model's parameters; None if it blows up."""
    with np.errstate(over="ignore", invalid="ignore"):  # blow-up is seen below
        blocks = [model.direct(), *(model.columns(mode) for mode in model.modes)]
    ends = np.cumsum([block.shape[2] for block in blocks])
    values = np.concatenate(blocks, axis=2)
    if not np.isfinite(values).all():
        return None
    weights, bases, columns, residuals = [], [], [], []
    for c, sense in enumerate(channels.sense):
        B, y = channels.rows(values[sense], c), channels.rows(channels.y[:, c], c)
        size = np.linalg.norm(B, axis=0)
        size[size == 0.0] = 1.0
        Q, R = _orthonormal(B / size)
        # Two modes may come to lie on each other: the smallest weights are taken then.
        weight = np.linalg.lstsq(R, Q.T @ y, rcond=1e-10)[0] / size
        weights.append(weight)
        bases.append(Q)
        columns.append(B)
        residuals.append(y - B @ weight)
    rss = np.array([r @ r for r in residuals])
    counts = channels.share * channels.independent
    shift = np.array([mode.log_damping for mode in model.modes]) - np.log(prior.median)
    objective = float(counts @ np.log(rss + channels.floor) + np.sum((shift / prior.spread) ** 2))
    price = (len(model.vector()) + sum(map(len, weights))) * np.log(channels.n_independent)
    return Fitted(
        model,
        np.array(weights),
        tuple(slice(int(a), int(b)) for a, b in pairwise(ends)),
        channels.sense,
        tuple(bases),
        tuple(columns),
        tuple(residuals),
        rss,
        objective,
        objective + float(price),
    )


def _orthonormal(B: Array) -> tuple[Array, Array]:
    """Q and R of columns of norm 1: by Cholesky's factor, several times faster, where it is good.

    Q is then orthonormal to the rounding of single precision at worst (Golub & Van Loan, 5.3).
    """
    R = np.empty((0, 0))
    with suppress(np.linalg.LinAlgError):  # no factor: columns that are not independent
        R = np.asarray(np.linalg.cholesky(B.T @ B).T, dtype=np.float64)
    if R.size and np.diagonal(R).min() >= CLEAR:
        # By numpy, as all here: SciPy's own threads of BLAS would wait against numpy's.
        return B @ np.linalg.inv(R), R
    Q, R = np.linalg.qr(B)
    return Q, R


def jacobians(fitted: Fitted, channels: Channels) -> list[Array]:
    """Derivatives of each channel's weighted response by the nonlinear parameters."""
    model = fitted.model
    derivatives = [
        (i, block) for i, mode in enumerate(model.modes) for block in model.derivatives(mode)
    ]
    found = []
    for c, sense in enumerate(channels.sense):
        columns = [block[sense] @ fitted.weights[c, fitted.owned[i]] for i, block in derivatives]
        stacked = np.stack(columns, axis=1) if columns else np.zeros((len(channels.y), 0))
        found.append(channels.rows(stacked, c))
    return found


def tangent_space(fitted: Fitted, channels: Channels) -> list[Array]:
    """Orthonormal basis, per channel, of all that its parameters can do to its response."""
    return [
        np.linalg.qr(np.hstack([B / np.linalg.norm(B, axis=0).clip(1e-300), _unit(J)]))[0]
        for B, J in zip(fitted.columns, jacobians(fitted, channels), strict=True)
    ]


def _unit(J: Array) -> Array:
    return J / np.linalg.norm(J, axis=0).clip(1e-300)


def fit_modes(
    model: ModalModel,
    channels: Channels,
    prior: DampingPrior,
    max_iterations: int = 40,
    acceptable: Callable[[ModalModel], bool] | None = None,
    decrease: float = DECREASE,
    given_up: Callable[[Fitted], bool] | None = None,
) -> Fitted | None:
    """Levenberg and Marquardt's descent from the model's parameters.

    None if it starts in blow-up or is given up.

    Parameters
    ----------
    model : ModalModel
    channels : Channels
    prior : DampingPrior
    max_iterations : int, default=40
    acceptable : callable, optional
        Steps to models that are not acceptable are shortened.
    decrease : float
        Of the objective; an iteration that brings less is the last.
    given_up : callable, optional
        Asked after every iteration, once, whether the descent is in vain.
    """
    at = evaluate(model, channels, prior)
    if at is None:
        return None
    damping, rise = 1e-3, 2.0
    for _ in range(max_iterations):
        g, H = _quadratic(at, channels, prior)
        moved = None
        for _ in range(12):
            candidate, foretold = _step(at.model, g, H, damping)
            if acceptable is None or acceptable(candidate):
                moved = evaluate(candidate, channels, prior)
                if moved is not None and moved.objective < at.objective:
                    break
            moved = None
            damping, rise = damping * rise, 2.0 * rise
        if moved is None:
            return at
        gained = at.objective - moved.objective
        # Nielsen 1999: the damping falls no faster than the quadratic's forecasts are good.
        agreement = min(gained / max(foretold, 1e-300), 1.0)
        damping = max(damping * max(1.0 / 5.0, 1.0 - (2.0 * agreement - 1.0) ** 3), 1e-9)
        at, rise = moved, 2.0
        if given_up is not None and given_up(at):
            return None
        if gained < decrease:
            return at
    return replace(at, converged=False)


def _step(model: ModalModel, g: Array, H: Array, damping: float) -> tuple[ModalModel, float]:
    """The model after a damped step, and the fall of the objective that the quadratic foretells."""
    scale = np.sqrt(np.diagonal(H)).clip(1e-150)
    system = H / scale / scale[:, None] + damping * np.eye(len(g))
    step = np.linalg.solve(system, g / scale) / scale
    logs = np.concatenate([mode.logarithms(model.estimate_start) for mode in model.modes])
    step[logs] = np.clip(step[logs], -STEP_LIMIT, STEP_LIMIT)
    return model.moved(model.vector() + step), float(2.0 * step @ g - step @ (H @ step))


def _first_of_modes(model: ModalModel) -> NDArray[np.intp]:
    sizes = [mode.size(model.estimate_start) for mode in model.modes]
    return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)


def _quadratic(at: Fitted, channels: Channels, prior: DampingPrior) -> tuple[Array, Array]:
    """Half the negative gradient, and half the Gauss-Newton Hessian, of the objective."""
    model = at.model
    size = len(model.vector())
    g, H = np.zeros(size), np.zeros((size, size))
    counts = channels.share * channels.independent / (at.rss + channels.floor)
    for J, Q, r, count in zip(jacobians(at, channels), at.bases, at.residuals, counts, strict=True):
        projected = J - Q @ (Q.T @ J)
        g += count * (projected.T @ r)
        H += count * (projected.T @ projected)
    for k, mode in zip(_first_of_modes(model) + 1, model.modes, strict=True):
        g[k] -= (mode.log_damping - np.log(prior.median)) / prior.spread**2
        H[k, k] += 1.0 / prior.spread**2
    return g, H
