"""Record what a plain Python function does to scalars as straight-line code.

A sweep (`gpu_solver.fused.sweeps`) is written over numbers. Called with floats it computes; called
through `trace` with symbols it leaves a tape of elementary operations, without loops, branches or
operations on constants, from which an engine emits its own code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Scalar", "Symbol", "Tape", "absolute", "maximum", "minimum", "trace"]

#: A float, or a symbol that stands for one.
Scalar = Any


@dataclass
class Tape:
    """Operations in the order they were done; a value is named by its place in the list.

    An operation is ``(name, a, b)``: ("input", array, k), ("constant", number, 0), or the name of
    an arithmetic function with the places of its operands (b is -1 if there is only one).
    """

    operations: list[tuple[str, Any, int]] = field(default_factory=list)
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, list[int]] = field(default_factory=dict)
    _known: dict[tuple[str, Any, int], int] = field(default_factory=dict)

    def record(self, name: str, a: Any, b: int = -1) -> Symbol:
        """Append an operation, or find it if it was done before."""
        if name in ("add", "mul", "max", "min") and a > b:
            a, b = b, a
        key = (name, a, b)
        if key not in self._known:
            self._known[key] = len(self.operations)
            self.operations.append(key)
        return Symbol(self, self._known[key])

    def place(self, value: Scalar) -> int:
        """Where a value is on the tape; numbers are put there first."""
        if isinstance(value, Symbol):
            return value.place
        return self.record("constant", float(value)).place

    @property
    def flops(self) -> int:
        """Arithmetic operations on the tape."""
        return sum(name not in ("input", "constant") for name, _, _ in self.operations)


@dataclass(frozen=True, eq=False)
class Symbol:
    """A number that is not known yet."""

    tape: Tape
    place: int

    def _binary(self, name: str, other: Scalar, swap: bool = False) -> Symbol:
        here, there = self.place, self.tape.place(other)
        return self.tape.record(name, *((there, here) if swap else (here, there)))

    def __add__(self, other: Scalar) -> Scalar:
        return self if _is(other, 0.0) else self._binary("add", other)

    __radd__ = __add__

    def __sub__(self, other: Scalar) -> Scalar:
        return self if _is(other, 0.0) else self._binary("sub", other)

    def __rsub__(self, other: Scalar) -> Scalar:
        return -self if _is(other, 0.0) else self._binary("sub", other, swap=True)

    def __mul__(self, other: Scalar) -> Scalar:
        if _is(other, 0.0):
            return 0.0
        if _is(other, 1.0):
            return self
        return -self if _is(other, -1.0) else self._binary("mul", other)

    __rmul__ = __mul__

    def __truediv__(self, other: Scalar) -> Scalar:
        return self._binary("div", other)

    def __rtruediv__(self, other: Scalar) -> Scalar:
        return self._binary("div", other, swap=True)

    def __neg__(self) -> Symbol:
        return self.tape.record("neg", self.place)


def _is(value: Scalar, number: float) -> bool:
    return not isinstance(value, Symbol) and value == number


def absolute(a: Scalar) -> Scalar:
    """|a|."""
    return a.tape.record("abs", a.place) if isinstance(a, Symbol) else abs(a)


def maximum(a: Scalar, b: Scalar) -> Scalar:
    """Larger of two; what it gives for NaN depends on the engine."""
    if isinstance(a, Symbol):
        return a._binary("max", b)
    return b._binary("max", a) if isinstance(b, Symbol) else max(a, b)


def minimum(a: Scalar, b: Scalar) -> Scalar:
    """Smaller of two; what it gives for NaN depends on the engine."""
    if isinstance(a, Symbol):
        return a._binary("min", b)
    return b._binary("min", a) if isinstance(b, Symbol) else min(a, b)


def trace(
    function: Callable[..., Mapping[str, Sequence[Scalar]]], inputs: Mapping[str, int]
) -> Tape:
    """Record ``function(**lists)``, where input ``name`` is a list of that many scalars.

    Examples
    --------
    >>> tape = trace(lambda x, y: {"out": [x[0] * y[0] + 1.0 * x[1]]}, {"x": 2, "y": 1})
    >>> [operation[0] for operation in tape.operations]
    ['input', 'input', 'mul', 'input', 'add']
    """
    tape = Tape(inputs=dict(inputs))
    results = function(**{name: _Inputs(tape, name, count) for name, count in inputs.items()})
    tape.outputs = {name: [tape.place(v) for v in values] for name, values in results.items()}
    return tape


class _Inputs(Sequence[Symbol]):
    """An input array whose entries go on the tape when they are first used."""

    def __init__(self, tape: Tape, name: str, count: int) -> None:
        self._tape, self._name, self._count = tape, name, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._tape.record("input", self._name, index)
