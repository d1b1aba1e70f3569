"""Separable smoothing of a field, its strength by cross-validation, and the noise that is left."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from .fields import Field

__all__ = [
    "Denoised",
    "FieldSmoother",
    "RoughnessBasis",
    "bounded_basis",
    "denoise_field",
    "denoise_start",
    "fit_smoother",
    "periodic_basis",
]

Array = NDArray[np.float64]

ORDER = 4
"""Order of the penalised derivative: the pass band is flat to within 1 % up to half the cut-off."""

STRENGTHS = 10.0 ** np.arange(-3.0, 11.1, 0.5)

OWN_ERROR = 1e-3
"""Error of a smoother, in standard deviations of the field, that says nothing of the seam."""

EVEN = 2.0
"""Difference in -2 log likelihood by which a ring may be behind."""

SEAM = 3
SEAM_FACTOR = 1.3
"""A ring is believed if the squared residuals of this many columns on either side of the ends are,
in the mean, at most this much larger than those of any equally wide strip inside."""

UNDERSMOOTHING = 10.0
"""The penalty is this much weaker than cross-validation asks for. Its bias, which nothing corrects,
is then small; the noise that passes is corrected for in the regression."""

FILLINGS = 30
"""Rounds in which cells that were not measured take the smoother's values."""

RELATIVE_FLOOR = 1e-4
"""Noise below this share of a state's amplitude is called model discrepancy (see `noise`)."""


@dataclass(frozen=True, eq=False)
class RoughnessBasis:
    """Orthonormal functions on a grid in which the roughness penalty is diagonal.

    Attributes
    ----------
    functions : ndarray of shape (n, n)
        One function per column.
    roughness : ndarray of shape (n,)
        Sum of squared fourth differences of each function, per step**4.
    """

    functions: Array
    roughness: Array


