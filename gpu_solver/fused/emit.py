"""Tapes as compiled vector code: every scalar of the tape becomes one SIMD register of lanes.

A step becomes a numba intrinsic whose arguments are addresses. What it reads and writes at an
address are rows of ``LANES`` float64 each. The vector instructions are written out here
rather than left to a loop vectoriser, so they do not depend on its mood, and numba has no thousand
statements to infer types for: compiling takes a fraction of the time.
"""

from __future__ import annotations

from functools import cache
from inspect import Parameter, Signature
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from gpu_solver.fused.layout import LANES
from gpu_solver.fused.sweeps import STEPS, Sizes, counts, steps_of
from gpu_solver.fused.trace import Tape, trace

__all__ = ["splat", "steps_for", "with_parameters"]

_DOUBLE = ir.DoubleType()
_ARITHMETIC = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}


def steps_for(
    variables: int,
    order: int,
    equations: int,
    *,
    lanes: int = LANES,
    uniform: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Every step of `gpu_solver.fused.sweeps`, compiled for these sizes.

    A step is called with one address per argument, and then one per result that is not also an
    argument; results with the name of an argument are written over it. Arguments named in
    ``uniform`` have one number for all lanes instead of a row; with ``lanes`` 1 everything has.
    """
    sizes = Sizes(variables, order, equations)
    return {name: _intrinsic(name, sizes, lanes, uniform) for name in STEPS}


@cache
def _taped(name: str, sizes: Sizes) -> Tape:
    size_of = counts(sizes)
    return trace(steps_of(sizes)[name], {each: size_of[each] for each in STEPS[name]})


def _intrinsic(name: str, sizes: Sizes, lanes: int, uniform: frozenset[str]) -> Any:
    # Results have the same names for all sizes: ask the smallest.
    smallest = _taped(name, Sizes(1, 1, 1))
    names = list(smallest.inputs) + [out for out in smallest.outputs if out not in smallest.inputs]

    def typed(typing_context: Any, *addresses: Any) -> Any:
        tape = _taped(name, sizes)  # only when compiling: not when the disk has it

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emit(tape, builder, dict(zip(names, arguments, strict=True)), lanes, uniform)
            return context.get_dummy_value()

        return types.void(*[types.intp] * len(names)), generate

    return with_parameters(typed, name, names)


def with_parameters(typed: Any, name: str, names: list[str]) -> Any:
    """Make an intrinsic of a function of ``*arguments``, whose names numba wants to know."""
    kind = Parameter.POSITIONAL_OR_KEYWORD
    parameters = [Parameter(each, kind) for each in ["typing_context", *names]]
    typed.__signature__ = Signature(parameters)
    typed.__name__ = name
    return intrinsic(typed)


def emit(
    tape: Tape,
    builder: Any,
    addresses: dict[str, Any],
    lanes: int = LANES,
    uniform: frozenset[str] = frozenset(),
) -> None:
    """Write the operations of a tape at the builder's place."""
    pointer, element = ir.PointerType(), ir.IntType(64)
    kind = _DOUBLE if lanes == 1 else ir.VectorType(_DOUBLE, lanes)

    def place(name: str, k: int) -> Any:
        row = 8 if name in uniform else 8 * lanes
        address = builder.add(addresses[name], element(row * k))
        return builder.inttoptr(address, pointer)

    def read(name: str, k: int) -> Any:
        if name not in uniform or lanes == 1:
            return builder.load(place(name, k), align=8, typ=kind)
        return splat(builder, builder.load(place(name, k), align=8, typ=_DOUBLE), lanes)

    def constant(number: float) -> Any:
        if lanes == 1:
            return ir.Constant(kind, number)
        return ir.Constant(kind, [ir.Constant(_DOUBLE, number)] * lanes)

    def magnitude(value: Any) -> Any:
        bits = element if lanes == 1 else ir.VectorType(element, lanes)
        rest = 2**63 - 1  # all bits but the sign
        mask = ir.Constant(bits, rest if lanes == 1 else [element(rest)] * lanes)
        return builder.bitcast(builder.and_(builder.bitcast(value, bits), mask), kind)

    results: dict[int, list[tuple[str, int]]] = {}
    for name, placed in tape.outputs.items():
        for k, index in enumerate(placed):
            results.setdefault(index, []).append((name, k))
    late: list[tuple[Any, str, int]] = []
    values: list[Any] = []
    for index, (name, a, b) in enumerate(tape.operations):
        if name == "input":
            value = read(a, b)
        elif name == "constant":
            value = constant(a)
        elif name in _ARITHMETIC:
            value = getattr(builder, _ARITHMETIC[name])(values[a], values[b], flags=["contract"])
        elif name == "neg":
            value = builder.fneg(values[a])
        elif name == "abs":
            value = magnitude(values[a])
        else:
            relation = "<" if name == "min" else ">"
            value = builder.select(
                builder.fcmp_ordered(relation, values[a], values[b]), values[a], values[b]
            )
        values.append(value)
        for target, k in results.get(index, ()):
            # An argument that is also a result is read whole before it is written.
            if target in tape.inputs:
                late.append((value, target, k))
            else:
                builder.store(value, place(target, k), align=8)
    for value, target, k in late:
        builder.store(value, place(target, k), align=8)


def splat(builder: Any, number: Any, lanes: int) -> Any:
    """A vector with that number in all lanes."""
    whole = ir.VectorType(number.type, lanes)
    first = builder.insert_element(ir.Constant(whole, ir.Undefined), number, ir.IntType(32)(0))
    nowhere = ir.Constant(whole, ir.Undefined)
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [ir.IntType(32)(0)] * lanes)
    return builder.shuffle_vector(first, nowhere, zeros)
