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
    groups: int = 1,
) -> dict[str, Any]:
    """Every step of `gpu_solver.fused.sweeps`, compiled for these sizes.

    A step is called with one address per argument, and then one per result that is not also an
    argument; results with the name of an argument are written over it. Arguments named in
    ``uniform`` have one number for all lanes instead of a row; with ``lanes`` 1 everything has.

    With ``over_times`` a step of ``CARRIED`` is a loop: it is called with how many times (1 or
    more), how far the memory of a group of lanes is from that of the next of ``groups`` done side
    by side, and, after each address, how far apart the times of that array are. What is carried
    stays in registers, and has no such distance.
    """
    sizes = Sizes(variables, order, equations)
    loops = CARRIED if over_times else {}
    return {
        name: _intrinsic(name, sizes, lanes, uniform, loops.get(name), groups) for name in STEPS
    }


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
    groups: int = 1,
) -> Any:
    # Results have the same names for all sizes: ask the smallest.
    smallest = _taped(name, Sizes(1, 1, 1))
    names = list(smallest.inputs) + [out for out in smallest.outputs if out not in smallest.inputs]
    if carried is None:
        parameters = names
    else:
        parameters = ["times", "beside"]
        for each in names:
            parameters += [each] if each in carried else [each, f"{each}_apart"]

    def typed(typing_context: Any, *addresses: Any) -> Any:
        tape = _taped(name, sizes)  # only when compiling: not when the disk has it

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            given = dict(zip(parameters, arguments, strict=True))
            if carried is None:
                emit(tape, builder, [given], lanes, uniform)
            else:
                _emit_loop(tape, builder, given, carried, lanes, uniform, groups)
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
    groups: int,
) -> None:
    """Write a loop over the operations of a tape; ``given`` is named as a step's parameters."""
    integer = ir.IntType(64)
    kind = _DOUBLE if lanes == 1 else ir.VectorType(_DOUBLE, lanes)
    size = 8 * lanes
    beside = [builder.mul(given["beside"], integer(group)) for group in range(groups)]
    entry, body = builder.block, builder.append_basic_block("times")
    places = [{name: builder.add(given[name], offset) for name in carried} for offset in beside]
    before = [
        {
            name: [
                builder.load(_place(builder, address, size * k), align=8, typ=kind)
                for k in range(tape.inputs[name])
            ]
            for name, address in each.items()
        }
        for each in places
    ]
    builder.branch(body)
    builder.position_at_end(body)
    left = builder.phi(integer)
    moving = {name: builder.phi(integer) for name in given if f"{name}_apart" in given}
    known = [
        {name: [builder.phi(kind) for _ in values] for name, values in each.items()}
        for each in before
    ]
    addresses = [
        {name: at if name in uniform else builder.add(at, offset) for name, at in moving.items()}
        for offset in beside
    ]
    found = emit(tape, builder, addresses, lanes, uniform, known)
    fewer = builder.sub(left, integer(1))
    edges = [(left, given["times"], fewer)]
    for name, at in moving.items():
        edges.append((at, given[name], builder.add(at, given[f"{name}_apart"])))
    for phis, first, following in zip(known, before, found, strict=True):
        for name, result in carried.items():
            edges += zip(phis[name], first[name], following[result], strict=True)
    for phi, first, following in edges:
        phi.add_incoming(first, entry)
        phi.add_incoming(following, body)
    done = builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", fewer, integer(0)), body, done)
    builder.position_at_end(done)
    for place, values in zip(places, found, strict=True):
        for name, result in carried.items():
            if name == result:  # another is among the results by time
                for k, value in enumerate(values[name]):
                    builder.store(value, _place(builder, place[name], size * k), align=8)


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
    addresses: list[dict[str, Any]],
    lanes: int = LANES,
    uniform: frozenset[str] = frozenset(),
    known: list[dict[str, list[Any]]] | None = None,
) -> list[dict[str, list[Any]]]:
    """Write the operations of a tape at the builder's place; return its results.

    There are addresses for one or more groups of lanes, whose operations take turns: what one
    waits for, another has time to do, and what is ``uniform`` is read once for all. Arguments that
    are ``known`` are not read, and results of their names not written.
    """
    groups = range(len(addresses))
    known = known or [{} for _ in groups]
    element = ir.IntType(64)
    kind = _DOUBLE if lanes == 1 else ir.VectorType(_DOUBLE, lanes)

    def place(group: int, name: str, k: int) -> Any:
        step = 8 if name in uniform else 8 * lanes
        return _place(builder, addresses[group][name], step * k)

    def read(group: int, name: str, k: int) -> Any:
        if name in known[group]:
            return known[group][name][k]
        if name not in uniform or lanes == 1:
            return builder.load(place(group, name, k), align=8, typ=kind)
        return splat(builder, builder.load(place(group, name, k), align=8, typ=_DOUBLE), lanes)

    def constant(number: float) -> Any:
        if lanes == 1:
            return ir.Constant(kind, number)
        return ir.Constant(kind, [ir.Constant(_DOUBLE, number)] * lanes)

    def magnitude(value: Any) -> Any:
        bits = element if lanes == 1 else ir.VectorType(element, lanes)
        rest = 2**63 - 1  # all bits but the sign
        mask = ir.Constant(bits, rest if lanes == 1 else [element(rest)] * lanes)
        return builder.bitcast(builder.and_(builder.bitcast(value, bits), mask), kind)

    def computed(name: str, a: Any, b: Any) -> Any:
        if name in _ARITHMETIC:
            return getattr(builder, _ARITHMETIC[name])(a, b, flags=["contract"])
        if name == "neg":
            return builder.fneg(a)
        if name == "abs":
            return magnitude(a)
        relation = "<" if name == "min" else ">"
        return builder.select(builder.fcmp_ordered(relation, a, b), a, b)

    results: dict[int, list[tuple[str, int]]] = {}
    for name, placed in tape.outputs.items():
        if name in known[0]:
            continue
        for k, index in enumerate(placed):
            results.setdefault(index, []).append((name, k))
    late: list[tuple[Any, Any]] = []
    values: list[list[Any]] = [[] for _ in groups]
    for index, (name, a, b) in enumerate(tape.operations):
        for group, mine in enumerate(values):
            if name == "input" and group > 0 and a in uniform:
                value = values[0][index]
            elif name == "input":
                value = read(group, a, b)
            elif name == "constant":
                value = constant(a)
            else:
                value = computed(name, mine[a], mine[b])
            mine.append(value)
            for target, k in results.get(index, ()):
                # An argument that is also a result is read whole before it is written.
                if target in tape.inputs:
                    late.append((value, (group, target, k)))
                else:
                    builder.store(value, place(group, target, k), align=8)
    for value, where in late:
        builder.store(value, place(*where), align=8)
    return [
        {name: [mine[index] for index in placed] for name, placed in tape.outputs.items()}
        for mine in values
    ]


def splat(builder: Any, number: Any, lanes: int) -> Any:
    """A vector with that number in all lanes."""
    whole = ir.VectorType(number.type, lanes)
    first = builder.insert_element(ir.Constant(whole, ir.Undefined), number, ir.IntType(32)(0))
    nowhere = ir.Constant(whole, ir.Undefined)
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [ir.IntType(32)(0)] * lanes)
    return builder.shuffle_vector(first, nowhere, zeros)
