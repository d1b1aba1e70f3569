"""Text to SymPy and back, safely: a whitelisted parser, and text that it reads back exactly."""

from __future__ import annotations

import ast
import keyword
import math
import unicodedata
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import sympy

__all__ = ["CONSTANTS", "FUNCTIONS", "canonical", "expression_text", "parse_expression"]

FUNCTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "sin": sympy.sin,
        "cos": sympy.cos,
        "tan": sympy.tan,
        "asin": sympy.asin,
        "acos": sympy.acos,
        "atan": sympy.atan,
        "sinh": sympy.sinh,
        "cosh": sympy.cosh,
        "tanh": sympy.tanh,
        "asinh": sympy.asinh,
        "acosh": sympy.acosh,
        "atanh": sympy.atanh,
        "exp": sympy.exp,
        "log": sympy.log,
        "sqrt": sympy.sqrt,
        "Abs": sympy.Abs,
        "abs": sympy.Abs,
        "sign": sympy.sign,
    }
)
"""Functions that text may call; nothing else can be reached from text."""

CONSTANTS: Mapping[str, sympy.Expr] = MappingProxyType({"pi": sympy.pi, "E": sympy.E})

_LONGEST_TEXT = 1_000_000
_LARGEST_EXPONENT = 1000.0
_LARGEST_LOG2 = 1023.0
_LARGEST_ARGUMENT = 700.0  # exp(700) is still a double


def parse_expression(
    text: str,
    names: Iterable[str] | Mapping[str, str],
    functions: Iterable[str] = (),
) -> sympy.Expr:
    """Read an arithmetic expression without evaluating any of it as Python.

    The text is parsed by `ast` and walked over a whitelist: numbers, ``+ - * / **``, the given
    names, ``pi``, ``E`` and the functions of `FUNCTIONS`. Attribute access, indexing, comparisons,
    strings and every other construct are refused, as are values outside the range of a double.

    Parameters
    ----------
    text : str
        The expression, powers written ``**``. Integers and quotients of integers stay exact;
        numbers with a point or an exponent become 53-bit floats.
    names : iterable of str, or mapping of str to str
        Names the text may use as variables, hiding constants of the same name. One that is no word
        of Python stands in brackets, as equations are printed: ``[prey count]``, ``[x']``. A
        mapping gives, for the name used in the text, the name of its symbol.
    functions : iterable of str, default=()
        Further function names; a call becomes an application of ``sympy.Function(name)``.

    Returns
    -------
    sympy.Expr
        In plain symbols, without assumptions.

    Raises
    ------
    TypeError
        If `text` is not a string.
    ValueError
        If the text holds anything outside the whitelist; the message names the piece.

    Examples
    --------
    >>> from discoverers.expressions import parse_expression
    >>> parse_expression("10*(y - x) + 8/3", ["x", "y"])
    -10*x + 10*y + 8/3
    >>> parse_expression("__import__('os')", ["x"])
    Traceback (most recent call last):
        ...
    ValueError: cannot read "__import__('os')": no function '__import__'; known functions are ...
    """
    if not isinstance(text, str):
        raise TypeError(
            f"text must be a str, got {type(text).__name__}; SymPy expressions need no parsing"
        )
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"text has {len(text)} characters; at most {_LONGEST_TEXT} are read")
    pairs = names.items() if isinstance(names, Mapping) else ((name, name) for name in names)
    symbols = {_normal(name): sympy.Symbol(symbol) for name, symbol in pairs}
    plain, bracketed = _without_brackets(text.strip(), symbols)
    try:
        tree = ast.parse(plain, mode="eval")
        return _Reader(text, symbols, bracketed, frozenset(functions)).read(tree.body)
    except SyntaxError as error:
        odd = [shown for shown in map(_shown, symbols) if shown.startswith("[")]
        hint = "'10*(y - x**2)'" + (f", and names that are no words as {odd[0]}" if odd else "")
        raise ValueError(
            f"cannot read {_short(text)}: {error.msg}; write for example {hint}"
        ) from error
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"cannot read {_short(text)}: it is nested too deeply") from error


def _without_brackets(
    text: str, symbols: Mapping[str, sympy.Symbol]
) -> tuple[str, dict[str, sympy.Symbol]]:
    """The text with a word in the place of every variable in brackets, and what the words mean."""
    found: dict[str, sympy.Symbol] = {}
    if "[" not in text:
        return text, found
    text = _normal(text)
    # The longest first: a name may hold another one in brackets.
    for name in sorted(symbols, key=len, reverse=True):
        shown = f"[{' '.join(name.split())}]"  # as it is printed
        if shown in text:
            word = f"variable_{len(found)}"
            while word in symbols or word in text:
                word += "_"
            text, found[word] = text.replace(shown, f"({word})"), symbols[name]
    return text, found