def periodic_basis(n: int) -> RoughnessBasis:
    """Fourier modes of a periodic grid of n points."""
    frequency = 2.0 * np.pi * np.fft.rfftfreq(n)
    phase = np.outer(np.arange(n), frequency)
    modes = np.concatenate([np.cos(phase), np.sin(phase[:, 1 : (n + 1) // 2])], axis=1)
    roughness = np.concatenate([frequency, frequency[1 : (n + 1) // 2]]) ** (2 * ORDER)
    return RoughnessBasis(modes / np.linalg.norm(modes, axis=0), roughness)


def bounded_basis(points: Array) -> RoughnessBasis:
    """Demmler-Reinsch functions of points (n,) on an interval, in units of their mean step."""
    scaled = (points - points[0]) * ((len(points) - 1) / (points[-1] - points[0]))
    difference = np.eye(len(points))
    for order in range(1, ORDER + 1):
        gaps = (scaled[order:] - scaled[:-order]) / order
        difference = np.diff(difference, axis=0) / gaps[:, None]
    roughness, functions = np.linalg.eigh(difference.T @ difference)
    roughness[:ORDER] = 0.0
    return RoughnessBasis(functions, np.maximum(roughness, 0.0))


@dataclass(frozen=True, eq=False)
class FieldSmoother:
    """A linear smoother of one state's field.

    Attributes
    ----------
    time, space : RoughnessBasis
    strengths : tuple of two floats
        Penalties along time and space that cross-validation chose, in steps.
    gcv : float
        The cross-validation score.
    noise_std : float
        Standard deviation of the measurement noise.
    observed : ndarray of bool, shape (n_times, n_space)
    """

    time: RoughnessBasis
    space: RoughnessBasis
    strengths: tuple[float, float]
    gcv: float
    noise_std: float
    observed: NDArray[np.bool_]

    def smooth(self, values: Array, undersmoothing: float = UNDERSMOOTHING) -> Array:
        """Smooth a field (n_times, n_space); cells that are not observed are filled."""
        shrink = 1.0 / (1.0 + self._penalty() / undersmoothing)
        return _smoothed(values, self.observed, self.time, self.space, shrink)

    def fill(self, values: Array) -> Array:
        """The field itself, with the smoother's values where nothing was observed."""
        if self.observed.all():
            return values
        return np.where(self.observed, values, self.smooth(values))

    def _penalty(self) -> Array:
        return _penalty(self.time, self.space, *self.strengths)


def fit_smoother(
    values: Array, time: RoughnessBasis, space: RoughnessBasis, noise_std: float | None = None
) -> FieldSmoother:
    """Choose both strengths by generalised cross-validation (Craven & Wahba 1979).

    Parameters
    ----------
    values : ndarray of shape (n_times, n_space)
        NaN where nothing was measured.
    time, space : RoughnessBasis
    noise_std : float, optional
        Known noise; else it is what the smoother leaves.

    Returns
    -------
    FieldSmoother
    """
    observed = np.isfinite(values)
    share = float(observed.mean())
    filled = _interpolated(values, observed)
    strengths, gcv, variance = _search(filled, observed, time, space)
    if share < 1.0:
        for _ in range(2):
            shrink = 1.0 / (1.0 + _penalty(time, space, *strengths))
            filled = np.where(observed, values, _smoothed(filled, observed, time, space, shrink))
            strengths, gcv, variance = _search(filled, observed, time, space)
    std = float(np.sqrt(variance)) if noise_std is None else float(noise_std)
    return FieldSmoother(time, space, strengths, gcv, std, observed)


def _penalty(time: RoughnessBasis, space: RoughnessBasis, along_t: float, along_x: float) -> Array:
    return along_t * time.roughness[:, None] + along_x * space.roughness[None, :]


def _smoothed(
    values: Array,
    observed: NDArray[np.bool_],
    time: RoughnessBasis,
    space: RoughnessBasis,
    shrink: Array,
) -> Array:
    complete = bool(observed.all())
    fitted = np.where(observed, values, 0.0) if not complete else values
    current = values if complete else _interpolated(np.where(observed, values, np.nan), observed)
    for _ in range(1 if complete else FILLINGS):
        spectrum = time.functions.T @ current @ space.functions
        fitted = time.functions @ (shrink * spectrum) @ space.functions.T
        current = np.where(observed, values, fitted)
    return fitted


def _search(
    filled: Array, observed: NDArray[np.bool_], time: RoughnessBasis, space: RoughnessBasis
) -> tuple[tuple[float, float], float, float]:
    """Descend on the grid of strengths: (strengths, score, noise variance)."""
    power = (time.functions.T @ filled @ space.functions) ** 2
    share = float(observed.mean())
    visited: dict[tuple[int, int], tuple[float, float]] = {}

    def score(at: tuple[int, int]) -> tuple[float, float]:
        if at not in visited:
            shrink = 1.0 / (1.0 + _penalty(time, space, STRENGTHS[at[0]], STRENGTHS[at[1]]))
            # Filled cells lie on the fit: they add no residual, and no freedom either.
            left = max(filled.size * share - float(shrink.sum()), 1e-6 * filled.size)
            residual = float(((1.0 - shrink) ** 2 * power).sum())
            visited[at] = filled.size * share * residual / left**2, residual / left
        return visited[at]

    best = (len(STRENGTHS) // 3, len(STRENGTHS) // 3)
    while True:
        around = [
            (best[0] + i, best[1] + j)
            for i in (-1, 0, 1)
            for j in (-1, 0, 1)
            if 0 <= best[0] + i < len(STRENGTHS) and 0 <= best[1] + j < len(STRENGTHS)
        ]
        lowest = min(around, key=lambda at: score(at)[0])
        if score(lowest)[0] >= score(best)[0]:
            break
        best = lowest
    strengths = float(STRENGTHS[best[0]]), float(STRENGTHS[best[1]])
    return strengths, *score(best)


def _interpolated(values: Array, observed: NDArray[np.bool_]) -> Array:
    """Fill cells that were not measured by linear interpolation over time, else over space."""
    if observed.all():
        return values
    out = values.copy()
    rows, columns = np.arange(values.shape[0]), np.arange(values.shape[1])
    for j in columns:
        seen = observed[:, j]
        if seen.any():
            out[:, j] = np.interp(rows, rows[seen], values[seen, j])
    known = observed.any(axis=0)
    for i in rows:
        out[i] = np.interp(columns, columns[known], out[i, known])
    return out


@dataclass(frozen=True, eq=False)
class Denoised:
    """One run's fields as the regression uses them.

    Attributes
    ----------
    field : Field
    periodic : bool
    smoothers : tuple of FieldSmoother, one per state
    t : ndarray of shape (n_times,)
        Equally spaced times, on which `data` and `states` are.
    data : ndarray of shape (n_times, n_space, V)
        The measurements, filled and brought to `t`.
    states : ndarray of shape (n_times, n_space, V)
        The smoothed fields.
    """

    field: Field
    periodic: bool
    smoothers: tuple[FieldSmoother, ...]
    t: Array
    data: Array
    states: Array

    @property
    def noise_std(self) -> Array:
        """Noise of each state, shape (V,)."""
        return np.array([smoother.noise_std for smoother in self.smoothers])

    @property
    def uncertainty(self) -> Array:
        """Noise and, in its place on clean data, what a right model may miss; shape (V,)."""
        amplitude = np.maximum(self.states.std(axis=(0, 1)), 1e-150)
        return np.hypot(self.noise_std, RELATIVE_FLOOR * amplitude)

    def prepare(self, values: Array) -> tuple[Array, Array]:
        """Fields (n_times, n_space, V) at the measured times as (data, states) at `t`."""
        layers = [values[:, :, v] for v in range(values.shape[2])]
        pairs = list(zip(self.smoothers, layers, strict=True))
        states = self._resampled(np.stack([one.smooth(layer) for one, layer in pairs], axis=2))
        if not self.field.uniform:
            return states, states
        return np.stack([one.fill(layer) for one, layer in pairs], axis=2), states

    def _resampled(self, values: Array) -> Array:
        if self.field.uniform:
            return values
        return make_interp_spline(self.field.t, values, k=5)(self.t)


def denoise_field(field: Field, periodic: bool | None, noise_std: Array | None = None) -> Denoised:
    """Smooth one run.

    Parameters
    ----------
    field : Field
    periodic : bool or None
        Whether the positions close to a ring; None asks what a smoother on a ring leaves at the
        ends, and whether it predicts better than one between ends.
    noise_std : ndarray of shape (V,), optional

    Returns
    -------
    Denoised
    """
    time = bounded_basis(field.t)
    n_states = field.X.shape[2]
    known = [None] * n_states if noise_std is None else noise_std.tolist()

    def smoothers(space: RoughnessBasis) -> tuple[FieldSmoother, ...]:
        return tuple(fit_smoother(field.X[:, :, v], time, space, known[v]) for v in range(n_states))

    if periodic is None:
        ring, interval = smoothers(periodic_basis(len(field.x))), smoothers(bounded_basis(field.x))
        periodic = _closes(field, ring) and _predicts_as_well(field, ring, interval)
        chosen = ring if periodic else interval
    else:
        chosen = smoothers(periodic_basis(len(field.x)) if periodic else bounded_basis(field.x))
    t = field.t if field.uniform else np.linspace(field.t[0], field.t[-1], len(field.t))
    empty = np.empty(0)
    frame = Denoised(field, periodic, chosen, t, empty, empty)
    data, states = frame.prepare(field.X)
    return Denoised(field, periodic, chosen, t, data, states)


def _closes(field: Field, ring: tuple[FieldSmoother, ...]) -> bool:
    """Whether the smoother on a ring leaves no more across the ends than elsewhere."""
    for v, smoother in enumerate(ring):
        values = field.X[:, :, v]
        squared = (values - smoother.smooth(values, 1.0)) ** 2
        seen = np.flatnonzero(np.isfinite(values).any(axis=0))
        known = np.asarray(np.nanmean(squared[:, seen], axis=0))
        left = np.full(values.shape[1], known.min())
        left[seen] = known
        near = np.mean([np.roll(left, shift) for shift in range(-SEAM, SEAM)], axis=0)
        floor = (RELATIVE_FLOOR * np.nanstd(values)) ** 2
        inside = float(near[2 * SEAM : len(near) - 2 * SEAM].max())
        if float(near[0]) > SEAM_FACTOR * inside + floor:
            return False
    return True


def _predicts_as_well(
    field: Field, ring: tuple[FieldSmoother, ...], interval: tuple[FieldSmoother, ...]
) -> bool:
    """Whether a ring's smoother misses cells that it does not see by no more than an interval's.

    Noise may hide a kink at the seam, to which the ring's smoother gives way; but then it has to be
    rough everywhere. Errors next to nothing beside the field are either smoother's own.
    """
    behind = 0.0
    for v, (closed, between_ends) in enumerate(zip(ring, interval, strict=True)):
        floor = (OWN_ERROR * np.nanstd(field.X[:, :, v])) ** 2 + 1e-300
        behind += closed.observed.sum() * math.log(
            (closed.gcv + floor) / (between_ends.gcv + floor)
        )
    return behind <= EVEN


START = 24
"""Fields at the beginning of a run from which its first one is smoothed."""


def denoise_start(field: Field, periodic: bool) -> Array:
    """Smoothed first field of a run, shape (n_space, V), from its first fields only."""
    first = Field(field.t[:START], field.x, field.X[:START])
    return denoise_field(first, periodic).states[0]
