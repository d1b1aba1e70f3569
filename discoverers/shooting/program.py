"""Scalar terms of a right-hand side as byte code: compiled in microseconds, run by one kernel.

Searching over dictionaries means new right-hand sides all the time, so machine code per model would
spend its life compiling. A term becomes a short postfix program for a stack machine instead; the
machine (`kernels.evaluate_terms`) is compiled once and carries the gradient with respect to the
states along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.expressions import parse_expression

__all__ = ["Factor", "Opcode", "Program", "Spline", "Term", "compile_terms", "spline_values"]

STACK_DEPTH = 24
"""Largest number of intermediate values that the stack machine holds."""


class Opcode(IntEnum):
    """Instructions of the stack machine; numbers are shared with `kernels`."""

    CONSTANT = 0
    STATE = 1
    INPUT = 2
    ADD = 3
    MULTIPLY = 4
    INTEGER_POWER = 5
    POWER = 6
    SIN = 7
    COS = 8
    TAN = 9
    EXP = 10
    LOG = 11
    SQRT = 12
    TANH = 13
    ABS = 14
    SIGN = 15
    MAX = 16
    MIN = 17
    SINH = 18
    COSH = 19
    ATAN = 20
    SPLINE = 21
    STORE = 22


_FUNCTIONS: dict[type[sympy.Basic], Opcode] = {
    sympy.sin: Opcode.SIN,
    sympy.cos: Opcode.COS,
    sympy.tan: Opcode.TAN,
    sympy.exp: Opcode.EXP,
    sympy.log: Opcode.LOG,
    sympy.tanh: Opcode.TANH,
    sympy.sinh: Opcode.SINH,
    sympy.cosh: Opcode.COSH,
    sympy.atan: Opcode.ATAN,
    sympy.Abs: Opcode.ABS,
    sympy.sign: Opcode.SIGN,
}


@dataclass(frozen=True)
class Spline:
    """One cubic B-spline basis function of a variable, on a uniform grid.

    The ``n_basis`` functions of one grid add up to 1 and span all cubic splines on it. Outside the
    grid each is continued linearly, so a learnt curve leaves its data along its tangent instead of
    dropping to 0.

    Parameters
    ----------
    variable : str
        Name of the state or input.
    lower, upper : float
        Ends of the grid, in the variable's unit.
    n_basis : int
        Basis functions of the grid, 4 or more; the grid has ``n_basis - 3`` intervals.
    index : int
        Which of them, from 0.
    """

    variable: str
    lower: float
    upper: float
    n_basis: int
    index: int

    def __post_init__(self) -> None:
        if self.n_basis < 4:
            raise ValueError(f"n_basis must be 4 or more for a cubic spline, got {self.n_basis}.")
        if not 0 <= self.index < self.n_basis:
            raise ValueError(f"index must be in [0, {self.n_basis}), got {self.index}.")
        if not (np.isfinite([self.lower, self.upper]).all() and self.lower < self.upper):
            raise ValueError(
                f"lower must be below upper, both finite, got {self.lower} and {self.upper}."
            )


Factor: TypeAlias = "sympy.Expr | Spline"
Term: TypeAlias = "sympy.Expr | str | float | Spline | tuple[sympy.Expr | Spline, ...]"


@dataclass(frozen=True, eq=False)
class Program:
    """Compiled terms.

    Attributes
    ----------
    code : ndarray of int32, shape (n_instructions, 2)
        Opcode and its argument.
    numbers : ndarray of shape (n_numbers,)
    splines : ndarray of shape (n_splines, 4)
        Lower end, width of an interval, number of intervals, index.
    n_terms : int
    """

    code: NDArray[np.int32]
    numbers: NDArray[np.float64]
    splines: NDArray[np.float64]
    n_terms: int


def compile_terms(
    terms: Sequence[Term], state_names: Sequence[str], input_names: Sequence[str] = ()
) -> Program:
    """Compile terms for the stack machine.

    Parameters
    ----------
    terms : sequence of sympy.Expr, number, text, Spline, or tuple of factors
        A tuple is the product of its factors.
    state_names, input_names : sequence of str
        Names of the symbols that terms may hold.

    Returns
    -------
    Program

    Raises
    ------
    ValueError
        If a term holds an unknown symbol or function, or nests too deeply; the text names it.
    """
    compiler = _Compiler(
        {name: (Opcode.STATE, place) for place, name in enumerate(state_names)}
        | {name: (Opcode.INPUT, place) for place, name in enumerate(input_names)}
    )
    for place, term in enumerate(terms):
        compiler.term(term)
        compiler.emit(Opcode.STORE, place)
    return Program(
        np.array(compiler.code, dtype=np.int32).reshape(-1, 2),
        np.array(compiler.numbers, dtype=np.float64),
        np.array(compiler.splines, dtype=np.float64).reshape(-1, 4),
        len(terms),
    )


class _Compiler:
    """Writes instructions in postfix order while it walks expressions."""

    def __init__(self, variables: Mapping[str, tuple[Opcode, int]]) -> None:
        self.variables = variables
        self.code: list[tuple[int, int]] = []
        self.numbers: list[float] = []
        self.splines: list[tuple[float, float, float, float]] = []
        self.depth = 0

    def emit(self, opcode: Opcode, argument: int = 0) -> None:
        self.code.append((int(opcode), argument))

    def push(self, opcode: Opcode, argument: int) -> None:
        self.emit(opcode, argument)
        self.depth += 1
        if self.depth > STACK_DEPTH:
            raise ValueError(
                f"A term needs more than {STACK_DEPTH} intermediate values; split it up."
            )

    def combine(self, opcode: Opcode) -> None:
        self.emit(opcode)
        self.depth -= 1

    def term(self, term: Term) -> None:
        self.depth = 0
        if isinstance(term, tuple):
            if not term:
                raise ValueError("A term is an empty tuple; a product needs a factor.")
            for place, factor in enumerate(term):
                self.factor(factor)
                if place:
                    self.combine(Opcode.MULTIPLY)
        else:
            self.factor(term)

    def factor(self, factor: Factor | str | float) -> None:
        if isinstance(factor, Spline):
            self.variable(factor.variable, factor)
            width = (factor.upper - factor.lower) / (factor.n_basis - 3)
            self.splines.append((factor.lower, width, factor.n_basis - 3, factor.index))
            self.emit(Opcode.SPLINE, len(self.splines) - 1)
            return
        if isinstance(factor, str):
            self.expression(parse_expression(factor, list(self.variables)))
            return
        self.expression(sympy.sympify(factor))

    def variable(self, name: str, term: object) -> None:
        if name not in self.variables:
            raise ValueError(
                f"The term {term} holds {name!r}, which is neither a state nor an input; known are "
                f"{sorted(self.variables)}."
            )
        self.push(*self.variables[name])

    def number(self, value: float) -> None:
        self.numbers.append(value)
        self.push(Opcode.CONSTANT, len(self.numbers) - 1)

    def expression(self, expr: sympy.Expr) -> None:
        if isinstance(expr, sympy.Symbol):
            self.variable(expr.name, expr)
        elif not expr.free_symbols:
            self.number(float(expr))
        elif isinstance(expr, sympy.Add | sympy.Mul | sympy.Max | sympy.Min):
            opcode = {
                sympy.Add: Opcode.ADD,
                sympy.Mul: Opcode.MULTIPLY,
                sympy.Max: Opcode.MAX,
                sympy.Min: Opcode.MIN,
            }[expr.func]
            for place, argument in enumerate(expr.args):
                self.expression(argument)
                if place:
                    self.combine(opcode)
        elif isinstance(expr, sympy.Pow):
            self.power(*expr.as_base_exp())
        elif expr.func in _FUNCTIONS and len(expr.args) == 1:
            self.expression(expr.args[0])
            self.emit(_FUNCTIONS[expr.func])
        else:
            raise ValueError(
                f"The term {expr} uses {expr.func.__name__}, which the integrator does not know; "
                f"known are + - * / ** sqrt, Max, Min, "
                f"{', '.join(sorted(function.__name__ for function in _FUNCTIONS))}."
            )

    def power(self, base: sympy.Expr, exponent: sympy.Expr) -> None:
        self.expression(base)
        if exponent.is_Integer:
            self.emit(Opcode.INTEGER_POWER, int(exponent))
        elif exponent == sympy.Rational(1, 2):
            self.emit(Opcode.SQRT)
        else:
            self.expression(exponent)
            self.combine(Opcode.POWER)


def spline_values(
    x: NDArray[np.float64], lower: float, upper: float, n_basis: int
) -> NDArray[np.float64]:
    """All basis functions of a grid at points (n,), shape (n, n_basis), as `Spline` has them.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.shooting.program import spline_values
    >>> spline_values(np.array([0.0, 0.5, 7.0]), 0.0, 1.0, 6).sum(axis=1).round(12)
    array([1., 1., 1.])
    """
    from .kernels import evaluate_terms_many

    columns = [Spline("x", lower, upper, n_basis, index) for index in range(n_basis)]
    program = compile_terms(columns, ["x"])
    states = np.ascontiguousarray(x, dtype=np.float64).reshape(-1, 1)
    return evaluate_terms_many(
        program.code, program.numbers, program.splines, n_basis, states, np.empty((len(states), 0))
    )
