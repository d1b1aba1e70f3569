"""Polynomial candidate terms as a program for the compiled flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PolynomialProgram"]

Array = NDArray[np.float64]
Places = NDArray[np.int64]
Exponents = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class PolynomialProgram:
    """How monomials are made from each other, and where their derivatives stand among them.

    Attributes
    ----------
    products : ndarray of int, shape (p, 3)
        Place of a monomial, of its parent, and the variable that makes one of the other.
    n_places : int
        Length of the table; place 0 holds 1.
    places : ndarray of int, shape (K,)
        Where the terms stand.
    slopes : ndarray of int, shape (s, 4)
        Term, state, place of the derivative, and its factor.
    """

    products: Places
    n_places: int
    places: Places
    slopes: Places

    @classmethod
    def of(cls, terms: Sequence[Exponents], n_states: int) -> PolynomialProgram:
        """Make the program of terms with these exponents of states and inputs.

        Examples
        --------
        >>> program = PolynomialProgram.of([(0,), (2,)], 1)
        >>> program.places, program.n_places
        (array([0, 2]), 3)
        >>> program.slopes
        array([[1, 0, 1, 2]])
        """
        place: dict[Exponents, int] = {}
        products: list[tuple[int, int, int]] = []

        def at(powers: Exponents) -> int:
            if powers not in place:
                variable = max((v for v, power in enumerate(powers) if power), default=-1)
                parent = at(_lowered(powers, variable)) if variable >= 0 else 0
                place[powers] = len(place)
                if variable >= 0:
                    products.append((place[powers], parent, variable))
            return place[powers]

        if terms:
            at((0,) * len(terms[0]))
        slopes = [
            (k, state, at(_lowered(powers, state)), powers[state])
            for k, powers in enumerate(terms)
            for state in range(n_states)
            if powers[state]
        ]
        own = [at(powers) for powers in terms]
        return cls(
            products=np.array(products, dtype=np.int64).reshape(-1, 3),
            n_places=max(len(place), 1),
            places=np.array(own, dtype=np.int64),
            slopes=np.array(slopes, dtype=np.int64).reshape(-1, 4),
        )

    def table(self) -> tuple[Places, int]:
        """What kernels are told of the monomials."""
        return self.products, self.n_places

    def rates(self, coef: Array) -> tuple[Places, Array]:
        """Summands of the right-hand sides ``coef @ terms``, coef of shape (V, K)."""
        state, term = np.nonzero(coef)
        return np.stack([state, self.places[term]], axis=1), coef[state, term]

    def rate_slopes(self, coef: Array) -> tuple[Places, Array]:
        """Summands of their derivatives by the states."""
        term, by, at, factor = self.slopes.T
        scaled = coef[:, term] * factor
        state, which = np.nonzero(scaled)
        return np.stack([state, by[which], at[which]], axis=1), scaled[state, which]

    def columns(self, entries: Any) -> tuple[Places, Array]:
        """Summands of derivatives by coefficients: entries are (state, column, term, factor)."""
        table = np.asarray(entries, dtype=np.float64).reshape(-1, 4)
        places = table[:, :3].astype(np.int64)
        places[:, 2] = self.places[places[:, 2]]
        return places, table[:, 3].copy()


def _lowered(powers: Exponents, variable: int) -> Exponents:
    return (*powers[:variable], powers[variable] - 1, *powers[variable + 1 :])
