"""A library bound to names: terms to evaluate, differentiate and turn into equations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import sympy
from numpy.typing import ArrayLike, NDArray

from discoverers.callables import compile_columns, split_columns
from discoverers.equations import Equations
from discoverers.libraries.monomials import MonomialPlan
from discoverers.terms import exponents, gradient

__all__ = ["BoundLibrary", "Term"]

# of samples at once: a block of columns stays in the processor's cache
_BLOCK = 16384


@dataclass(frozen=True)
class Term:
    """One candidate term.

    Attributes
    ----------
    expr : sympy.Expr
        In plain symbols named as states and inputs.
    name : str
        Printable, such as ``"x*y"``, ``"x**2"``, ``"1"``, ``"sin(x)"``.
    degree : int
        Graded complexity: the polynomial degree, where a function or a quotient counts 2.
    """

    expr: sympy.Expr
    name: str
    degree: int


@dataclass(frozen=True, eq=False)
class BoundLibrary:
    """The K terms of a library in the names of V states and m inputs; made by `Library.bind`.

    Attributes
    ----------
    state_names, input_names : tuple of str
        Names of the columns of X and u.
    terms : tuple of Term
        By degree, then by the order of the variables.
    allowed : (V, K) bool ndarray
        Which term may enter which state's equation.
    functions : mapping of str to callable
        Implementations of the user's functions in the terms.

    Examples
    --------
    >>> from discoverers.libraries import PolynomialLibrary
    >>> bound = PolynomialLibrary(2).bind(["x", "y"])
    >>> bound.evaluate([[2.0, 3.0]])
    array([[1., 2., 3., 4., 6., 9.]])
    >>> bound.equations([[0, 0, 1.5, 0, 0, 0], [0, -2.0, 0, 0, 0.5, 0]])
    x' = 1.5 y
    y' = 0.5 x y - 2.0 x
    """

    state_names: tuple[str, ...]
    input_names: tuple[str, ...]
    terms: tuple[Term, ...]
    allowed: NDArray[np.bool_]
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        # the evaluation plan holds generated code; it is made again on first use
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def __len__(self) -> int:
        return len(self.terms)

    @property
    def names(self) -> tuple[str, ...]:
        """Printable names of the terms."""
        return tuple(term.name for term in self.terms)

    @property
    def degrees(self) -> NDArray[np.int64]:
        """Degrees of the terms, (K,)."""
        return np.array([term.degree for term in self.terms], dtype=np.int64)

    @property
    def variables(self) -> tuple[sympy.Symbol, ...]:
        """Symbols of the states, then of the inputs."""
        return tuple(map(sympy.Symbol, self.state_names + self.input_names))

    @cached_property
    def exponents(self) -> tuple[tuple[int, ...] | None, ...]:
        """Exponents of states and inputs in each term, None for what is no monomial."""
        return tuple(exponents(term.expr, self.variables) for term in self.terms)

    @cached_property
    def _values(self) -> _Evaluation:
        return _Evaluation(self.variables, [term.expr for term in self.terms], self.functions)

    @cached_property
    def _slopes(self) -> _Slopes:
        return _Slopes(self)

    def evaluate(self, X: ArrayLike, u: ArrayLike | None = None) -> NDArray[np.float64]:
        """Values of all terms.

        Parameters
        ----------
        X : (..., V) array-like
            States.
        u : (..., m) array-like, optional
            Inputs; needed if the library has any. Leading axes broadcast against those of X.

        Returns
        -------
        (..., K) ndarray of float64
            Stored term by term (the transpose is contiguous). Values that overflow or are undefined
            are inf or NaN, without a warning; see `check_finite`.

        Raises
        ------
        ValueError
            If the last axes do not match the names, or inputs are missing.
        """
        columns, lead = self._columns(X, u)
        return _by_term(self._values(columns), lead)

    def jacobian(self, X: ArrayLike, u: ArrayLike | None = None) -> NDArray[np.float64]:
        """Derivatives of all terms with respect to the states.

        Parameters
        ----------
        X : (..., V) array-like
            States.
        u : (..., m) array-like, optional
            Inputs.

        Returns
        -------
        (..., K, V) ndarray of float64
            Exact, except for terms with a user's callable: central differences with relative step
            6e-6, accurate to about ten digits.

        Raises
        ------
        ValueError
            As for `evaluate`.
        """
        columns, lead = self._columns(X, u)
        slopes = self._slopes(columns)
        return np.moveaxis(slopes.reshape(*slopes.shape[:2], *lead), (0, 1), (-2, -1))

    def equations(self, coef: ArrayLike) -> Equations:
        """Coefficients as equations; exact zeros are dropped.

        Parameters
        ----------
        coef : (V, K) array-like
            One row per state.

        Returns
        -------
        Equations

        Raises
        ------
        ValueError
            If the shape is another, or a coefficient is not finite.
        """
        values = np.asarray(coef, dtype=np.float64)
        shape = (len(self.state_names), len(self.terms))
        if values.shape != shape:
            raise ValueError(f"coef must have shape (states, terms) = {shape}, got {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError("coef holds NaN or infinity; equations need finite coefficients")
        sides = [
            sympy.Add(
                *(sympy.Float(float(row[k])) * self.terms[k].expr for k in np.flatnonzero(row))
            )
            for row in values
        ]
        used = {
            applied.func.__name__
            for side in sides
            for applied in side.atoms(sympy.core.function.AppliedUndef)
        }
        functions = {name: self.functions[name] for name in self.functions if name in used}
        return Equations(sides, self.state_names, self.input_names, functions)

    def check_finite(self, theta: ArrayLike) -> None:
        """Raise if a term was undefined or overflowed.

        Parameters
        ----------
        theta : (..., K) array-like
            Values of the terms.

        Raises
        ------
        ValueError
            Naming the terms and how often each failed.
        """
        values = np.asarray(theta)
        if values.shape[-1:] != (len(self.terms),):
            raise ValueError(f"theta must have {len(self.terms)} columns, got shape {values.shape}")
        failed = (~np.isfinite(values)).reshape(-1, len(self.terms)).sum(axis=0)
        if failed.any():
            worst = [f"'{self.names[k]}' ({failed[k]})" for k in np.flatnonzero(failed)[:5]]
            more = " and others" if np.count_nonzero(failed) > 5 else ""
            raise ValueError(
                f"library terms are not finite on the data: {', '.join(worst)}{more} of "
                f"{values.size // len(self.terms)} values; check the data for NaN and the terms' "
                "domains (log, sqrt, quotients, exp of large values), or choose another library"
            )

    def _columns(
        self, X: ArrayLike, u: ArrayLike | None
    ) -> tuple[NDArray[np.float64], tuple[int, ...]]:
        states = np.asarray(X, dtype=np.float64)
        inputs = None if u is None else np.asarray(u, dtype=np.float64)
        n_inputs = len(self.input_names)
        columns, lead = split_columns(
            states, inputs, (len(self.state_names),), n_inputs, n_inputs > 0, np
        )
        return np.stack([np.broadcast_to(column, lead).ravel() for column in columns]), lead


class _Evaluation:
    """Values of expressions, one row each: monomials by products, the others by generated code."""

    def __init__(
        self,
        variables: tuple[sympy.Symbol, ...],
        exprs: list[sympy.Expr],
        functions: Mapping[str, Callable[..., Any]],
    ) -> None:
        self.size = len(exprs)
        powers = [exponents(expr, variables) for expr in exprs]
        monomials = {k: power for k, power in enumerate(powers) if power is not None}
        self.plan = MonomialPlan(list(monomials.values()))
        self.rows = np.array(list(monomials), dtype=np.intp)
        self.others = [k for k in range(self.size) if k not in monomials]
        chosen = [exprs[k] for k in self.others]
        checked = {name: _Checked(name, function) for name, function in functions.items()}
        self.compiled = compile_columns(variables, chosen, checked) if chosen else None

    def __call__(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        result = np.empty((self.size, columns.shape[1]))
        all_rows = len(self.rows) == self.size
        with np.errstate(all="ignore"):
            for start in range(0, columns.shape[1], _BLOCK):
                block = columns[:, start : start + _BLOCK]
                target = result[:, start : start + _BLOCK]
                if all_rows:
                    self.plan.fill(block, target)
                elif len(self.rows):
                    target[self.rows] = self.plan.values(block)
                if self.compiled is not None:
                    for k, value in zip(self.others, self.compiled(*block), strict=True):
                        target[k] = value
        return result


class _Slopes:
    """Derivatives of a library's terms, (K, V, N)."""

    _step = np.finfo(np.float64).eps ** (1 / 3)

    def __init__(self, bound: BoundLibrary) -> None:
        states = bound.variables[: len(bound.state_names)]
        self.shape = (len(bound.terms), len(states))
        opaque: list[int] = []
        # each derivative that is not zero, as its factor and what remains
        self.places: list[tuple[int, int, float, int]] = []
        needed: dict[sympy.Expr, int] = {}
        for k, term in enumerate(bound.terms):
            slopes = gradient(term.expr, states)
            if slopes is None:
                opaque.append(k)
                continue
            for v, slope in enumerate(slopes):
                if slope == 0:
                    continue
                factor, rest = slope.as_coeff_Mul()
                place = needed.setdefault(rest, len(needed))
                self.places.append((k, v, float(factor), place))
        self.exact = _Evaluation(bound.variables, list(needed), bound.functions)
        self.opaque = opaque
        self.differenced = _Evaluation(
            bound.variables, [bound.terms[k].expr for k in opaque], bound.functions
        )

    def __call__(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        result = np.zeros((*self.shape, columns.shape[1]))
        values = self.exact(columns)
        for k, v, factor, place in self.places:
            np.multiply(values[place], factor, out=result[k, v])
        if self.opaque:
            for v in range(self.shape[1]):
                step = self._step * np.maximum(1.0, np.abs(columns[v]))
                above, below = columns.copy(), columns.copy()
                above[v] += step
                below[v] -= step
                width = above[v] - below[v]  # as represented, not as meant
                change = self.differenced(above) - self.differenced(below)
                result[self.opaque, v] = change / width
        return result


class _Checked:
    """A user's function whose result is checked, so that the error names the function."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function

    def __call__(self, *arguments: Any) -> NDArray[np.float64]:
        value = np.asarray(self.function(*arguments), dtype=np.float64)
        expected = np.broadcast_shapes(*(np.shape(argument) for argument in arguments))
        if value.shape not in (expected, ()):
            raise ValueError(
                f"function '{self.name}' returned shape {value.shape} for arrays of shape "
                f"{expected}; it must work element by element on NumPy arrays"
            )
        return value


def _by_term(values: NDArray[np.float64], lead: tuple[int, ...]) -> NDArray[np.float64]:
    return np.moveaxis(values.reshape(len(values), *lead), 0, -1)
