"""One case: make the records, fit, judge."""

from __future__ import annotations

import time
import warnings
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from benchmarks.skanode.bounds import Family, correlation_bounds, error_bounds
from benchmarks.skanode.judging import coefficients, errors, hidden_state, structure
from benchmarks.skanode.settings import THREE_MASSES, Case
from discoverers import SKANODERegressor
from discoverers.datasets import ForcedRecord, ForcedSystem, mass_chain, observe

__all__ = ["fit_case", "law_error", "records_of", "structure_for"]

#: What a fit may raise when it has no answer; anything else is a bug and ends the run.
REFUSALS = (ValueError, RuntimeError, ArithmeticError)


def structure_for(case: Case) -> Any:
    """What the estimator is told of the structure: the default but for memory and masses."""
    from discoverers.structures import ChainStructure, ElementStructure

    if case.name in THREE_MASSES:
        return ElementStructure(3, force_on=THREE_MASSES[case.name])
    return ChainStructure(hidden="auto") if case.part in ("hysteresis", "static") else "chain"


def records_of(case: Case) -> list[ForcedRecord]:
    """The whole records of a case, one for each amplitude."""
    return [
        observe(
            system,
            case.measured,
            noise=case.noise,
            # Other noise for every setting: counts over settings are then of independent records.
            seed=crc32(f"{case.name} {case.noise:g} {case.start} {place} {case.seed}".encode()),
            integrator=case.integrator,
        )
        for place, system in enumerate(case.systems())
    ]


def fit_case(case: Case) -> dict[str, Any]:
    """Fit one case and judge it.

    Parameters
    ----------
    case : Case
        What to fit.

    Returns
    -------
    dict
        Ready for JSON: the case, seconds (wall and processor), whether the terms are right, mean
        squared errors and those at the Cramer-Rao bound, coefficients with standard errors and
        bounds, warnings.
    """
    whole = records_of(case)
    records = [record.training() for record in whole]
    model = SKANODERegressor(
        structure_for(case),
        observe="acceleration" if case.measured == "acceleration" else _places(case, whole[0]),
        initial_state=case.start,
        random_state=case.seed,
        **case.options,
    )
    times, channels, inputs = (
        [getattr(record, name) for record in records] for name in ("t", "y", "u")
    )
    row: dict[str, Any] = case.label()
    before = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if len(records) == 1:
                model.fit(times[0], channels[0], u=inputs[0])
            else:
                model.fit(times, channels, u=inputs)
        except REFUSALS as error:
            row["refused"] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            return row
    row["seconds"] = time.perf_counter() - before[0]
    row["processor_seconds"] = time.process_time() - before[1]
    row["converged"] = bool(model.converged_)
    row["warnings"] = sorted({f"{w.category.__name__}: {w.message}" for w in caught})
    row["equations"] = str(model.equations_)
    row["states"] = list(model.state_names_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row |= _judged(model, case, whole, records)
    return row


def law_error(model: SKANODERegressor, records: list[ForcedRecord]) -> float:
    """Relative error of the fitted accelerations, as functions, where the true motion went.

    Parameters
    ----------
    model : SKANODERegressor
        Fitted to one mass.
    records : list of ForcedRecord
        The training records.
    """
    X = np.vstack([record.states for record in records])
    u = np.vstack([record.u for record in records])
    true = np.concatenate([record.rates[:, 1] for record in records])
    found = np.asarray(model.derivative(X, u))[:, 1]
    return float(np.sqrt(np.mean((found - true) ** 2) / np.mean(true**2)))


def _places(case: Case, record: ForcedRecord) -> list[str]:
    """What the estimator is told about channels of some of the masses."""
    names = record.system.accelerations
    return [f"acceleration {names.index(channel) + 1}" for channel in record.channels]


def _judged(
    model: SKANODERegressor,
    case: Case,
    whole: list[ForcedRecord],
    records: list[ForcedRecord],
) -> dict[str, Any]:
    system = whole[0].system
    found: dict[str, Any] = structure(model, system)
    if len(model.state_names_) >= 2 * system.n_dof:
        found["mse"] = errors(model, whole[0])
    found["hidden"] = len(model.state_names_) > 2 * system.n_dof
    if system.hidden_names:
        found |= hidden_state(model, records[0])
        if case.noise > 0:
            unknown = case.start == "estimate"
            found["correlation_bound"] = correlation_bounds(records[0], free_start=unknown)
    if system.n_dof == 1 and not system.hidden_names and not found["hidden"]:
        found["law_error"] = law_error(model, records)
    linear = not any(kink.args[0].is_Add for kink in _kinks(system))
    if found["exact"] and case.noise > 0 and linear:
        unknown = case.start == "estimate"
        found["coefficients"] = coefficients(model, records, free_start=unknown)
        if case.part in ("table1", "masses"):
            found["mse_bound"] = error_bounds(
                records, whole[0], free_start=unknown, family=_family(case)
            )
    return found


def _family(case: Case) -> Family | None:
    """Masses and elements, whose forces are equal and opposite; None for one mass."""
    if case.name not in THREE_MASSES:
        return None
    (system,) = case.systems()
    kinds = ("masses", "stiffness", "damping")
    at = [[system.parameters[f"{kind}{n}"] for n in (1, 2, 3)] for kind in kinds]

    def make(values: NDArray[np.float64]) -> ForcedSystem:
        parts = dict(zip(kinds, values[:9].reshape(3, 3).tolist(), strict=True))
        return mass_chain(3, **parts, cubic=float(values[9]), force_at=THREE_MASSES[case.name])

    return Family(make, np.array([*np.ravel(at), system.parameters["cubic"]]))


def _kinks(system: Any) -> set[Any]:
    import sympy

    return {kink for side in system.equations for kink in side.atoms(sympy.Abs)}
