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


#: Steps that can loop over time: what a time has from the one before it, and as which result.
CARRIED: dict[str, dict[str, str]] = {
    "substitute_forward": {"carried": "carried"},
    "residual_forward": {"carried": "carried", "next_": "next_"},
    "back": {"after": "y"},
    "back_correct": {"x": "x", "change": "change", "size": "size"},
}


def steps_for(
    variables: int,
    order: int,
    equations: int,
    *,
    lanes: int = LANES,
    uniform: frozenset[str] = frozenset(),
    over_times: bool = False,
) -> dict[str, Any]:
    """Every step of `gpu_solver.fused.sweeps`, compiled for these sizes.

    A step is called with one address per argument, and then one per result that is not also an
    argument; results with the name of an argument are written over it. Arguments named in
    ``uniform`` have one number for all lanes instead of a row; with ``lanes`` 1 everything has.

    With ``over_times`` a step of ``CARRIED`` is a loop: it is called with how many times (1 or
    more) and, after each address, how far apart the times of that array are. What is carried stays
    in registers, and has no such distance.
    """
    sizes = Sizes(variables, order, equations)
    loops = CARRIED if over_times else {}
    return {name: _intrinsic(name, sizes, lanes, uniform, loops.get(name)) for name in STEPS}


@cache
def _taped(name: str, sizes: Sizes) -> Tape:
    size_of = counts(sizes)
    return trace(steps_of(sizes)[name], {each: size_of[each] for each in STEPS[name]})


def _intrinsic(
    name: str,
    sizes: Sizes,
    lanes: int,
    uniform: frozenset[str],
    carried: dict[str, str] | None,
) -> Any:
    # Results have the same names for all sizes: ask the smallest.
    smallest = _taped(name, Sizes(1, 1, 1))
    names = list(smallest.inputs) + [out for out in smallest.outputs if out not in smallest.inputs]
    if carried is None:
        parameters = names
    else:
        parameters = ["times"]
        for each in names:
            parameters += [each] if each in carried else [each, f"{each}_apart"]

    def typed(typing_context: Any, *addresses: Any) -> Any:
        tape = _taped(name, sizes)  # only when compiling: not when the disk has it

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            given = dict(zip(parameters, arguments, strict=True))
            if carried is None:
                emit(tape, builder, given, lanes, uniform)
            else:
                _emit_loop(tape, builder, given, carried, lanes, uniform)
            return context.get_dummy_value()

        return types.void(*[types.intp] * len(parameters)), generate

    return with_parameters(typed, name, parameters)


def _emit_loop(
    tape: Tape,
    builder: Any,
    given: dict[str, Any],
    carried: dict[str, str],
    lanes: int,
    uniform: frozenset[str],
) -> None:
    """Write a loop over the operations of a tape; ``given`` is named as a step's parameters."""
    integer = ir.IntType(64)
    kind = _DOUBLE if lanes == 1 else ir.VectorType(_DOUBLE, lanes)
    size = 8 * lanes
    entry, body = builder.block, builder.append_basic_block("times")
    before = {
        name: [
            builder.load(_place(builder, given[name], size * k), align=8, typ=kind)
            for k in range(tape.inputs[name])
        ]
        for name in carried
    }
    builder.branch(body)
    builder.position_at_end(body)
    left = builder.phi(integer)
    moving = {name: builder.phi(integer) for name in given if f"{name}_apart" in given}
    known = {name: [builder.phi(kind) for _ in values] for name, values in before.items()}
    found = emit(tape, builder, moving, lanes, uniform, known)
    fewer = builder.sub(left, integer(1))
    edges = [(left, given["times"], fewer)]
    for name, at in moving.items():
        edges.append((at, given[name], builder.add(at, given[f"{name}_apart"])))
    for name, phis in known.items():
        edges += zip(phis, before[name], found[carried[name]], strict=True)
    for phi, first, following in edges:
        phi.add_incoming(first, entry)
        phi.add_incoming(following, body)
    done = builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", fewer, integer(0)), body, done)
    builder.position_at_end(done)
    for name, result in carried.items():
        if name == result:  # another is among the results by time
            for k, value in enumerate(found[name]):
                builder.store(value, _place(builder, given[name], size * k), align=8)


def _place(builder: Any, address: Any, offset: int) -> Any:
    return builder.inttoptr(builder.add(address, ir.IntType(64)(offset)), ir.PointerType())


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
    known: dict[str, list[Any]] | None = None,
) -> dict[str, list[Any]]:
    """Write the operations of a tape at the builder's place; return its results.

    Arguments that are ``known`` are not read, and results of their names not written.
    """
    known = known or {}
    element = ir.IntType(64)
    kind = _DOUBLE if lanes == 1 else ir.VectorType(_DOUBLE, lanes)

    def place(name: str, k: int) -> Any:
        return _place(builder, addresses[name], (8 if name in uniform else 8 * lanes) * k)

    def read(name: str, k: int) -> Any:
        if name in known:
            return known[name][k]
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
        if name in known:
            continue
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
    return {name: [values[index] for index in placed] for name, placed in tape.outputs.items()}


def splat(builder: Any, number: Any, lanes: int) -> Any:
    """A vector with that number in all lanes."""
    whole = ir.VectorType(number.type, lanes)
    first = builder.insert_element(ir.Constant(whole, ir.Undefined), number, ir.IntType(32)(0))
    nowhere = ir.Constant(whole, ir.Undefined)
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [ir.IntType(32)(0)] * lanes)
    return builder.shuffle_vector(first, nowhere, zeros)
