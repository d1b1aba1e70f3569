"""Tapes as compiled vector code: every scalar of the tape becomes one SIMD register of lanes.

A step becomes a numba intrinsic whose arguments are addresses. What it reads and writes at an
address are ``count`` rows of ``LANES`` float64 each. The vector instructions are written out here
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

from gpu_solver.fused.sweeps import STEPS, Sizes, counts, steps_of
from gpu_solver.fused.trace import Tape, trace

__all__ = ["LANES", "ROW", "steps_for", "with_parameters"]

#: Problems side by side in a register.
LANES = 8
#: Bytes of one scalar of all lanes.
ROW = 8 * LANES

_DOUBLE = ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_ARITHMETIC = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}


def steps_for(variables: int, order: int, equations: int) -> dict[str, Any]:
    """Every step of `gpu_solver.fused.sweeps`, compiled for these sizes.

    A step is called with one address per argument, and then one per result that is not also an
    argument; results with the name of an argument are written over it.
    """
    sizes = Sizes(variables, order, equations)
    return {name: _intrinsic(name, sizes) for name in STEPS}


@cache
def _taped(name: str, sizes: Sizes) -> Tape:
    size_of = counts(sizes)
    return trace(steps_of(sizes)[name], {each: size_of[each] for each in STEPS[name]})


def _intrinsic(name: str, sizes: Sizes) -> Any:
    # Results have the same names for all sizes: ask the smallest.
    smallest = _taped(name, Sizes(1, 1, 1))
    names = list(smallest.inputs) + [out for out in smallest.outputs if out not in smallest.inputs]

    def typed(typing_context: Any, *addresses: Any) -> Any:
        tape = _taped(name, sizes)  # only when compiling: not when the disk has it

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emit(tape, builder, dict(zip(names, arguments, strict=True)))
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


def emit(tape: Tape, builder: Any, addresses: dict[str, Any]) -> None:
    """Write the operations of a tape at the builder's place."""
    pointer = ir.PointerType()
    element = ir.IntType(64)

    def place(name: str, k: int) -> Any:
        address = builder.add(addresses[name], element(ROW * k))
        return builder.inttoptr(address, pointer)

    results: dict[int, list[tuple[str, int]]] = {}
    for name, placed in tape.outputs.items():
        for k, index in enumerate(placed):
            results.setdefault(index, []).append((name, k))
    late: list[tuple[Any, str, int]] = []
    values: list[Any] = []
    for index, (name, a, b) in enumerate(tape.operations):
        if name == "input":
            value = builder.load(place(a, b), align=8, typ=_VECTOR)
        elif name == "constant":
            value = ir.Constant(_VECTOR, [ir.Constant(_DOUBLE, a)] * LANES)
        elif name in _ARITHMETIC:
            value = getattr(builder, _ARITHMETIC[name])(values[a], values[b], flags=["contract"])
        elif name == "neg":
            value = builder.fneg(values[a])
        elif name == "abs":
            negative = builder.fcmp_ordered("<", values[a], ir.Constant(_VECTOR, [0.0] * LANES))
            value = builder.select(negative, builder.fneg(values[a]), values[a])
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
