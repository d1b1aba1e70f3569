"""A candidate system: for every state the terms of its equation, as a model to calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.equations import Equations
from discoverers.shooting import Column, StateSpaceModel

from .atoms import PARAMETER, Template

__all__ = ["Candidate", "System"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A template, its coefficient and the value of its constant (NaN without one).

    The coefficient of a `known` one, such as 1 in ``x' = v``, is no unknown.
    """

    template: Template
    coefficient: float = 0.0
    parameter: float = float("nan")
    known: bool = False

    def expr(self) -> sympy.Expr:
        """The term without its coefficient."""
        if not self.template.has_parameter:
            return self.template.expr
        return self.template.expr.subs(PARAMETER, sympy.Float(self.parameter))


Law = tuple[Candidate, ...]


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
        return tuple(frozenset(one.template.expr for one in law) for law in self.laws)

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
        """Charges of all terms that are not known."""
        return sum(
            one.template.charge(n_rows, len(self.laws))
            for law in self.laws
            for one in law
            if not one.known
        )

    @property
    def is_polynomial(self) -> bool:
        """Whether all terms are monomials."""
        return not any(one.template.factors for law in self.laws for one in law)

    def model(self, state_names: Sequence[str], input_names: Sequence[str]) -> StateSpaceModel:
        """The model to calibrate: constants are states that nothing drives."""
        columns: list[Column] = []
        names: list[str] = []
        for name, law in zip(state_names, self.laws, strict=True):
            for one in law:
                expr = one.template.expr
                if one.template.has_parameter:
                    names.append(_constant_name(len(names), (*state_names, *input_names)))
                    expr = expr.subs(PARAMETER, sympy.Symbol(names[-1]))
                value = one.coefficient if one.known else None
                columns.append(Column(expr, {name: 1.0}, value))
        return StateSpaceModel((*state_names, *names), input_names, columns)

    @property
    def coefficients(self) -> Array:
        """Coefficients in the order of the model's columns."""
        return np.array([one.coefficient for law in self.laws for one in law])

    @property
    def parameters(self) -> Array:
        """Constants in the order of the model's last states."""
        return np.array(
            [one.parameter for law in self.laws for one in law if one.template.has_parameter]
        )

    @property
    def bounds(self) -> Array:
        """Bounds of the constants, shape (n, 2)."""
        found = [
            (one.template.lower, one.template.upper)
            for law in self.laws
            for one in law
            if one.template.has_parameter
        ]
        return np.array(found, dtype=np.float64).reshape(-1, 2)

    def at(self, coefficients: Array, parameters: Array) -> System:
        """The same structure with other numbers."""
        values, constants = iter(coefficients.tolist()), iter(parameters.tolist())
        return System(
            tuple(
                tuple(
                    replace(
                        one,
                        coefficient=next(values),
                        parameter=next(constants) if one.template.has_parameter else np.nan,
                    )
                    for one in law
                )
                for law in self.laws
            )
        )

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


def _constant_name(place: int, taken: Sequence[str]) -> str:
    name = f"p{place + 1}"
    while name in taken:
        name += "_"
    return name
