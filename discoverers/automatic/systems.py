"""A candidate system: for every state the terms of its equation, as a model to calibrate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.equations import Equations
from discoverers.shooting import Column, StateSpaceModel

from .atoms import PARAMETER, Template
from .denominators import Denominator

__all__ = ["Candidate", "Constant", "Shared", "System", "charge_of", "denominators_of", "reduced"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A template, its coefficient and the value of its constant (NaN without one).

    The coefficient of a `known` one, such as 1 in ``x' = v``, is no unknown. All that stand `over`
    a denominator of the same monomials in one equation share it, constants included; those of
    several equations if it says so.
    """

    template: Template
    coefficient: float = 0.0
    parameter: float = float("nan")
    known: bool = False
    over: Denominator | None = None

    def expr(self) -> sympy.Expr:
        """The term without its coefficient."""
        expr = self.template.expr
        if self.template.has_parameter:
            expr = expr.subs(PARAMETER, sympy.Float(self.parameter))
        if self.over is not None:
            expr = expr / self.over.expr([sympy.Float(value) for value in self.over.values])
        return expr

    @property
    def structure(self) -> sympy.Expr:
        """What stays when numbers are forgotten."""
        if self.over is None:
            return self.template.expr
        return self.template.expr / self.over.structure


@dataclass(frozen=True)
class Constant:
    """A constant inside of one or several terms of an equation.

    Attributes
    ----------
    state : int
        Whose equation.
    place : int
        The first term that holds it.
    index : int
        Its place in the denominator; -1 for the term's own.
    value, lower, upper : float
    """

    state: int
    place: int
    index: int
    value: float
    lower: float
    upper: float


Law = tuple[Candidate, ...]
Shared = tuple[sympy.Expr, ...]
Key = tuple[Shared, int | None]


@dataclass(frozen=True)
class System:
    """Right-hand sides of all states.

    Attributes
    ----------
    laws : tuple of tuple of Candidate
        One per state.
    """

    laws: tuple[Law, ...]

    @property
    def structure(self) -> tuple[frozenset[sympy.Expr], ...]:
        """What stays when numbers are forgotten; systems of one structure are the same law."""
        return tuple(frozenset(one.structure for one in law) for law in self.laws)

    @property
    def n_terms(self) -> int:
        """Terms of all equations, but for those that are known."""
        return sum(not one.known for law in self.laws for one in law)

    @property
    def searched(self) -> tuple[int, ...]:
        """States whose equations are not known: a known one holds nothing but known terms."""
        return tuple(
            state
            for state, law in enumerate(self.laws)
            if not law or not all(one.known for one in law)
        )

    def with_law(self, state: int, law: Law) -> System:
        """The system with another right-hand side for one state."""
        return System((*self.laws[:state], law, *self.laws[state + 1 :]))

    def charge(self, n_rows: int) -> float:
        """Charges of all terms that are not known.

        Which denominator it is, is asked for once, in however many equations it stands; so are its
        constants if these are the same.
        """
        n_states = len(self.laws)
        total = sum(charge_of(law, n_rows, n_states) for law in self.laws)
        seen: set[Shared] = set()
        keys: set[Key] = set()
        for state, law in enumerate(self.laws):
            for monomials, one in denominators_of(law).items():
                if _key(one, state) in keys:
                    total -= one.charge(n_rows, n_states)
                elif monomials in seen:
                    total -= one.choice(n_states)
                seen.add(monomials)
                keys.add(_key(one, state))
        return total

    @property
    def is_polynomial(self) -> bool:
        """Whether all terms are monomials."""
        return not any(one.template.factors or one.over for law in self.laws for one in law)

    def model(self, state_names: Sequence[str], input_names: Sequence[str]) -> StateSpaceModel:
        """The model to calibrate: constants are states that nothing drives."""
        columns: list[Column] = []
        names: list[str] = []

        def new_name() -> sympy.Symbol:
            names.append(_constant_name(len(names), (*state_names, *input_names)))
            return sympy.Symbol(names[-1])

        below: dict[Key, sympy.Expr] = {}
        for state, (name, law) in enumerate(zip(state_names, self.laws, strict=True)):
            for one in law:
                expr = one.template.expr
                if one.template.has_parameter:
                    expr = expr.subs(PARAMETER, new_name())
                if one.over is not None:
                    key = _key(one.over, state)
                    if key not in below:
                        symbols = [new_name() for _ in one.over.monomials]
                        below[key] = one.over.expr(symbols)
                    expr = expr / below[key]
                value = one.coefficient if one.known else None
                columns.append(Column(expr, {name: 1.0}, value))
        return StateSpaceModel((*state_names, *names), input_names, columns)

    @property
    def coefficients(self) -> Array:
        """Coefficients in the order of the model's columns."""
        return np.array([one.coefficient for law in self.laws for one in law])

    @property
    def constants(self) -> tuple[Constant, ...]:
        """Constants in the order of the model's last states."""
        found: list[Constant] = []
        seen: set[Key] = set()
        for state, law in enumerate(self.laws):
            for place, one in enumerate(law):
                if one.template.has_parameter:
                    limits = (one.template.lower, one.template.upper)
                    found.append(Constant(state, place, -1, one.parameter, *limits))
                if one.over is None or _key(one.over, state) in seen:
                    continue
                seen.add(_key(one.over, state))
                ranges = zip(one.over.values, one.over.bounds, strict=True)
                for index, (value, limits) in enumerate(ranges):
                    found.append(Constant(state, place, index, value, *limits))
        return tuple(found)

    @property
    def parameters(self) -> Array:
        """Values of the constants."""
        return np.array([one.value for one in self.constants])

    @property
    def bounds(self) -> Array:
        """Bounds of the constants, shape (n, 2)."""
        found = [(one.lower, one.upper) for one in self.constants]
        return np.array(found, dtype=np.float64).reshape(-1, 2)

    def tied(self) -> list[System]:
        """For each denominator that several equations have, the system where it is the same one."""
        return [
            System(tuple(tuple(_over(one, same) for one in law) for law in self.laws))
            for same in _common(self.laws)
        ]

    def at(self, coefficients: Array, parameters: Array) -> System:
        """The same structure with other numbers."""
        values, constants = iter(coefficients.tolist()), iter(parameters.tolist())
        laws = []
        below: dict[Key, Denominator] = {}
        for state, law in enumerate(self.laws):
            moved = []
            for one in law:
                own = next(constants) if one.template.has_parameter else np.nan
                over = one.over
                if over is not None:
                    key = _key(over, state)
                    if key not in below:
                        below[key] = over.at([next(constants) for _ in over.monomials])
                    over = below[key]
                moved.append(replace(one, coefficient=next(values), parameter=own, over=over))
            laws.append(tuple(moved))
        return System(tuple(laws))

    def equations(self, state_names: Sequence[str], input_names: Sequence[str]) -> Equations:
        """The governing equations."""
        return Equations(
            [
                sympy.Add(*(sympy.Float(one.coefficient) * one.expr() for one in law))
                for law in self.laws
            ],
            state_names,
            input_names,
        )


