"""How terms are taken apart, graded and ordered."""

from __future__ import annotations

from collections.abc import Sequence

import sympy
from sympy.core.function import AppliedUndef

__all__ = [
    "collect_terms",
    "complexity",
    "degree",
    "exponents",
    "gradient",
    "is_constant",
    "ordered_terms",
    "sort_key",
    "split_term",
]

_FUNCTION_DEGREE = 2


def split_term(term: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    """A term as (numeric coefficient, the rest); the rest of a constant is 1.

    Examples
    --------
    >>> import sympy
    >>> from discoverers.terms import split_term
    >>> x = sympy.Symbol("x")
    >>> split_term(2 * sympy.pi * x**2)
    (2*pi, x**2)
    """
    numbers: list[sympy.Expr] = []
    rest: list[sympy.Expr] = []
    for factor in sympy.Mul.make_args(term):
        (numbers if is_constant(factor) else rest).append(factor)
    return sympy.Mul(*numbers), sympy.Mul(*rest)


def is_constant(expr: sympy.Expr) -> bool:
    """Whether the expression has a value without any data (a user's function has none)."""
    return not expr.free_symbols and not expr.has(AppliedUndef)


def collect_terms(expr: sympy.Expr) -> dict[sympy.Expr, sympy.Expr]:
    """The summands of an expression as {factor: coefficient}; nothing is expanded."""
    collected: dict[sympy.Expr, sympy.Expr] = {}
    for part in sympy.Add.make_args(expr):
        coefficient, factor = split_term(part)
        collected[factor] = collected.get(factor, sympy.Integer(0)) + coefficient
    return {factor: value for factor, value in collected.items() if value != 0}


def exponents(expr: sympy.Expr, variables: Sequence[sympy.Symbol]) -> tuple[int, ...] | None:
    """The exponents of a monomial with coefficient 1, or None for every other expression."""
    position = {variable: index for index, variable in enumerate(variables)}
    powers = [0] * len(position)
    if expr == 1:
        return tuple(powers)
    for factor in sympy.Mul.make_args(expr):
        base, exponent = factor.as_base_exp()
        if base not in position or not (exponent.is_Integer and exponent.is_positive):
            return None
        powers[position[base]] += int(exponent)
    return tuple(powers)


def degree(expr: sympy.Expr) -> int:
    """Graded complexity of a term.

    The polynomial degree; a function, a negative or a fractional power counts 2, and factors add
    up. A sum counts as its highest summand.

    Examples
    --------
    >>> import sympy
    >>> from discoverers.terms import degree
    >>> x, y = sympy.symbols("x y")
    >>> degree(x * y**2), degree(sympy.sin(3 * x)), degree(x * sympy.exp(y)), degree(1 / x)
    (3, 2, 3, 2)
    """
    if not expr.free_symbols:
        return 0
    if isinstance(expr, sympy.Symbol):
        return 1
    if isinstance(expr, sympy.Mul):
        return sum(degree(factor) for factor in expr.args)
    if isinstance(expr, sympy.Add):
        return max(degree(part) for part in expr.args)
    if isinstance(expr, sympy.Pow) and expr.exp.is_Integer and expr.exp.is_positive:
        return int(expr.exp) * degree(expr.base)
    return _FUNCTION_DEGREE


def gradient(expr: sympy.Expr, variables: Sequence[sympy.Symbol]) -> list[sympy.Expr] | None:
    """Derivatives with respect to real variables, or None if there is no closed form.

    Jumps and kinks (of sign and Abs) have the derivative of their surroundings.

    Examples
    --------
    >>> import sympy
    >>> from discoverers.terms import gradient
    >>> x, y = sympy.symbols("x y")
    >>> gradient(x * sympy.Abs(y), [x, y])
    [Abs(y), x*sign(y)]
    """
    if expr.has(AppliedUndef):
        return None
    # without the assumption, SymPy's derivative of Abs is that of a complex function
    real = {symbol: sympy.Dummy(symbol.name, real=True) for symbol in expr.free_symbols}
    plain = {dummy: symbol for symbol, dummy in real.items()}
    slopes = [
        sympy.diff(expr.xreplace(real), real.get(variable, variable))
        .replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))
        .xreplace(plain)
        for variable in variables
    ]
    known = not any(slope.has(sympy.Derivative, sympy.Subs) for slope in slopes)
    return slopes if known else None


def sort_key(expr: sympy.Expr, variables: Sequence[sympy.Symbol]) -> tuple:
    """Orders terms by degree, polynomials first, then by the variables, then by their text."""
    powers = exponents(expr, variables)
    if powers is not None:
        return (sum(powers), 0, tuple(-power for power in powers), "")
    used = tuple(-int(variable in expr.free_symbols) for variable in variables)
    return (degree(expr), 1, used, sympy.sstr(expr))


def ordered_terms(expr: sympy.Expr, variables: Sequence[sympy.Symbol]) -> list[sympy.Expr]:
    """Summands by degree and order of variables; a positive one leads where there is one."""
    parts = list(sympy.Add.make_args(expr))
    if len(parts) > 1:
        collected = collect_terms(expr)
        keys = sorted(collected, key=lambda factor: sort_key(factor, variables))
        parts = [collected[factor] * factor for factor in keys]
    leading = next(
        (index for index, part in enumerate(parts) if not part.could_extract_minus_sign()), 0
    )
    return [parts[leading], *parts[:leading], *parts[leading + 1 :]]


def complexity(expr: sympy.Expr) -> int:
    """Nodes of the expression tree, as symbolic regression counts them.

    Every number, variable, operator and function counts 1; so does a subtraction or a quotient.

    Examples
    --------
    >>> import sympy
    >>> from discoverers.terms import complexity
    >>> x, y = sympy.symbols("x y")
    >>> complexity(10.0 * y - 10.0 * x), complexity(x - y), complexity(1 / x)
    (7, 3, 3)
    """
    if isinstance(expr, sympy.Add):
        operands = [-part if part.could_extract_minus_sign() else part for part in expr.args]
        if all(part.could_extract_minus_sign() for part in expr.args):
            operands[0] = -operands[0]
        return sum(map(complexity, operands)) + len(operands) - 1
    if isinstance(expr, sympy.Mul):
        numerator, denominator = expr.as_numer_denom()
        if denominator.free_symbols:
            return complexity(numerator) + complexity(denominator) + 1
        coefficient, rest = expr.as_coeff_Mul()
        if coefficient == -1:
            return complexity(rest) + 1
        return sum(map(complexity, expr.args)) + len(expr.args) - 1
    if isinstance(expr, sympy.Pow) and expr.exp.could_extract_minus_sign():
        return complexity(expr.base ** (-expr.exp)) + 2
    if isinstance(expr, sympy.Pow) and expr.exp == sympy.Rational(1, 2):
        return complexity(expr.base) + 1
    if isinstance(expr, sympy.Number) or not expr.args:
        return 1
    if isinstance(expr, sympy.Pow):
        return complexity(expr.base) + complexity(expr.exp) + 1
    return 1 + sum(complexity(argument) for argument in expr.args)
