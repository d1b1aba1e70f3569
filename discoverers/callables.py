"""SymPy expressions to array functions, for NumPy and PyTorch, vectorised and picklable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import sympy
from sympy.printing.numpy import NumPyPrinter

__all__ = ["EquationsFunction", "compile_columns"]

Backend = Literal["numpy", "torch"]
BACKENDS = ("numpy", "torch")

# what NumPy's printer may write for the functions an expression can hold
_TORCH_NAMES = (
    "sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh arcsinh arccosh arctanh exp log sqrt sign floor ceil "
    "minimum maximum abs"
).split()


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
        for applied in expr.atoms(sympy.core.function.AppliedUndef):
            if applied.func.__name__ not in functions:
                raise ValueError(
                    f"no implementation of function '{applied.func.__name__}' in '{expr}'; pass functions={{"
                    f"'{applied.func.__name__}': callable}}"
                )
    printer = NumPyPrinter(
        {
            "fully_qualified_modules": False,
            "inline": True,
            "allow_unknown_functions": True,
            "user_functions": {name: name for name in functions},
        }
    )
    return sympy.lambdify(
        list(variables),
        [_fold(expr) for expr in exprs],
        modules=[dict(functions), _namespace(backend)],
        printer=printer,
        cse=True,
        dummify=True,  # names may be no identifiers, or shadow a function
    )


def _namespace(backend: Backend) -> Any:
    if backend == "numpy":
        return "numpy"
    import torch

    names: dict[str, Any] = {
        name: getattr(torch, name) for name in _TORCH_NAMES if hasattr(torch, name)
    }
    names["pi"] = np.pi
    return names


def _fold(expr: sympy.Expr) -> sympy.Expr:
    """Numbers such as sin(3) or pi/4 as floats: PyTorch's functions take tensors only."""
    if expr.is_Number or isinstance(expr, sympy.Symbol):
        return expr
    if not expr.free_symbols and not expr.has(sympy.core.function.AppliedUndef):
        return sympy.Float(float(expr))
    if not expr.args:
        return expr
    folded = [
        _fold(argument) if isinstance(argument, sympy.Expr) else argument for argument in expr.args
    ]
    return (
        expr
        if all(new is old for new, old in zip(folded, expr.args, strict=True))
        else expr.func(*folded)
    )


def split_columns(
    X: Any, u: Any, n_states: tuple[int, ...], n_inputs: int, needs_inputs: bool, xp: Any
) -> tuple[list[Any], tuple[int, ...]]:
    """The columns of X (..., V) and u (..., m), broadcast against each other over the leading axes, and that shape.

    Raises
    ------
    ValueError
        If a last axis has the wrong length, or inputs are needed and missing.
    """
    if X.ndim == 0 or X.shape[-1] not in n_states:
        wanted = " or ".join(map(str, n_states))
        raise ValueError(
            f"X must have {wanted} columns (one per state) on its last axis, got shape {tuple(X.shape)}"
        )
    columns = [X[..., index] for index in range(X.shape[-1])]
    lead = tuple(X.shape[:-1])
    if u is not None:
        if u.ndim == 0 or u.shape[-1] != n_inputs:
            raise ValueError(
                f"u must have {n_inputs} columns (one per input) on its last axis, got shape {tuple(u.shape)}"
            )
        lead = tuple(xp.broadcast_shapes(lead, tuple(u.shape[:-1])))
        columns += [u[..., index] for index in range(n_inputs)]
    elif needs_inputs:
        raise ValueError(
            f"u is missing: these equations have {n_inputs} inputs; pass u of shape (..., {n_inputs})"
        )
    return columns, lead


class EquationsFunction:
    """The right-hand side as a function ``f(X, u=None)``; made by ``Equations.lambdify``, picklable.

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
    backend : {"numpy", "torch"}
        Which arrays it takes and returns.
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
        self._reads_states_only = not used & set(self.variables[len(self.exprs) : n_columns])
        self._compiled: Callable[..., list[Any]] | None = None
        self._compile()

    def _compile(self) -> Callable[..., list[Any]]:
        if self._compiled is None:
            self._compiled = compile_columns(
                self.variables, self.exprs, self.functions, self.backend
            )
        return self._compiled

    def __getstate__(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "_compiled": None,
        }  # generated code does not pickle; it is made again on first use

    def __repr__(self) -> str:
        return f"<{self.backend} function of {', '.join(variable.name for variable in self.variables)}>"

    def __call__(self, X: Any, u: Any = None) -> Any:
        """Evaluate at X (..., V), inputs u (..., m); returns (..., V), of X's dtype for torch, float64 for NumPy."""
        if self.backend == "numpy":
            X = np.asarray(X, dtype=np.float64)
            u = None if u is None else np.asarray(u, dtype=np.float64)
            columns, lead = self._columns(X, u, np)
            result = np.empty((*lead, len(self.exprs)))
            for index, value in enumerate(self._compile()(*columns)):
                result[..., index] = value
            return result
        import torch

        columns, lead = self._columns(X, u, torch)
        values = self._compile()(*columns)
        parts = [
            value.expand(lead)
            if isinstance(value, torch.Tensor)
            else X.new_full(lead, float(value))
            for value in values
        ]
        return torch.stack(parts, dim=-1)

    def _columns(self, X: Any, u: Any, xp: Any) -> tuple[list[Any], tuple[int, ...]]:
        full = len(self.variables) - self.n_inputs
        n_states = (
            (len(self.exprs), full)
            if self._reads_states_only and full != len(self.exprs)
            else (full,)
        )
        columns, lead = split_columns(X, u, n_states, self.n_inputs, self._needs_inputs, xp)
        unused = [0.0] * (full - X.shape[-1])
        columns = columns[: X.shape[-1]] + unused + columns[X.shape[-1] :]
        return columns + [0.0] * (len(self.variables) - len(columns)), lead
