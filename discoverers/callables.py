"""SymPy expressions to array functions, for NumPy and PyTorch, vectorised and picklable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import sympy
from sympy.core.function import AppliedUndef
from sympy.printing.codeprinter import PrintMethodNotImplementedError
from sympy.printing.numpy import NumPyPrinter, SciPyPrinter

from discoverers.expressions import FUNCTIONS
from discoverers.terms import is_constant

__all__ = ["EquationsFunction", "compile_columns", "split_columns"]

Backend = Literal["numpy", "torch"]
BACKENDS = ("numpy", "torch")

# what NumPy's printer may write for the functions that text can hold
_TORCH_NAMES = (
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"),
    *("arcsinh", "arccosh", "arctanh", "exp", "log", "sqrt", "sign", "abs"),
)


def compile_columns(
    variables: Sequence[sympy.Symbol],
    exprs: Sequence[sympy.Expr],
    functions: Mapping[str, Callable[..., Any]],
    backend: Backend = "numpy",
) -> Callable[..., list[Any]]:
    """Compile expressions into one function of arrays, one array per variable.

    Common subexpressions are evaluated once. Constant expressions come back as Python numbers.

    Raises
    ------
    ValueError
        If an expression holds a function without implementation.
    """
    for expr in exprs:
        _check_functions(expr, functions, backend)
    settings = {
        "fully_qualified_modules": False,
        "inline": True,
        "user_functions": {name: name for name in functions},
    }
    # Names may be no identifiers, or shadow a function. SymPy's own dummies are numbered through
    # the process, and their names order the terms: sums would round now one way, now another.
    plain = {variable: sympy.Symbol(f"variable_{i:04d}") for i, variable in enumerate(variables)}
    try:
        return sympy.lambdify(
            list(plain.values()),
            [_fold(expr).xreplace(plain) for expr in exprs],
            modules=[dict(functions), *_namespaces(backend)],
            printer=(NumPyPrinter if backend == "torch" else SciPyPrinter)(settings),
            cse=True,
        )
    except PrintMethodNotImplementedError as error:
        raise ValueError(f"an expression holds what NumPy and SciPy cannot do: {error}") from error


def _check_functions(
    expr: sympy.Expr, functions: Mapping[str, Callable[..., Any]], backend: Backend
) -> None:
    for applied in expr.atoms(sympy.Function, AppliedUndef):
        name = applied.func.__name__
        if isinstance(applied, AppliedUndef):
            if name not in functions:
                raise ValueError(
                    f"no implementation of function '{name}' in '{expr}'; pass "
                    f"functions={{'{name}': callable}}"
                )
        elif backend == "torch" and applied.free_symbols and FUNCTIONS.get(name) is None:
            raise ValueError(f"no PyTorch counterpart of function '{name}' in '{expr}'")


def _namespaces(backend: Backend) -> list[Any]:
    if backend == "numpy":
        return ["scipy", "numpy"]
    import torch

    return [{name: getattr(torch, name) for name in _TORCH_NAMES}]


def _fold(expr: sympy.Expr) -> sympy.Expr:
    """Numbers such as sin(3) or pi/4 as floats: PyTorch's functions take tensors only."""
    if expr.is_Number or isinstance(expr, sympy.Symbol):
        return expr
    if is_constant(expr):
        return sympy.Float(float(expr))
    if not all(isinstance(argument, sympy.Expr) for argument in expr.args):
        return expr  # Piecewise and the like
    folded = [_fold(argument) for argument in expr.args]
    same = all(new is old for new, old in zip(folded, expr.args, strict=True))
    return expr if same else expr.func(*folded)


def split_columns(
    X: Any,
    u: Any,
    n_states: tuple[int, ...],
    n_inputs: int,
    needs_inputs: bool,
    xp: Any,
) -> tuple[list[Any], tuple[int, ...]]:
    """The columns of X (..., V) and u (..., m), and the shape their leading axes broadcast to.

    Raises
    ------
    ValueError
        If a last axis has the wrong length, or inputs are needed and missing.
    """
    if X.ndim == 0 or X.shape[-1] not in n_states:
        wanted = " or ".join(map(str, n_states))
        raise ValueError(
            f"X must have {wanted} columns (one per state) on its last axis, got shape "
            f"{tuple(X.shape)}"
        )
    columns = [X[..., index] for index in range(X.shape[-1])]
    lead = tuple(X.shape[:-1])
    if u is not None:
        if u.ndim == 0 or u.shape[-1] != n_inputs:
            raise ValueError(
                f"u must have {n_inputs} columns (one per input) on its last axis, got shape "
                f"{tuple(u.shape)}"
            )
        lead = tuple(xp.broadcast_shapes(lead, tuple(u.shape[:-1])))
        columns += [u[..., index] for index in range(n_inputs)]
    elif needs_inputs:
        raise ValueError(f"u is missing: there are {n_inputs} inputs; pass u (..., {n_inputs})")
    return columns, lead