class _Reader:
    """Walks one syntax tree; every kind of node that is not named here is refused."""

    def __init__(
        self,
        text: str,
        symbols: Mapping[str, sympy.Symbol],
        bracketed: Mapping[str, sympy.Symbol],
        functions: frozenset[str],
    ) -> None:
        self.text = text
        self.symbols = symbols
        self.bracketed = bracketed
        self.functions = functions

    def read(self, node: ast.expr) -> sympy.Expr:
        if isinstance(node, ast.Constant):
            return self._number(node)
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            operand = self.read(node.operand)
            return -operand if isinstance(node.op, ast.USub) else operand
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
            return self._chain(node, (ast.Add, ast.Sub))
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div)):
            return self._chain(node, (ast.Mult, ast.Div))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            return self._power(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
            raise self._refusal("'^' is no power here; write '**'")
        raise self._refusal(f"{_piece(node)} is not allowed in an expression")

    def _refusal(self, reason: str) -> ValueError:
        return ValueError(f"cannot read {_short(self.text)}: {reason}")

    def _number(self, node: ast.Constant) -> sympy.Expr:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._refusal(f"{_short(repr(value))} is not a real number")
        number = sympy.Integer(value) if isinstance(value, int) else sympy.Float(value)
        return self._in_range(number, node)

    def _name(self, node: ast.Name) -> sympy.Expr:
        if node.id in self.bracketed:
            return self.bracketed[node.id]
        if node.id in self.symbols:
            return self.symbols[node.id]
        if node.id in CONSTANTS:
            return CONSTANTS[node.id]
        known = ", ".join(map(_shown, self.symbols)) or "none"
        raise self._refusal(f"unknown name '{node.id}'; known names are {known}")

    def _chain(self, node: ast.expr, kinds: tuple[type, type]) -> sympy.Expr:
        """A chain a + b - c, or a * b / c."""
        # read without recursion: a sum of hundreds of terms nests as deeply to the left
        additive = kinds == (ast.Add, ast.Sub)
        parts: list[sympy.Expr] = []
        current: ast.expr = node
        while isinstance(current, ast.BinOp) and isinstance(current.op, kinds):
            part = self.read(current.right)
            if isinstance(current.op, ast.Sub):
                part = -part
            elif isinstance(current.op, ast.Div):
                if part.is_zero:
                    raise self._refusal(f"division by zero in {_piece(current)}")
                part = sympy.Pow(part, -1)
            parts.append(part)
            current = current.left
        parts.append(self.read(current))
        combine = sympy.Add if additive else sympy.Mul
        return self._in_range(combine(*reversed(parts)), node)

    def _power(self, node: ast.BinOp) -> sympy.Expr:
        base, exponent = self.read(node.left), self.read(node.right)
        if exponent.is_number:
            size = abs(self._value(exponent, node))
            if size > _LARGEST_EXPONENT:
                raise self._refusal(f"the exponent in {_piece(node)} is larger than 1000")
            if base.is_number:
                magnitude = abs(self._value(base, node))
                if magnitude == 0 and self._value(exponent, node) < 0:
                    raise self._refusal(f"division by zero in {_piece(node)}")
                if magnitude and size * abs(math.log2(magnitude)) > _LARGEST_LOG2:
                    raise self._refusal(f"{_piece(node)} leaves the range of a double")
        return self._in_range(sympy.Pow(base, exponent), node)

    def _call(self, node: ast.Call) -> sympy.Expr:
        if not isinstance(node.func, ast.Name):
            raise self._refusal(f"{_piece(node.func)} cannot be called")
        name = node.func.id
        if name not in self.functions and name not in FUNCTIONS:
            known = ", ".join(
                sorted({*FUNCTIONS, *self.functions}, key=lambda item: (item.lower(), item))
            )
            raise self._refusal(f"no function '{name}'; known functions are {known}")
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self._refusal(f"{_piece(node)} may only have plain positional arguments")
        arguments = [self.read(argument) for argument in node.args]
        if name in self.functions:
            if not arguments:
                raise self._refusal(f"{_piece(node)} needs at least one argument")
            return sympy.Function(name)(*arguments)
        if len(arguments) != 1:
            raise self._refusal(f"{name} takes one argument, got {len(arguments)}")
        (argument,) = arguments
        if (
            name in {"exp", "sinh", "cosh"}
            and argument.is_number
            and abs(self._value(argument, node)) > _LARGEST_ARGUMENT
        ):
            raise self._refusal(f"{_piece(node)} leaves the range of a double")
        return self._in_range(FUNCTIONS[name](argument), node)

    def _value(self, number: sympy.Expr, node: ast.expr) -> float:
        value = complex(number)
        if value.imag:
            raise self._refusal(f"{_piece(node)} is not real")
        return value.real

    def _in_range(self, expr: sympy.Expr, node: ast.expr) -> sympy.Expr:
        """Refuse numbers outside the doubles as they arise, before they grow into slow ones."""
        if expr.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I):
            raise self._refusal(f"{_piece(node)} is not a finite real number")
        coefficient = expr.as_coeff_Mul()[0]
        try:
            finite = math.isfinite(float(coefficient))
        except OverflowError:
            finite = False
        if not finite:
            raise self._refusal(f"{_piece(node)} leaves the range of a double")
        return expr


