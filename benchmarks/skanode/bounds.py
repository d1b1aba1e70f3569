"""What no unbiased estimate can beat: of coefficients, and of the free run that follows from them.

The information about the true terms' coefficients, and about unknown initial states, comes from
exact sensitivities of the true trajectory over the training samples. Its inverse, carried on by the
sensitivities of the whole record, is the least covariance of every predicted state: the errors of a
free run are then a known quadratic form of independent normal numbers (to first order).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from discoverers.datasets import ForcedRecord, ForcedSystem
from discoverers.shooting import Column, Observation, Path, Record, StateSpaceModel, integrate

__all__ = ["Family", "correlation_bounds", "cramer_rao", "error_bounds"]

Array = NDArray[np.float64]

DRAWS = 4000
"""Normal vectors from which the median of a quadratic form is taken."""


@dataclass(frozen=True, eq=False)
class Family:
    """Fewer parameters than coefficients, as masses and springs that stand in several equations.

    Attributes
    ----------
    make : callable
        The system with other parameters.
    at : ndarray of shape (p,)
        The true ones.
    """

    make: Callable[[Array], ForcedSystem]
    at: Array

    def tangent(self) -> Array:
        """Derivatives of all coefficients by the parameters, by central differences."""
        columns = []
        for k, value in enumerate(self.at):
            step = np.zeros(len(self.at))
            step[k] = 1e-4 * max(abs(float(value)), 1e-2)
            ahead, behind = (_truth(self.make(self.at + sign * step)) for sign in (1.0, -1.0))
            columns.append((ahead.free_theta - behind.free_theta) / (2.0 * step[k]))
        return np.column_stack(columns)


@dataclass(frozen=True, eq=False)
class _Truth:
    """The true equations with a free coefficient for every term that is not kinematic."""

    model: StateSpaceModel
    theta: Array
    keys: tuple[tuple[str, str], ...]

    @property
    def free_theta(self) -> Array:
        return self.theta[self.model.free]


def _truth(system: ForcedSystem) -> _Truth:
    columns, theta, keys = [], [], []
    for state, terms in system.equations.terms().items():
        kinematic = state in system.state_names[: system.n_dof]
        for term, value in terms.items():
            columns.append(Column(term, {state: 1.0}, value=float(value) if kinematic else None))
            theta.append(float(value))
            if not kinematic:
                keys.append((state, str(term)))
    model = StateSpaceModel(system.state_names, system.input_names, columns)
    return _Truth(model, np.array(theta), tuple(keys))


def _path(truth: _Truth, record: ForcedRecord, free_start: bool) -> Path:
    """The true trajectory with its sensitivities; the force is known at all times."""
    force = record.system.force
    sampled = Record.make(
        record.t,
        record.y,
        record.u,
        interpolation=lambda times: np.asarray(force(times))[:, None],
    )
    return integrate(
        truth.model,
        truth.theta,
        record.states[0],
        sampled,
        free_theta=truth.model.free,
        free_x0=np.full(len(record.system.state_names), free_start),
        substeps=4,
    )


def _channel_table(record: ForcedRecord, path: Path, channels: Sequence[str]) -> Array:
    """Derivatives of channels by all parameters, (n, C, P)."""
    system = record.system
    V, d = len(system.state_names), system.n_dof
    rates, states = np.zeros((len(channels), V)), np.zeros((len(channels), V))
    for row, channel in enumerate(channels):
        if channel in system.accelerations:
            rates[row, d + system.accelerations.index(channel)] = 1.0
        else:
            states[row, system.state_names.index(channel)] = 1.0
    observation = Observation.linear(channels, states, rates, n_inputs=record.u.shape[1])
    return observation.sensitivities(path.X, path.F, record.u, path.dX, path.dF)


def _covariance(
    truth: _Truth, records: Sequence[ForcedRecord], free_start: bool, tangent: Array | None = None
) -> Array:
    """Inverse information of [coefficients or parameters, initial states run by run].

    Directions without information, as the scale of a hidden state is, count as known.
    """
    n_theta = len(truth.keys) if tangent is None else tangent.shape[1]
    starts = len(records[0].system.state_names) if free_start else 0
    information = np.zeros((n_theta + starts * len(records),) * 2)
    for run, record in enumerate(records):
        table = _channel_table(record, _path(truth, record, free_start), record.channels)
        J = _reduced(table.reshape(-1, table.shape[2]) / record.noise_std, tangent)
        own = n_theta + starts * run + np.arange(starts)
        place = np.concatenate([np.arange(n_theta), own])
        information[np.ix_(place, place)] += J.T @ J
    return np.linalg.pinv(information, rcond=1e-13, hermitian=True)


def _reduced(table: Array, tangent: Array | None) -> Array:
    """Derivatives by parameters from those by coefficients, (..., P)."""
    if tangent is None:
        return table
    n_theta = len(tangent)
    return np.concatenate([table[..., :n_theta] @ tangent, table[..., n_theta:]], axis=-1)


def cramer_rao(
    records: Sequence[ForcedRecord], *, free_start: bool
) -> dict[tuple[str, str], float]:
    """Least standard deviation of any unbiased estimate, for each true coefficient.

    Parameters
    ----------
    records : sequence of ForcedRecord
        Records with noise.
    free_start : bool
        Whether the initial states are unknown as well.
    """
    truth = _truth(records[0].system)
    covariance = _covariance(truth, records, free_start)
    bounds = np.sqrt(np.diag(covariance))[: len(truth.keys)]
    return dict(zip(truth.keys, bounds.tolist(), strict=True))


def error_bounds(
    records: Sequence[ForcedRecord],
    whole: ForcedRecord,
    *,
    free_start: bool,
    family: Family | None = None,
) -> dict[str, float]:
    """Mean squared errors of a free run at the Cramer-Rao bound.

    Parameters
    ----------
    records : sequence of ForcedRecord
        Training records, with noise; the first one is the head of `whole`.
    whole : ForcedRecord
        The record over which the free run is scored.
    free_start : bool
        Whether the initial states are unknown as well.
    family : Family, optional
        Parameters that the estimator knows the coefficients to depend on; by default every
        coefficient is on its own.

    Returns
    -------
    dict
        Of displacements and of velocities, expected and (``_median``) in half of all records; and,
        as ``unmeasured``, of the accelerations that were not measured, relative to their variance,
        of the worst mass.
    """
    system = whole.system
    truth = _truth(system)
    tangent = None if family is None else family.tangent()
    covariance = _covariance(truth, records, free_start, tangent)
    kept = len(covariance) if not free_start else len(covariance) - len(system.state_names) * (
        len(records) - 1
    )  # fmt: skip
    covariance = covariance[:kept, :kept]
    path = _path(truth, whole, free_start)
    d = system.n_dof
    found = {}
    for name, places in (("displacement", range(d)), ("velocity", range(d, 2 * d))):
        table = _reduced(path.dX[:, list(places)], tangent)
        found[name], found[f"{name}_median"] = _quadratic_form(
            table.reshape(-1, table.shape[2]), covariance
        )
    missing = [name for name in system.accelerations if name not in whole.channels]
    if whole.channels[0] in system.accelerations and missing:
        table = _reduced(_channel_table(whole, path, missing), tangent)
        parts = [
            [
                value / float(whole.channel(name).var())
                for value in _quadratic_form(rows, covariance)
            ]
            for name, rows in zip(missing, np.moveaxis(table, 1, 0), strict=True)
        ]
        found["unmeasured"], found["unmeasured_median"] = np.max(parts, axis=0).tolist()
    return found


def correlation_bounds(record: ForcedRecord, *, free_start: bool) -> dict[str, float]:
    """Correlation of a hidden state with its best unbiased estimate, over the training samples.

    Parameters
    ----------
    record : ForcedRecord
        Training record, with noise, of one mass with one hidden state.
    free_start : bool
        Whether the initial states are unknown as well.

    Returns
    -------
    dict
        Of all records, the ``median``, and what a twentieth (``low``) stays below.
    """
    truth = _truth(record.system)
    values, vectors = np.linalg.eigh(_covariance(truth, [record], free_start))
    path = _path(truth, record, free_start)
    place = 2 * record.system.n_dof
    spread = path.dX[:, place] @ (vectors * np.sqrt(np.maximum(values, 0.0)))
    draws = np.random.default_rng(0).standard_normal((DRAWS, spread.shape[1]))
    true = path.X[:, place] - path.X[:, place].mean()
    found = path.X[:, place] + draws @ spread.T
    found -= found.mean(axis=1, keepdims=True)
    size = np.sqrt((found**2).sum(axis=1) * (true @ true))
    values = (found @ true) / size
    return {"median": float(np.median(values)), "low": float(np.quantile(values, 0.05))}


def _quadratic_form(table: Array, covariance: Array) -> tuple[float, float]:
    """Mean and median of the mean square of ``table @ p`` for normal p of this covariance."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    weights = np.linalg.eigvalsh(root.T @ (table.T @ table) @ root) / len(table)
    draws = np.random.default_rng(0).standard_normal((DRAWS, len(weights))) ** 2
    return float(weights.sum()), float(np.median(draws @ weights))