class EquationsFunction:
    """The right-hand side as a function ``f(X, u=None)``; made by `Equations.lambdify`, picklable.

    Parameters
    ----------
    variables : sequence of sympy.Symbol
        States (and, for equations of higher order, their derivatives), then inputs.
    exprs : sequence of sympy.Expr
        One right-hand side per state.
    n_inputs : int
        How many of the variables are inputs; they come last.
    functions : mapping of str to callable
        Implementations of the functions that are not SymPy's.
    backend : {"numpy", "torch"}, default="numpy"
        Which arrays it takes and returns.

    Raises
    ------
    ValueError
        If `backend` is unknown or a function has no implementation.
    """

    def __init__(
        self,
        variables: Sequence[sympy.Symbol],
        exprs: Sequence[sympy.Expr],
        n_inputs: int,
        functions: Mapping[str, Callable[..., Any]],
        backend: Backend = "numpy",
    ) -> None:
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}")
        self.variables = tuple(variables)
        self.exprs = tuple(exprs)
        self.n_inputs = n_inputs
        self.functions = dict(functions)
        self.backend = backend
        n_columns = len(self.variables) - n_inputs
        used = set().union(*(expr.free_symbols for expr in self.exprs))
        self._needs_inputs = bool(used & set(self.variables[n_columns:]))
        derivatives = self.variables[len(self.exprs) : n_columns]
        # derivatives that no equation reads need not be given
        fewest = n_columns if used & set(derivatives) else len(self.exprs)
        self._n_states = tuple(sorted({fewest, n_columns}))
        for expr in self.exprs:
            _check_functions(expr, self.functions, backend)
        # Generating code costs milliseconds; a front of many systems rarely calls each of them.
        self._compiled: Callable[..., list[Any]] | None = None

    def _compile(self) -> Callable[..., list[Any]]:
        if self._compiled is None:
            self._compiled = compile_columns(
                self.variables, self.exprs, self.functions, self.backend
            )
        return self._compiled

    def __getstate__(self) -> dict[str, Any]:
        # generated code does not pickle; it is made again on first use
        return {**self.__dict__, "_compiled": None}

    def __repr__(self) -> str:
        names = ", ".join(variable.name for variable in self.variables)
        return f"<{self.backend} function of {names}>"

    def __call__(self, X: Any, u: Any = None) -> Any:
        """Evaluate at X (..., V) and inputs u (..., m); returns (..., V).

        NumPy arrays come back as float64, tensors in the type of X.
        """
        if self.backend == "numpy":
            X = np.asarray(X, dtype=np.float64)
            u = None if u is None else np.asarray(u, dtype=np.float64)
            columns, lead = self._columns(X, u, np)
            result = np.empty((*lead, len(self.exprs)))
            for index, value in enumerate(self._compile()(*columns)):
                result[..., index] = value
            return result
        import torch

        X = torch.as_tensor(X)
        X = X if X.is_floating_point() else X.to(torch.get_default_dtype())
        u = None if u is None else torch.as_tensor(u, device=X.device)
        columns, lead = self._columns(X, u, torch)
        parts = [
            value.expand(lead)
            if isinstance(value, torch.Tensor)
            else X.new_full(lead, float(value))
            for value in self._compile()(*columns)
        ]
        return torch.stack(parts, dim=-1)

    def _columns(self, X: Any, u: Any, xp: Any) -> tuple[list[Any], tuple[int, ...]]:
        given, lead = split_columns(X, u, self._n_states, self.n_inputs, self._needs_inputs, xp)
        states, inputs = given[: X.shape[-1]], given[X.shape[-1] :]
        # placeholders for what no equation reads
        states += [0.0] * (len(self.variables) - self.n_inputs - len(states))
        return states + (inputs or [0.0] * self.n_inputs), lead
