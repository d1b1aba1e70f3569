"""Terms that the user requires or forbids, read into SymPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real

import sympy

from discoverers.expressions import canonical, parse_expression

__all__ = ["read_terms"]


def read_terms(
    argument: str,
    terms: Sequence[str | sympy.Expr] | Mapping[str | sympy.Expr, float | None],
    names: Sequence[str],
) -> dict[sympy.Expr, float | None]:
    """Terms, and their coefficients where they are given.

    Parameters
    ----------
    argument : str
        What the terms are called in errors.
    terms : sequence, or mapping from term to coefficient or None
    names : sequence of str
        Names of states and inputs.

    Raises
    ------
    ValueError
        If a term cannot be read, holds an unknown symbol, or is more than one term; a difference
        of two variables counts as one.

    Examples
    --------
    >>> from discoverers.structures.terms import read_terms
    >>> read_terms("required", {"x": None, "x**3": -10.0}, ["x", "v"])
    {x: None, x**3: -10.0}
    """
    pairs = terms.items() if isinstance(terms, Mapping) else ((term, None) for term in terms)
    read: dict[sympy.Expr, float | None] = {}
    for given, value in pairs:
        try:
            expr = parse_expression(given, names) if isinstance(given, str) else given
        except ValueError as error:
            raise ValueError(
                f"{argument} holds {given!r}, which cannot be read ({error}). Write terms of "
                f"{list(names)}."
            ) from error
        if not isinstance(expr, sympy.Expr):
            raise ValueError(
                f"{argument} must hold terms as text or sympy.Expr, got {given!r} "
                f"({type(given).__name__})."
            )
        term = canonical(expr)
        unknown = sorted(symbol.name for symbol in term.free_symbols if symbol.name not in names)
        if unknown:
            raise ValueError(
                f"{argument} holds {given!r} with the unknown {unknown}; known are {list(names)}."
            )
        coefficient, _ = term.as_coeff_Mul()
        if (term.is_Add and not _difference(term)) or (coefficient != 1 and term != 1):
            raise ValueError(
                f"{argument} holds {given!r}: write one term without a coefficient, such as "
                f"'x**3'; a known coefficient is given by a mapping, {{'x**3': -10.0}}."
            )
        if value is not None and not (isinstance(value, Real) and abs(value) < 1e300):
            raise ValueError(
                f"{argument} gives {given!r} the coefficient {value!r}; pass a number, or None to "
                f"have it estimated."
            )
        read[term] = None if value is None else float(value)
    return read


def _difference(term: sympy.Expr) -> bool:
    """Whether a sum is the difference of two variables, which counts as one."""
    parts = [part.as_coeff_Mul() for part in term.args]
    return sorted(factor for factor, _ in parts) == [-1, 1] and all(
        variable.is_Symbol for _, variable in parts
    )
