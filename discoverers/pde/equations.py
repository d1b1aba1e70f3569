"""Governing partial differential equations as SymPy right-hand sides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import pandas as pd
import sympy
from numpy.typing import NDArray

from discoverers.comparison import Comparison
from discoverers.equations import Equations
from discoverers.formatting import format_expression, latex_name, readable_name

from .candidates import derivative_name
from .differences import spatial_derivative

__all__ = ["PDEEquations"]

Array = NDArray[np.float64]

_FORMAT = "discoverers.PDEEquations/1"


class PDEEquations(Sequence[sympy.Expr]):
    """Right-hand sides of ``u_t = ...``, one per state; immutable.

    Indexing gives SymPy expressions with `sympy.Derivative` objects. Text reads and writes
    derivatives as ``u_x``, ``u_xx``; in `symbolic` they are plain symbols of these names.

    Parameters
    ----------
    exprs : sequence of sympy.Expr, number or str
        One right-hand side per state. Text is parsed over a whitelist, never evaluated. Expressions
        may hold derivatives as symbols (``u_xx``) or as ``Derivative(u(x, t), (x, 2))``.
    state_names : sequence of str, default=("u",)
        Names of the states.
    space_name, time_name : str, default="x" and "t"
        Names of the independent variables.

    Raises
    ------
    TypeError, ValueError
        If a right-hand side cannot be read or holds an unknown symbol.

    Examples
    --------
    >>> from discoverers.pde import PDEEquations
    >>> kdv = PDEEquations(["-6*u*u_x - u_xxx"])
    >>> kdv
    u_t = -u_xxx - 6 u u_x
    >>> kdv["u"]
    -6*u(x, t)*Derivative(u(x, t), x) - Derivative(u(x, t), (x, 3))
    """

    symbolic: Equations
    """The same with symbols in place of functions and derivatives; derivatives are its inputs."""
    space_name: str

    def __init__(
        self,
        exprs: Iterable[sympy.Expr | float | str],
        state_names: Iterable[str] = ("u",),
        space_name: str = "x",
        time_name: str = "t",
    ) -> None:
        if isinstance(exprs, (str, sympy.Basic)):
            raise TypeError("exprs must be a sequence with one right-hand side per state")
        states = (state_names,) if isinstance(state_names, str) else tuple(state_names)
        sides = [_in_symbols(expr, states, space_name) for expr in exprs]
        order = max([1, *(_highest_order(side, states, space_name) for side in sides)])
        names = [
            derivative_name(state, j, space_name) for j in range(1, order + 1) for state in states
        ]
        symbolic = Equations(sides, states, names, time_name=time_name)
        self.__dict__.update(symbolic=symbolic, space_name=space_name)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"PDEEquations are immutable; cannot set '{name}'")

    # --- a sequence of expressions

    def __len__(self) -> int:
        return len(self.symbolic)

    def __iter__(self) -> Iterator[sympy.Expr]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, key: int | str) -> sympy.Expr: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[sympy.Expr, ...]: ...
    def __getitem__(self, key: int | str | slice) -> sympy.Expr | tuple[sympy.Expr, ...]:
        functions = self._functions()
        if isinstance(key, slice):
            return tuple(side.xreplace(functions) for side in self.symbolic[key])
        return self.symbolic[key].xreplace(functions)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PDEEquations):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((tuple(self.symbolic), self.state_names, self.space_name))

    def _functions(self) -> dict[sympy.Symbol, sympy.Expr]:
        """Symbols to functions of space and time and their derivatives."""
        x, t = sympy.Symbol(self.space_name), sympy.Symbol(self.symbolic.time_name)
        out = {}
        for state in self.state_names:
            function = sympy.Function(state)(x, t)
            for j in range(self.order + 1):
                name = derivative_name(state, j, self.space_name)
                out[sympy.Symbol(name)] = sympy.Derivative(function, (x, j)) if j else function
        return out

    # --- reading

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the states."""
        return self.symbolic.state_names

    @property
    def order(self) -> int:
        """Highest spatial derivative, at least 1."""
        return len(self.symbolic.input_names) // len(self.symbolic)

    @property
    def complexity(self) -> int:
        """Nodes of all expression trees; a derivative counts as one."""
        return self.symbolic.complexity

    def __repr__(self) -> str:
        return self.to_string()

    def to_string(self, digits: int = 6) -> str:
        """One line per state, floats to so many significant digits.

        Parameters
        ----------
        digits : int, default=6
            Significant digits of floats.
        """
        return "\n".join(
            f"{readable_name(f'{name}_{self.symbolic.time_name}')} = "
            f"{format_expression(side, self.symbolic.variables, digits)}"
            for name, side in zip(self.state_names, self.symbolic, strict=True)
        )

    def latex(self, digits: int = 6) -> str:
        r"""LaTeX source, an ``aligned`` environment with one line per state.

        Examples
        --------
        >>> from discoverers.pde import PDEEquations
        >>> print(PDEEquations(["0.5*u_xx"]).latex())
        \begin{aligned}
        u_{t} &= 0.5 u_{xx}
        \end{aligned}
        """
        text = self.symbolic.latex(digits)
        time = self.symbolic.time_name
        for name in self.state_names:
            state, rate = latex_name(name), latex_name(f"{name}_{time}")
            text = text.replace(rf"\frac{{d {state}}}{{d {time}}}", rate)
        return text

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex()}\n$$"

    def as_eqs(self) -> tuple[sympy.Eq, ...]:
        """As ``sympy.Eq(Derivative(u(x, t), t), ...)``."""
        x, t = sympy.Symbol(self.space_name), sympy.Symbol(self.symbolic.time_name)
        return tuple(
            sympy.Eq(sympy.Derivative(sympy.Function(name)(x, t), t), side, evaluate=False)
            for name, side in zip(self.state_names, self, strict=True)
        )

    def terms(self) -> dict[str, dict[sympy.Expr, float]]:
        """The summands of every right-hand side in symbols: ``{state: {term: coefficient}}``."""
        return self.symbolic.terms()

    def to_frame(self) -> pd.DataFrame:
        """One row per term: columns ``equation`` (the state), ``term`` (text), ``coefficient``."""
        return self.symbolic.to_frame()

    # --- computing

    def rates(self, values: Array, spacing: float, *, periodic: bool) -> Array:
        """Time derivatives of fields.

        Parameters
        ----------
        values : ndarray of shape (..., n_space, V)
            Fields.
        spacing : float
            Distance between positions.
        periodic : bool
            Fourier derivatives if true, else differences of high order.

        Returns
        -------
        ndarray of shape (..., n_space, V)
        """
        used = self.used_derivatives
        along = np.moveaxis(values, -1, 0)
        jets = [
            spatial_derivative(along[state], spacing, j, periodic)
            if (state, j) in used
            else np.zeros_like(along[state])
            for j in range(1, self.order + 1)
            for state in range(len(self))
        ]
        return self.symbolic.lambdify()(values, np.stack(jets, axis=-1))

    @property
    def used_derivatives(self) -> frozenset[tuple[int, int]]:
        """State and order of every derivative that appears."""
        free = set().union(*(side.free_symbols for side in self.symbolic))
        return frozenset(
            (index, j)
            for index, state in enumerate(self.state_names)
            for j in range(1, self.order + 1)
            if sympy.Symbol(derivative_name(state, j, self.space_name)) in free
        )

    def round(self, digits: int) -> PDEEquations:
        """Floats rounded to so many significant digits."""
        return self._with(self.symbolic.round(digits))

    def compare(self, truth: PDEEquations | Sequence[Any] | Mapping[str, Any]) -> Comparison:
        """Compare with known equations, term by term.

        Parameters
        ----------
        truth : PDEEquations, sequence or mapping
            True right-hand sides, in the order of states or by name of the state.

        Returns
        -------
        Comparison

        Examples
        --------
        >>> from discoverers.pde import PDEEquations
        >>> PDEEquations(["0.49*u_xx"]).compare(["0.5*u_xx"])
        Comparison: 1 of 1 terms found, 0 extra
        precision 1, recall 1, relative coefficient error 0.02
        """
        if isinstance(truth, Mapping):
            missing = sorted(set(self.state_names).symmetric_difference(truth))
            if missing:
                raise ValueError(
                    f"truth must have one entry per state {self.state_names}; check {missing}"
                )
            truth = [truth[name] for name in self.state_names]
        if not isinstance(truth, PDEEquations):
            truth = PDEEquations(truth, self.state_names, self.space_name, self.symbolic.time_name)
        if truth.state_names != self.state_names or truth.space_name != self.space_name:
            raise ValueError(
                f"truth has states {truth.state_names} over {truth.space_name}, these equations "
                f"have {self.state_names} over {self.space_name}"
            )
        order = max(self.order, truth.order)
        return self._over(order).compare(truth._over(order))

    def _over(self, order: int) -> Equations:
        """The symbolic equations with derivatives up to an order as inputs."""
        names = [
            derivative_name(state, j, self.space_name)
            for j in range(1, order + 1)
            for state in self.state_names
        ]
        return Equations(
            list(self.symbolic), self.state_names, names, time_name=self.symbolic.time_name
        )

    def _with(self, symbolic: Equations) -> PDEEquations:
        return PDEEquations(list(symbolic), self.state_names, self.space_name, symbolic.time_name)

    # --- storing

    def to_dict(self) -> dict[str, Any]:
        """A dictionary of text and numbers for JSON; `from_dict` reads it back without eval."""
        return {
            "format": _FORMAT,
            "space_name": self.space_name,
            "symbolic": self.symbolic.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PDEEquations:
        """Equations from `to_dict`'s dictionary.

        Raises
        ------
        ValueError
            If it is not one.
        """
        if data.get("format") != _FORMAT:
            raise ValueError(
                f"data is no dictionary of PDEEquations: format {data.get('format')!r}"
            )
        symbolic = Equations.from_dict(data["symbolic"])
        return cls(list(symbolic), symbolic.state_names, data["space_name"], symbolic.time_name)


def _in_symbols(expr: Any, states: tuple[str, ...], space: str) -> Any:
    """Functions of space and time, and their derivatives along space, as symbols."""
    if not isinstance(expr, sympy.Basic):
        return expr
    x = sympy.Symbol(space)
    found = {}
    for part in expr.atoms(sympy.Derivative):
        name = getattr(part.expr.func, "__name__", "")
        if name not in states or {variable for variable, _ in part.variable_count} != {x}:
            raise ValueError(f"'{part}' is no derivative of a state along {space}")
        count = sum(int(times) for _, times in part.variable_count)
        found[part] = sympy.Symbol(derivative_name(name, count, space))
    plain = expr.xreplace(found)
    functions = {
        part: sympy.Symbol(part.func.__name__)
        for part in plain.atoms(sympy.core.function.AppliedUndef)
        if part.func.__name__ in states
    }
    return plain.xreplace(functions)


def _highest_order(side: Any, states: tuple[str, ...], space: str) -> int:
    """Highest derivative that appears in text or in an expression in symbols."""
    if isinstance(side, str):
        words = set(re.findall(r"\w+", side))
    elif isinstance(side, sympy.Basic):
        words = {symbol.name for symbol in side.free_symbols}
    else:
        return 0
    found = [0]
    for word in words:
        state, _, subscript = word.rpartition("_")
        if state in states and subscript and set(subscript) == {space}:
            found.append(len(subscript))
    return max(found)
