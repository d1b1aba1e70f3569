"""A fitted estimator against the truth: structure, states, coefficients and their bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray

from benchmarks.skanode.bounds import cramer_rao
from discoverers.datasets import ForcedRecord, ForcedSystem
from discoverers.equations import Equations

__all__ = [
    "coefficients",
    "errors",
    "hidden_state",
    "places",
    "structure",
    "truth_in",
]

Array = NDArray[np.float64]


def places(model: Any, system: ForcedSystem) -> list[int]:
    """Where the estimator has each of the system's states: by name, else in the same order.

    Parameters
    ----------
    model : SKANODERegressor
        Fitted, with as many states as the system has or more.
    system : ForcedSystem
        The truth.
    """
    names = list(model.state_names_)
    if set(system.state_names) <= set(names):
        return [names.index(name) for name in system.state_names]
    return list(range(len(system.state_names)))


def truth_in(model: Any, system: ForcedSystem) -> Equations:
    """The true equations in the estimator's names and order.

    Parameters
    ----------
    model : SKANODERegressor
        Fitted, with as many states as the system has.
    system : ForcedSystem
        The truth.
    """
    place = places(model, system)
    renamed = {
        sympy.Symbol(old): sympy.Symbol(model.state_names_[k])
        for old, k in zip(system.state_names, place, strict=True)
    }
    renamed |= {
        sympy.Symbol(old): sympy.Symbol(new)
        for old, new in zip(system.input_names, model.input_names_, strict=True)
    }
    sides = {k: system.equations[i].xreplace(renamed) for i, k in enumerate(place)}
    ordered = [sides[k] for k in range(len(sides))]
    return Equations(ordered, model.state_names_, model.input_names_)


def structure(model: Any, system: ForcedSystem) -> dict[str, Any]:
    """Compare terms: whether all are right, and which are missing or too many.

    A term with the wrong sign is not right; a corner ``|q - b|`` is if its knot b is within 5 %. Of
    hidden states also whether the terms of their rates are right.

    Parameters
    ----------
    model : SKANODERegressor
        Fitted.
    system : ForcedSystem
        The truth.
    """
    if len(model.state_names_) != len(system.state_names):
        return {"exact": False, "states": list(model.state_names_)}
    truth = truth_in(model, system)
    own = _with_true_knots(model.equations_, truth)
    compared = own.compare(truth)

    def listed(groups: Any) -> list[str]:
        return [str(term) for group in groups for term in group]

    turned = [
        str(term)
        for state, terms in truth.terms().items()
        for term, value in terms.items()
        if own.terms()[state].get(term, value) * value < 0
    ]
    found: dict[str, Any] = {
        "exact": bool(compared.exact) and not turned,
        "wrong_sign": turned,
        "extra": listed(compared.false_positive),
        "missing": listed(compared.false_negative),
    }
    if system.hidden_names:
        rates = places(model, system)[2 * system.n_dof :]
        found["rate_exact"] = not any(
            compared.false_positive[k] or compared.false_negative[k] for k in rates
        )
    return found


def _with_true_knots(found: Equations, truth: Equations) -> Equations:
    """The fitted equations with their corners at the true knots next to them."""
    true_corners = {atom: _knot(atom) for side in truth for atom in side.atoms(sympy.Abs)}
    moved = {}
    for atom in {atom for side in found for atom in side.atoms(sympy.Abs)}:
        variable, knot = _knot(atom)
        for other, (same, true_knot) in true_corners.items():
            if true_knot and variable == same and abs(knot - true_knot) <= 0.05 * abs(true_knot):
                moved[atom] = other
    sides = [side.xreplace(moved) for side in found]
    return Equations(sides, found.state_names, found.input_names)


def _knot(corner: sympy.Abs) -> tuple[sympy.Expr, float]:
    """Variable q and knot b of ``|q - b|`` or ``|b - q|``; b is 0 of anything else."""
    constant, moving = corner.args[0].as_coeff_Add()
    factor, variable = moving.as_coeff_Mul()
    plain = variable.is_Symbol and abs(factor) == 1
    return variable, float(-constant / factor) if plain else 0.0


def errors(model: Any, record: ForcedRecord, run: int = 0) -> dict[str, float]:
    """Mean squared errors of a free run over the whole record from the fitted initial state.

    Accelerations are compared with the noisy ones, as the paper does; displacements with and
    without their mean error. "unmeasured" is the error of the accelerations that were not measured,
    over their variance, of the worst mass. A run that leaves every bound has infinite errors.

    Parameters
    ----------
    model : SKANODERegressor
        Fitted to the first part of `record`.
    record : ForcedRecord
        The whole record.
    run : int, default=0
        Which of the fitted runs it is.
    """
    d = record.system.n_dof
    X = np.asarray(model.simulate(record.t, model.x0_[run], u=record.u))
    rates = np.asarray(model.derivative(np.nan_to_num(X), record.u))
    if np.isnan(X).any():
        X, rates = np.full_like(X, np.inf), np.full_like(rates, np.inf)
    place = places(model, record.system)
    X, rates = X[:, place[: 2 * d]], rates[:, place[: 2 * d]]
    accelerations = rates[:, d : 2 * d]
    measured = np.column_stack([record.channel(name) for name in record.system.accelerations])
    noisy = [
        record.y[:, record.channels.index(name)] if name in record.channels else measured[:, i]
        for i, name in enumerate(record.system.accelerations)
    ]
    away = X[:, :d] - record.states[:, :d]
    found = {}
    hidden = [i for i, a in enumerate(record.system.accelerations) if a not in record.channels]
    if record.channels[0] in record.system.accelerations and hidden:
        missed = accelerations[:, hidden] - measured[:, hidden]
        with np.errstate(over="ignore", invalid="ignore"):
            found["unmeasured"] = float(
                np.max((missed**2).mean(axis=0) / measured[:, hidden].var(axis=0))
            )
    with np.errstate(invalid="ignore"):
        centred = np.where(np.isfinite(away), away - away.mean(axis=0), np.inf)
    return found | {
        "acceleration": _mse(accelerations - np.column_stack(noisy)),
        "displacement": _mse(away),
        "displacement_centred": _mse(centred),
        "velocity": _mse(X[:, d : 2 * d] - record.states[:, d : 2 * d]),
    }


def hidden_state(model: Any, record: ForcedRecord) -> dict[str, float]:
    """Correlation of the fitted hidden state with the true one, over the training samples.

    The multiple correlation allows for what accelerations leave open: adding a multiple of the
    displacement to the hidden force, and taking it from the spring.

    Parameters
    ----------
    model : SKANODERegressor
        Fitted, with a state that is neither displacement nor velocity.
    record : ForcedRecord
        The training record, of a system with one hidden state.
    """
    fitted = np.asarray(model.solution_[0].X)
    d = record.system.n_dof
    if fitted.shape[1] <= 2 * d:
        return {"correlation": math.nan, "multiple_correlation": math.nan}
    true = record.states[:, 2 * d]
    alone = np.corrcoef(true, fitted[:, 2 * d])[0, 1]
    place = places(model, record.system)[:d]
    design = np.column_stack([fitted[:, 2 * d], fitted[:, place], np.ones(len(fitted))])
    explained = design @ np.linalg.lstsq(design, true)[0]
    return {
        "correlation": float(abs(alone)),
        "multiple_correlation": float(np.corrcoef(true, explained)[0, 1]),
    }


def coefficients(
    model: Any, records: Sequence[ForcedRecord], *, free_start: bool
) -> list[dict[str, Any]]:
    """Estimated and true coefficients of the laws, standard errors and Cramer-Rao bounds.

    Parameters
    ----------
    model : SKANODERegressor
        Fitted, with the right terms.
    records : sequence of ForcedRecord
        The training records.
    free_start : bool
        Whether the initial states were estimated as well.
    """
    system = records[0].system
    truth = truth_in(model, system).terms()
    found = model.equations_.terms()
    bounds = cramer_rao(records, free_start=free_start)
    rows = []
    symbols = {str(sympy.sympify(name)): k for k, name in enumerate(model.terms_)}
    for dof in range(system.n_dof):
        index = places(model, system)[system.n_dof + dof]
        name, own_name = model.state_names_[index], system.state_names[system.n_dof + dof]
        true_names = list(system.equations.terms()[own_name])
        for (term, value), own in zip(truth[name].items(), true_names, strict=True):
            column = symbols.get(str(term))
            if column is None:
                continue
            rows.append(
                {
                    "term": str(term),
                    "true": float(value),
                    "estimate": float(found[name][term]),
                    "std": float(model.coef_std_[index, column]),
                    "bound": bounds[own_name, str(own)],
                }
            )
    return rows


def _mse(difference: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.mean(difference**2))
