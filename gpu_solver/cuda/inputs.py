"""A flat batch of problems on a device, and how lanes share it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from gpu_solver.cuda.layout import Strided, flat, folded, whole
from gpu_solver.fused.sweeps import Sizes

__all__ = ["DeviceBatch", "batch_of"]

#: Axes of one time's entries.
_ENTRIES = {"c": 3, "d": 1, "u": 2, "s": 0, "governing": 1, "initial": 2, "smooth": 2}


@dataclass(frozen=True, eq=False)
class DeviceBatch:
    """Tensors (problems, times or 1, ...) of a flat batch.

    Attributes
    ----------
    tensors : dict
        ``c``, ``d``, ``u``, ``s`` and squared weights ``governing``, ``initial``, ``smooth``.
    sizes : Sizes
        Of the problem as it is.
    steps : int
        T.
    decoupled : bool
        Whether sweeps take every variable as a problem of its own.
    """

    tensors: dict[str, Any]
    sizes: Sizes
    steps: int
    decoupled: bool

    @property
    def n_problems(self) -> int:
        """Problems of the flat batch."""
        return int(self.tensors["c"].shape[0])

    @property
    def parts(self) -> int:
        """Sweeps a problem."""
        return self.sizes.variables if self.decoupled else 1

    @property
    def swept(self) -> Sizes:
        """Sizes of what a lane sweeps through."""
        return Sizes(1, self.sizes.order, 1) if self.decoupled else self.sizes

    @property
    def orders(self) -> int:
        """Derivatives that initial rows may have."""
        return int(self.tensors["u"].shape[3])

    @property
    def initial_times(self) -> int:
        """Times that may have initial rows."""
        return int(self.tensors["u"].shape[1])

    def empty(self) -> Any:
        """A new answer (problems, T, V, R+1), not filled."""
        shape = (self.n_problems, self.steps, self.sizes.variables, self.sizes.order + 1)
        return torch.empty(shape, dtype=torch.float64, device=self.tensors["c"].device)

    def zeros(self, *shape: int) -> Any:
        """Float64 zeros on the device."""
        return torch.zeros(shape, dtype=torch.float64, device=self.tensors["c"].device)

    def work(self, *shape: int) -> Any:
        """Float64 numbers on the device, not filled."""
        return torch.empty(shape, dtype=torch.float64, device=self.tensors["c"].device)

    def for_sweeps(self, names: tuple[str, ...]) -> dict[str, Strided]:
        """Inputs as sweeps read them."""
        return {name: self._swept(name) for name in names}

    def _swept(self, name: str) -> Strided:
        tensor, entries = self.tensors[name], _ENTRIES[name]
        if not self.decoupled or name == "s":
            return whole(tensor, entries)
        if name == "c":
            return folded(tensor.diagonal(dim1=2, dim2=3).movedim(-1, 2), 2)
        return folded(tensor, entries)

    def swept_answer(self, y: Any) -> Strided:
        """An answer (problems, T, V, R+1), contiguous, as sweeps write it."""
        return folded(y, 2) if self.decoupled else whole(y, 2)

    def for_points(self, names: tuple[str, ...]) -> dict[str, Strided]:
        """Inputs as they are, whatever the sweeps do."""
        return {name: whole(self.tensors[name], _ENTRIES[name]) for name in names}


def batch_of(
    given: dict[str, Any],
    weights: dict[str, Any],
    batch: tuple[int, ...],
    sizes: Sizes,
    steps: int,
    decoupled: bool,
) -> DeviceBatch:
    """Flatten the batch axes of c, d, u, s and of weights on the device."""
    tensors = {
        name: flat(tensor, batch, _ENTRIES[name] + 1) for name, tensor in (given | weights).items()
    }
    return DeviceBatch(tensors, sizes, steps, decoupled)
