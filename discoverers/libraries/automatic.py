"""A library that grows as far as the data pay for it."""

from __future__ import annotations

from collections.abc import Sequence

import sympy

from discoverers.libraries.base import Candidates, Library, Variables
from discoverers.libraries.polynomial import PolynomialLibrary

__all__ = ["AutoLibrary"]


class AutoLibrary(Library):
    """Polynomials first; then, where they do not explain the data, what textbooks are made of.

    `SMNNDiscoverer` starts from the polynomials and tries sines, cosines, exponentials, logarithms,
    powers, hyperbolic tangents, rational and Hill terms, with free constants inside (frequencies,
    rates, half-saturations), their products with states, and terms over denominators of two
    monomials, such as ``x*y/(1 + b*x + c*y)``. Every term is charged by its complexity, and what
    the data do not allow (a logarithm of negative values, a pole among the measurements) is not
    tried; laws that are wild just beyond the data are charged for it, and so is
    leaving the polynomials at all. Constants that are 1, 2 or 1/2 within their errors are
    written so. Equations of any order are searched, and some may be known as a whole
    (``Known(..., only=True)``). The search ends after a fixed number of integrations, some tens of
    seconds; callbacks see its sweeps and may end it earlier. Other estimators see the polynomials
    and the user's atoms alone.

    Parameters
    ----------
    degree : int, default=3
        Degree of the polynomials that come first.
    atoms : sequence of sympy.Expr or str, default=()
        Terms of the user's own to try as well, in the names of the states.
    without : sequence of str, default=()
        Functions that are not to be tried: names such as "tanh" or "log".

    Examples
    --------
    >>> from discoverers import SMNNDiscoverer
    >>> from discoverers.libraries import AutoLibrary
    >>> model = SMNNDiscoverer(AutoLibrary(without=["tanh"]))  # or library="auto"
    >>> AutoLibrary(degree=1, atoms=["x*sin(3*x)"]).bind(["x"]).names
    ('1', 'x', 'x*sin(3*x)')
    """

    def __init__(
        self,
        degree: int = 3,
        atoms: Sequence[sympy.Expr | str] = (),
        without: Sequence[str] = (),
    ) -> None:
        self.degree = degree
        self.atoms = atoms
        self.without = without

    def candidates(self, variables: Variables) -> Candidates:
        """The polynomials and the user's atoms."""
        polynomials = PolynomialLibrary(self.degree).candidates(variables)
        return Candidates((*polynomials.exprs, *self.own(variables)))

    def own(self, variables: Variables) -> tuple[sympy.Expr, ...]:
        """The user's atoms in the given symbols.

        Raises
        ------
        ValueError
            If an atom cannot be read, or `without` holds what is no function.
        """
        from discoverers.automatic.atoms import FAMILIES
        from discoverers.expressions import parse_expression

        unknown = sorted(set(self.without) - set(FAMILIES))
        if isinstance(self.without, str) or unknown:
            raise ValueError(
                f"without of AutoLibrary must hold names among {sorted(FAMILIES)}, got "
                f"{self.without!r}"
            )
        names = [symbol.name for symbol in variables.all]
        return tuple(
            parse_expression(atom, names) if isinstance(atom, str) else atom for atom in self.atoms
        )
