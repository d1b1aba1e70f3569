"""Tensors of a problem as the CUDA kernels read them: pointers and strides, copies only in need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

__all__ = ["Strided", "flat", "folded", "numbers_of", "whole"]


@dataclass(frozen=True, eq=False)
class Strided:
    """A tensor whose entries of one time are contiguous, and its strides in elements.

    Attributes
    ----------
    tensor : Tensor
    problem, part, time : int
        Strides over problems, over parts (variables that are problems of their own) and over
        times; 0 where the tensor is the same for all.
    """

    tensor: Any
    problem: int
    part: int
    time: int


def flat(tensor: Any, batch: tuple[int, ...], core: int) -> Any:
    """Batch axes folded into one (problems, ...): a view unless strides forbid it.

    What is the same for the whole batch is expanded, never copied.
    """
    mine, rest = tensor.shape[:-core], tensor.shape[-core:]
    count = prod(batch)
    if all(size == 1 for size in mine):
        return tensor.reshape(rest).expand(count, *rest)
    return tensor.expand(*batch, *rest).reshape(count, *rest)


def whole(tensor: Any, entry_axes: int) -> Strided:
    """A tensor (problems, times, ...) with that many axes of entries."""
    tensor = _contiguous(tensor, entry_axes)
    return Strided(tensor, _stride(tensor, 0), 0, _stride(tensor, 1))


def folded(tensor: Any, entry_axes: int) -> Strided:
    """A tensor (problems, times, V, ...) whose variables are problems of their own."""
    tensor = _contiguous(tensor, entry_axes - 1)
    return Strided(tensor, _stride(tensor, 0), _stride(tensor, 2), _stride(tensor, 1))


def _stride(tensor: Any, axis: int) -> int:
    return 0 if tensor.shape[axis] == 1 else int(tensor.stride(axis))


def _contiguous(tensor: Any, entry_axes: int) -> Any:
    """The tensor, or a copy if its last axes are not contiguous; repeated axes stay repeated."""
    expected = 1
    fits = True
    for axis in range(tensor.ndim - 1, tensor.ndim - 1 - entry_axes, -1):
        fits &= tensor.shape[axis] == 1 or tensor.stride(axis) == expected
        expected *= tensor.shape[axis]
    if fits:
        return tensor
    lead = tensor.ndim - entry_axes
    once = tensor
    for axis in range(lead):
        if tensor.stride(axis) == 0 and tensor.shape[axis] > 1:
            once = once.narrow(axis, 0, 1)
    return once.contiguous().expand(tensor.shape)


def numbers_of(arrays: Mapping[str, Strided]) -> dict[str, Any]:
    """Arguments of a kernel for these arrays."""
    given: dict[str, Any] = {}
    for name, array in arrays.items():
        given[name] = array.tensor
        given |= {f"{name}_b": array.problem, f"{name}_v": array.part, f"{name}_t": array.time}
    return given


def device_weight(value: Any, core: tuple[int, ...], device: Any) -> Any:
    """Squared weights (..., times or 1, ...) in float64 on a device; ``core`` is their rows' shape.

    A single number is filled in there: nothing waits for a copy from the host.
    """
    entries = core[1:]
    if value.size == 1:
        number = float(value.reshape(-1)[0]) ** 2
        return torch.full((1, *entries), number, dtype=torch.float64, device=device)
    shape = (1,) * max(len(core) - value.ndim, 0) + value.shape
    squared = torch.as_tensor(value, dtype=torch.float64).square().reshape(shape)
    return squared.expand(*shape[: -len(entries)], *entries).contiguous().to(device)
