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

__all__ = ["EliminatedStates", "JoinedRuns", "Linearised", "Reduced"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]


TOGETHER = 40_000
"""Nodes of runs that are joined, at most: memory stays bounded, and eight runs of 5000 nodes are
eliminated side by side."""


@dataclass(frozen=True, eq=False)
class JoinedRuns(Record):
    """All runs as one, for what is done to every interval on its own: fewer, longer operations.

    Nodes are those of the runs one after the other. Intervals are too, and there are fewer.
    """

    parts: tuple[Record, ...] = ()

    @classmethod
    def grouped(cls, records: Sequence[Record], most: int = TOGETHER) -> list[JoinedRuns]:
        """Join neighbouring runs, up to so many nodes at once."""
        groups: list[list[Record]] = [[]]
        count = 0
        for record in records:
            count += len(record.x)
            if groups[-1] and count > most:
                groups.append([])
                count = len(record.x)
            groups[-1].append(record)
        return [cls.of(group) for group in groups]

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

    @cached_property
    def _places(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        starts = np.ones(self.bounds[-1], dtype=bool)
        ends = starts.copy()
        starts[self.bounds[1:] - 1] = False
        ends[self.bounds[:-1]] = False
        return starts, ends

    def intervals(self, nodes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """What nodes of all runs (N, ...) have at the start and at the end of every interval."""
        if len(self.parts) == 1:
            return nodes[:-1], nodes[1:]
        starts, ends = self._places
        return nodes[starts], nodes[ends]

    def between(self, part: int, count: int) -> tuple[Array, Array, Array]:
        """Inputs during one of the substeps of every interval of all runs."""
        inputs = [record.between(part, count) for record in self.parts]
        a, b, c = (np.concatenate(each) for each in zip(*inputs, strict=True))
        return a, b, c


@dataclass(frozen=True, eq=False)
class Linearised:
    """Normal equations of the states' steps and of chosen coefficients, for joined runs.

    Attributes
    ----------
    runs : JoinedRuns
    diagonal, lower : ndarray of shape (N, V, V), (I, V, V)
        The states' normal matrices.
    right : ndarray of shape (N, V, k + 1)
        What couples states and coefficients, and the states' own right-hand side.
    rows : ndarray of shape (I, V, k + 1)
        Derivatives of the links by the coefficients, and how far they are open, in units of q.
    """

    runs: JoinedRuns
    diagonal: Array
    lower: Array
    right: Array
    rows: Array

    @classmethod
    def of(
        cls, runs: JoinedRuns, nodes: Array, link: Array, reached: Array, a: Array, b: Array
    ) -> Linearised:
        """Assemble from the flow and its derivatives by states and coefficients."""
        from .joint_kernels import assemble

        n, n_states = nodes.shape
        wide = b.shape[2] + 1
        diagonal, lower = np.empty((n, n_states, n_states)), np.empty(a.shape)
        right, rows = np.empty((n, n_states, wide)), np.empty((len(b), n_states, wide))
        assemble(
            runs.bounds,
            nodes,
            runs.x,
            runs.precision,
            link,
            np.ascontiguousarray(reached),
            np.ascontiguousarray(a),
            np.ascontiguousarray(b),
            diagonal,
            lower,
            right,
            rows,
        )
        if not (np.isfinite(rows).all() and np.isfinite(lower).all()):
            raise FloatingPointError("the flow of the candidate equations is not finite")
        return cls(runs, diagonal, lower, right, rows)

    def eliminated(self) -> EliminatedStates:
        """Factorise the states' matrices; `FloatingPointError` where they are singular."""
        return EliminatedStates.of(self.runs.bounds, self.diagonal, self.lower)

    def schur(self, solved: Array) -> Array:
        """Normal matrix and right-hand side of the coefficients, one beside the other, (k, k + 1).

        `solved` are the states' answers to `right`.
        """
        wide = self.right.shape[2]
        border, links = self.right.reshape(-1, wide), self.rows.reshape(-1, wide)
        return np.asarray((links.T @ links - border.T @ solved.reshape(-1, wide))[:-1])


@dataclass(frozen=True, eq=False)
class Reduced:
    """The Schur complement on some coefficients, and what is needed to step back to states."""

    schur: Array  # (k, k)
    gradient: Array  # (k,)
    solved: Array  # (N, V, k + 1): minus d states / d coefficients, and the states' own step

    def moved(self, nodes: Array, step: Array) -> Array:
        """Nodes of all runs after a step of the coefficients."""
        return np.asarray(nodes + self.solved @ np.append(-step, 1.0))


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
