"""Candidate terms of the automatic library: monomials, textbook functions, and their products.

A template is a term with or without constants of its own, such as ``x/(k + x)``; a candidate is a
template with values for them. Which templates there are depends on what the data allow: no
logarithm of what changes its sign, no pole among the measurements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, combinations_with_replacement, product
from math import comb

import numpy as np
import sympy
from numpy.typing import NDArray

__all__ = ["FAMILIES", "PARAMETER", "Template", "atom_count", "templates_for"]

Array = NDArray[np.float64]

PARAMETER = sympy.Symbol("p")
"""Stands for a template's constant; a model gives each its own name."""

FAMILIES = ("sin", "cos", "exp", "tanh", "abs", "rational", "hill", "log", "sqrt", "power")
"""Names by which a user may leave functions out."""

GRID = 21
LARGEST_EXPONENT = 12.0
"""Arguments of exponentials stay below this on the data."""

SCALES = np.geomspace(0.03, 8.0, GRID)
"""Half saturations in units of the largest value."""

SLIGHTLY_BELOW = -0.02
"""In the same units: what denoised states may be below zero, for terms with a pole farther down."""

STEEP = 0.5
"""Logarithm of how many times rarer than squares and products cubes are, and so on upwards."""


@dataclass(frozen=True)
class Template:
    """A term, perhaps with one constant that is free.

    Attributes
    ----------
    expr : sympy.Expr
        In symbols of states and inputs, and in `PARAMETER` if it has a constant.
    grid : tuple of float
        Where the constant is looked for first; empty without a constant.
    lower, upper : float
        Bounds of the constant.
    competitors : float
        How many terms of its kind there are: a term is charged for each.
    factors : int
        Factors that are no monomials.
    """

    expr: sympy.Expr
    grid: tuple[float, ...] = ()
    lower: float = -np.inf
    upper: float = np.inf
    competitors: float = 1.0
    factors: int = 0

    @property
    def has_parameter(self) -> bool:
        """Whether there is a free constant."""
        return bool(self.grid)

    def charge(self, n_rows: int, n_states: int) -> float:
        """What the term costs in units of the deviance."""
        constants = np.log(max(n_rows, 2)) if self.has_parameter else 0.0
        return float(
            np.log(max(n_rows, 2))
            + 2.0 * np.log(n_states * self.competitors)
            + 2.0 * self.factors
            + constants
        )

    def times(self, other: Template) -> Template:
        """The product; one of the two has no constant."""
        holder = self if self.has_parameter else other
        return Template(
            self.expr * other.expr,
            holder.grid,
            holder.lower,
            holder.upper,
            self.competitors * other.competitors,
            self.factors + other.factors,
        )


def templates_for(
    names: Sequence[str],
    X: Array,
    n_states: int,
    *,
    own: Sequence[sympy.Expr] = (),
    without: Sequence[str] = (),
    degree: int = 3,
) -> tuple[Template, ...]:
    """All templates that the data allow.

    Parameters
    ----------
    names : sequence of str
        States, then inputs.
    X : ndarray of shape (n, len(names))
        Denoised states and the inputs.
    n_states : int
    own : sequence of sympy.Expr, optional
        Atoms of the user's own, charged as functions without constants.
    without : sequence of str, optional
        Names in `FAMILIES` that are left out.
    degree : int, default=3
        Of the monomials; of a single state two more, beyond three states one less.

    Returns
    -------
    tuple of Template
        Different as expressions.
    """
    variables = [sympy.Symbol(name) for name in names]
    highest = degree + 2 if n_states == 1 else degree - (n_states > 3)
    monomials = list(_monomials(variables, max(highest, 1), n_states))
    atoms = [
        atom
        for variable, column in zip(variables, X.T, strict=True)
        for family, atom in _atoms(variable, column, n_states)
        if family not in without
    ]
    alone = [
        atom
        for variable, column in zip(variables, X.T, strict=True)
        if "hill" not in without
        for atom in _cooperative(variable, column, n_states)
    ]
    given = [Template(expr, competitors=atom_count(n_states), factors=1) for expr in own]
    # Beyond two states a carrier is one of them: more would be too many to tell apart.
    reach = 2 if n_states <= 2 else 1
    carriers = [one for one in monomials if 1 <= _degree(one.expr) <= reach]
    mixed = [_rarer(carrier, atom) for carrier, atom in product(carriers, [*atoms, *given])]
    waves = [atom for atom in atoms if not atom.has_parameter and _is_wave(atom.expr)]
    known: dict[sympy.Expr, Template] = {}
    for template in (*monomials, *atoms, *alone, *given, *mixed, *_wave_products(waves)):
        held = known.get(template.expr)
        if held is None or template.competitors < held.competitors:
            known[template.expr] = template
    return tuple(known.values())


def _monomials(variables: Sequence[sympy.Symbol], degree: int, n_states: int) -> Iterator[Template]:
    for d in range(degree + 1):
        count = comb(len(variables) + d, d) * max(n_states, 1) + 2
        for factors in combinations_with_replacement(variables, d):
            steep = float(np.exp(STEEP * max(d - 2, 0)))
            yield Template(sympy.Mul(*factors), competitors=count * steep)


