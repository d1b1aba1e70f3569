"""One case of our own: fit with the defaults, and judge."""

from __future__ import annotations

import time
import warnings
from typing import Any

import pandas as pd
import sympy

from benchmarks.discovery.cases import Case
from benchmarks.discovery.judging import constants, intervals, runs, terms
from benchmarks.discovery.records import Measured, measure
from discoverers import SMNNDiscoverer
from discoverers.constraints import Constraint, Forbidden, Required
from discoverers.equations import Equations

__all__ = ["estimator", "fit_case"]

#: What a fit may raise when it has no answer; anything else is a bug and ends the run.
REFUSALS = (ValueError, RuntimeError, ArithmeticError)


def estimator(case: Case, measured: Measured) -> SMNNDiscoverer:
    """The estimator of a case: its defaults but for what the case says.

    Parameters
    ----------
    case : Case
    measured : Measured
    """
    library = "auto" if case.group == "parametric" else f"poly{measured.degree}"
    constraints: list[Constraint] = []
    if case.setting == "known support":
        constraints = list(_support(measured.truth, measured.degree))
    return SMNNDiscoverer(library, order=measured.order, constraints=constraints)


def fit_case(case: Case) -> dict[str, Any]:
    """Fit one case and judge it.

    Parameters
    ----------
    case : Case

    Returns
    -------
    dict
        Ready for JSON: the case, whether the terms are right, whether the truth is listed among the
        alternatives, errors of coefficients and simulations, seconds (wall and processor).
    """
    measured = measure(case)
    model = estimator(case, measured)
    row: dict[str, Any] = {**case.label(), "method": "SMNNDiscoverer"}
    frames = [pd.DataFrame(part, columns=list(measured.names)) for part in measured.X]
    before = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if len(frames) == 1:
                model.fit(measured.t[0], frames[0])
            else:
                model.fit(list(measured.t), frames)
        except REFUSALS as error:
            return row | {
                "exact": False,
                "refused": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
            }
    row["seconds"] = time.perf_counter() - before[0]
    row["processor_seconds"] = time.process_time() - before[1]
    row["warnings"] = sorted({one.category.__name__ for one in caught})
    row["equations"] = str(model.equations_)
    others = model.alternatives_["equations"]
    if case.group == "parametric":
        row |= constants(model.equations_, others, measured, case)
    else:
        row |= terms(model.equations_, others, measured)
    row["identifiable"] = bool(model.identifiable_)
    row["chi2"] = [float(value) for value in model.chi2_]
    if case.part == "coverage":
        row["intervals"] = intervals(model, measured)
    elif measured.order == 1 and case.part != "paper":  # that record is long, and chaotic
        row |= runs(model.equations_, measured, case)
    return row


def _support(truth: Equations, degree: int) -> list[Constraint]:
    """Constraints that leave exactly the true terms."""
    symbols = sympy.symbols(truth.state_names)
    found: list[Constraint] = []
    for state, side in truth.terms().items():
        for term in sympy.itermonomials(symbols, degree):
            allowed = any(sympy.expand(term - one) == 0 for one in side)
            found.append(Required(state, term) if allowed else Forbidden(state, term))
    return found
