"""Discovered equations as a torch module. Imports torch: load this module only when asked to."""

from __future__ import annotations

from typing import Any

import sympy
import torch

from .callables import compile_columns
from .equations import Equations

__all__ = ["RightHandSide"]


class RightHandSide(torch.nn.Module):
    """x' = f(x, u) with the coefficients of the terms as parameters.

    Parameters
    ----------
    equations : Equations
        Its `terms` give one parameter per term; numbers inside a term stay fixed.

    Attributes
    ----------
    coefficients : torch.nn.Parameter of shape (terms,), float64
        In the order of `labels`.
    labels : tuple of (str, str)
        State and term of each coefficient.

    Examples
    --------
    >>> import torch
    >>> from discoverers.equations import Equations
    >>> from discoverers.right_hand_side import RightHandSide
    >>> module = RightHandSide(Equations(["y", "-2*x"], ["x", "y"]))
    >>> module(torch.tensor([[1.0, 3.0]], dtype=torch.float64)).detach()
    tensor([[ 3., -2.]], dtype=torch.float64)
    >>> module.labels
    (('x', 'y'), ('y', 'x'))
    """

    def __init__(self, equations: Equations) -> None:
        super().__init__()
        self.equations = equations
        parts = [
            (name, term, value)
            for name, terms in equations.terms().items()
            for term, value in terms.items()
        ]
        self.labels = tuple((name, sympy.sstr(term)) for name, term, _ in parts)
        self._terms = tuple(term for _, term, _ in parts)
        self._rows = tuple(equations.state_names.index(name) for name, _, _ in parts)
        values = torch.tensor([value for _, _, value in parts], dtype=torch.float64)
        self.coefficients = torch.nn.Parameter(values)
        self._compile()

    def _compile(self) -> None:
        self._columns = compile_columns(
            self.equations.variables, self._terms, self.equations.functions, "torch"
        )

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        del state["_columns"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._compile()

    def forward(self, X: torch.Tensor, u: torch.Tensor | None = None) -> torch.Tensor:
        """Derivatives (..., V) at states X (..., V) and inputs u (..., m)."""
        columns = list(X.unbind(-1)) + ([] if u is None else list(u.unbind(-1)))
        if len(columns) != len(self.equations.variables):
            raise ValueError(
                f"X and u must have {len(self.equations.variables)} columns together "
                f"({[symbol.name for symbol in self.equations.variables]}), got {len(columns)}."
            )
        sides = [torch.zeros_like(columns[0]) for _ in self.equations.state_names]
        values = self._columns(*columns)
        for row, coefficient, value in zip(self._rows, self.coefficients, values, strict=True):
            sides[row] = sides[row] + coefficient.to(X.dtype) * value
        return torch.stack(sides, dim=-1)