def _rarer(carrier: Template, atom: Template) -> Template:
    """A product; squares times functions, and states times waves of any frequency, count twice.

    One such term follows every hump: without the charge it stands in for polynomials.
    """
    term = carrier.times(atom)
    wave = int(atom.has_parameter and _is_wave(atom.expr))
    high = int(bool(_degree(carrier.expr) > 1))
    return replace(term, factors=term.factors + high + wave)


def _wave_products(waves: Sequence[Template]) -> Iterator[Template]:
    """Products of waves, each law written in one way: sin x cos x is sin 2x, sin^2 x has cos 2x."""
    for one in waves:
        (x,) = one.expr.free_symbols
        yield replace(one, expr=one.expr.subs(x, 2 * x))
    for a, b in combinations(waves, 2):
        if a.expr.free_symbols != b.expr.free_symbols:
            yield a.times(b)


def atom_count(n_states: int) -> float:
    """How many functions compete for the place of one that is no monomial."""
    return comb(n_states + 2, 2) + 30.0 * n_states


def _atoms(x: sympy.Symbol, values: Array, n_states: int) -> Iterator[tuple[str, Template]]:
    """Functions of one variable on the range of its values, each with its family's name."""
    low, high = float(values.min()), float(values.max())
    size, span = max(abs(low), abs(high)), high - low
    if span <= 0.0:
        return
    p = PARAMETER

    def plain(family: str, *exprs: sympy.Expr) -> Iterator[tuple[str, Template]]:
        for expr in exprs:
            yield family, Template(expr, competitors=atom_count(n_states), factors=1)

    def free(family: str, grid: Array, *exprs: sympy.Expr) -> Iterator[tuple[str, Template]]:
        for expr in exprs:
            yield family, _with_constant(expr, grid, n_states)

    if 0.3 < span < 60.0:
        yield from plain("sin", sympy.sin(x))
        yield from plain("cos", sympy.cos(x))
    waves = np.geomspace(0.8, 12.0, GRID) / span
    yield from free("sin", waves, sympy.sin(p * x))
    yield from free("cos", waves, sympy.cos(p * x))
    if size < LARGEST_EXPONENT and span > 0.1:
        yield from plain("exp", sympy.exp(x), sympy.exp(-x))
    rates = np.geomspace(0.5, 8.0, 2 * GRID // 3) / span
    rates = rates[rates * size < LARGEST_EXPONENT]
    if len(rates):
        yield from free("exp", rates, sympy.exp(p * x), sympy.exp(-p * x))
    yield from free("tanh", np.geomspace(0.7, 10.0, GRID // 2) / size, sympy.tanh(p * x))
    if low < 0.0 < high:
        yield from plain("abs", sympy.Abs(x))
    scales = size * SCALES
    # Even powers in the denominator have no pole whatever the sign of the state.
    yield from free("rational", scales, 1 / (p**2 + x**2), x / (p**2 + x**2))
    yield from free("hill", scales, x**2 / (p**2 + x**2))
    if low > SLIGHTLY_BELOW * size:
        yield from free("rational", scales, 1 / (p + x), x / (p + x))
        yield from free("hill", scales, x**4 / (p**4 + x**4))
    if low > 1e-3 * size:
        yield from plain("log", sympy.log(x))
        yield from plain("rational", 1 / x, x**-2, x**-3)
        yield from plain("sqrt", sympy.sqrt(x))
        powers = np.array([-1.5, -0.75, -0.4, 0.3, 0.6, 0.75, 1.4, 1.75, 2.5])
        yield from free("power", powers, x**p)


def _cooperative(x: sympy.Symbol, values: Array, n_states: int) -> Iterator[Template]:
    """Binding by three and four: genes are switched by it, but it is no factor of other states."""
    size = float(np.abs(values).max())
    if float(values.max()) > float(values.min()) > SLIGHTLY_BELOW * size:
        cubic, quartic = PARAMETER**3 + x**3, PARAMETER**4 + x**4
        for expr in (1 / cubic, x**3 / cubic, 1 / quartic):
            yield _with_constant(expr, size * SCALES, n_states)


def _with_constant(expr: sympy.Expr, grid: Array, n_states: int) -> Template:
    """A template whose constant may go somewhat beyond its grid.

    Far from the data's own scale a constant makes a simpler law in disguise.
    """
    lowest, highest = float(grid.min()), float(grid.max())
    lower = lowest / 4.0 if lowest > 0.0 else 4.0 * lowest
    return Template(expr, tuple(grid.tolist()), lower, 4.0 * highest, atom_count(n_states), 1)


def _degree(expr: sympy.Expr) -> int:
    return sum(sympy.degree(expr, symbol) for symbol in expr.free_symbols)


def _is_wave(expr: sympy.Expr) -> bool:
    return isinstance(expr, sympy.sin | sympy.cos)
