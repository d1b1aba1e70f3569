"""Equations against the truth: their terms and constants, how they run, what intervals hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray

from benchmarks.discovery.cases import Case
from benchmarks.discovery.parametric import parametric
from benchmarks.discovery.records import Measured
from benchmarks.discovery.systems import chaotic_period
from discoverers.equations import Equations
from discoverers.simulation import simulate

__all__ = ["constants", "intervals", "runs", "terms"]

Array = NDArray[np.float64]

#: A simulation of chaos is valid until its error is this share of the states' spread.
VALID = 0.4
TWO_SIDED = 1.959963984540054


def terms(found: Equations, others: Iterable[Equations], measured: Measured) -> dict[str, Any]:
    """Which terms are right, and how far off their coefficients are.

    Parameters
    ----------
    found : Equations
    others : iterable of Equations
        Listed as alternatives.
    measured : Measured
    """
    compared = found.compare(measured.truth)
    return {
        "exact": bool(compared.exact),
        "n_terms": sum(map(len, found.terms().values())),
        "coefficient_error": float(compared.relative_coefficient_error),
        "largest_error": float(compared.max_coefficient_error),
        "extra": [str(term) for group in compared.false_positive for term in group],
        "missing": [str(term) for group in compared.false_negative for term in group],
        "listed": bool(compared.exact)
        or any(other.compare(measured.truth).exact for other in others),
    }


def constants(
    found: Equations, others: Iterable[Equations], measured: Measured, case: Case
) -> dict[str, Any]:
    """Whether a law is the true one but for its constants, and how far off the worst of these is.

    Parameters
    ----------
    found : Equations
    others : iterable of Equations
        Listed as alternatives.
    measured : Measured
    case : Case
        Of the group "parametric".
    """
    system = parametric(case.system)
    states = np.concatenate(measured.clean)
    error = system.constants_error(found, states)
    row: dict[str, Any] = {
        "exact": error is not None,
        "listed": error is not None
        or any(system.constants_error(other, states) is not None for other in others),
    }
    return row if error is None else row | {"constants_error": error}


def runs(found: Equations, measured: Measured, case: Case) -> dict[str, float]:
    """How well the equations run from the true initial state, and from another one.

    The coefficient of determination, over all states, is 1 for the true run and is not below -1;
    chaotic systems are run for one dominant period, the others for the span of the record. For
    chaotic systems there is also the number of periods until the other run leaves the true one.

    Parameters
    ----------
    found : Equations
    measured : Measured
    case : Case
    """
    t = measured.t[0]
    chaotic = case.group == "chaotic"
    steps = np.linspace(t[0], t[-1], len(t))
    own = _path(measured.truth, steps, measured.start)
    other = _path(measured.truth, steps, measured.other)
    ours, theirs = (_path(found, steps, x0) for x0 in (measured.start, measured.other))
    part = slice(None)
    scores = {}
    if chaotic:
        period = chaotic_period(case.system)
        part = slice(0, 1 + int(np.searchsorted(steps, t[0] + period)))
        away = np.sqrt(np.mean(((theirs - other) / other.std(axis=0)) ** 2, axis=1))
        off = np.flatnonzero(~(away < VALID))
        last = steps[off[0]] if len(off) else steps[-1]
        scores["valid_periods"] = float((last - steps[0]) / period)
    return scores | {
        "r2_same": _r2(ours[part], own[part]),
        "r2_other": _r2(theirs[part], other[part]),
    }


def intervals(model: Any, measured: Measured) -> dict[str, int]:
    """How many 95 % intervals of the reported coefficients hold the true ones.

    Parameters
    ----------
    model : SMNNDiscoverer
        Fitted.
    measured : Measured

    Returns
    -------
    dict
        "reported" terms and how many of their intervals hold the truth (0 for a term that is not
        there): "held".
    """
    place = [str(sympy.sympify(name)) for name in model.terms_]
    reported = held = 0
    for v, true in enumerate(measured.truth.terms().values()):
        values = {str(term): float(value) for term, value in true.items()}
        for k in np.flatnonzero(model.coef_[v]):
            away = abs(model.coef_[v, k] - values.get(place[k], 0.0))
            reported += 1
            held += int(away <= TWO_SIDED * model.coef_std_[v, k])
    return {"reported": reported, "held": held}


def _path(equations: Equations, t: Array, x0: Array) -> Array:
    return np.asarray(simulate(equations, t, x0, method="DOP853", rtol=1e-9).X)


def _r2(found: Array, true: Array) -> float:
    with np.errstate(all="ignore"):
        left = np.sum((found - true) ** 2)
        value = 1.0 - left / np.sum((true - true.mean(axis=0)) ** 2)
    return float(max(value, -1.0)) if np.isfinite(value) else -1.0
