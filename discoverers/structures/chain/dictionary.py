"""Stage 2's candidates: terms of the laws, and what each costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations, combinations_with_replacement

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.formatting import term_name
from discoverers.libraries import resolve_library
from discoverers.shooting import Column
from discoverers.structures.base import Options

from .model import Chain

__all__ = ["Dictionary", "make_dictionary", "term_weight"]

Array = NDArray[np.float64]

DEGREE = 3

CORNER_WEIGHT = 2.2
"""Complexity of ``|q - b|`` with a knot b that is estimated: a function, and a number more."""

WIDE_LAYER = 1e-2
"""Width, per size of its argument, of the layer in which sign is smooth while terms are sought.

A few steps a sample resolve it, so that the cost is smooth and calibrations reach its bottom."""

THIN_LAYER = 1e-3
"""The same where laws are judged and calibrated to the end: what sticks must not creep."""


@dataclass(frozen=True, order=True)
class Corner:
    """``|variable - knot|`` in one of the laws."""

    law: int
    variable: str
    knot: float

    @property
    def term(self) -> sympy.Expr:
        """The term with its number."""
        return sympy.Abs(sympy.Symbol(self.variable) - sympy.Float(self.knot))


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Candidate columns of all laws.

    Attributes
    ----------
    chain : Chain
    terms : tuple of sympy.Expr
        Of each column.
    laws : tuple of int
        Which degree of freedom's law each column belongs to.
    weights : ndarray of shape (K,)
        Complexity of each column.
    values : tuple of float or None
        Coefficients that the user fixed.
    required : ndarray of bool, shape (K,)
    widths : mapping of str to float
        Width, by state, of the layer in which sign goes from -1 to 1 when it is integrated.
    corners : mapping of int to Corner
        Columns whose knot was estimated; they are the last ones.
    """

    chain: Chain
    terms: tuple[sympy.Expr, ...]
    laws: tuple[int, ...]
    weights: Array
    values: tuple[float | None, ...]
    required: NDArray[np.bool_]
    widths: Mapping[str, float] = field(default_factory=dict)
    corners: Mapping[int, Corner] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.terms)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Columns of a model as it is integrated, kinematics not included.

        A jump has no derivative at its switches, and no rate where dry friction holds: sign becomes
        a steep tanh.
        """
        return self._columns([_softened(term, self.widths) for term in self.terms])

    @cached_property
    def exact_columns(self) -> tuple[Column, ...]:
        """The same as they are written."""
        return self._columns(self.terms)

    def _columns(self, terms: Sequence[sympy.Expr]) -> tuple[Column, ...]:
        return tuple(
            Column(term, {self.chain.tops[law]: 1.0}, value=value)
            for term, law, value in zip(terms, self.laws, self.values, strict=True)
        )

    @cached_property
    def switching(self) -> NDArray[np.bool_]:
        """Columns that jump."""
        return np.array([term.has(sympy.sign) for term in self.terms], dtype=bool)

    def softened(self, states: Sequence[Array], layer: float) -> Dictionary:
        """The same dictionary with layers in proportion to the states' sizes."""
        sizes = np.sqrt((np.concatenate(list(states)) ** 2).mean(axis=0))
        widths = {
            name: layer * float(size) if size > 0.0 else 1.0
            for name, size in zip(self.chain.state_names, sizes, strict=True)
        }
        return replace(self, widths=widths)

    def with_corners(self, corners: Sequence[Corner]) -> Dictionary:
        """With a column more for each of some corners."""
        n, K = len(corners), len(self)
        return replace(
            self,
            terms=(*self.terms, *(corner.term for corner in corners)),
            laws=(*self.laws, *(corner.law for corner in corners)),
            weights=np.concatenate([self.weights, np.full(n, CORNER_WEIGHT)]),
            values=(*self.values, *([None] * n)),
            required=np.concatenate([self.required, np.zeros(n, dtype=bool)]),
            corners={**self.corners, **{K + i: one for i, one in enumerate(corners)}},
        )

    def with_terms(self, terms: Sequence[sympy.Expr]) -> Dictionary:
        """With a free column more for each of some terms, in every law."""
        added = [(term, law) for law in range(self.chain.n_dof) for term in terms]
        return replace(
            self,
            terms=(*self.terms, *(term for term, _ in added)),
            laws=(*self.laws, *(law for _, law in added)),
            weights=np.concatenate([self.weights, [term_weight(term) for term, _ in added]]),
            values=(*self.values, *([None] * len(added))),
            required=np.concatenate([self.required, np.zeros(len(added), dtype=bool)]),
        )

    def moved(self, corners: Mapping[int, Corner]) -> Dictionary:
        """With other knots in some of the corners' columns."""
        terms = list(self.terms)
        for k, corner in corners.items():
            terms[k] = corner.term
        return replace(self, terms=tuple(terms), corners={**self.corners, **corners})

    @property
    def names(self) -> tuple[str, ...]:
        """Printable names of the different terms, in the order of first appearance."""
        symbols = [
            sympy.Symbol(name) for name in (*self.chain.state_names, *self.chain.input_names)
        ]
        return tuple(term_name(term, symbols) for term in dict.fromkeys(self.terms))

    @property
    def fixed(self) -> NDArray[np.bool_]:
        """Columns whose coefficient the user gave."""
        return np.array([value is not None for value in self.values], dtype=bool)

    def charges(self, n_rows: int, gamma: float) -> Array:
        """Extended BIC of each column, graded by its complexity; nothing for required ones."""
        competitors = max(int((~self.required).sum()), 1)
        base = np.log(max(n_rows, 2)) + 2.0 * gamma * np.log(competitors)
        return np.where(self.required, 0.0, self.weights * base)


