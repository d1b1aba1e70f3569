"""What a pass over segments of time does, and the order of what it finds; imports no compiler."""

from __future__ import annotations

from gpu_solver.fused.sweeps import Sizes

__all__ = [
    "AGAIN",
    "CHANGE",
    "CODE",
    "CORRECT",
    "FILL",
    "FIRST",
    "LEFT",
    "LEFT_SIDE",
    "REDUCE",
    "REMAINDER",
    "RIGHT",
    "RIGHT_SIDE",
    "SIZE",
    "STATES",
    "WORST",
    "counts_of",
]

#: What a pass does besides factorising: find the reduced system, solve for the first answer,
#: correct it, find what remains of the residual for the times that stay.
REDUCE, FIRST, CORRECT, REMAINDER = 1, 2, 4, 8
#: Order of the arrays that a pass gives by segment: blocks of the reduced matrix at both ends and
#: between them, right-hand sides at both ends, signs of a bad factor, and the largest correction
#: and value of each unknown.
RIGHT, LEFT, FILL, RIGHT_SIDE, LEFT_SIDE, WORST, CHANGE, SIZE = range(8)
#: Numbers that `gpu_solver.fused.ends` keeps between passes: the status code so far, and whether
#: another correction is worth while; the rest is its own.
CODE, AGAIN, STATES = 0, 1, 6


def counts_of(sizes: Sizes) -> tuple[int, ...]:
    """Entries of these arrays."""
    n, triangle = sizes.n, sizes.triangle
    return triangle, triangle, n * n, n, n, 2, n, n
