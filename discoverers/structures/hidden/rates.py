"""Candidate rates of a hidden force, and the gauge in which it is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import sympy
from numpy.typing import NDArray

__all__ = ["RateTerm", "is_even", "linear_gauge", "path_independent", "rate_terms"]

Array = NDArray[np.float64]

_DICTIONARY = (
    # text, complexity
    ("v", 1.0),
    ("z", 1.0),
    ("x", 1.3),
    ("Abs(v)*z", 1.2),
    ("v*Abs(z)", 1.2),
    ("v*z**2", 1.3),
    ("Abs(v)*z*Abs(z)", 1.3),
    ("z*Abs(z)", 1.2),
    ("z**3", 1.3),
    ("x*z", 1.3),
    ("v*Abs(v)", 1.3),
    ("x**3", 1.4),
    ("Abs(v)", 1.4),
    ("1", 1.4),
)
"""Rates of the Bouc-Wen family and of its linear and quadratic relatives, with their complexity.

What is common in the literature on hysteresis is simple here; rates without the hidden force, and
without the velocity, are not.
"""


@dataclass(frozen=True)
class RateTerm:
    """One candidate of the hidden force's rate.

    Attributes
    ----------
    expr : sympy.Expr
    weight : float
        Complexity, in units of a linear term.
    even : bool
        Whether it keeps its sign when position, velocity and force change theirs.
    """

    expr: sympy.Expr
    weight: float
    even: bool


def rate_terms(position: str, velocity: str, force: str) -> tuple[RateTerm, ...]:
    """The dictionary of rates, in the names of the states.

    Examples
    --------
    >>> from discoverers.structures.hidden.rates import rate_terms
    >>> [str(term.expr) for term in rate_terms("x", "v", "z")][:5]
    ['v', 'z', 'x', 'z*Abs(v)', 'v*Abs(z)']
    """
    named = {"x": position, "v": velocity, "z": force}
    places = {sympy.Symbol(short): sympy.Symbol(name) for short, name in named.items()}
    symbols = list(places.values())
    out = []
    for text, weight in _DICTIONARY:
        expr = sympy.sympify(text, locals={str(s): s for s in places}).xreplace(places)
        out.append(RateTerm(expr, weight, is_even(expr, symbols)))
    return tuple(out)


def is_even(expr: sympy.Expr, symbols: Sequence[sympy.Symbol]) -> bool:
    """Whether a term does not change its sign with all symbols: 1, x**2, |v|, x z."""
    flipped = expr.xreplace({symbol: -symbol for symbol in symbols})
    return bool(sympy.expand(flipped + expr) != 0)


def path_independent(rate: Iterable[sympy.Expr], velocity: sympy.Symbol) -> bool:
    """Whether z is but a function of the position: all terms are v times a function of x and z.

    Then dz/dx is given wherever the mass comes from, as with z = tanh(x), whose rate is v - v z**2.

    Examples
    --------
    >>> import sympy
    >>> from discoverers.structures.hidden.rates import path_independent
    >>> v, z = sympy.symbols("v z")
    >>> path_independent([v, v * z**2], v), path_independent([v, sympy.Abs(v) * z], v)
    (True, False)
    """
    return all(velocity not in (term / velocity).free_symbols for term in rate)


def linear_gauge(
    law: dict[sympy.Expr, float],
    rate: dict[sympy.Expr, float],
    symbols: tuple[sympy.Symbol, sympy.Symbol, sympy.Symbol],
) -> tuple[dict[sympy.Expr, float], dict[sympy.Expr, float], float]:
    """Remove the position from a linear rate by counting a part of the spring to the hidden force.

    With a rate that is linear, ``z + kappa x`` obeys an equation of the same form as z, and the
    same acceleration follows from both. The gauge in which x is not in the rate is the one of
    springs and dashpots: ``z' = k1 v - z / tau``.

    Parameters
    ----------
    law, rate : dict from term to coefficient
        Of the acceleration, in which z has the coefficient -1, and of z.
    symbols : tuple of sympy.Symbol
        Position, velocity and hidden force.

    Returns
    -------
    law, rate : dict
    kappa : float
        What was added: the new force is ``z + kappa x``. 0 where nothing has to be done.

    Examples
    --------
    >>> import sympy
    >>> from discoverers.structures.hidden.rates import linear_gauge
    >>> x, v, z = sympy.symbols("x v z")
    >>> linear_gauge({v: -0.1}, {v: 5.0, z: -2.0, x: 6.0}, (x, v, z))
    ({v: -0.1, x: -3.0}, {v: 2.0, z: -2.0}, -3.0)
    """
    x, v, z = symbols
    linear = {x, v, z, sympy.Integer(1)}
    if not set(rate) <= linear or x not in rate or rate.get(z, 0.0) == 0.0:
        return law, rate, 0.0
    # New force w = z + kappa x: w' = a v + b (w - kappa x) + c x + kappa v.
    kappa = rate[x] / rate[z]
    law = {**law, x: law.get(x, 0.0) + kappa}
    rate = {**rate, v: rate.get(v, 0.0) + kappa}
    del rate[x]
    return law, rate, kappa
