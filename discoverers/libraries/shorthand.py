"""Text such as "poly2+fourier" as a library."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from discoverers.libraries.automatic import AutoLibrary
from discoverers.libraries.base import Library, ProductLibrary, SumLibrary
from discoverers.libraries.elementary import ExponentialLibrary, FourierLibrary
from discoverers.libraries.polynomial import PolynomialLibrary

__all__ = ["resolve_library"]


def _exponential(n_rates: int) -> ExponentialLibrary:
    return ExponentialLibrary(
        tuple(sign * float(k) for k in range(1, n_rates + 1) for sign in (1, -1))
    )


# name, number if none is written, what the number makes
_KNOWN: dict[str, tuple[int, Callable[[int], Library]]] = {
    "poly": (3, lambda number: PolynomialLibrary(degree=number)),
    "fourier": (1, lambda number: FourierLibrary(n_frequencies=number)),
    "exp": (1, _exponential),
    "auto": (3, lambda number: AutoLibrary(degree=number)),
}
_HELP = (
    "known are 'poly<degree>' (default 3), 'fourier<harmonics>' (default 1), 'exp<rates>' "
    "(default 1: exp(x), exp(-x)) and 'auto' (polynomials, then textbook functions), joined by '+' "
    "(all terms of both) and '*' (all products), as in 'poly2+fourier' or 'poly1*fourier2'"
)


def resolve_library(spec: Any) -> Library:
    """A library from a library or from shorthand.

    Parameters
    ----------
    spec : Library or str
        ``"poly3"``: monomials up to degree 3. ``"fourier2"``: sin and cos of x and 2x. ``"exp"``:
        exp(x) and exp(-x). ``"auto"``: see `AutoLibrary`. ``+`` joins terms, ``*`` multiplies them
        and binds more tightly. Case and spaces do not matter.

    Returns
    -------
    Library
        `spec` itself if it is a library.

    Raises
    ------
    TypeError
        If `spec` is neither.
    ValueError
        If the text is no shorthand.

    Examples
    --------
    >>> from discoverers.libraries import resolve_library
    >>> resolve_library("poly2")
    PolynomialLibrary(degree=2)
    >>> resolve_library("poly1*fourier").bind(["x"]).names
    ('sin(x)', 'cos(x)', 'x*sin(x)', 'x*cos(x)')
    """
    if isinstance(spec, Library):
        return spec
    if not isinstance(spec, str):
        raise TypeError(
            f"library must be a Library or shorthand text, got {type(spec).__name__}; {_HELP}"
        )
    summands = [_product(part, spec) for part in spec.split("+")]
    return summands[0] if len(summands) == 1 else SumLibrary(tuple(summands))


def _product(text: str, spec: str) -> Library:
    factors = [_single(part, spec) for part in text.split("*")]
    return factors[0] if len(factors) == 1 else ProductLibrary(tuple(factors))


def _single(text: str, spec: str) -> Library:
    match = re.fullmatch(r"([a-z]+)([0-9]{0,4})", text.strip().lower())
    if match is None or match[1] not in _KNOWN:
        raise ValueError(f"library {spec!r}: cannot read {text.strip()!r}; {_HELP}")
    default, make = _KNOWN[match[1]]
    return make(int(match[2]) if match[2] else default)
