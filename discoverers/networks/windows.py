"""Records cut into windows of equal length, as one batch of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from discoverers.shooting import Record

__all__ = ["Windows", "cut"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Windows:
    """B windows of L sampling intervals; shorter ones end in intervals of length 0.

    Attributes
    ----------
    stages : Tensor of shape (B, L, 2 k + 1, m)
    dt : Tensor of shape (B, L)
    inputs : Tensor of shape (B, L + 1, m)
        Inputs at the samples.
    y : Tensor of shape (B, L + 1, C)
        Observations; 0 where there is none.
    weight : Tensor of shape (B, L + 1, C)
        0 where nothing was measured or the next window has the same sample as its first.
    run, first : ndarray of shape (B,)
        Run, and sample in it, that each window begins with.
    follows : ndarray of bool, shape (B,)
        Whether the window goes on where the one before ends.
    """

    stages: Tensor
    dt: Tensor
    inputs: Tensor
    y: Tensor
    weight: Tensor
    run: NDArray[np.intp]
    first: NDArray[np.intp]
    follows: NDArray[np.bool_]

    @property
    def n_steps(self) -> int:
        """Number of intervals L of a window."""
        return int(self.dt.shape[1])

    def nodes(self, states: Sequence[Array]) -> Tensor:
        """States (n, n_s) of each run at the windows' samples, (B, L + 1, n_s)."""
        rows = [
            states[run][np.minimum(first + np.arange(self.n_steps + 1), len(states[run]) - 1)]
            for run, first in zip(self.run, self.first, strict=True)
        ]
        return torch.from_numpy(np.ascontiguousarray(np.stack(rows)))

    def gather(self, nodes: Array, lengths: Sequence[int]) -> tuple[Array, ...]:
        """States (n, n_s) of each run from those of the windows (B, L + 1, n_s)."""
        states = [np.empty((n, nodes.shape[2])) for n in lengths]
        for values, run, first in zip(nodes, self.run, self.first, strict=True):
            last = min(first + self.n_steps, len(states[run]) - 1)
            states[run][first : last + 1] = values[: last - first + 1]
        return tuple(states)


def cut(records: Sequence[Record], length: int | None, substeps: int) -> Windows:
    """Windows of `length` intervals (None: whole records) that share their end samples."""
    longest = max(len(record) - 1 for record in records)
    steps = longest if length is None else min(length, longest)
    parts: dict[str, list[Array]] = {name: [] for name in ("stages", "dt", "inputs", "y", "weight")}
    run, first, follows = [], [], []
    for index, record in enumerate(records):
        n = len(record)
        stages, dt = record.stages(substeps), np.diff(record.t)
        seen = np.isfinite(record.y)
        y = np.where(seen, record.y, 0.0)
        weight = seen * record.weight[:, None]
        for start in range(0, n - 1, steps):
            stop = min(start + steps, n - 1)
            samples = np.minimum(np.arange(start, start + steps + 1), n - 1)
            intervals = np.minimum(samples[:-1], n - 2)
            real = np.arange(start, start + steps) < stop
            counted = np.arange(start, start + steps + 1) <= stop
            if stop < n - 1:
                counted[-1] = False
            parts["stages"].append(stages[intervals])
            parts["dt"].append(np.where(real, dt[intervals], 0.0))
            parts["inputs"].append(record.u[samples])
            parts["y"].append(y[samples])
            parts["weight"].append(weight[samples] * counted[:, None])
            run.append(index)
            first.append(start)
            follows.append(start > 0)
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(np.stack(values)))
        for name, values in parts.items()
    }
    return Windows(
        **tensors, run=np.array(run), first=np.array(first), follows=np.array(follows, dtype=bool)
    )
