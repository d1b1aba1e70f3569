"""Monomials of states and inputs."""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import comb
from numbers import Integral

import sympy

from discoverers.libraries.base import Candidates, Library, Variables, check_size

__all__ = ["PolynomialLibrary"]


class PolynomialLibrary(Library):
    """All monomials of states and inputs up to a degree.

    Parameters
    ----------
    degree : int, default=3
        Highest total degree. With V variables there are C(V + degree, degree) terms.
    include_bias : bool, default=True
        Whether the constant 1 is a term.
    interaction : bool, default=True
        Whether products of different variables are terms; without them only powers of single
        variables are (V degree + 1 terms).

    Raises
    ------
    ValueError
        On binding, if `degree` is not an integer >= 0, or there would be more than 50 000 terms.

    Examples
    --------
    >>> from discoverers.libraries import PolynomialLibrary
    >>> PolynomialLibrary(degree=2).bind(["x", "y"]).names
    ('1', 'x', 'y', 'x**2', 'x*y', 'y**2')
    """

    def __init__(
        self, degree: int = 3, include_bias: bool = True, interaction: bool = True
    ) -> None:
        self.degree = degree
        self.include_bias = include_bias
        self.interaction = interaction

    def candidates(self, variables: Variables) -> Candidates:
        """Monomials by degree, then in the order of the variables."""
        check_integer(self.degree, "degree", "PolynomialLibrary", least=0)
        symbols = variables.all
        lowest = 0 if self.include_bias else 1
        if not self.interaction:
            powers = [symbol**k for k in range(1, self.degree + 1) for symbol in symbols]
            return Candidates((sympy.Integer(1),) * (1 - lowest) + tuple(powers))
        check_size(comb(len(symbols) + self.degree, self.degree), self)
        return Candidates(
            tuple(
                sympy.Mul(*factors)
                for k in range(lowest, self.degree + 1)
                for factors in combinations_with_replacement(symbols, k)
            )
        )


def check_integer(value: object, name: str, owner: str, least: int) -> None:
    """Refuse everything but integers of at least `least`.

    Raises
    ------
    ValueError
        If `value` is something else.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} of {owner} must be an integer >= {least}, got {value!r}")
