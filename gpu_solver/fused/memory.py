"""Raw memory as the compiled loops see it: addresses of numbers, and rows of lanes.

Arrays of a problem come as descriptors (`gpu_solver.fused.descriptors`), so one compiled kernel
takes every dtype, layout and broadcast without a copy. Runs of numbers are brought from one run a
problem to one row a number, and back, a square of registers at a time.
"""

# ruff: noqa: ANN001, ANN201

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import types

from gpu_solver.fused.emit import with_parameters
from gpu_solver.fused.layout import LANES, ROW
from gpu_solver.fused.raw import (
    load,
    load_int,
    load_single,
    options,
    store,
    store_int,
    store_single,
)

__all__ = [
    "fill_rows",
    "load",
    "load_int",
    "options",
    "pack",
    "remain_a_function",
    "store",
    "store_int",
    "unpack",
]

_DOUBLE, _FLOAT, _INT = ir.DoubleType(), ir.FloatType(), ir.IntType(64)
_POINTER = ir.PointerType()


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Transpose a square of registers, swapping ever larger blocks off its diagonal."""
    step, index = 1, ir.IntType(32)
    while step < LANES:
        upper = [j if not j & step else LANES + j - step for j in range(LANES)]
        lower = [j + step if not j & step else LANES + j for j in range(LANES)]
        masks = [
            ir.Constant(ir.VectorType(index, LANES), [index(j) for j in each])
            for each in (upper, lower)
        ]
        for i in range(LANES):
            if not i & step:
                a, b = rows[i], rows[i + step]
                rows[i] = builder.shuffle_vector(a, b, masks[0])
                rows[i + step] = builder.shuffle_vector(a, b, masks[1])
        step *= 2
    return rows


def _square(width: Any, is_read: bool) -> Any:
    """Move LANES numbers of every lane between their runs and rows.

    ``runs`` is the address of the lanes' addresses, to which ``offset`` is added. When reading,
    numbers that are not finite make their lane of the row ``bad`` NaN.
    """
    vector, outside = ir.VectorType(_DOUBLE, LANES), ir.VectorType(width, LANES)
    single = width is _FLOAT
    align = 4 if single else 8

    def typed(typing_context: Any, runs: Any, offset: Any, rows: Any, bad: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            runs, offset, rows, bad = arguments

            def at(address: Any, k: int) -> Any:
                return builder.inttoptr(builder.add(address, _INT(k)), _POINTER)

            lanes = [
                builder.inttoptr(
                    builder.add(builder.load(at(runs, 8 * k), align=8, typ=_INT), offset), _POINTER
                )
                for k in range(LANES)
            ]
            if is_read:
                found = [builder.load(lane, align=align, typ=outside) for lane in lanes]
                if single:
                    found = [builder.fpext(value, vector) for value in found]
                found = _transposed(builder, found)
                zero = ir.Constant(vector, [0.0] * LANES)
                check = builder.load(at(bad, 0), align=8, typ=vector)
                for k, value in enumerate(found):
                    builder.store(value, at(rows, ROW * k), align=8)
                    zeroed = builder.fmul(value, zero, flags=["contract"])
                    check = builder.fadd(check, zeroed, flags=["contract"])
                builder.store(check, at(bad, 0), align=8)
            else:
                found = [builder.load(at(rows, ROW * k), align=8, typ=vector) for k in range(LANES)]
                found = _transposed(builder, found)
                if single:
                    found = [builder.fptrunc(value, outside) for value in found]
                for lane, value in zip(lanes, found, strict=True):
                    builder.store(value, lane, align=align)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 4), generate

    return with_parameters(typed, "move_square", ["runs", "offset", "rows", "bad"])


_read_square, _read_square_single = _square(_DOUBLE, True), _square(_FLOAT, True)
_write_square, _write_square_single = _square(_DOUBLE, False), _square(_FLOAT, False)


def _remain(typing_context: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


#: Said in a function, keeps it one: copies of it wherever it is called take long to compile.
remain_a_function = with_parameters(_remain, "remain_a_function", [])


@njit(types.void(*[types.int64] * 5), **options)
def _find_runs(array, per_time, problems, starts, runs) -> None:
    """Write where every lane's numbers begin to ``runs``."""
    remain_a_function()
    parts = load_int(array + 48)
    for lane in range(0, ROW, 8):
        problem = load_int(problems + lane)
        part = problem % parts
        problem //= parts
        address = load_int(array) + problem * load_int(array + 16) + part * load_int(array + 56)
        store_int(runs + lane, address + load_int(starts + lane) * per_time)


