"""The few array operations that numpy and torch spell differently. Imports no torch itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "broadcast_to",
    "concat",
    "eye_like",
    "is_finite",
    "is_torch",
    "pad_end",
    "sum_to_shape",
    "to_numpy",
    "where",
    "zeros_like_of",
]


def is_torch(value: Any) -> bool:
    """Whether value is a torch tensor (false without importing torch if nobody has)."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _torch() -> Any:
    return sys.modules["torch"]


def to_numpy(value: Any) -> NDArray[Any]:
    """Return value as a numpy array, without its gradient history."""
    return value.detach().cpu().numpy() if is_torch(value) else np.asarray(value)


def zeros_like_of(value: Any, shape: Sequence[int]) -> Any:
    """Zeros of that shape, of the kind, dtype and device of value."""
    if is_torch(value):
        return value.new_zeros(tuple(shape))
    return np.zeros(tuple(shape), dtype=value.dtype)


def eye_like(value: Any, n: int) -> Any:
    """Identity of size n, of the kind, dtype and device of value."""
    if is_torch(value):
        return _torch().eye(n, dtype=value.dtype, device=value.device)
    return np.eye(n, dtype=value.dtype)


def broadcast_to(value: Any, shape: Sequence[int]) -> Any:
    """Read-only view of value in that shape."""
    if is_torch(value):
        return _torch().broadcast_to(value, tuple(shape))
    return np.broadcast_to(value, tuple(shape))


def where(condition: Any, yes: Any, no: float) -> Any:
    """Take yes where condition holds and the number no elsewhere."""
    if is_torch(yes):
        return _torch().where(condition, yes, _torch().full_like(yes, no))
    return np.where(condition, yes, no)


def is_finite(value: Any) -> Any:
    """Elementwise test for neither NaN nor infinity."""
    return _torch().isfinite(value) if is_torch(value) else np.isfinite(value)


def concat(parts: Sequence[Any], axis: int) -> Any:
    """Join along a negative axis, broadcasting all the other axes."""
    ndim = max(part.ndim for part in parts)
    shapes = []
    for part in parts:
        shape = [1] * (ndim - part.ndim) + list(part.shape)
        shape[axis] = 1
        shapes.append(shape)
    common = list(np.broadcast_shapes(*map(tuple, shapes)))
    full = []
    for part in parts:
        common[axis] = part.shape[axis]
        full.append(broadcast_to(part, common))
    if is_torch(parts[0]):
        return _torch().cat(full, dim=axis)
    return np.concatenate(full, axis=axis)


def pad_end(value: Any, axis: int, length: int) -> Any:
    """Append zeros along a negative axis until it has that length."""
    missing = length - value.shape[axis]
    if missing == 0:
        return value
    shape = list(value.shape)
    shape[axis] = missing
    return concat([value, zeros_like_of(value, shape)], axis)


def sum_to_shape(value: Any, shape: Sequence[int]) -> Any:
    """Sum over the axes along which an array of that shape was broadcast: its gradient."""
    extra = value.ndim - len(shape)
    if extra:
        value = value.sum(tuple(range(extra)))
    ones = tuple(i for i, size in enumerate(shape) if size == 1 and value.shape[i] != 1)
    if ones:
        value = value.sum(ones, keepdim=True) if is_torch(value) else value.sum(ones, keepdims=True)
    # An axis may also be larger here than in value when the gradient itself was broadcast.
    return broadcast_to(value, shape)
