"""Denominators of several monomials, such as 1 + b x + c y, that terms of one equation share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import sympy
from numpy.typing import NDArray

__all__ = ["Denominator", "denominators_for"]

Array = NDArray[np.float64]

CONSTANTS = tuple(sympy.Dummy(f"p{place + 1}") for place in range(2))
"""Stand for the constants where numbers do not matter."""

SHARED_CONSTANTS = tuple(sympy.Dummy(f"p{place + 1}") for place in range(2))
"""The same where several equations have the same constants."""

STEPS = np.geomspace(0.1, 30.0, 8)
"""First values of a constant times the largest value of its monomial."""

BEYOND = 4.0
"""How far beyond its first values a constant may go."""

PER_MONOMIAL = 1.4
MOST_VARIABLES = 4
"""With more variables the pairs are too many to be told apart."""


@dataclass(frozen=True)
class Denominator:
    """One and monomials with positive constants: there is no pole where no monomial is negative.

    Attributes
    ----------
    monomials : tuple of sympy.Expr
    sizes : tuple of float
        Largest values of the monomials among the data.
    competitors : float
        How many functions there are in its place.
    values : tuple of float
        The constants.
    shared : bool
        Whether they are the same in all equations that share it, not in one equation alone.
    """

    monomials: tuple[sympy.Expr, ...]
    sizes: tuple[float, ...]
    competitors: float
    values: tuple[float, ...] = ()
    shared: bool = False

    def expr(self, constants: Sequence[sympy.Expr | float]) -> sympy.Expr:
        """The denominator with symbols or numbers for its constants."""
        terms = (c * one for c, one in zip(constants, self.monomials, strict=True))
        return sympy.Add(1, *terms)

    @property
    def structure(self) -> sympy.Expr:
        """What stays when numbers are forgotten."""
        return self.expr(SHARED_CONSTANTS if self.shared else CONSTANTS)

    def at(self, values: Sequence[float] | Array) -> Denominator:
        """With other constants."""
        return replace(self, values=tuple(map(float, values)))

    @property
    def grid(self) -> Array:
        """Where the constants are looked for first, shape (G, number of constants)."""
        axes = np.meshgrid(*(STEPS / size for size in self.sizes), indexing="ij")
        return np.stack([axis.ravel() for axis in axes], axis=1)

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Of the constants: beyond, a monomial is without effect, or all there is."""
        return [
            (float(STEPS[0]) / (BEYOND * size), float(STEPS[-1]) * BEYOND / size)
            for size in self.sizes
        ]

    def charge(self, n_rows: int, n_states: int) -> float:
        """What it costs once in an equation, in units of the deviance."""
        each = float(np.log(max(n_rows, 2))) + PER_MONOMIAL
        return self.choice(n_states) + each * len(self.monomials)

    def choice(self, n_states: int) -> float:
        """The part that is paid for having chosen it among the others."""
        return 2.0 + 2.0 * float(np.log(n_states * self.competitors))


def denominators_for(names: Sequence[str], X: Array, competitors: float) -> tuple[Denominator, ...]:
    """Pairs of monomials that the data allow: of one or two variables, squares among them.

    Parameters
    ----------
    names : sequence of str
        States, then inputs.
    X : ndarray of shape (n, len(names))
        Denoised states and the inputs. Variables that become negative are left out.
    competitors : float
        How many functions there are in the place of a denominator.

    Returns
    -------
    tuple of Denominator
        None for more than four variables.
    """
    if len(names) > MOST_VARIABLES:
        return ()
    variables = [sympy.Symbol(name) for name in names]
    sizes = {
        variable: float(column.max())
        for variable, column in zip(variables, X.T, strict=True)
        if column.max() > column.min() >= 0.0
    }
    return tuple(
        Denominator(
            pair, tuple(float(one.subs(sizes)) for one in pair), competitors, (np.nan,) * len(pair)
        )
        for pair in _pairs(list(sizes), squares=len(names) <= 2)
    )


def _pairs(variables: Sequence[sympy.Symbol], *, squares: bool) -> Iterator[tuple[sympy.Expr, ...]]:
    for x in variables:
        yield x, x**2
    for x, y in combinations(variables, 2):
        yield x, y
        if squares:
            yield from ((x, y**2), (x**2, y), (x**2, y**2), (x, x * y), (y, x * y))