@njit(types.int64(*[types.int64] * 8), **options)
def pack(source, count, to, rows, problems, starts, runs, bad):
    """Copy ``rows`` times of every lane's problem, from its start on, to rows of lanes.

    ``problems``, ``starts`` and ``runs`` are rows of integers, the last one for use here. Returns
    1, or 0 if the source is the same at all times and one row was copied. ``bad`` becomes NaN
    where a value is not finite.
    """
    remain_a_function()
    varies = load_int(source + 40) > 1
    if not varies:
        rows = 1
    single = load_int(source + 8) != 0
    per_time, per_entry = load_int(source + 24), load_int(source + 32)
    _find_runs(source, per_time if varies else 0, problems, starts, runs)
    times, entries = rows, count
    if count == 1:
        times, entries, per_entry = 1, rows, per_time
    elif rows == 1 or per_time == count * per_entry:  # one run of numbers: one loop
        times, entries = 1, rows * count
    width = 4 if single else 8
    if times == 1 and per_entry == width and entries >= LANES:
        done = 0
        while done < entries:
            k = min(done, entries - LANES)  # the last square overlaps the one before
            if single:
                _read_square_single(runs, width * k, to + k * ROW, bad)
            else:
                _read_square(runs, width * k, to + k * ROW, bad)
            done += LANES
        return 1 if varies else 0
    for lane in range(0, ROW, 8):
        address, out, check = load_int(runs + lane), to + lane, 0.0
        for t in range(times):
            for k in range(entries):
                at = address + t * per_time + k * per_entry
                value = load_single(at) if single else load(at)
                check += value * 0.0
                store(out + (t * entries + k) * ROW, value)
        store(bad + lane, load(bad + lane) + check)
    return 1 if varies else 0


@njit(types.void(*[types.int64] * 9), **options)
def unpack(target, count, at, first, rows, problems, starts, runs, lanes):
    """Copy local times ``first`` to ``rows`` of the first lanes to where they belong."""
    remain_a_function()
    single = load_int(target + 8) != 0
    per_time, per_entry = load_int(target + 24), load_int(target + 32)
    _find_runs(target, per_time, problems, starts, runs)
    at += first * count * ROW
    begin = first * per_time
    times, entries = rows - first, count
    if count == 1:
        times, entries, per_entry = 1, rows - first, per_time
    elif times == 1 or per_time == count * per_entry:
        times, entries = 1, (rows - first) * count
    width = 4 if single else 8
    if lanes == LANES and times == 1 and per_entry == width and entries >= LANES:
        done = 0
        while done < entries:
            k = min(done, entries - LANES)
            if single:
                _write_square_single(runs, begin + width * k, at + k * ROW, at)
            else:
                _write_square(runs, begin + width * k, at + k * ROW, at)
            done += LANES
        return
    for lane in range(0, 8 * lanes, 8):
        address, source = load_int(runs + lane) + begin, at + lane
        for t in range(times):
            for k in range(entries):
                value = load(source + (t * entries + k) * ROW)
                to = address + t * per_time + k * per_entry
                if single:
                    store_single(to, value)
                else:
                    store(to, value)


@njit(types.void(types.int64, types.int64, types.float64), **options)
def fill_rows(to, rows, value):
    """Set rows of lanes to a number."""
    remain_a_function()
    for k in range(rows * LANES):
        store(to + 8 * k, value)
