"""The steps of the solver's sweeps over time, each written once, over plain scalars.

A step takes flat lists of numbers for one time t (or the interval from t to t+1) and one problem,
and returns flat lists by name. It runs as it stands on floats, and `gpu_solver.fused.trace` turns
it into straight-line code for given `Sizes`. Symmetric matrices are rows of their lower triangle.

The elimination is block ``L D L^T`` with unit L: with S_t what is left of M_tt and N_t = M_{t+1,t},
``S_t = L D L^T``, ``gain_t = N_t L^-T D^-1`` and ``S_{t+1} = M_{t+1,t+1} - gain D gain^T``; forward
``z_t = L^-1 (b_t - carried)``, carried to t+1 is ``gain z_t``; back
``x_t = L^-T (D^-1 z_t - gain^T x_{t+1})``. ``weights`` are squared weights throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from math import factorial

from gpu_solver.fused.trace import Scalar, absolute, maximum, minimum

__all__ = ["STEPS", "Sizes", "Step", "counts", "steps_of"]

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


def _dot(a: Flat, b: Flat) -> Scalar:
    total: Scalar = 0.0
    for x, y in zip(a, b, strict=True):
        total = total + x * y
    return total


def _sum(a: Flat, b: Flat) -> list[Scalar]:
    return [x + y for x, y in zip(a, b, strict=True)]


def _square(values: Flat, n: int) -> Matrix:
    return [list(values[i * n : (i + 1) * n]) for i in range(n)]


def _flat(matrix: Matrix) -> list[Scalar]:
    return [value for row in matrix for value in row]


def _lower(values: Flat, n: int) -> Matrix:
    """Rows of a lower triangle."""
    return [list(values[i * (i + 1) // 2 : (i + 1) * (i + 2) // 2]) for i in range(n)]


class _Steps:
    """The steps for given sizes."""

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
                    gram = _dot([_taylor(k, i) * _taylor(k, j) for k in range(j + 1)], w[: j + 1])
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

    def _smooth_adjoint(
        self, s: Scalar, forward: Flat, backward: Flat
    ) -> tuple[list[Scalar], list[Scalar]]:
        """Transposed Taylor rows: what they give to t and to t+1."""
        size = self.size
        power = _powers(s, size)
        now, then = [], []
        for v in range(self.sizes.variables):
            f, g = forward[v * size : (v + 1) * size], backward[v * size : (v + 1) * size]
            for j in range(size):
                a, b = g[j] - f[j], f[j] - g[j]
                for r in range(j):
                    a, b = a - _taylor(r, j) * f[r], b - _taylor(r, j, -1) * g[r]
                now.append(power[j] * a)
                then.append(power[j] * b)
        return now, then

    def _smooth_residual(
        self, s: Scalar, smooth: Flat, y: Flat, after: Flat
    ) -> tuple[list[Scalar], list[Scalar]]:
        """Minus A^T W^2 A y of one interval's Taylor rows, at t and at t+1."""
        rows = self._smooth_rows(s, y, after)
        forward, backward = ([w * x for w, x in zip(smooth, row, strict=True)] for row in rows)
        now, then = self._smooth_adjoint(s, forward, backward)
        return [-x for x in now], [-x for x in then]

    def _governing(self, c: Flat) -> Matrix:
        return [list(c[q * self.n : (q + 1) * self.n]) for q in range(self.sizes.equations)]

    def _with_point(self, left: Flat, c: Flat, governing: Flat) -> Matrix:
        """``left`` with what the governing rows add to M_tt, lower triangle."""
        rows, out = self._governing(c), _lower(left, self.n)
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
        misfits = [x - _dot(row, y) for x, row in zip(d, self._governing(c), strict=True)]
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
                scaled.append(block[i][j] - _dot(scaled, lower[j]))
                row.append(scaled[j] * inverse[j])
            pivot = block[i][i] - _dot(scaled, row)
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
            out.append(value - _dot(row, out))
        return out

    def _back(
        self, lower: Flat, inverse: Flat, gain: Flat | None, z: Flat, after: Flat
    ) -> list[Scalar]:
        """L^-T (D^-1 z - gain^T after)."""
        n, rows = self.n, self._strict(lower)
        out = [a * p for a, p in zip(z, inverse, strict=True)]
        if gain is not None:
            out = [out[i] - _dot(gain[i::n], after) for i in range(n)]
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

    def factor_forward(
        self,
        c: Flat,
        governing: Flat,
        d: Flat,
        base: Flat,
        s: Flat,
        smooth: Flat,
        left: Flat,
        worst: Flat,
        carried: Flat,
    ) -> dict[str, Flat]:
        """Eliminate time t and substitute forward.

        ``left`` and ``carried`` hold what t has from the interval before and from its initial
        rows; ``base`` is added to the right-hand side as it is. ``worst`` is the smallest so far
        of: a pivot minus the floor of rounding; the inverse of a pivot.
        """
        now, then, below = self._blocks(s[0], smooth)
        block = self._with_point(left, c, governing)
        block = [_sum(a, b) for a, b in zip(block, now, strict=True)]
        lower, inverse, worst = self._factor(block, worst)
        scaled = [self._forward(lower, row) for row in below]  # N L^-T
        gain = [[x * p for x, p in zip(row, inverse, strict=True)] for row in scaled]
        after = [
            [then[i][j] - _dot(scaled[i], gain[j]) for j in range(i + 1)] for i in range(self.n)
        ]
        z = self._forward(lower, self._with_source(_sum(carried, base), c, governing, d))
        return {
            "lower": _flat(lower),
            "inverse": inverse,
            "gain": _flat(gain),
            "left": _flat(after),
            "worst": worst,
            "z": z,
            "carried": [-_dot(row, z) for row in gain],
        }

    def factor_forward_last(
        self,
        c: Flat,
        governing: Flat,
        d: Flat,
        base: Flat,
        left: Flat,
        worst: Flat,
        carried: Flat,
    ) -> dict[str, Flat]:
        """Eliminate the last time, which no interval follows."""
        lower, inverse, worst = self._factor(self._with_point(left, c, governing), worst)
        z = self._forward(lower, self._with_source(_sum(carried, base), c, governing, d))
        return {"lower": _flat(lower), "inverse": inverse, "worst": worst, "z": z}

    def back(self, lower: Flat, inverse: Flat, gain: Flat, z: Flat, after: Flat) -> dict[str, Flat]:
        """Substitute back: the answer at t from the one at t+1."""
        return {"y": self._back(lower, inverse, gain, z, after)}

    def back_last(self, lower: Flat, inverse: Flat, z: Flat) -> dict[str, Flat]:
        """Substitute back at the last time."""
        return {"y": self._back(lower, inverse, None, z, z)}

    def residual_forward(
        self,
        c: Flat,
        governing: Flat,
        d: Flat,
        base: Flat,
        s: Flat,
        smooth: Flat,
        y: Flat,
        after: Flat,
        lower: Flat,
        gain: Flat,
        carried: Flat,
        next_: Flat,
    ) -> dict[str, Flat]:
        """Substitute ``base + A^T W^2 (b - A y)`` forward.

        ``next_`` is what the residual at t has from the interval before.
        """
        now, then = self._smooth_residual(s[0], smooth, y, after)
        rhs = _sum(_sum(_sum(carried, next_), base), now)
        z = self._forward(self._strict(lower), self._with_misfit(rhs, c, governing, d, y))
        gains = _square(gain, self.n)
        return {"z": z, "carried": [-_dot(row, z) for row in gains], "next_": then}

    def residual_forward_last(
        self,
        c: Flat,
        governing: Flat,
        d: Flat,
        base: Flat,
        y: Flat,
        lower: Flat,
        carried: Flat,
        next_: Flat,
    ) -> dict[str, Flat]:
        """The same at the last time."""
        rhs = _sum(_sum(carried, next_), base)
        return {"z": self._forward(self._strict(lower), self._with_misfit(rhs, c, governing, d, y))}

    def back_correct(
        self,
        lower: Flat,
        inverse: Flat,
        gain: Flat,
        z: Flat,
        x: Flat,
        y: Flat,
        take: Flat,
        change: Flat,
        size: Flat,
    ) -> dict[str, Flat]:
        """Substitute a correction x back and add it to y, where ``take`` is 1 and not 0."""
        return self._correct(self._back(lower, inverse, gain, z, x), y, take, change, size)

    def back_correct_last(
        self, lower: Flat, inverse: Flat, z: Flat, y: Flat, take: Flat, change: Flat, size: Flat
    ) -> dict[str, Flat]:
        """The same at the last time."""
        return self._correct(self._back(lower, inverse, None, z, z), y, take, change, size)

    def gradient(self, c: Flat, governing: Flat, d: Flat, y: Flat, g: Flat) -> dict[str, Flat]:
        """dl/dc and dl/dd at t: ``rho g^T - h y^T`` and ``h``."""
        dc: list[Scalar] = []
        dd: list[Scalar] = []
        for q, row in enumerate(self._governing(c)):
            rho = governing[q] * (d[q] - _dot(row, y))
            h = governing[q] * _dot(row, g)
            dc += [rho * a - h * b for a, b in zip(g, y, strict=True)]
            dd.append(h)
        return {"dc": dc, "dd": dd}

    def gradient_step(
        self, s: Flat, smooth: Flat, y: Flat, after: Flat, g: Flat, g_after: Flat
    ) -> dict[str, Flat]:
        """dl/ds of the interval from t to t+1."""
        total: Scalar = 0.0
        y_rows, g_rows = self._smooth_rows(s[0], y, after), self._smooth_rows(s[0], g, g_after)
        y_slopes = self._smooth_rows(s[0], y, after, slope=True)
        g_slopes = self._smooth_rows(s[0], g, g_after, slope=True)
        for k in (0, 1):
            for i, w in enumerate(smooth):
                total = total - w * (y_rows[k][i] * g_slopes[k][i] + g_rows[k][i] * y_slopes[k][i])
        return {"ds": [total]}

    # A segment of time between two times that stay: a, then the eliminated ones, then b.

    def open_segment(self, s: Flat, smooth: Flat) -> dict[str, Flat]:
        """Its first interval: what a and the first eliminated time get, and their coupling."""
        now, then, below = self._blocks(s[0], smooth)
        return {"now": _flat(now), "left": _flat(then), "fill": _flat(below)}

    def fill_segment(
        self, lower: Flat, inverse: Flat, gain: Flat, z: Flat, fill: Flat, now: Flat, rhs: Flat
    ) -> dict[str, Flat]:
        """Carry the coupling with a past the elimination of a time; take that time out of a."""
        n = self.n
        rows, gains, before = self._strict(lower), _square(gain, n), _lower(now, n)
        columns = [self._forward(rows, [fill[i * n + j] for i in range(n)]) for j in range(n)]
        scaled = [[x * p for x, p in zip(column, inverse, strict=True)] for column in columns]
        return {
            "fill": [-_dot(gains[i], columns[j]) for i in range(n) for j in range(n)],
            "now": [
                before[i][j] - _dot(columns[i], scaled[j]) for i in range(n) for j in range(i + 1)
            ],
            "rhs": [rhs[j] - _dot(scaled[j], z) for j in range(n)],
        }

    def close_segment(
        self, c: Flat, governing: Flat, d: Flat, base: Flat, left: Flat, carried: Flat
    ) -> dict[str, Flat]:
        """Give b its own rows."""
        return {
            "left": _flat(self._with_point(left, c, governing)),
            "carried": self._with_source(_sum(carried, base), c, governing, d),
        }

    def couple(self, fill: Flat, x: Flat, carried: Flat) -> dict[str, Flat]:
        """Take what a known a means for the first eliminated time from its right-hand side."""
        rows = _square(fill, self.n)
        return {"carried": [v - _dot(row, x) for v, row in zip(carried, rows, strict=True)]}

    def couple_back(self, fill: Flat, x: Flat, rhs: Flat) -> dict[str, Flat]:
        """Take what the first eliminated time means for a from a's right-hand side."""
        n = self.n
        return {"rhs": [rhs[j] - _dot([fill[i * n + j] for i in range(n)], x) for j in range(n)]}

    def residual_open(self, s: Flat, smooth: Flat, y: Flat, after: Flat) -> dict[str, Flat]:
        """Residual of the first interval: what a (rhs) and the time after it get."""
        now, then = self._smooth_residual(s[0], smooth, y, after)
        return {"rhs": now, "next_": then}

    def residual_close(
        self, c: Flat, governing: Flat, d: Flat, base: Flat, y: Flat, carried: Flat, next_: Flat
    ) -> dict[str, Flat]:
        """Residual at b, after the forward substitution of the times before it."""
        rhs = _sum(_sum(carried, next_), base)
        return {"carried": self._with_misfit(rhs, c, governing, d, y)}


#: Names of the steps, and of their arguments.
STEPS: dict[str, tuple[str, ...]] = {
    name: tuple(signature(getattr(_Steps, name)).parameters)[1:]
    for name in vars(_Steps)
    if not name.startswith("_")
}


def counts(sizes: Sizes) -> dict[str, int]:
    """Scalars in each array that a step takes or gives."""
    n = sizes.n
    special = {
        "c": sizes.equations * n,
        "dc": sizes.equations * n,
        "d": sizes.equations,
        "dd": sizes.equations,
        "governing": sizes.equations,
        "s": 1,
        "ds": 1,
        "take": 1,
        "left": sizes.triangle,
        "now": sizes.triangle,
        "lower": n * (n - 1) // 2,
        "gain": n * n,
        "fill": n * n,
        "worst": 2,
    }
    names = {name for arguments in STEPS.values() for name in arguments}
    return dict.fromkeys(names, n) | special


def steps_of(sizes: Sizes) -> dict[str, Step]:
    """Every step for these sizes, as a function of flat lists."""
    steps = _Steps(sizes)
    return {name: getattr(steps, name) for name in STEPS}
