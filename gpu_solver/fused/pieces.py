"""Pieces of the steps of `gpu_solver.fused.sweeps`: rows of A, blocks of M, small factors.

All over plain scalars, in flat lists for one time or one interval; see there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial

from gpu_solver.fused.trace import Scalar, absolute, maximum, minimum

__all__ = [
    "Flat",
    "Matrix",
    "Pieces",
    "Sizes",
    "Step",
    "added",
    "dot",
    "flatten",
    "square",
    "triangle",
]

Flat = Sequence[Scalar]
Matrix = list[list[Scalar]]
Step = Callable[..., dict[str, Flat]]


@dataclass(frozen=True)
class Sizes:
    """V variables, derivatives up to R, Q governing rows a step."""

    variables: int
    order: int
    equations: int

    @property
    def n(self) -> int:
        """Unknowns a step."""
        return self.variables * (self.order + 1)

    @property
    def triangle(self) -> int:
        """Entries of a symmetric block."""
        return self.n * (self.n + 1) // 2


def _taylor(i: int, j: int, sign: int = 1) -> float:
    """Entry of F, eq. 20: ``sign**(j-i) / (j-i)!``."""
    return float(sign) ** (j - i) / factorial(j - i) if j >= i else 0.0


def _powers(s: Scalar, count: int) -> list[Scalar]:
    powers: list[Scalar] = [1.0]
    for _ in range(count - 1):
        powers.append(powers[-1] * s)
    return powers


def dot(a: Flat, b: Flat) -> Scalar:
    """Scalar product."""
    total: Scalar = 0.0
    for x, y in zip(a, b, strict=True):
        total = total + x * y
    return total


def added(a: Flat, b: Flat) -> list[Scalar]:
    """Entry by entry sum."""
    return [x + y for x, y in zip(a, b, strict=True)]


def square(values: Flat, n: int) -> Matrix:
    """Rows of a square matrix."""
    return [list(values[i * n : (i + 1) * n]) for i in range(n)]


def flatten(matrix: Matrix) -> list[Scalar]:
    """One row after the other."""
    return [value for row in matrix for value in row]


def triangle(values: Flat, n: int) -> Matrix:
    """Rows of a lower triangle."""
    return [list(values[i * (i + 1) // 2 : (i + 1) * (i + 2) // 2]) for i in range(n)]


class Pieces:
    """What the steps for given sizes are made of."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.n, self.size = sizes.n, sizes.order + 1

    def _blocks(self, s: Scalar, weights: Flat) -> tuple[Matrix, Matrix, Matrix]:
        """What one interval adds to M_tt (lower triangle) and M_{t+1,t+1}, and M_{t+1,t}."""
        n, size = self.n, self.size
        power = _powers(s, 2 * size - 1)
        now: Matrix = [[0.0] * (i + 1) for i in range(n)]
        then: Matrix = [[0.0] * (i + 1) for i in range(n)]
        below: Matrix = [[0.0] * n for _ in range(n)]
        for v in range(self.sizes.variables):
            at = v * size
            w = weights[at : at + size]
            for i in range(size):
                for j in range(size):
                    entry = _taylor(i, j) * w[i] + _taylor(j, i, -1) * w[j]
                    below[at + i][at + j] = -(entry * power[i + j])
                for j in range(i + 1):
                    gram = dot([_taylor(k, i) * _taylor(k, j) for k in range(j + 1)], w[: j + 1])
                    entry = (gram + w[i] if i == j else gram) * power[i + j]
                    now[at + i][at + j] = entry
                    then[at + i][at + j] = entry if (i + j) % 2 == 0 else -entry
        return now, then, below

    def _smooth_rows(
        self, s: Scalar, now: Flat, then: Flat, slope: bool = False
    ) -> tuple[list[Scalar], list[Scalar]]:
        """Taylor rows of one interval times (now, then), or their derivative with respect to s."""
        size = self.size
        power = _powers(s, size)
        if slope:
            power = [0.0, *(r * power[r - 1] for r in range(1, size))]
        forward, backward = [], []
        for v in range(self.sizes.variables):
            a = [power[r] * now[v * size + r] for r in range(size)]
            b = [power[r] * then[v * size + r] for r in range(size)]
            for r in range(size):
                f, g = b[r] - a[r], a[r] - b[r]
                for j in range(r + 1, size):
                    f, g = f - _taylor(r, j) * a[j], g - _taylor(r, j, -1) * b[j]
                forward.append(f)
                backward.append(g)
        return forward, backward

    def _smooth_residual(
        self, s: Scalar, smooth: Flat, y: Flat, after: Flat
    ) -> tuple[list[Scalar], list[Scalar]]:
        """Minus A^T W^2 A y of one interval's Taylor rows, at t and at t+1.

        Taylor's matrix back is the inverse of the one forward, so the backward rows are minus that
        matrix times the forward ones: y itself is needed only once.
        """
        size = self.size
        power = _powers(s, size)
        series = [p * _taylor(0, k) for k, p in enumerate(power)]
        now: list[Scalar] = []
        then: list[Scalar] = []
        for v in range(self.sizes.variables):
            here = slice(v * size, (v + 1) * size)
            a, b, w = y[here], after[here], smooth[here]
            # The difference first: it is exact where the two are close.
            missed = [a[r] - b[r] + dot(series[1 : size - r], a[r + 1 :]) for r in range(size)]
            forward = [p * x for p, x in zip(power, missed, strict=True)]
            back = [
                dot([_taylor(r, j, -1) for j in range(r, size)], forward[r:]) for r in range(size)
            ]
            forward = [x * m for x, m in zip(w, forward, strict=True)]
            back = [x * m for x, m in zip(w, back, strict=True)]
            pull = [
                p * (forward[j] + dot([_taylor(r, j, -1) for r in range(j + 1)], back[: j + 1]))
                for j, p in enumerate(power)
            ]
            now += [-dot(series[j::-1], pull[: j + 1]) for j in range(size)]
            then += pull
        return now, then

    def _governing(self, c: Flat) -> Matrix:
        return [list(c[q * self.n : (q + 1) * self.n]) for q in range(self.sizes.equations)]

    def _with_point(self, left: Flat, c: Flat, governing: Flat) -> Matrix:
        """``left`` with what the governing rows add to M_tt, lower triangle."""
        rows, out = self._governing(c), triangle(left, self.n)
        for row, weight in zip(rows, governing, strict=True):
            for i in range(self.n):
                weighted = weight * row[i]
                for j in range(i + 1):
                    out[i][j] = out[i][j] + weighted * row[j]
        return out

    def _with_source(self, out: Flat, c: Flat, governing: Flat, d: Flat) -> list[Scalar]:
        """``out`` with the right-hand side of the governing rows."""
        for row, weight, value in zip(self._governing(c), governing, d, strict=True):
            weighted = weight * value
            out = [x + a * weighted for x, a in zip(out, row, strict=True)]
        return list(out)

    def _with_misfit(self, out: Flat, c: Flat, governing: Flat, d: Flat, y: Flat) -> list[Scalar]:
        """``out`` with the residual of the governing rows."""
        misfits = [x - dot(row, y) for x, row in zip(d, self._governing(c), strict=True)]
        return self._with_source(out, c, governing, misfits)

    def _factor(self, block: Matrix, worst: Flat) -> tuple[Matrix, list[Scalar], Flat]:
        """Unit L (rows left of its diagonal), inverse pivots, and the worst pivot so far."""
        lower: Matrix = []
        inverse: list[Scalar] = []
        margin, smallest = worst
        floor = 16 * self.n * 2.0**-52
        for i in range(self.n):
            row: list[Scalar] = []
            scaled: list[Scalar] = []
            for j in range(i):
                scaled.append(block[i][j] - dot(scaled, lower[j]))
                row.append(scaled[j] * inverse[j])
            pivot = block[i][i] - dot(scaled, row)
            inverse.append(1.0 / pivot)
            lower.append(row)
            margin = minimum(margin, pivot - floor * block[i][i])
            smallest = minimum(smallest, inverse[i])
        return lower, inverse, [margin, smallest]

    @staticmethod
    def _forward(lower: Matrix, rhs: Flat) -> list[Scalar]:
        """L^-1 rhs."""
        out: list[Scalar] = []
        for row, value in zip(lower, rhs, strict=True):
            out.append(value - dot(row, out))
        return out

    def _back(
        self, lower: Flat, inverse: Flat, gain: Flat | None, z: Flat, after: Flat
    ) -> list[Scalar]:
        """L^-T (D^-1 z - gain^T after)."""
        n, rows = self.n, self._strict(lower)
        out = [a * p for a, p in zip(z, inverse, strict=True)]
        if gain is not None:
            out = [out[i] - dot(gain[i::n], after) for i in range(n)]
        for i in reversed(range(n)):
            for k in range(i):
                out[k] = out[k] - rows[i][k] * out[i]
        return out

    @staticmethod
    def _correct(x: Flat, y: Flat, take: Flat, change: Flat, size: Flat) -> dict[str, Flat]:
        return {
            "x": x,
            "y": [a + take[0] * b for a, b in zip(y, x, strict=True)],
            "change": [maximum(m, absolute(a)) for m, a in zip(change, x, strict=True)],
            "size": [maximum(m, absolute(a)) for m, a in zip(size, y, strict=True)],
        }

    def _strict(self, lower: Flat) -> Matrix:
        return [list(lower[i * (i - 1) // 2 : i * (i + 1) // 2]) for i in range(self.n)]
