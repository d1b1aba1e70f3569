"""The quadratic that the calibration's cost looks like nearby, over all candidate terms at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from discoverers.sparse.normal_equations import NormalEquations

from .calibration import make_problem
from .model import StateSpaceModel
from .observation import Observation
from .residuals import sequence_window
from .signal import Record

__all__ = ["tangent"]

Array = NDArray[np.float64]

LARGEST = 1e100
"""Sensitivities above this have no squares that could be added up."""


def tangent(
    model: StateSpaceModel,
    theta: ArrayLike,
    x0: ArrayLike,
    records: Sequence[Record],
    observation: Observation,
    noise_std: ArrayLike,
    *,
    free_theta: NDArray[np.bool_] | None = None,
    free_x0: ArrayLike | None = None,
    substeps: int | None = None,
) -> NormalEquations | None:
    """Gauss-Newton quadratic in the free coefficients, around a calibrated incumbent.

    The trajectory's sensitivity to a term does not need the term to be active: one integration
    with the incumbent prices every candidate, and every subset of them after that is a small
    linear solve. Initial states that are free are eliminated: each subset has its best ones.

    Parameters
    ----------
    model : StateSpaceModel
        With all candidate columns.
    theta : array-like of shape (K,)
        Coefficients of the incumbent, 0 for candidates that are not in it.
    x0, records, observation, noise_std, free_theta, free_x0, substeps
        As in `calibrate`.

    Returns
    -------
    NormalEquations or None
        Over the free columns in their order, in units of the noise; 0 for candidates that are
        beyond numbers along the trajectory. None if the incumbent cannot be integrated through the
        records.
    """
    at = np.where(model.free, np.asarray(theta, dtype=np.float64), model.fixed_theta)
    starts = np.array(
        np.broadcast_to(np.asarray(x0, dtype=np.float64), (len(records), model.n_states))
    )
    problem = make_problem(
        model,
        at,
        starts,
        records,
        observation,
        noise_std,
        free_theta=free_theta,
        free_x0=free_x0,
        substeps=substeps,
    )
    unknowns = problem.unknowns
    n = unknowns.n_theta
    window = sequence_window(records)
    own = at[unknowns.free_theta]
    parts, residuals, measured = [], [], 0
    for run, (record, path) in enumerate(
        zip(records, problem.paths(at, starts, window, derivatives=True), strict=True)
    ):
        if not path.complete:
            return None
        residual = problem.whitened(record, path).ravel()
        slope = np.zeros((len(residual), unknowns.size))
        slope[:, unknowns.columns(run)] = problem.jacobian(record, path).reshape(len(residual), -1)
        parts.append(slope)
        residuals.append(residual)
        measured += int((~np.isnan(record.y)).sum())
    slopes = np.concatenate(parts)
    within = np.asarray((np.abs(slopes) < LARGEST).all(axis=0))  # False of NaN, too.
    if not within[n:].all() or np.any(own[~within[:n]] != 0.0):
        return None
    # Of large coordinates an exponential is beyond numbers: no candidate there.
    slopes = np.where(within, slopes, 0.0)
    targets = np.concatenate(residuals) + slopes[:, :n] @ own
    columns, target = _without(slopes[:, :n], targets, slopes[:, n:])
    return NormalEquations(
        columns.T @ columns,
        columns.T @ target,
        float(target @ target),
        measured - (unknowns.size - n),
    )


def _without(columns: Array, target: Array, nuisance: Array) -> tuple[Array, Array]:
    """Columns and target after projection on what the nuisance columns cannot explain."""
    if nuisance.shape[1] == 0:
        return columns, target
    basis, triangle = np.linalg.qr(nuisance)
    size = np.abs(np.diagonal(triangle))
    basis = basis[:, size > 1e-12 * size.max(initial=0.0)]
    return columns - basis @ (basis.T @ columns), target - basis @ (basis.T @ target)
