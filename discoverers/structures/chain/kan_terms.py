"""What the spline network is a sum of: curves, surfaces and inputs, each on its grid."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.shooting import Column, Spline

from .model import Chain

__all__ = ["Term", "build_terms"]

Array = NDArray[np.float64]

CURVE_BASIS = 10
PAIR_BASIS = 5
MARGIN = 0.1
"""Share of a variable's range that the grids reach beyond it, on either side."""


@dataclass(frozen=True)
class Term:
    """One curve, surface or input of the network: which law, of what, on which columns."""

    law: int
    variables: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    first: int
    size: int

    @property
    def kind(self) -> tuple[int, int]:
        """Terms of one kind share the strength of their smoothness."""
        return (len(self.variables), 0)

    def columns(self, chain: Chain) -> list[Column]:
        """Columns of the model."""
        drives = {chain.tops[self.law]: 1.0}
        if self.size == 1:
            return [Column(sympy.Symbol(self.variables[0]), drives)]
        sides = [
            [Spline(name, low, high, self.n_basis, index) for index in range(self.n_basis)]
            for name, low, high in zip(self.variables, self.lower, self.upper, strict=True)
        ]
        if len(sides) == 1:
            return [Column(spline, drives) for spline in sides[0]]
        return [Column((one, two), drives) for one in sides[0] for two in sides[1]]

    @property
    def n_basis(self) -> int:
        """Basis functions along each variable."""
        return PAIR_BASIS if len(self.variables) == 2 else CURVE_BASIS

    def roughness(self) -> Array:
        """Matrix whose quadratic form is the sum of squared second differences, (size, size)."""
        if self.size == 1:
            return np.zeros((1, 1))
        difference = np.diff(np.eye(self.n_basis), 2, axis=0)
        along = difference.T @ difference
        if len(self.variables) == 1:
            return np.asarray(along)
        eye = np.eye(self.n_basis)
        return np.asarray(np.kron(along, eye) + np.kron(eye, along))


def build_terms(chain: Chain, lower: Array, upper: Array) -> tuple[Term, ...]:
    """All curves, pairs and inputs of every law, on grids over the states' ranges."""
    names = chain.state_names
    margin = MARGIN * np.maximum(upper - lower, 1e-12)
    low, high = (
        dict(zip(names, lower - margin, strict=True)),
        dict(zip(names, upper + margin, strict=True)),
    )
    groups = [(name,) for name in names]
    pairs = list(combinations(names, 2))
    if chain.n_dof > 2:
        # Neighbours and a coordinate's own chain; all pairs of many masses would be too many.
        near = 2 * chain.order
        pairs = [(a, b) for a, b in pairs if names.index(b) - names.index(a) < near]
    terms, at = [], 0
    for law in range(chain.n_dof):
        for group in [*groups, *pairs]:
            size = CURVE_BASIS if len(group) == 1 else PAIR_BASIS**2
            ends = tuple(low[name] for name in group), tuple(high[name] for name in group)
            terms.append(Term(law, group, *ends, at, size))
            at += size
        for name in chain.input_names:
            terms.append(Term(law, (name,), (0.0,), (0.0,), at, 1))
            at += 1
    return tuple(terms)
