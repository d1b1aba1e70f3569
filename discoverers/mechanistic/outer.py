"""The outer function g of ``y' = g(xi . phi(y))``: for tensors, for arrays, and as a symbol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.equations import Equations
from discoverers.libraries import BoundLibrary

__all__ = ["NAMED", "OuterFunction", "outer_equations", "resolve_outer"]

NAMED: Mapping[str, Callable[[sympy.Expr], sympy.Expr]] = {
    "identity": lambda z: z,
    "exp": sympy.exp,
    "tanh": sympy.tanh,
    "sin": sympy.sin,
    "sigmoid": lambda z: 1 / (1 + sympy.exp(-z)),
}
"""Outer functions with a name, as SymPy writes them."""


@dataclass(frozen=True)
class OuterFunction:
    """One equation's outer function.

    Attributes
    ----------
    name : str
        A key of `NAMED`, or what equations call the user's function.
    function : callable or None
        The user's function of tensors, element by element; None for a named one.
    """

    name: str
    function: Callable[[Any], Any] | None = None

    def __call__(self, z: Any) -> Any:
        """Values at a tensor, or at an array by way of one."""
        import torch

        if not isinstance(z, torch.Tensor):
            with torch.no_grad():
                return self(torch.as_tensor(np.asarray(z, dtype=np.float64))).numpy()
        if self.function is not None:
            return self.function(z)
        return z if self.name == "identity" else getattr(torch, self.name)(z)

    @property
    def is_identity(self) -> bool:
        """Whether the equation is a plain sum of terms."""
        return self.function is None and self.name == "identity"

    def of(self, inner: sympy.Expr) -> sympy.Expr:
        """The function of an expression."""
        if self.function is None:
            return NAMED[self.name](inner)
        return sympy.Function(self.name)(inner)


def resolve_outer(g: Any, state_names: Sequence[str]) -> tuple[OuterFunction, ...]:
    """One outer function per state.

    Parameters
    ----------
    g : str, callable, or mapping from states to these
        States that a mapping does not name have the identity.
    state_names : sequence of str

    Raises
    ------
    ValueError
        If a name is unknown, or what a function returns is not of the shape of its argument.
    TypeError
        If an entry is neither a name nor callable.
    """
    if isinstance(g, Mapping):
        unknown = [name for name in g if name not in state_names]
        if unknown:
            raise ValueError(f"g names {unknown}; the states are {list(state_names)}.")
        given = [g.get(name, "identity") for name in state_names]
    else:
        given = [g] * len(state_names)
    return tuple(_one(entry, state_names) for entry in given)


def _one(entry: Any, taken: Sequence[str]) -> OuterFunction:
    import torch

    if isinstance(entry, str):
        if entry not in NAMED:
            raise ValueError(f"g must be one of {list(NAMED)} or a function, got {entry!r}.")
        return OuterFunction(entry)
    if not callable(entry):
        raise TypeError(
            f"g must be a name, a function of tensors, or a mapping from states to these, got "
            f"{type(entry).__name__}."
        )
    given = getattr(entry, "__name__", "")
    # A torch function that has a symbol of its own is written as that.
    if given in NAMED and given != "identity" and entry is getattr(torch, given):
        return OuterFunction(given)
    probe = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    value = entry(probe)
    if not isinstance(value, torch.Tensor) or value.shape != probe.shape:
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise ValueError(
            f"g must map a tensor to one of its shape, element by element; for shape (2, 3) it "
            f"returned {shape}."
        )
    if not value.requires_grad:
        raise ValueError("g must be differentiable: build it from PyTorch's functions.")
    name = given if given.isidentifier() and given not in taken else "g"
    return OuterFunction(name, entry)


def outer_equations(
    library: BoundLibrary, coef: NDArray[np.float64], outer: Sequence[OuterFunction]
) -> Equations:
    """The equations ``y_v' = g_v(xi_v . phi)`` of coefficients (V, K)."""
    inner = library.equations(coef)
    if all(one.is_identity for one in outer):
        return inner
    functions = dict(library.functions)
    names = {one.function: one.name for one in outer if one.function is not None}
    if len(set(names.values())) < len(names):
        names = {function: f"g{i}" for i, function in enumerate(names)}
    renamed = [
        one if one.function is None else OuterFunction(names[one.function], one.function)
        for one in outer
    ]
    functions |= {one.name: one for one in renamed if one.function is not None}
    return Equations(
        [one.of(side) for one, side in zip(renamed, inner, strict=True)],
        inner.state_names,
        inner.input_names,
        functions=functions,
    )