def make_dictionary(chain: Chain, options: Options) -> Dictionary:
    """The candidates that the user asked for, or the default ones.

    Raises
    ------
    ValueError
        If no candidate is left after the user's restrictions.
    """
    inputs = [sympy.Symbol(name) for name in chain.input_names]
    if isinstance(options.library, str) and options.library == "auto":
        exprs = _default_terms(chain, inputs)
    else:
        bound = resolve_library(options.library).bind(chain.state_names, chain.input_names)
        exprs = [term.expr for term in bound.terms]
    exprs = list(dict.fromkeys([*options.required, *exprs]))
    kept = [expr for expr in exprs if options.allows(expr)]
    if not kept:
        raise ValueError(
            "No candidate term is left after forbidden and parity; allow more terms or pass a "
            "larger library."
        )
    terms, laws = [], []
    for law in range(chain.n_dof):
        terms += kept
        laws += [law] * len(kept)
    return Dictionary(
        chain,
        tuple(terms),
        tuple(laws),
        np.array([term_weight(term) for term in terms]),
        tuple(options.required.get(term) for term in terms),
        np.array([term in options.required for term in terms], dtype=bool),
    )


def _softened(term: sympy.Expr, widths: Mapping[str, float]) -> sympy.Expr:
    def soft(argument: sympy.Expr) -> sympy.Expr:
        known = [widths[s.name] for s in argument.free_symbols if s.name in widths]
        return sympy.tanh(argument / max(known)) if known else sympy.sign(argument)

    return term.replace(sympy.sign, soft)


def term_weight(term: sympy.Expr) -> float:
    """What a term costs in units of a linear one.

    1 for a state or an input itself, 1.2 for another function of one variable (a difference of two
    counts as one), 1.3 for a product of two, 1.4 beyond.

    Examples
    --------
    >>> import sympy
    >>> from discoverers.structures.chain.dictionary import term_weight
    >>> x, v = sympy.symbols("x v")
    >>> [term_weight(term) for term in (x, x**3, x * v, x**2 * v)]
    [1.0, 1.2, 1.3, 1.4]
    """
    if term.is_Symbol:
        return 1.0
    sums = [part for part in term.atoms(sympy.Add) if len(part.free_symbols) == 2]
    alone = term.xreplace({part: sympy.Dummy() for part in sums})
    if len(alone.free_symbols) <= 1:
        return 1.2
    return 1.3 if len(sympy.Mul.make_args(term)) == 2 and not term.atoms(sympy.Pow) else 1.4


def _default_terms(chain: Chain, inputs: Sequence[sympy.Symbol]) -> list[sympy.Expr]:
    states = [sympy.Symbol(name) for name in chain.state_names]
    terms: list[sympy.Expr] = [sympy.Integer(1), *states, *inputs]
    for degree in range(2, DEGREE + 1):
        products = combinations_with_replacement(states, degree)
        terms += [sympy.Mul(*chosen) for chosen in products if len(set(chosen)) <= 2]
    coordinates = [states[place] for place in chain.lowest]
    terms += _functions(coordinates)
    if chain.order > 1:
        velocities = [states[place + 1] for place in chain.lowest]
        terms += [q * sympy.Abs(q) for q in velocities] + [sympy.sign(q) for q in velocities]
        if chain.n_dof > 1:
            apart = [one - two for one, two in combinations(velocities, 2)]
            terms += [d * sympy.Abs(d) for d in apart]
    if chain.n_dof > 1:
        apart = [one - two for one, two in combinations(coordinates, 2)]
        terms += [d**3 for d in apart] + [d * sympy.Abs(d) for d in apart]
    return terms


def _functions(coordinates: Iterable[sympy.Symbol]) -> list[sympy.Expr]:
    out: list[sympy.Expr] = []
    for q in coordinates:
        out += [
            sympy.Abs(q), q * sympy.Abs(q), sympy.sin(q), sympy.cos(q), sympy.exp(q),
            sympy.tanh(q),
        ]  # fmt: skip
    return out
