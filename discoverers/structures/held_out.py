"""The initial state of a run that was not part of the fit, estimated with the equations frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from discoverers.equations import Equations

if TYPE_CHECKING:
    from discoverers.shooting import Observation, Record, StateSpaceModel

__all__ = ["equations_model", "estimate_start"]

Array = NDArray[np.float64]

FIRST_WINDOW = 40
"""Samples that the candidates for the start are judged by."""

N_CANDIDATES = 40
N_CALIBRATED = 3


def equations_model(equations: Equations) -> tuple[StateSpaceModel, Array]:
    """The equations as the engine reads them, with all coefficients fixed, and these."""
    from discoverers.shooting import Column, StateSpaceModel

    columns = [
        Column(term, {state: 1.0}, value=coefficient)
        for state, terms in equations.terms().items()
        for term, coefficient in terms.items()
    ]
    model = StateSpaceModel(equations.state_names, equations.input_names, columns)
    return model, model.fixed_theta


def estimate_start(
    equations: Equations,
    observation: Observation,
    record: Record,
    noise_std: Array,
    known: Array,
    seen: Sequence[Array],
) -> Array:
    """Initial state of a run from the run itself, by least squares of its channels.

    Parameters
    ----------
    equations : Equations
    observation : Observation
    record : Record
    noise_std : ndarray of shape (C,)
    known : ndarray of shape (V,)
        Entries that are known; NaN for those to estimate.
    seen : sequence of ndarray of shape (n, V)
        States of the training runs: the search starts from where the system has been.

    Returns
    -------
    ndarray of shape (V,)
        Finite, whatever the data are.
    """
    from discoverers.shooting import calibrate, integrate

    model, theta = equations_model(equations)
    free = np.isnan(known)
    head = record.head(min(len(record), FIRST_WINDOW))
    scale = np.maximum(noise_std, 1e-9 * _size(record.y))
    starts = np.where(free, _candidates(seen, len(known)), known)

    def misfit(start: Array) -> float:
        with np.errstate(all="ignore"):
            path = integrate(model, theta, start, head, substeps=2)
            if not path.complete:
                return np.inf
            error = (observation.values(path.X, path.F, head.u) - head.y) / scale
            return float(np.nansum(error**2))

    order = np.argsort([misfit(start) for start in starts], kind="stable")
    best, lowest = starts[order[0]], np.inf
    for start in starts[order[:N_CALIBRATED]]:
        options: dict[str, Any] = {"free_x0": free, "windows": FIRST_WINDOW}
        fit = calibrate(model, theta, start, [record], observation, scale, **options)
        if fit.cost < lowest and np.isfinite(fit.x0).all():
            best, lowest = fit.x0[0], fit.cost
    return np.asarray(best)


def _candidates(seen: Sequence[Array], n_states: int) -> Array:
    """Rest, the initial states of the training runs, and states that they passed."""
    passed = np.concatenate(list(seen))
    spread = passed[np.linspace(0, len(passed) - 1, min(N_CANDIDATES, len(passed))).astype(int)]
    rows = np.vstack([np.zeros((1, n_states)), *(states[:1] for states in seen[:5]), spread])
    return rows[np.isfinite(rows).all(axis=1)]


def _size(y: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.maximum(np.nan_to_num(np.nanmax(np.abs(y), axis=0)), 1e-300)
