"""Constants that are 1, 2 or 1/2, or equal, as far as the data can tell are written so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import sympy

from .atoms import PARAMETER, Template
from .judge import Judge, Verdict, best_of
from .systems import Candidate, System

__all__ = ["snapped"]

SIMPLE = tuple(map(sympy.Rational, ("1/2", "1", "2")))
EXPONENTS = (
    *SIMPLE,
    *map(sympy.Rational, ("1/3", "2/3", "3/4", "4/3", "3/2", "5/2")),
    *map(sympy.Rational, ("-1/2", "-1", "-3/2", "-2", "-3")),
)
"""Surface by volume and metabolism give textbooks exponents of thirds and quarters, forces negative
ones."""

REACH = 3.0
"""Standard errors from a constant within which simple numbers are tried."""


def snapped(
    judge: Judge, best: Verdict, templates: Mapping[sympy.Expr, Template]
) -> tuple[Verdict, list[System]]:
    """Fix constants at simple numbers, or at those of another equation, where the score falls.

    A constant costs log N: it is worth no more than that if the deviance rises by less.

    Parameters
    ----------
    judge : Judge
    best : Verdict
    templates : mapping of sympy.Expr to Template
        The dictionary: a term that becomes one of its own is charged as that.

    Returns
    -------
    best : Verdict
    freer : list of System
        The same law with constants that were free.
    """
    freer: list[System] = []
    while np.isfinite(best.score):
        simpler = best_of([best, *(judge(one, best) for one in _simpler(best, templates))])
        if simpler is best:
            break
        freer.append(best.system)
        best = simpler
    return best, freer


def _simpler(verdict: Verdict, templates: Mapping[sympy.Expr, Template]) -> Iterator[System]:
    yield from verdict.system.tied()
    errors = verdict.fit.errors[verdict.fit.n_free :].tolist()
    for constant, error in zip(verdict.system.constants, errors, strict=True):
        if constant.index >= 0:
            # Those of a denominator depend on which of its constants was set to one.
            continue
        law, place = verdict.system.laws[constant.state], constant.place
        one = law[place]
        for value in EXPONENTS if _is_exponent(one.template.expr) else SIMPLE:
            fixed = _fixed(one, value, templates)
            others = (*law[:place], *law[place + 1 :])
            if abs(one.parameter - float(value)) <= REACH * error and all(
                fixed.structure != other.structure for other in others
            ):
                yield verdict.system.with_law(
                    constant.state, (*law[:place], fixed, *law[place + 1 :])
                )


def _fixed(
    one: Candidate, value: sympy.Rational, templates: Mapping[sympy.Expr, Template]
) -> Candidate:
    expr = one.template.expr.subs(PARAMETER, value)
    bare = replace(one.template, expr=expr, grid=(), lower=-np.inf, upper=np.inf)
    return replace(one, template=templates.get(expr, bare), parameter=float("nan"))


def _is_exponent(expr: sympy.Expr) -> bool:
    return any(power.exp == PARAMETER for power in expr.atoms(sympy.Pow))
