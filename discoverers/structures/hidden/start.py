"""What the search for a hidden force begins with: noise, scales, and first coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.shooting import Record

from .rates import RateTerm
from .search import Candidate, Search

__all__ = ["Scales", "difference_noise", "first_candidates", "noise_floor", "period_samples"]

Array = NDArray[np.float64]

FLOOR = 1e-3
"""Share of a channel's standard deviation that is taken for integration error, not for noise."""

SHARES = (0.7, 0.3)
"""Of the spring, that is first given to the hidden force."""

DISSIPATIONS = (0.3, 1.5)
"""First dissipation of the hidden force, per unit of time or path."""

ENOUGH = 1.5
"""Mean squared residual, in units of the noise's, of a first candidate that needs no others."""

FIRST_RATES = (
    ("z",),
    ("Abs(v)*z",),
    ("Abs(v)*z", "v*Abs(z)"),
    ("Abs(v)*z*Abs(z)", "v*z**2"),
    ("z*Abs(z)",),
    ("z**3",),
)
"""Dissipations of the first candidates, each beside v."""


@dataclass(frozen=True)
class Scales:
    """Standard deviations of position, velocity, acceleration, and the spring's stiffness."""

    x: float
    v: float
    a: float
    stiffness: float

    @property
    def usable(self) -> bool:
        """Whether the mass moves at all."""
        sizes = (self.x, self.v, self.a)
        return bool(np.isfinite(sizes).all() and min(sizes) > 0.0)

    @property
    def frequency(self) -> float:
        """Typical angular frequency."""
        return self.a / self.v

    @property
    def force(self) -> float:
        """Typical force of the spring."""
        return self.stiffness * self.x

    def natural(self, term: sympy.Expr, names: tuple[str, str, str]) -> float:
        """Coefficient with which a term's rate is the typical force at the typical frequency."""
        x, v, z = names
        at = {sympy.Symbol(x): self.x, sympy.Symbol(v): self.v, sympy.Symbol(z): self.force}
        size = float(sympy.Abs(term.subs(at)))
        return self.frequency * self.force / size


def difference_noise(records: Sequence[Record]) -> Array:
    """Noise of the channels (C,) from differences of neighbours, jumps and corners aside.

    Of the differences of order 2 to 6, those of smallest median size: polynomials of lower degree
    drop out of them, and a jump spoils a few only. A floor stands for what is not noise.
    """
    floor = noise_floor(records)
    out = np.ones(len(floor))
    for channel in range(len(floor)):
        found = []
        for record in records:
            y = record.y[:, channel]
            kept = ~np.isnan(y)
            values, times = y[kept], record.t[kept]
            if len(values) < 12:
                continue
            found.append([_noise_of_order(times, values, order) for order in range(2, 7)])
        if found:
            out[channel] = max(float(np.median(np.array(found), axis=0).min()), floor[channel])
    return out


def noise_floor(records: Sequence[Record]) -> Array:
    """What integration and interpolation may leave of each channel, shape (C,)."""
    y = np.concatenate([record.y for record in records])
    spread = [float(np.std(c[~np.isnan(c)])) if (~np.isnan(c)).any() else 0.0 for c in y.T]
    return np.maximum(FLOOR * np.array(spread), 1e-300)


def _noise_of_order(t: Array, y: Array, order: int) -> float:
    """Noise from divided differences of one order, scaled to unit weight."""
    nodes = np.lib.stride_tricks.sliding_window_view(t, order + 1)
    values = np.lib.stride_tricks.sliding_window_view(y, order + 1)
    gaps = (nodes[:, :, None] - nodes[:, None, :]) / (nodes[:, -1:, None] - nodes[:, :1, None])
    gaps[:, range(order + 1), range(order + 1)] = 1.0
    weights = 1.0 / gaps.prod(axis=2)
    scaled = (weights * values).sum(axis=1) / np.sqrt((weights**2).sum(axis=1))
    return float(np.median(np.abs(scaled)) / 0.6745)


def period_samples(records: Sequence[Record], scales: Scales) -> int:
    """Samples of one typical period, 30 at least: what the first window has to show."""
    step = float(np.median(np.concatenate([np.diff(record.t) for record in records])))
    return max(int(np.ceil(2.0 * np.pi / scales.frequency / step)), 30)


def first_candidates(
    search: Search,
    base: dict[int, float],
    rates: Sequence[RateTerm],
    names: tuple[str, str, str],
    scales: Scales,
    position: int | None,
) -> list[Candidate]:
    """Calibrate a handful of usual rates from a handful of starts each.

    Parameters
    ----------
    search : Search
        Its free columns are those of the acceleration, then the `rates`.
    base : dict of int to float
        Free columns of the acceleration that are in, with their coefficients in a law without
        hidden force.
    rates : sequence of RateTerm
    names : tuple of str
        Position, velocity and hidden force.
    scales : Scales
    position : int or None
        The free column of the linear spring, which gives a share of its stiffness away.

    Returns
    -------
    list of Candidate
        Best first.
    """
    n_law = len(search.charges) - len(rates)
    short = {"x": names[0], "v": names[1], "z": names[2]}
    place = {term.expr: n_law + k for k, term in enumerate(rates)}
    moved = {sympy.Symbol(key): sympy.Symbol(value) for key, value in short.items()}
    made: list[Candidate] = []
    for dissipation in FIRST_RATES:
        exprs = [sympy.sympify(text).xreplace(moved) for text in ("v", *dissipation)]
        if any(expr not in place for expr in exprs):
            continue
        if any(one.cost <= ENOUGH * search.setting.n_rows for one in made):
            break
        for share in SHARES:
            for rel in DISSIPATIONS:
                theta = np.zeros(len(search.charges))
                theta[list(base)] = list(base.values())
                if position is not None:
                    theta[position] *= 1.0 - share
                theta[place[exprs[0]]] = share * scales.stiffness
                for expr in exprs[1:]:
                    theta[place[expr]] = -rel * scales.natural(expr, names)
                support = [*base, *(place[expr] for expr in exprs)]
                x0 = search.setting.x0.copy()
                free = search.setting.free_x0[:, 2]
                x0[free, 2] = share * scales.stiffness * x0[free, 0]
                made.append(search.calibrated(support, theta, x0, grow=True))
    unique = {candidate.support: search.found[candidate.support] for candidate in made}
    return sorted(unique.values(), key=lambda candidate: candidate.score)
