"""Candidate terms of a PDE: monomials of the states times spatial derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.formatting import term_name

__all__ = ["Candidate", "Candidates", "derivative_name", "polynomial_candidates"]

Array = NDArray[np.float64]
Derivative = tuple[int, int]
"""State and order."""


def derivative_name(state: str, order: int, space: str = "x") -> str:
    """u, u_x, u_xx, ..."""
    return f"{state}_{space * order}" if order else state


@dataclass(frozen=True)
class Candidate:
    """One term: a product of powers of the states and of derivatives of states.

    Attributes
    ----------
    powers : tuple of int
        Exponent of each state.
    derivatives : tuple of (int, int)
        State and order of each further factor.
    """

    powers: tuple[int, ...]
    derivatives: tuple[Derivative, ...] = ()

    @property
    def degree(self) -> int:
        """What the criterion grades by: number of factors plus number of differentiations."""
        return sum(self.powers) + sum(1 + order for _, order in self.derivatives)

    @property
    def linear(self) -> Derivative | None:
        """State and order if the term is a state or one of its derivatives."""
        if sum(self.powers) == 0 and len(self.derivatives) == 1:
            return self.derivatives[0]
        if sum(self.powers) == 1 and not self.derivatives:
            return self.powers.index(1), 0
        return None

    @property
    def flux(self) -> tuple[int, int] | None:
        """State k and power p if the term is ``u_k**(p - 1)`` times the slope of u_k."""
        if len(self.derivatives) != 1 or self.derivatives[0][1] != 1:
            return None
        state = self.derivatives[0][0]
        own = sum(self.powers) == self.powers[state]
        return (state, self.powers[state] + 1) if own else None

    def symbol(self, state_names: Sequence[str], space: str = "x") -> sympy.Expr:
        """The term in symbols u, u_x, u_xx, ..."""
        factors = [sympy.Symbol(n) ** p for n, p in zip(state_names, self.powers, strict=True)]
        factors += [
            sympy.Symbol(derivative_name(state_names[state], order, space))
            for state, order in self.derivatives
        ]
        return sympy.Mul(*factors)


@dataclass(frozen=True)
class Candidates:
    """All terms that may enter an equation.

    Attributes
    ----------
    terms : tuple of Candidate
    state_names : tuple of str
    order : int
        Highest derivative.
    """

    terms: tuple[Candidate, ...]
    state_names: tuple[str, ...]
    order: int

    def __len__(self) -> int:
        return len(self.terms)

    @property
    def degrees(self) -> NDArray[np.int64]:
        """Degree of every term, shape (K,)."""
        return np.array([term.degree for term in self.terms], dtype=np.int64)

    @property
    def symbols(self) -> tuple[sympy.Expr, ...]:
        """Every term as a SymPy expression."""
        return tuple(term.symbol(self.state_names) for term in self.terms)

    @property
    def names(self) -> tuple[str, ...]:
        """Every term as text."""
        states = tuple(map(sympy.Symbol, self.state_names))
        return tuple(term_name(symbol, states) for symbol in self.symbols)

    @property
    def simpler(self) -> tuple[NDArray[np.intp], ...]:
        """Parts of the library, each without one kind of complication.

        Derivatives that no state multiplies; derivatives up to half the highest order; two factors
        at most.
        """
        parts = (
            [not (term.derivatives and (sum(term.powers) or len(term.derivatives) > 1))
             for term in self.terms],
            [sum(j for _, j in term.derivatives) <= (self.order + 1) // 2 for term in self.terms],
            [sum(term.powers) + len(term.derivatives) <= 2 for term in self.terms],
        )  # fmt: skip
        return tuple(np.flatnonzero(part) for part in parts)

    def weak(
        self,
        data: Array,
        states: Array,
        differentiate: Callable[[Array, int], Array],
        project: Callable[[Array, int], Array],
    ) -> Array:
        """Inner products of every term with every test function.

        Derivatives of single states and of their powers go to the test functions. Only where the
        data enter linearly are they taken as measured: their noise then stays what it is.

        Parameters
        ----------
        data, states : ndarray of shape (n_times, n_space, V)
            Fields as measured, and smoothed.
        differentiate : callable
            (field, j) to its j-th spatial derivative.
        project : callable
            (field, j) to inner products (rows,) of its j-th spatial derivative.

        Returns
        -------
        ndarray of shape (rows, K)
        """
        known: dict[Derivative, Array] = {}

        def derivative(of: Derivative) -> Array:
            if of not in known:
                known[of] = differentiate(states[:, :, of[0]], of[1])
            return known[of]

        columns = []
        for term in self.terms:
            if term.linear is not None:
                state, order = term.linear
                columns.append(project(data[:, :, state], order))
            elif term.flux is not None:
                state, power = term.flux
                columns.append(project(states[:, :, state] ** power / power, 1))
            else:
                value = np.ones(states.shape[:2])
                for state, power in enumerate(term.powers):
                    if power:
                        value = value * states[:, :, state] ** power
                for of in term.derivatives:
                    value = value * derivative(of)
                columns.append(project(value, 0))
        return np.stack(columns, axis=1)


def polynomial_candidates(
    state_names: Sequence[str], degree: int, order: int, factors: int = 1
) -> Candidates:
    """Products of at most ``degree`` factors, at most ``factors`` of them derivatives.

    Parameters
    ----------
    state_names : sequence of str
    degree : int
        Most factors in a term.
    order : int
        Most differentiations in a term.
    factors : int, default=1
        Most derivatives in a term; 2 adds ``u_x**2`` and the like.

    Returns
    -------
    Candidates

    Examples
    --------
    >>> from discoverers.pde.candidates import polynomial_candidates
    >>> polynomial_candidates(["u"], degree=2, order=2).names
    ('1', 'u', 'u**2', 'u_x', 'u*u_x', 'u_xx', 'u*u_xx')
    """
    n_states = len(state_names)
    slopes = [(state, j) for j in range(1, order + 1) for state in range(n_states)]
    terms = [Candidate(powers) for powers in _powers(n_states, degree)]
    for count in range(1, min(factors, degree) + 1):
        for chosen in combinations_with_replacement(slopes, count):
            if sum(j for _, j in chosen) <= order:
                terms += [Candidate(powers, chosen) for powers in _powers(n_states, degree - count)]
    return Candidates(tuple(terms), tuple(state_names), order)


def _powers(n_states: int, degree: int) -> list[tuple[int, ...]]:
    """Exponents of all monomials up to a degree, lowest degree first."""
    return [
        tuple(chosen.count(state) for state in range(n_states))
        for total in range(degree + 1)
        for chosen in combinations_with_replacement(range(n_states), total)
    ]
