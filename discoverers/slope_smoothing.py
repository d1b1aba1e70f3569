"""States that fit data and given slopes at once: the smoother with governing rows ``y' = f``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpu_solver import BlockTridiagonal

from .channel_problem import freedom_left, standardised, taylor_blocks, typical_precision
from .integration import INTEGRAL_DECAY, INTEGRAL_ORDER
from .stretches import trial_stretches

__all__ = ["smooth_to_slopes"]

Array = NDArray[np.float64]

GOVERNING_GRID = 10.0 ** np.arange(-2.0, 7.0)
"""Weights of the equations against the data, tried by `smooth_to_slopes`."""


def smooth_to_slopes(
    steps: Sequence[Array],
    x: Sequence[Array],
    precision: Sequence[Array],
    slopes: Sequence[Array],
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Fit one state to its data and, as governing rows, to given slopes ``y' = f``.

    The weight of the governing rows is chosen by generalised cross-validation: right equations get
    a large one, and the states then have the noise of a fit with few parameters.

    Parameters
    ----------
    steps, x, precision, slopes : sequence of ndarray, one per run
        As in `smooth_channels`, for one state; slopes per unit of the steps' time, shape (n,).

    Returns
    -------
    values, derivatives : tuple of ndarray of shape (n,), one per run
        Empty when steps are too uneven for any weight to be solved in float64.
    """
    scale = typical_precision(np.concatenate(precision))
    weights = [part / scale for part in precision]
    data, centre, spread = standardised([part[:, None] for part in x], weights)
    pull = [slope / spread[0] for slope in slopes]
    grid: Sequence[float] = GOVERNING_GRID.tolist()
    trial = trial_stretches([part[:, None] for part in weights])
    if trial:
        own, around, pulled = (
            [part[run][rows] for run, rows in trial] for part in (data, weights, pull)
        )
        inner = [steps[run][rows.start : rows.stop - 1] for run, rows in trial]
        scores = _scored_slopes(inner, own, around, pulled, grid)
        grid = sorted(grid, key=lambda governing: scores[governing][0])
    # What stretches take may be too stiff for the whole in float64: then the next best is tried.
    chosen = list[Array]()
    for some in [[one] for one in grid] if trial else [grid]:
        scores = _scored_slopes(steps, data, weights, pull, some)
        chosen = scores[min(scores, key=lambda governing: scores[governing][0])][1]
        if chosen:
            break
    values = tuple(centre[0] + spread[0] * y[:, 0] for y in chosen)
    return values, tuple(spread[0] * y[:, 1] for y in chosen)


def _scored_slopes(
    steps: Sequence[Array],
    data: Sequence[Array],
    weights: Sequence[Array],
    slopes: Sequence[Array],
    grid: Sequence[float],
) -> dict[float, tuple[float, list[Array]]]:
    """Score by weight of the governing rows, and the fits of the lowest one so far.

    Infinity and no fits where a weight is too stiff for float64.
    """
    decay = np.float64(INTEGRAL_DECAY) ** (2.0 * np.arange(INTEGRAL_ORDER + 1.0))
    taylor = [taylor_blocks(step, INTEGRAL_ORDER, decay) for step in steps]
    scores: dict[float, tuple[float, list[Array]]] = {}
    lowest = np.inf
    for governing in grid:
        fits, leverages, residual = [], [], 0.0
        for (diagonal, lower), part, weight, slope in zip(
            taylor, data, weights, slopes, strict=True
        ):
            # Taylor rows stay a hundred times heavier than the equations: they are the quadrature.
            matrix = 100.0 * governing * diagonal
            matrix[:, 0, 0] += weight
            matrix[:, 1, 1] += governing
            if not weight.any():  # slopes alone leave a constant free
                matrix[0, 0, 0] += 1.0
            factor = BlockTridiagonal(matrix, 100.0 * governing * lower).factorize()
            if factor.failed.any():
                break
            right = np.zeros(matrix.shape[:2])
            right[:, 0] = weight * part[:, 0]
            right[:, 1] = governing * slope
            y = factor.solve(right, columns=False)
            residual += float((weight * (part[:, 0] - y[:, 0]) ** 2).sum())
            fits.append(y)
            if len(grid) > 1:  # the variances cost most, and one weight needs no score
                leverages.append(weight * factor.variances()[:, 0])
        if len(fits) < len(steps):
            scores[governing] = np.inf, []
            continue
        score = residual / freedom_left(weights, leverages) ** 2 if len(grid) > 1 else residual
        scores[governing] = score, fits if score < lowest else []
        lowest = min(lowest, score)
    return scores
