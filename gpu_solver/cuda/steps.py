"""Steps of the sweeps that only the CUDA kernels have, made of those of `gpu_solver.fused.sweeps`.

Segments of time are eliminated keeping ``columns``, L^-1 times the coupling of a time with the one
that stays before the segment: then a right-hand side needs one sweep forward and one back. The
times that stay make a block-tridiagonal system of general blocks, cut into segments in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import signature

from gpu_solver.fused.sweeps import STEPS, Flat, Sizes, Step, steps_of
from gpu_solver.fused.trace import Scalar, Tape, trace

__all__ = ["tape_of"]


class _SegmentSteps:
    """Steps for segments of the problem itself ("row") and of a system of blocks ("block")."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes, self.n = sizes, sizes.n
        self.rows = steps_of(sizes)
        # Without equations only the arithmetic of blocks is left of a step.
        self.blocks = steps_of(Sizes(sizes.variables, sizes.order, 0))

    def _forward(self, lower: Flat, rhs: Flat) -> list[Scalar]:
        out: list[Scalar] = []
        for i, value in enumerate(rhs):
            row = lower[i * (i - 1) // 2 : i * (i + 1) // 2]
            for a, x in zip(row, out, strict=True):
                value = value - a * x
            out.append(value)
        return out

    def fill_columns(
        self, lower: Flat, inverse: Flat, gain: Flat, fill: Flat, now: Flat
    ) -> dict[str, Flat]:
        """Carry the coupling with the time before the segment past an eliminated time."""
        n = self.n
        nothing = [0.0] * n
        columns = [self._forward(lower, [fill[i * n + j] for i in range(n)]) for j in range(n)]
        after = self.rows["fill_segment"](lower, inverse, gain, nothing, fill, now, nothing)
        return {
            "columns": [columns[j][i] for i in range(n) for j in range(n)],
            "fill": after["fill"],
            "now": after["now"],
        }

    def eliminate_chain(self, block: Flat, below: Flat, left: Flat, worst: Flat) -> dict[str, Flat]:
        """Eliminate a time of a system of blocks; ``below`` couples the next time with it."""
        n, nothing = self.n, [0.0] * self.n
        whole = [a + b for a, b in zip(left, block, strict=True)]
        found = self.blocks["factor_forward_last"]([], [], [], nothing, whole, worst, nothing)
        lower, inverse = found["lower"], found["inverse"]
        scaled = [self._forward(lower, below[i * n : (i + 1) * n]) for i in range(n)]
        gain = [[x * p for x, p in zip(row, inverse, strict=True)] for row in scaled]
        after: list[Scalar] = []
        for i in range(n):
            for j in range(i + 1):
                entry: Scalar = 0.0
                for a, b in zip(scaled[i], gain[j], strict=True):
                    entry = entry - a * b
                after.append(entry)
        return {
            "lower": lower,
            "inverse": inverse,
            "gain": [value for row in gain for value in row],
            "left": after,
            "worst": found["worst"],
        }

    def forward_chain(self, lower: Flat, gain: Flat, carried: Flat) -> dict[str, Flat]:
        """Substitute a right-hand side forward."""
        n = self.n
        z = self._forward(lower, carried)
        after: list[Scalar] = []
        for i in range(n):
            entry: Scalar = 0.0
            for a, x in zip(gain[i * n : (i + 1) * n], z, strict=True):
                entry = entry - a * x
            after.append(entry)
        return {"z": z, "carried": after}

    def couple_a(self, columns: Flat, inverse: Flat, z: Flat, rhs: Flat) -> dict[str, Flat]:
        """Take an eliminated time out of the right-hand side of the time before the segment."""
        n = self.n
        scaled = [a * p for a, p in zip(z, inverse, strict=True)]
        out = list(rhs)
        for j in range(n):
            for i in range(n):
                out[j] = out[j] - columns[i * n + j] * scaled[i]
        return {"rhs": out}


_OWN: dict[str, tuple[str, ...]] = {
    name: tuple(signature(getattr(_SegmentSteps, name)).parameters)[1:]
    for name in vars(_SegmentSteps)
    if not name.startswith("_")
}


@cache
def tape_of(name: str, sizes: Sizes, absent: frozenset[str]) -> Tape:
    """Record a step; arguments in ``absent`` are zeros, and no input of the tape."""
    from gpu_solver.fused.sweeps import counts

    arguments = STEPS.get(name) or _OWN[name]
    step: Step = steps_of(sizes)[name] if name in STEPS else getattr(_SegmentSteps(sizes), name)
    n = sizes.n
    count = counts(sizes) | {"block": sizes.triangle, "below": n * n, "columns": n * n}
    zeros = {each: [0.0] * count[each] for each in arguments if each in absent}
    function: Callable[..., dict[str, Flat]] = lambda **given: step(**given, **zeros)  # noqa: E731
    return trace(function, {each: count[each] for each in arguments if each not in absent})
