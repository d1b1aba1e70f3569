"""The value that everything ends in: governing equations as SymPy right-hand sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, overload

import pandas as pd
import sympy

from discoverers.callables import EquationsFunction
from discoverers.comparison import Comparison, compare_expressions, matching_truth
from discoverers.equation_checks import (
    checked_expression,
    checked_names,
    checked_orders,
    derivative_levels,
    derivative_names,
)
from discoverers.equation_storage import read_equations, write_equations
from discoverers.formatting import (
    format_expression,
    latex_expression,
    latex_name,
    readable_name,
    round_expression,
    term_name,
)
from discoverers.terms import collect_terms, complexity, ordered_terms

__all__ = ["Comparison", "Equations"]


class Equations(Sequence[sympy.Expr]):
    """Right-hand sides of a system of differential equations; immutable, in the order of states.

    Parameters
    ----------
    exprs : sequence of sympy.Expr, number or str
        One right-hand side per state. Text is read by
        `discoverers.expressions.parse_expression`, never evaluated as Python.
    state_names : sequence of str
        Names of the states; symbols of these names stand for them in `exprs`.
    input_names : sequence of str, default=()
        Names of the inputs.
    functions : mapping of str to callable, optional
        Implementations of functions in `exprs` that are not SymPy's. They may be left out; only
        `lambdify` needs them.
    time_name : str, default="t"
        Name of the independent variable in `as_eqs` and `latex`.
    order : int or sequence of int, default=1
        Order of the derivative on the left, of all or of each state. With ``order=2`` the
        right-hand sides may hold the first derivatives, as symbols named ``x'``; with 3 also
        ``x''``.

    Raises
    ------
    TypeError
        If a right-hand side is no expression, number or text.
    ValueError
        If the number of right-hand sides and names differ, names repeat, a right-hand side holds an
        unknown symbol, or a coefficient is not a finite real number.

    Notes
    -----
    Symbols are plain (no assumptions), so expressions compare equal with those of other tools.
    Two values are equal if expressions, names and order are. Indexing goes by position or by name.

    Examples
    --------
    >>> from discoverers.equations import Equations
    >>> equations = Equations(["10.0*(y - x)", "x*(28.0 - z) - y", "x*y - 8/3*z"], ["x", "y", "z"])
    >>> Equations([e.expand() for e in equations], ["x", "y", "z"])
    x' = 10.0 y - 10.0 x
    y' = 28.0 x - y - x z
    z' = x y - 8/3 z
    >>> equations["z"]
    x*y - 8*z/3
    """

    _exprs: tuple[sympy.Expr, ...]
    state_names: tuple[str, ...]
    input_names: tuple[str, ...]
    time_name: str
    orders: tuple[int, ...]
    _functions: dict[str, Callable[..., Any]]

    def __init__(
        self,
        exprs: Iterable[sympy.Expr | float | str],
        state_names: Iterable[str],
        input_names: Iterable[str] = (),
        functions: Mapping[str, Callable[..., Any]] | None = None,
        time_name: str = "t",
        order: int | Sequence[int] = 1,
    ) -> None:
        if isinstance(exprs, (str, sympy.Basic)):
            raise TypeError("exprs must be a sequence with one right-hand side per state")
        states = checked_names(state_names, "state_names")
        inputs = checked_names(input_names, "input_names")
        if not states:
            raise ValueError("state_names is empty; give one name per state")
        orders = checked_orders(order, len(states))
        variables = tuple(map(sympy.Symbol, (*derivative_names(states, orders), *inputs)))
        counts = Counter(variable.name for variable in variables)
        repeated = sorted(name for name, count in counts.items() if count > 1)
        if repeated:
            raise ValueError(f"names of states and inputs must differ; repeated: {repeated}")
        functions = dict(functions or {})
        known = set(counts)
        checked = tuple(checked_expression(expr, known, functions) for expr in exprs)
        if len(checked) != len(states):
            raise ValueError(
                f"exprs and state_names must have one entry per state, got {len(checked)} and "
                f"{len(states)}"
            )
        self.__dict__.update(
            _exprs=checked,
            state_names=states,
            input_names=inputs,
            _functions=functions,
            time_name=str(time_name),
            orders=orders,
        )

    # --- a value: immutable, sequence, equal by structure

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Equations are immutable; cannot set '{name}', make new ones instead")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Equations are immutable; cannot delete '{name}'")

    def __len__(self) -> int:
        return len(self._exprs)

    def __iter__(self) -> Iterator[sympy.Expr]:
        return iter(self._exprs)

    @overload
    def __getitem__(self, key: int | str) -> sympy.Expr: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[sympy.Expr, ...]: ...
    def __getitem__(self, key: int | str | slice) -> sympy.Expr | tuple[sympy.Expr, ...]:
        if isinstance(key, str):
            if key not in self.state_names:
                raise KeyError(f"no state '{key}'; states are {', '.join(self.state_names)}")
            return self._exprs[self.state_names.index(key)]
        return self._exprs[key]

    def _key(self) -> tuple[Any, ...]:
        return self._exprs, self.state_names, self.input_names, self.orders, self.time_name

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Equations) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_terms"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _with(self, exprs: Iterable[sympy.Expr]) -> Equations:
        return Equations(
            exprs, self.state_names, self.input_names, self.functions, self.time_name, self.order
        )

    @property
    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """Implementations of the functions that are not SymPy's, read-only."""
        return MappingProxyType(self._functions)

    @property
    def order(self) -> int | tuple[int, ...]:
        """Order of the derivatives on the left; one per state where they differ."""
        return self.orders[0] if len(set(self.orders)) == 1 else self.orders

    @property
    def variables(self) -> tuple[sympy.Symbol, ...]:
        """Symbols of the states (and their derivatives below the order), then of the inputs."""
        names = (*derivative_names(self.state_names, self.orders), *self.input_names)
        return tuple(map(sympy.Symbol, names))

    # --- reading

    def __repr__(self) -> str:
        return self.to_string()

    def to_string(self, digits: int = 6) -> str:
        """One line per state, floats to so many significant digits.

        Parameters
        ----------
        digits : int, default=6
            Significant digits of floats; exact numbers are written exactly.
        """
        lines = (
            f"{readable_name(name)}{chr(39) * order} = "
            f"{format_expression(expr, self.variables, digits)}"
            for name, order, expr in zip(self.state_names, self.orders, self._exprs, strict=True)
        )
        return "\n".join(lines)

    def latex(self, digits: int = 6) -> str:
        r"""LaTeX source, an ``aligned`` environment with one line per state.

        Examples
        --------
        >>> from discoverers.equations import Equations
        >>> print(Equations(["-0.5*x"], ["x"]).latex())
        \begin{aligned}
        \frac{d x}{d t} &= -0.5 x
        \end{aligned}
        """
        lines = []
        for name, order, expr in zip(self.state_names, self.orders, self._exprs, strict=True):
            power = f"^{{{order}}}" if order > 1 else ""
            state, time = map(latex_name, (name, self.time_name))
            right = latex_expression(round_expression(expr, digits), self.variables)
            lines.append(rf"\frac{{d{power} {state}}}{{d {time}{power}}} &= {right}")
        return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex()}\n$$"

    def as_eqs(self) -> tuple[sympy.Eq, ...]:
        """As ``sympy.Eq(Derivative(x(t), t), ...)``, ready for ``sympy.dsolve``.

        Returns
        -------
        tuple of sympy.Eq
            States and inputs appear as functions of time.
        """
        time = sympy.Symbol(self.time_name)
        moving: dict[sympy.Symbol, sympy.Expr] = {}
        names = derivative_names(self.state_names, self.orders)
        for name, (position, level) in zip(names, derivative_levels(self.orders), strict=True):
            function = sympy.Function(self.state_names[position])(time)
            moving[sympy.Symbol(name)] = function.diff(time, level) if level else function
        for name in self.input_names:
            moving[sympy.Symbol(name)] = sympy.Function(name)(time)
        return tuple(
            sympy.Eq(
                sympy.Derivative(sympy.Function(name)(time), (time, order)),
                expr.xreplace(moving),
                evaluate=False,
            )
            for name, order, expr in zip(self.state_names, self.orders, self._exprs, strict=True)
        )

    @cached_property
    def _terms(self) -> dict[str, dict[sympy.Expr, sympy.Expr]]:
        ordered: dict[str, dict[sympy.Expr, sympy.Expr]] = {}
        for name, expr in zip(self.state_names, self._exprs, strict=True):
            ordered[name] = {
                factor: coefficient
                for part in ordered_terms(expr, self.variables)
                for factor, coefficient in collect_terms(part).items()
            }
        return ordered

    def terms(self) -> dict[str, dict[sympy.Expr, float]]:
        """The summands of every right-hand side, as it stands: ``{state: {term: coefficient}}``.

        Examples
        --------
        >>> from discoverers.equations import Equations
        >>> Equations(["2*x - x**3"], ["x"]).terms()
        {'x': {x: 2.0, x**3: -1.0}}
        """
        return {
            name: {factor: float(value) for factor, value in parts.items()}
            for name, parts in self._terms.items()
        }

    def to_frame(self) -> pd.DataFrame:
        """One row per term: columns ``equation`` (the state), ``term`` (text), ``coefficient``."""
        rows = [
            (name, term_name(factor, self.variables), value)
            for name, parts in self.terms().items()
            for factor, value in parts.items()
        ]
        return pd.DataFrame(rows, columns=["equation", "term", "coefficient"])

    @property
    def complexity(self) -> int:
        """Nodes of all expression trees, as symbolic regression counts them (0 counts 1)."""
        return sum(complexity(expr) for expr in self._exprs)

    # --- computing

    def lambdify(self, backend: Literal["numpy", "torch"] = "numpy") -> EquationsFunction:
        """The right-hand side as a vectorised function ``f(X, u=None)``.

        Parameters
        ----------
        backend : {"numpy", "torch"}, default="numpy"
            Arrays taken and returned. With "torch" the result is differentiable.

        Returns
        -------
        EquationsFunction
            Takes X (..., V) and, if there are inputs, u (..., m); returns (..., V). Of higher
            order X may have a column for every derivative too, as in `variables`. It pickles.

        Raises
        ------
        ValueError
            If `backend` is unknown, or a function has no implementation in `functions`.

        Examples
        --------
        >>> from discoverers.equations import Equations
        >>> Equations(["y", "-x"], ["x", "y"]).lambdify()([[1.0, 2.0], [3.0, 4.0]])
        array([[ 2., -1.],
               [ 4., -3.]])
        """
        return EquationsFunction(
            self.variables, self._exprs, len(self.input_names), self.functions, backend
        )

    def round(self, digits: int) -> Equations:
        """Floats rounded to so many significant digits; exact numbers stay.

        Raises
        ------
        ValueError
            If `digits` is not a positive integer.
        """
        if isinstance(digits, bool) or not isinstance(digits, int) or digits < 1:
            raise ValueError(f"digits must be an integer >= 1, got {digits!r}")
        return self._with(round_expression(expr, digits) for expr in self._exprs)

    def simplify(self) -> Equations:
        """Every right-hand side through ``sympy.simplify``."""
        return self._with(sympy.simplify(expr) for expr in self._exprs)

    def compare(
        self, truth: Equations | Sequence[sympy.Expr | float | str] | Mapping[str, Any]
    ) -> Comparison:
        """Compare with known equations, term by term.

        Parameters
        ----------
        truth : Equations, sequence or mapping
            True right-hand sides, as expressions, numbers or text, in the order of states, or by
            name of the state.

        Returns
        -------
        Comparison

        Raises
        ------
        ValueError
            If number, names or order of the equations differ, or text cannot be read.

        Examples
        --------
        >>> from discoverers.equations import Equations
        >>> found = Equations(["1.01*y", "-0.99*x + 0.02*y"], ["x", "y"])
        >>> found.compare(["y", "-x"])
        Comparison: 2 of 2 terms found, 1 extra
        precision 0.667, recall 1, relative coefficient error 0.0173
        extra in y': y
        """
        known = matching_truth(self, truth)
        return compare_expressions(
            tuple(self), tuple(known), self.state_names, self.variables, self.orders
        )

    # --- storing

    def to_dict(self) -> dict[str, Any]:
        """A dictionary of text and numbers for JSON; `from_dict` reads it back without eval.

        Raises
        ------
        ValueError
            If an expression holds a function outside the whitelist.
        """
        return write_equations(self)

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]] | None = None
    ) -> Equations:
        """Equations from `to_dict`'s dictionary; its text is parsed over a whitelist.

        Parameters
        ----------
        data : mapping
            As `to_dict` gives it, possibly through JSON.
        functions : mapping of str to callable, optional
            Implementations of the user's functions; code is never stored.

        Raises
        ------
        ValueError
            If keys are missing, the format is unknown, or text cannot be read.

        Examples
        --------
        >>> import json
        >>> from discoverers.equations import Equations
        >>> equations = Equations(["0.1*x + sin(x)"], ["x"])
        >>> Equations.from_dict(json.loads(json.dumps(equations.to_dict()))) == equations
        True
        """
        return cls(**read_equations(data), functions=functions)
