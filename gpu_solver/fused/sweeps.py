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

from inspect import signature

from gpu_solver.fused.pieces import (
    Flat,
    Pieces,
    Sizes,
    Step,
    added,
    dot,
    flatten,
    square,
    triangle,
)
from gpu_solver.fused.trace import Scalar

__all__ = ["STEPS", "Flat", "Sizes", "Step", "counts", "steps_of"]


class _Steps(Pieces):
    """The steps for given sizes."""

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
        block = [added(a, b) for a, b in zip(block, now, strict=True)]
        lower, inverse, worst = self._factor(block, worst)
        scaled = [self._forward(lower, row) for row in below]  # N L^-T
        gain = [[x * p for x, p in zip(row, inverse, strict=True)] for row in scaled]
        after = [
            [then[i][j] - dot(scaled[i], gain[j]) for j in range(i + 1)] for i in range(self.n)
        ]
        z = self._forward(lower, self._with_source(added(carried, base), c, governing, d))
        return {
            "lower": flatten(lower),
            "inverse": inverse,
            "gain": flatten(gain),
            "left": flatten(after),
            "worst": worst,
            "z": z,
            "carried": [-dot(row, z) for row in gain],
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
        z = self._forward(lower, self._with_source(added(carried, base), c, governing, d))
        return {"lower": flatten(lower), "inverse": inverse, "worst": worst, "z": z}

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
        rhs = added(added(added(carried, next_), base), now)
        z = self._forward(self._strict(lower), self._with_misfit(rhs, c, governing, d, y))
        gains = square(gain, self.n)
        return {"z": z, "carried": [-dot(row, z) for row in gains], "next_": then}

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
        rhs = added(added(carried, next_), base)
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
            rho = governing[q] * (d[q] - dot(row, y))
            h = governing[q] * dot(row, g)
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

    # Right-hand sides of a factor that is known.

    def substitute_forward(
        self,
        c: Flat,
        governing: Flat,
        d: Flat,
        base: Flat,
        carried: Flat,
        lower: Flat,
        gain: Flat,
    ) -> dict[str, Flat]:
        """Substitute forward at a time that was eliminated before."""
        rhs = self._with_source(added(carried, base), c, governing, d)
        z = self._forward(self._strict(lower), rhs)
        return {"z": z, "carried": [-dot(row, z) for row in square(gain, self.n)]}

    def substitute_forward_last(
        self, c: Flat, governing: Flat, d: Flat, base: Flat, carried: Flat, lower: Flat
    ) -> dict[str, Flat]:
        """The same at the last time."""
        rhs = self._with_source(added(carried, base), c, governing, d)
        return {"z": self._forward(self._strict(lower), rhs)}

    def gradient_right(self, c: Flat, governing: Flat, g: Flat) -> dict[str, Flat]:
        """dl/dd at t alone."""
        rows = self._governing(c)
        return {"dd": [w * dot(row, g) for w, row in zip(governing, rows, strict=True)]}

    # A segment of time between two times that stay: a, then the eliminated ones, then b.

    def open_segment(self, s: Flat, smooth: Flat) -> dict[str, Flat]:
        """Its first interval: what a and the first eliminated time get, and their coupling."""
        now, then, below = self._blocks(s[0], smooth)
        return {"now": flatten(now), "left": flatten(then), "fill": flatten(below)}

    def fill_segment(
        self, lower: Flat, inverse: Flat, gain: Flat, z: Flat, fill: Flat, now: Flat, rhs: Flat
    ) -> dict[str, Flat]:
        """Carry the coupling with a past the elimination of a time; take that time out of a."""
        n = self.n
        rows, gains, before = self._strict(lower), square(gain, n), triangle(now, n)
        columns = [self._forward(rows, [fill[i * n + j] for i in range(n)]) for j in range(n)]
        scaled = [[x * p for x, p in zip(column, inverse, strict=True)] for column in columns]
        return {
            "fill": [-dot(gains[i], columns[j]) for i in range(n) for j in range(n)],
            "now": [
                before[i][j] - dot(columns[i], scaled[j]) for i in range(n) for j in range(i + 1)
            ],
            "rhs": [rhs[j] - dot(scaled[j], z) for j in range(n)],
        }

    def close_segment(
        self, c: Flat, governing: Flat, d: Flat, base: Flat, left: Flat, carried: Flat
    ) -> dict[str, Flat]:
        """Give b its own rows."""
        return {
            "left": flatten(self._with_point(left, c, governing)),
            "carried": self._with_source(added(carried, base), c, governing, d),
        }

    def couple(self, fill: Flat, x: Flat, carried: Flat) -> dict[str, Flat]:
        """Take what a known a means for the first eliminated time from its right-hand side."""
        rows = square(fill, self.n)
        return {"carried": [v - dot(row, x) for v, row in zip(carried, rows, strict=True)]}

    def couple_back(self, fill: Flat, x: Flat, rhs: Flat) -> dict[str, Flat]:
        """Take what the first eliminated time means for a from a's right-hand side."""
        n = self.n
        return {"rhs": [rhs[j] - dot([fill[i * n + j] for i in range(n)], x) for j in range(n)]}

    def residual_open(self, s: Flat, smooth: Flat, y: Flat, after: Flat) -> dict[str, Flat]:
        """Residual of the first interval: what a (rhs) and the time after it get."""
        now, then = self._smooth_residual(s[0], smooth, y, after)
        return {"rhs": now, "next_": then}

    def residual_close(
        self, c: Flat, governing: Flat, d: Flat, base: Flat, y: Flat, carried: Flat, next_: Flat
    ) -> dict[str, Flat]:
        """Residual at b, after the forward substitution of the times before it."""
        rhs = added(added(carried, next_), base)
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