def charge_of(law: Law, n_rows: int, n_states: int) -> float:
    """Charges of an equation's terms that are not known, a denominator once for all over it."""
    terms = sum(one.template.charge(n_rows, n_states) for one in law if not one.known)
    return terms + sum(one.charge(n_rows, n_states) for one in denominators_of(law).values())


def denominators_of(law: Law) -> dict[Shared, Denominator]:
    """Denominators in an equation by their monomials."""
    return {one.over.monomials: one.over for one in law if one.over is not None}


def reduced(
    one: Candidate, place: int, templates: Mapping[sympy.Expr, Template]
) -> Candidate | None:
    """A term over one monomial of its denominator: m/(1 + b x) as 1/b times m/(1/b + x).

    None if there is no such term; one without a denominator stays.
    """
    if one.over is None:
        return one
    kept, value = one.over.monomials[place], one.over.values[place]
    square = kept.is_Pow
    template = templates.get(one.template.expr / ((PARAMETER**2 if square else PARAMETER) + kept))
    if template is None:
        return None
    constant = value ** (-0.5 if square else -1.0)
    return Candidate(template, one.coefficient / value, constant)


def _common(laws: Sequence[Law]) -> list[Denominator]:
    """Denominators of several equations; their constants are in the middle, to begin with."""
    held: dict[Shared, list[Denominator]] = {}
    for law in laws:
        for monomials, over in denominators_of(law).items():
            if not over.shared:
                held.setdefault(monomials, []).append(over)
    return [
        replace(
            found[0].at(np.exp(np.log([one.values for one in found]).mean(axis=0))), shared=True
        )
        for found in held.values()
        if len(found) > 1
    ]


def _over(one: Candidate, same: Denominator) -> Candidate:
    if one.over is None or one.over.monomials != same.monomials:
        return one
    return replace(one, over=same)


def _key(over: Denominator, state: int) -> Key:
    """What has the same constants has the same key."""
    return over.monomials, None if over.shared else state


def _constant_name(place: int, taken: Sequence[str]) -> str:
    name = f"p{place + 1}"
    while name in taken:
        name += "_"
    return name
