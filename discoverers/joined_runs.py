"""All runs at once: what the joint fit does to every interval, and to runs of one length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_solver import BlockTridiagonal, BlockTridiagonalFactor

from .flow import Record

__all__ = ["EliminatedStates", "JoinedRuns"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class JoinedRuns(Record):
    """All runs as one, for what is done to every interval on its own: fewer, longer operations.

    Nodes are those of the runs one after the other. Intervals are too, and there are fewer.
    """

    parts: tuple[Record, ...] = ()

    @classmethod
    def of(cls, records: Sequence[Record]) -> JoinedRuns:
        """Join runs."""
        steps, x, precision, u = (
            np.concatenate([getattr(record, name) for record in records])
            for name in ("steps", "x", "precision", "u")
        )
        return cls(steps, x, precision, u, parts=tuple(records))

    @cached_property
    def bounds(self) -> Index:
        """Where the nodes of each run begin among those of all, and their number."""
        return np.concatenate([[0], np.cumsum([len(record.x) for record in self.parts])])

    def intervals(self, nodes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """What nodes of all runs (N, ...) have at the start and at the end of every interval."""
        if len(self.parts) == 1:
            return nodes[:-1], nodes[1:]
        starts = np.ones(len(nodes), dtype=bool)
        ends = starts.copy()
        starts[self.bounds[1:] - 1] = False
        ends[self.bounds[:-1]] = False
        return nodes[starts], nodes[ends]

    def between(self, part: int, count: int) -> tuple[Array, Array, Array]:
        """Inputs during one of the substeps of every interval of all runs."""
        inputs = [record.between(part, count) for record in self.parts]
        a, b, c = (np.concatenate(each) for each in zip(*inputs, strict=True))
        return a, b, c


@dataclass(frozen=True, eq=False)
class EliminatedStates:
    """Factorised normal matrices of the states; runs of one length are factorised together."""

    bounds: Index  # where the runs' nodes begin, and their number
    groups: list[tuple[Index, BlockTridiagonalFactor]]  # runs, and the factor of their batch

    @classmethod
    def of(cls, bounds: Index, diagonal: Array, lower: Array) -> EliminatedStates:
        """Factorise blocks of all nodes (N, V, V), and of all intervals."""
        lengths = np.diff(bounds)
        groups = []
        for length in np.unique(lengths):
            runs = np.flatnonzero(lengths == length)
            if len(runs) < len(lengths):
                nodes = bounds[runs][:, None] + np.arange(length)
                blocks, below = diagonal[nodes], lower[nodes[:, :-1] - runs[:, None]]
            else:  # they lie as they have to
                blocks = diagonal.reshape(len(runs), length, *diagonal.shape[1:])
                below = lower.reshape(len(runs), length - 1, *lower.shape[1:])
            system = BlockTridiagonal(blocks, below)
            factor = system.factorize()
            if factor.failed.any():
                raise FloatingPointError("the states' normal matrix is singular")
            groups.append((runs, factor))
        return cls(bounds, groups)

    def _rows(self, runs: Index) -> slice | Index:
        """Nodes of some runs of one length."""
        if len(runs) == len(self.bounds) - 1:
            return slice(None)
        return np.concatenate([np.arange(*self.bounds[run : run + 2]) for run in runs])

    def _in_order(self, parts: list[Array]) -> Array:
        """What the groups have for their nodes, in the order of all nodes."""
        if len(parts) == 1:
            return parts[0]
        out = np.empty((self.bounds[-1], *parts[0].shape[1:]))
        for (runs, _), part in zip(self.groups, parts, strict=True):
            out[self._rows(runs)] = part
        return out

    def solve(self, right: Array) -> Array:
        """Solve for right-hand sides of all nodes (N, V, k)."""
        parts = []
        for runs, factor in self.groups:
            batch = (len(runs), factor.system.n_steps, *right.shape[1:])
            solved = factor.solve(right[self._rows(runs)].reshape(batch), columns=True)
            parts.append(solved.reshape(-1, *right.shape[1:]))
        return self._in_order(parts)

    def variances(self) -> Array:
        """Diagonal of the inverse (N, V)."""
        return self._in_order(
            [factor.variances().reshape(-1, factor.system.block_size) for _, factor in self.groups]
        )

    def log_determinant(self) -> float:
        """Of all matrices together."""
        return sum(float(factor.log_determinant().sum()) for _, factor in self.groups)
