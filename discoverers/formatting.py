"""Equations as people read them: `10.0 y - 10.0 x`, and LaTeX in the same order of terms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import sympy
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from discoverers.terms import is_constant, ordered_terms, sort_key

__all__ = [
    "format_expression",
    "format_number",
    "latex_expression",
    "latex_name",
    "readable_name",
    "readable_terms",
    "round_expression",
    "term_name",
]


_PLAIN = re.compile(r"[^\W\d]\w*'*")
_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "#$%&_{}"},
}


def readable_name(name: str) -> str:
    """A variable as it stands in a text: in brackets where products could not be told from it.

    Examples
    --------
    >>> from discoverers.formatting import readable_name
    >>> readable_name("prey"), readable_name("my prey"), readable_name("x-y")
    ('prey', '[my prey]', '[x-y]')
    """
    return name if _PLAIN.fullmatch(name) else f"[{' '.join(name.split())}]"


def latex_name(name: str) -> str:
    r"""A variable in LaTeX: words upright, anything that is no name as text.

    Examples
    --------
    >>> from discoverers.formatting import latex_name
    >>> print(latex_name("x1"), latex_name("omega"), latex_name("prey"), latex_name("a & b"))
    x_{1} \omega \mathrm{prey} \text{a \& b}
    """
    if not _PLAIN.fullmatch(name):
        return rf"\text{{{''.join(_ESCAPED.get(sign, sign) for sign in ' '.join(name.split()))}}}"
    plain = sympy.latex(sympy.Symbol(name))
    return re.sub(r"^[^\W\d_]{2,}", lambda word: rf"\mathrm{{{word[0]}}}", plain)


def format_number(value: float, digits: int = 6) -> str:
    """A float with so many significant digits, always recognisable as a float.

    Examples
    --------
    >>> from discoverers.formatting import format_number
    >>> format_number(10.0), format_number(8 / 3), format_number(1.5e-7)
    ('10.0', '2.66667', '1.5e-07')
    """
    text = f"{value:.{digits}g}"
    return f"{text}.0" if text.lstrip("-").isdigit() else text


class _Printer(StrPrinter):
    """Terms and factors in the order of the variables, floats to a few digits."""

    def __init__(
        self, variables: Sequence[sympy.Symbol], digits: int, times: str, divide: str, power: str
    ) -> None:
        super().__init__()
        self.variables = variables
        self.digits = digits
        self.times, self.divide, self.power = times, divide, power

    def _factor(self, expr: sympy.Expr, operator: str = "Mul") -> str:
        return self.parenthesize(expr, PRECEDENCE[operator], strict=True)

    def _print_Symbol(self, expr: sympy.Symbol) -> str:
        # In code a name stays what it is: it is read again.
        return readable_name(expr.name) if self.times == " " else str(expr.name)

    def _print_Float(self, expr: sympy.Float) -> str:
        return format_number(float(expr), self.digits)

    def _print_Add(self, expr: sympy.Add, order: Any = None) -> str:
        return _join([self._print(part) for part in ordered_terms(expr, self.variables)])

    def _print_Mul(self, expr: sympy.Mul) -> str:
        coefficient, rest = expr.as_coeff_Mul()
        if coefficient.is_negative:
            return f"-{self._factor(-expr)}"
        above, below = [], []
        for factor in sympy.Mul.make_args(rest):
            base, exponent = factor.as_base_exp()
            if exponent.is_Number and exponent.is_negative:
                below.append(sympy.Pow(base, -exponent))
            else:
                above.append(factor)
        parts = [self._print(coefficient)] if coefficient != 1 else []
        parts += map(self._factor, sorted(above, key=self._factor_key))
        text = self.times.join(parts) or "1"
        if not below:
            return text
        divisor = self.times.join(map(self._factor, sorted(below, key=self._factor_key)))
        return (
            f"{text}{self.divide}({divisor})" if len(below) > 1 else f"{text}{self.divide}{divisor}"
        )

    def _factor_key(self, factor: sympy.Expr) -> tuple[Any, ...]:
        base = factor.as_base_exp()[0]
        if base in self.variables:
            return (0, self.variables.index(base))
        if is_constant(factor):
            return (-1, str(factor))
        return (1, *sort_key(factor, self.variables))

    def _print_Pow(self, expr: sympy.Pow, rational: bool = False) -> str:
        if expr.exp == sympy.Rational(1, 2):
            return f"sqrt({self._print(expr.base)})"
        if expr.exp.is_Number and expr.exp.is_negative:
            return f"1{self.divide}{self._factor(sympy.Pow(expr.base, -expr.exp))}"
        base, exponent = (self._factor(part, "Atom") for part in expr.args)
        return f"{base}{self.power}{exponent}"


def _join(texts: Sequence[str]) -> str:
    first, *others = texts
    signed = (f" - {text[1:]}" if text.startswith("-") else f" + {text}" for text in others)
    return first + "".join(signed)


def format_expression(expr: sympy.Expr, variables: Sequence[sympy.Symbol], digits: int = 6) -> str:
    """One right-hand side, readable.

    Examples
    --------
    >>> import sympy
    >>> from discoverers.formatting import format_expression
    >>> x, y = sympy.symbols("x y")
    >>> format_expression(10.0 * y - 10.0 * x + x**2 * y / (1 + x), (x, y))
    '10.0 y - 10.0 x + x^2 y / (1 + x)'
    """
    return _Printer(tuple(variables), digits, " ", " / ", "^").doprint(expr)


def term_name(expr: sympy.Expr, variables: Sequence[sympy.Symbol]) -> str:
    """A term as one would write it in code, its factors in the order of the variables.

    Examples
    --------
    >>> import sympy
    >>> from discoverers.formatting import term_name
    >>> x, v = sympy.symbols("x v")
    >>> term_name(x**2 * v * sympy.exp(-0.5 * x), (x, v))
    'x**2*v*exp(-0.5*x)'
    """
    return _Printer(tuple(variables), 12, "*", "/", "**").doprint(expr)


def readable_terms(
    terms: Iterable[sympy.Expr], variables: Sequence[sympy.Symbol]
) -> dict[str, str]:
    """How terms read in an equation, by their names in code.

    Examples
    --------
    >>> import sympy
    >>> from discoverers.formatting import readable_terms
    >>> x, y = sympy.Symbol("x"), sympy.Symbol("my y")
    >>> readable_terms([x**2 * y], (x, y))
    {'x**2*my y': 'x^2 [my y]'}
    """
    return {term_name(term, variables): format_expression(term, variables) for term in terms}


def latex_expression(expr: sympy.Expr, variables: Sequence[sympy.Symbol]) -> str:
    """One right-hand side as LaTeX, its terms in the order of `format_expression`."""
    names = {variable: latex_name(variable.name) for variable in variables}
    words = any(name.startswith((r"\text{", r"\mathrm{")) for name in names.values())
    # Between words a product needs a space, or they run together.
    space = {"mul_symbol": r" \, "} if words else {}
    parts = [
        sympy.latex(part, symbol_names=names, **space) for part in ordered_terms(expr, variables)
    ]
    return _join([f"-{part[1:].lstrip()}" if part.startswith("-") else part for part in parts])


def round_expression(expr: sympy.Expr, digits: int) -> sympy.Expr:
    """The expression with every float rounded to so many significant digits; exact numbers stay."""
    floats = {
        number: sympy.Float(float(f"{float(number):.{digits - 1}e}"))
        for number in expr.atoms(sympy.Float)
    }
    return expr.xreplace(floats)