def expression_text(
    expr: sympy.Expr,
    aliases: Mapping[str, str] | None = None,
    functions: Iterable[str] = (),
) -> str:
    """Text that `parse_expression` reads back to the same expression, floats to the last bit.

    Parameters
    ----------
    expr : sympy.Expr
        Built of numbers, symbols, sums, products, powers and the functions of `FUNCTIONS`.
    aliases : mapping of str to str, optional
        Symbol name to the name to write instead, for names that are no identifiers.
    functions : iterable of str, default=()
        Names of further functions that may occur.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the expression holds something that the text form does not know; the message names it.

    Examples
    --------
    >>> import sympy
    >>> from discoverers.expressions import expression_text
    >>> x = sympy.Symbol("x")
    >>> expression_text(sympy.sqrt(x) / 3 + 0.1)
    '0.1+1/3*x**(1/2)'
    """
    return _write(sympy.sympify(expr), aliases or {}, frozenset(functions))


def _write(expr: sympy.Expr, aliases: Mapping[str, str], functions: frozenset[str]) -> str:
    if isinstance(expr, sympy.Symbol):
        return aliases.get(expr.name, expr.name)
    if isinstance(expr, sympy.Float):
        return repr(float(expr))
    if isinstance(expr, sympy.Rational):
        return str(expr)
    if expr is sympy.pi:
        return "pi"
    if expr is sympy.E:
        return "exp(1)"
    if isinstance(expr, sympy.Add):
        return "+".join(_write(part, aliases, functions) for part in expr.args)
    if isinstance(expr, sympy.Mul):
        return "*".join(_guarded(part, aliases, functions, product=True) for part in expr.args)
    if isinstance(expr, sympy.Pow):
        base, exponent = (_guarded(part, aliases, functions) for part in expr.args)
        return f"{base}**{exponent}"
    if isinstance(expr, sympy.Function):
        name = expr.func.__name__
        if name in functions or FUNCTIONS.get(name) is expr.func:
            return f"{name}({', '.join(_write(part, aliases, functions) for part in expr.args)})"
    raise ValueError(
        f"cannot write '{expr}' as text: {type(expr).__name__} is not among the known functions"
    )


def _guarded(
    expr: sympy.Expr, aliases: Mapping[str, str], functions: frozenset[str], product: bool = False
) -> str:
    """The text of an operand, in brackets unless it binds more tightly than its operator."""
    text = _write(expr, aliases, functions)
    simple = isinstance(expr, (sympy.Symbol, sympy.Function)) or expr in (sympy.pi, sympy.E)
    positive = isinstance(expr, sympy.Number) and not expr.could_extract_minus_sign()
    whole = positive and (expr.is_Integer or expr.is_Float)
    if simple or whole or (product and (isinstance(expr, sympy.Pow) or positive)):
        return text
    return f"({text})"


def canonical(expr: Any) -> sympy.Expr:
    """The expression in plain symbols and SymPy's automatic form: equal text, equal expression.

    Symbols with assumptions are replaced by plain ones of the same name, floats are rounded to
    doubles, and nodes that were built unevaluated are rebuilt.

    Raises
    ------
    TypeError
        If `expr` is not a scalar SymPy expression or a number.
    """
    if isinstance(expr, (str, bytes)) or not isinstance(expr, (sympy.Basic, int, float)):
        if not hasattr(expr, "__float__") or isinstance(expr, (str, bytes)):
            raise TypeError(f"expected a SymPy expression or a number, got {type(expr).__name__}")
        expr = float(expr)
    result = sympy.sympify(expr)
    if not isinstance(result, sympy.Expr):
        raise TypeError(f"expected a scalar SymPy expression, got {type(result).__name__}")
    return _rebuild(result)


def _rebuild(expr: sympy.Basic) -> Any:
    if isinstance(expr, (sympy.Symbol, sympy.Dummy)):
        return sympy.Symbol(expr.name)
    if isinstance(expr, sympy.Float):
        return sympy.Float(float(expr))
    if not expr.args:
        return expr
    return expr.func(*(_rebuild(argument) for argument in expr.args))


def needs_alias(name: str) -> bool:
    """Whether a variable of this name cannot be written as it stands."""
    return (
        not name.isidentifier()
        or keyword.iskeyword(name)
        or _normal(name) != name
        or name in CONSTANTS
        or name in FUNCTIONS
    )


def _normal(name: str) -> str:
    # Python's parser normalises identifiers, so that the micro sign and the Greek mu meet
    return unicodedata.normalize("NFKC", name)


def _shown(name: str) -> str:
    """A name as text may hold it."""
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"[{name}]"


def _piece(node: ast.expr) -> str:
    return _short(ast.unparse(node))


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
