"""Raw memory as numba sees it here: addresses of float64 or float32, and rows of lanes.

Arrays come as descriptors, rows of int64: address, whether it is float32, the strides in bytes
over problems, times and entries, the number of times (1: the same at all times), how many lanes'
problems are folded into one of the array's, and the stride over those. So one compiled kernel takes
every dtype, layout and broadcast without a copy.
"""

# ruff: noqa: ANN001, ANN201

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types

from gpu_solver.fused.emit import LANES, ROW, with_parameters

__all__ = ["aligned", "descriptor", "fill_rows", "load", "pack", "store", "unpack"]


def _typed_access(width: Any, is_store: bool) -> Any:
    def typed(typing_context: Any, address: Any, *value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], ir.PointerType())
            single = isinstance(width, ir.FloatType)
            if is_store:
                number = builder.fptrunc(arguments[1], width) if single else arguments[1]
                builder.store(number, pointer, align=4 if single else 8)
                return context.get_dummy_value()
            number = builder.load(pointer, align=4 if single else 8, typ=width)
            return builder.fpext(number, ir.DoubleType()) if single else number

        if is_store:
            return types.void(types.intp, types.float64), generate
        return types.float64(types.intp), generate

    return with_parameters(typed, "access", ["address", "value"] if is_store else ["address"])


load = _typed_access(ir.DoubleType(), is_store=False)
store = _typed_access(ir.DoubleType(), is_store=True)
_load_single = _typed_access(ir.FloatType(), is_store=False)
_store_single = _typed_access(ir.FloatType(), is_store=True)


@njit(nogil=True, error_model="numpy")
def pack(source, count, to, rows, problems, starts, bad):
    """Copy ``rows`` times of every lane's problem, from its start on, to rows of lanes.

    Returns 1, or 0 if the source is the same at all times and one row was copied. ``bad`` (lanes)
    becomes NaN where a value is not finite.
    """
    varies = source[5] > 1
    copied = rows if varies else 1
    times, entries = copied, count
    if source[3] == count * source[4]:  # one run of numbers: one loop
        times, entries = 1, copied * count
    for lane in range(LANES):
        problem, part = divmod(problems[lane], source[6])
        address = source[0] + problem * source[2] + part * source[7]
        if varies:
            address += starts[lane] * source[3]
        out = to + 8 * lane
        check = 0.0
        if source[1] == 0:
            for t in range(times):
                for k in range(entries):
                    value = load(address + t * source[3] + k * source[4])
                    check += value * 0.0
                    store(out + (t * count + k) * ROW, value)
        else:
            for t in range(times):
                for k in range(entries):
                    value = _load_single(address + t * source[3] + k * source[4])
                    check += value * 0.0
                    store(out + (t * count + k) * ROW, value)
        bad[lane] += check
    return 1 if varies else 0


@njit(nogil=True, error_model="numpy")
def unpack(target, count, at, first, rows, problems, starts, lanes):
    """Copy local times ``first`` to ``rows`` of the first lanes to where they belong."""
    times, entries = rows - first, count
    if target[3] == count * target[4]:
        times, entries = 1, (rows - first) * count
    for lane in range(lanes):
        problem, part = divmod(problems[lane], target[6])
        address = target[0] + problem * target[2] + part * target[7]
        address += (starts[lane] + first) * target[3]
        source = at + 8 * lane + first * count * ROW
        if target[1] == 0:
            for t in range(times):
                for k in range(entries):
                    value = load(source + (t * count + k) * ROW)
                    store(address + t * target[3] + k * target[4], value)
        else:
            for t in range(times):
                for k in range(entries):
                    value = load(source + (t * count + k) * ROW)
                    _store_single(address + t * target[3] + k * target[4], value)


@njit(nogil=True, error_model="numpy")
def fill_rows(to, rows, value):
    """Set rows of lanes to a number."""
    for k in range(rows * LANES):
        store(to + 8 * k, value)


@njit(nogil=True, error_model="numpy")
def aligned(work):
    """First address in an array that is a multiple of a row of lanes."""
    return (work.ctypes.data + ROW - 1) // ROW * ROW


def descriptor(array: np.ndarray | None, fold_axis: int | None = None) -> list[int]:
    """Describe an array (problems, times, entries), or with an axis of parts among these."""
    if array is None:
        return [0, 0, 0, 0, 0, 0, 1, 0]
    parts, stride = 1, 0
    shape, strides = list(array.shape), list(array.strides)
    if fold_axis is not None:
        parts, stride = shape.pop(fold_axis), strides.pop(fold_axis)
    return [
        array.__array_interface__["data"][0],
        int(array.dtype == np.float32),
        *strides,
        shape[1],
        parts,
        stride,
    ]
