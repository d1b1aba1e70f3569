"""Found equations against true ones, term by term."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import sympy

from discoverers.formatting import term_name
from discoverers.terms import collect_terms, sort_key

if TYPE_CHECKING:
    from discoverers.equations import Equations

__all__ = ["Comparison", "compare_expressions", "matching_truth"]

Terms = tuple[tuple[sympy.Expr, ...], ...]


@dataclass(frozen=True, repr=False)
class Comparison:
    """How found equations differ from true ones; made by `Equations.compare`.

    Terms are the summands of the expanded right-hand sides, matched by their non-numeric factor.
    Numbers inside a factor (``sin(2*x)``) belong to the term.

    Attributes
    ----------
    exact : bool
        Whether every equation has exactly the true terms (coefficients may differ).
    precision, recall : float
        Share of the found terms that are true, and of the true terms that are found, over all
        equations. Without found terms the precision is 1 if there are no true ones either, else 0;
        the recall is 1 if there are no true terms.
    true_positive, false_positive, false_negative : tuple of tuples of sympy.Expr
        Terms found and true, found only, true only; one tuple per equation, in order of states.
    max_coefficient_error : float
        Largest absolute error of a coefficient; one of a missing or extra term counts in full.
    relative_coefficient_error : float
        ``norm(found - true) / norm(true)`` over all coefficients of both sides (Euclidean norm);
        infinite if the truth has no terms and the found equations have some.
    state_names : tuple of str
        Names of the states.
    orders : tuple of int
        Order of each equation; first order if empty.
    variables : tuple of sympy.Symbol
        Symbols of the states and inputs, in whose order terms are written.
    """

    exact: bool
    precision: float
    recall: float
    true_positive: Terms
    false_positive: Terms
    false_negative: Terms
    max_coefficient_error: float
    relative_coefficient_error: float
    state_names: tuple[str, ...]
    orders: tuple[int, ...] = ()
    variables: tuple[sympy.Symbol, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """One row per term: columns ``equation``, ``term``, ``verdict``."""
        rows = [
            (name, term_name(term, self.variables), verdict)
            for index, name in enumerate(self.state_names)
            for verdict in ("true_positive", "false_positive", "false_negative")
            for term in getattr(self, verdict)[index]
        ]
        return pd.DataFrame(rows, columns=["equation", "term", "verdict"])

    def __repr__(self) -> str:
        found = sum(map(len, self.true_positive))
        true = found + sum(map(len, self.false_negative))
        extra = sum(map(len, self.false_positive))
        lines = [
            f"Comparison: {found} of {true} terms found, {extra} extra",
            f"precision {self.precision:.3g}, recall {self.recall:.3g}, relative coefficient error "
            f"{self.relative_coefficient_error:.3g}",
        ]
        orders = self.orders or (1,) * len(self.state_names)
        for word, terms in (("missing", self.false_negative), ("extra", self.false_positive)):
            for name, order, parts in zip(self.state_names, orders, terms, strict=True):
                if parts:
                    listed = ", ".join(term_name(term, self.variables) for term in parts)
                    lines.append(f"{word} in {name}{chr(39) * order}: {listed}")
        return "\n".join(lines)


def compare_expressions(
    found: Sequence[sympy.Expr],
    truth: Sequence[sympy.Expr],
    state_names: tuple[str, ...],
    variables: Sequence[sympy.Symbol],
    orders: tuple[int, ...],
) -> Comparison:
    """Compare right-hand sides in the same symbols and order."""
    hits, extras, misses = [], [], []
    errors: list[float] = []
    scale: list[float] = []
    for ours, theirs in zip(map(matched_terms, found), map(matched_terms, truth), strict=True):
        both = sorted({*ours, *theirs}, key=lambda term: sort_key(term, variables))
        hits.append(tuple(term for term in both if term in ours and term in theirs))
        extras.append(tuple(term for term in both if term not in theirs))
        misses.append(tuple(term for term in both if term not in ours))
        errors += [ours.get(term, 0.0) - theirs.get(term, 0.0) for term in both]
        scale += theirs.values()
    right, extra, missed = (sum(map(len, terms)) for terms in (hits, extras, misses))
    error, norm = math.hypot(*errors), math.hypot(*scale)
    return Comparison(
        exact=extra == 0 and missed == 0,
        precision=right / (right + extra) if right + extra else float(missed == 0),
        recall=right / (right + missed) if right + missed else 1.0,
        true_positive=tuple(hits),
        false_positive=tuple(extras),
        false_negative=tuple(misses),
        max_coefficient_error=max(map(abs, errors), default=0.0),
        relative_coefficient_error=error / norm if norm else (math.inf if error else 0.0),
        state_names=state_names,
        orders=orders,
        variables=tuple(variables),
    )


def matching_truth(equations: Equations, truth: Any) -> Equations:
    """The truth as equations in the same states and of the same order.

    Raises
    ------
    ValueError
        If number, names or order of the equations differ, or text cannot be read.
    """
    if isinstance(truth, type(equations)):
        if truth.orders != equations.orders:
            raise ValueError(
                f"truth is of order {truth.order}, these equations are of order {equations.order}"
            )
        for what in ("state_names", "input_names"):
            ours, theirs = getattr(equations, what), getattr(truth, what)
            # unused inputs say nothing, and need not be named on both sides
            if ours != theirs and (what == "state_names" or (ours and theirs)):
                raise ValueError(
                    f"truth has {what} {theirs}, these equations have {ours}; names and their "
                    "order must agree"
                )
        return truth
    if isinstance(truth, Mapping):
        missing = sorted(set(equations.state_names).symmetric_difference(truth))
        if missing:
            raise ValueError(
                f"truth must have one entry per state {equations.state_names}; check {missing}"
            )
        truth = [truth[name] for name in equations.state_names]
    if isinstance(truth, (str, sympy.Basic)):
        raise ValueError("truth must be a sequence with one right-hand side per state")
    truth = list(truth)
    if len(truth) != len(equations):
        raise ValueError(f"truth has {len(truth)} right-hand sides, expected {len(equations)}")
    return type(equations)(
        truth,
        equations.state_names,
        equations.input_names,
        equations.functions,
        equations.time_name,
        equations.order,
    )


def matched_terms(expr: sympy.Expr) -> dict[sympy.Expr, float]:
    """Terms of the expanded expression in a form that equal terms share, with coefficients.

    A sum in a denominator is scaled so that its first summand has coefficient 1, and numbers inside
    a term are compared to twelve digits: ``1/(2 + x/2)`` and ``0.5/(1 + 0.25*x)`` are one term.

    Examples
    --------
    >>> import sympy
    >>> from discoverers.comparison import matched_terms
    >>> x = sympy.Symbol("x")
    >>> matched_terms(3 / (2.0 + 2.0 * x) + sympy.sin(1.0 * x))
    {1/(x + 1): 1.5, sin(x): 1.0}
    """
    whole = {n: _plain_number(n) for n in expr.atoms(sympy.Float) if float(n).is_integer()}
    expanded = sympy.expand(expr.xreplace(whole))
    total: dict[sympy.Expr, sympy.Expr] = {}
    for part in sympy.Add.make_args(expanded):
        scaled = sympy.Mul(*map(_normal_power, sympy.Mul.make_args(part)))
        for factor, coefficient in collect_terms(scaled).items():
            like = factor.xreplace({n: _plain_number(n) for n in factor.atoms(sympy.Number)})
            total[like] = total.get(like, sympy.Integer(0)) + coefficient
    return {factor: float(value) for factor, value in total.items() if float(value) != 0.0}


def _normal_power(factor: sympy.Expr) -> sympy.Expr:
    base, exponent = factor.as_base_exp()
    if not (base.is_Add and exponent.is_Integer):
        return factor
    parts = collect_terms(base)
    variables = sorted(base.free_symbols, key=lambda symbol: symbol.name)
    leading = parts[min(parts, key=lambda term: sort_key(term, variables))]
    rescaled = sympy.Add(*(_plain_number(v / leading) * term for term, v in parts.items()))
    return leading**exponent * sympy.Pow(rescaled, exponent)


def _plain_number(number: sympy.Expr) -> sympy.Expr:
    """Integers as integers, all other numbers as floats of twelve digits."""
    if not number.is_Number or number.is_Integer:
        return number
    value = float(f"{float(number):.12g}")
    return sympy.Integer(int(value)) if value.is_integer() else sympy.Float(value)
