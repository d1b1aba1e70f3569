"""A state-space model that is linear in its coefficients: the right-hand side as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.equations import Equations
from discoverers.expressions import parse_expression

from .program import Program, Spline, Term, compile_terms

__all__ = ["Column", "StateSpaceModel"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """One term, and the states whose rates it drives.

    Parameters
    ----------
    term : sympy.Expr, str, number, Spline or tuple of factors
        The term in symbols of states and inputs; a tuple is the product of its factors.
    drives : mapping of str to float
        State to the factor with which the term enters its rate: ``{"v": 1.0}``, or
        ``{"v1": 1.0, "v2": -1.0}`` for a force between two equal masses.
    value : float, optional
        The coefficient if it is known, as 1 in ``x' = v``; free by default.
    """

    term: Term
    drives: Mapping[str, float]
    value: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "drives", MappingProxyType(dict(self.drives)))
        if not self.drives:
            raise ValueError(f"The column {self.term} drives no state; name one at least.")

    @property
    def expr(self) -> sympy.Expr:
        """The term as SymPy; TypeError if it holds a spline or is text (a model reads its text)."""
        product = sympy.Integer(1)
        for factor in self.term if isinstance(self.term, tuple) else (self.term,):
            if isinstance(factor, Spline | str):
                raise TypeError(f"The term {factor} has no symbolic form.")
            product *= sympy.sympify(factor)
        return product

    def read(self, names: Sequence[str]) -> Column:
        """The column with a term that is text parsed, as symbols of `names`."""
        if not isinstance(self.term, str):
            return self
        return Column(parse_expression(self.term, names), self.drives, self.value)


@dataclass(frozen=True, eq=False)
class StateSpaceModel:
    """``s' = sum_k theta_k direction_k phi_k(s, u)``, K columns, n_s states.

    A state that no column drives is a constant: a parameter inside of terms, whose value is its
    initial state.

    Parameters
    ----------
    state_names, input_names : sequence of str
    columns : sequence of Column

    Raises
    ------
    ValueError
        If a column drives an unknown state or its term cannot be compiled.

    Examples
    --------
    >>> from discoverers.shooting import Column, StateSpaceModel
    >>> model = StateSpaceModel(
    ...     ["x", "v"], ["u"],
    ...     [Column("v", {"x": 1.0}, value=1.0), Column("x**3", {"v": 1.0}), Column("u", {"v": 1})],
    ... )
    >>> model.rates([[2.0, 0.5]], [[3.0]], [1.0, -10.0, 1.0])
    array([[  0.5, -77. ]])
    """

    state_names: Sequence[str]
    input_names: Sequence[str]
    columns: Sequence[Column]
    _index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("state_names", "input_names"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        names = (*self.state_names, *self.input_names)
        object.__setattr__(self, "columns", tuple(column.read(names) for column in self.columns))
        object.__setattr__(self, "_index", {name: i for i, name in enumerate(self.state_names)})
        for column in self.columns:
            unknown = [name for name in column.drives if name not in self._index]
            if unknown:
                raise ValueError(
                    f"The column {column.term} drives {unknown}; the states are "
                    f"{list(self.state_names)}."
                )

    @property
    def n_states(self) -> int:
        """Number of states n_s, constants included."""
        return len(self.state_names)

    @property
    def n_inputs(self) -> int:
        """Number of inputs m."""
        return len(self.input_names)

    @property
    def n_columns(self) -> int:
        """Number of columns K."""
        return len(self.columns)

    @cached_property
    def free(self) -> NDArray[np.bool_]:
        """Which coefficients are free, shape (K,)."""
        return np.array([column.value is None for column in self.columns], dtype=bool)

    @cached_property
    def fixed_theta(self) -> Array:
        """Known coefficients, 0 for the free ones, shape (K,)."""
        return np.array([column.value or 0.0 for column in self.columns], dtype=np.float64)

    @cached_property
    def program(self) -> Program:
        """The different terms, compiled; columns with the same term share one."""
        return compile_terms(self._terms, self.state_names, self.input_names)

    @cached_property
    def term_of(self) -> NDArray[np.int64]:
        """Term of each column, shape (K,)."""
        places = {term: place for place, term in enumerate(self._terms)}
        return np.array([places[column.term] for column in self.columns], dtype=np.int64)

    @cached_property
    def direction(self) -> Array:
        """How columns enter the rates, shape (K, n_s)."""
        out = np.zeros((self.n_columns, self.n_states))
        for row, column in zip(out, self.columns, strict=True):
            for name, factor in column.drives.items():
                row[self._index[name]] = factor
        return out

    @cached_property
    def constant(self) -> NDArray[np.bool_]:
        """States that no column drives, shape (n_s,): parameters inside of terms."""
        return np.asarray(~(self.direction != 0.0).any(axis=0))

    @property
    def _terms(self) -> list[Term]:
        return list(dict.fromkeys(column.term for column in self.columns))

    def index(self, state: str) -> int:
        """Position of a state."""
        return self._index[state]

    def select(self, columns: Sequence[int]) -> StateSpaceModel:
        """The model with only some of its columns."""
        return StateSpaceModel(
            self.state_names, self.input_names, [self.columns[k] for k in columns]
        )

    def term_values(self, X: Array, u: Array | None = None) -> Array:
        """Each column's term at states (n, n_s) and inputs (n, m), shape (n, K)."""
        from .kernels import evaluate_terms_many

        states = np.ascontiguousarray(X, dtype=np.float64)
        inputs = np.zeros((len(states), 0)) if u is None else u
        program = self.program
        values = evaluate_terms_many(
            program.code,
            program.numbers,
            program.splines,
            program.n_terms,
            states,
            np.ascontiguousarray(inputs, dtype=np.float64),
        )
        return np.asarray(values[:, self.term_of])

    def rates(self, X: Array, u: Array | None, theta: Array) -> Array:
        """Rates of the states at states (n, n_s) and inputs (n, m), shape (n, n_s)."""
        return (self.term_values(X, u) * np.asarray(theta)) @ self.direction

    def equations(self, theta: Array) -> Equations:
        """The right-hand sides with coefficients (K,), exact zeros left out.

        Raises TypeError if an active column holds a spline.
        """
        sides = [sympy.Integer(0)] * self.n_states
        for column, value in zip(self.columns, theta, strict=True):
            if value == 0.0:
                continue
            for name, factor in column.drives.items():
                weight = float(value) * factor
                coefficient = (
                    sympy.Integer(int(weight)) if _is_unit(weight) else sympy.Float(weight)
                )
                sides[self._index[name]] += coefficient * column.expr
        return Equations(sides, self.state_names, self.input_names)


def _is_unit(value: float) -> bool:
    return value in (1.0, -1.0)
