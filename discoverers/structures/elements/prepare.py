"""From the data to a search for elements: noise, first guesses of masses and of the motion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import sympy
from numpy.typing import NDArray
from scipy.integrate import cumulative_simpson
from scipy.interpolate import CubicSpline

from discoverers.noise import difference_variance
from discoverers.shooting import Record
from discoverers.structures.base import Data, Options

from .driving import BASE
from .model import ELONGATION, RATE, ElementModel
from .problem import Measured, Point
from .search import FIRST_WINDOW, Charges, Found, search_elements

__all__ = ["Task", "prepare"]

Array = NDArray[np.float64]

FLOOR = 2e-3
"""Errors below this share of a channel's standard deviation are the integration's, not noise."""

NONLINEAR_WEIGHT = 1.2
"""What a nonlinear element costs, a spring or a damper being 1."""

DRIFT = 5e-3
"""Share of a mass's motion that the noise of its integrated acceleration may add up to."""

MOST_MISSING = 0.2


@dataclass(frozen=True, eq=False)
class Task:
    """Everything that the search needs.

    Attributes
    ----------
    free, pinned : Measured
        See `search_elements`, as for the others.
    pinned_rows : int
    starts : tuple of Point
    charges : Charges
    floor : ndarray of shape (C,)
    noise_known : bool
    options : Options
    """

    free: Measured
    pinned: Measured
    pinned_rows: int
    starts: tuple[Point, ...]
    charges: Charges
    floor: Array
    noise_known: bool
    options: Options

    def search(self) -> Found:
        """Look for the elements."""
        return search_elements(
            self.free,
            self.pinned,
            self.pinned_rows,
            self.starts,
            self.charges,
            self.options.max_terms,
            self.floor,
            self.noise_known,
            self.options.iterations,
        )


def prepare(
    model: ElementModel,
    masses: Array,
    data: Data,
    state_names: tuple[str, ...],
    options: Options,
    required: tuple[int, ...] = (),
) -> Task:
    """Set up the search.

    Parameters
    ----------
    model : ElementModel
        With all candidates.
    masses : ndarray of shape (d,)
        NaN where unknown.
    data : Data
    state_names : tuple of str
    options : Options
    required : tuple of int
        Elements that are there whatever the data say.

    Returns
    -------
    Task
    """
    d = model.n_dof
    spread = _spread(data.records)
    floor = np.maximum(FLOOR * spread, 1e-12)
    noise = data.noise_std if data.noise_std is not None else _noise(data.records)
    seen = _accelerometers(data, state_names[d:])
    motions = [_motion(record, seen) for record in data.records]
    start = np.nan_to_num(data.x0[:, : 2 * d], nan=0.0)
    unknown = np.isnan(data.x0[:, : 2 * d])
    for run, motion in enumerate(motions):
        for mass, (x, _) in motion.items():
            line = np.polyfit(data.records[run].t - data.records[run].t[0], x, 1)
            for place, value in ((mass - 1, -line[1]), (d + mass - 1, -line[0])):
                if unknown[run, place]:
                    start[run, place] = value
    scale, seeds = _mass_scale(data.records, model, masses, seen)
    free = Measured(
        data.records,
        data.observation(state_names),
        np.maximum(noise, floor),
        model,
        np.isnan(masses),
        unknown,
        scale,
        1.0,
        (1,) * len(data.records),
    )
    log_masses = [np.where(np.isnan(masses), seed, np.log(masses)) for seed in seeds]
    return Task(
        free,
        _pin(free, motions, start),
        min(
            _rows_until_drift(record, motion, seen, free.noise_std)
            for record, motion in zip(data.records, motions, strict=True)
        ),
        tuple(Point((), np.zeros(0), each, start) for each in log_masses),
        Charges(_weights(model), options.gamma, required),
        floor,
        data.noise_std is not None,
        options,
    )


def _weights(model: ElementModel) -> Array:
    simple: tuple[sympy.Expr, ...] = (ELONGATION, RATE)
    return np.array([1.0 if e.law in simple else NONLINEAR_WEIGHT for e in model.elements])


def _spread(records: tuple[Record, ...]) -> Array:
    values = np.concatenate([record.y for record in records])
    with np.errstate(all="ignore"):
        return np.nan_to_num(np.nanstd(values, axis=0))


def _noise(records: tuple[Record, ...]) -> Array:
    """Standard deviation of each channel's noise, pooled over the runs."""
    variances = []
    for channel in range(records[0].y.shape[1]):
        total, rows = 0.0, 0
        for record in records:
            known = ~np.isnan(record.y[:, channel])
            variance = difference_variance(
                record.t[known], record.y[known, channel], record.weight[known]
            )
            if np.isfinite(variance):
                total, rows = total + variance * known.sum(), rows + int(known.sum())
        variances.append(total / max(rows, 1))
    return np.sqrt(np.array(variances))


@dataclass(frozen=True, eq=False)
class _Accelerometer:
    """A channel that measures the acceleration of one mass, and known inputs at most."""

    place: int
    gain: float
    inputs: Array

    def acceleration(self, record: Record) -> Array:
        """What it says of the mass, NaN where nothing was measured."""
        return np.asarray((record.y[:, self.place] - record.u @ self.inputs) / self.gain)


def _accelerometers(data: Data, velocities: tuple[str, ...]) -> dict[int, _Accelerometer]:
    """The first accelerometer of each mass that has one."""
    found: dict[int, _Accelerometer] = {}
    if data.measure is not None:
        return found
    for place, channel in enumerate(data.channels):
        if len(channel.rates) == 1 and not channel.states:
            (name, gain) = next(iter(channel.rates.items()))
            if name in velocities and gain != 0.0:
                inputs = np.array([channel.inputs.get(entry, 0.0) for entry in data.input_names])
                found.setdefault(velocities.index(name) + 1, _Accelerometer(place, gain, inputs))
    return found


def _motion(record: Record, seen: dict[int, _Accelerometer]) -> dict[int, tuple[Array, Array]]:
    """Position and velocity of masses by integrating their accelerations from 0."""
    out = {}
    for mass, sensor in seen.items():
        y = sensor.acceleration(record)
        known = ~np.isnan(y)
        if len(y) < 3 or (~known).mean() > MOST_MISSING:
            continue
        acceleration = np.interp(record.t, record.t[known], y[known])
        velocity = cumulative_simpson(acceleration, x=record.t, initial=0.0)
        out[mass] = (cumulative_simpson(velocity, x=record.t, initial=0.0), velocity)
    return out


def _pin(free: Measured, motions: list[dict[int, tuple[Array, Array]]], start: Array) -> Measured:
    """Masses whose motion is known in every run move as it says."""
    d = free.n_dof
    masses = tuple(sorted(set.intersection(*(set(motion) for motion in motions))))
    records = []
    for run, (record, motion) in enumerate(zip(free.records, motions, strict=True)):
        columns = [record.u]
        elapsed = record.t - record.t[0]
        for mass in masses:
            x, v = motion[mass]
            x0, v0 = start[run, mass - 1], start[run, d + mass - 1]
            columns.append(np.column_stack([x0 + v0 * elapsed + x, v0 + v]))
        known = np.hstack(columns)[:, record.u.shape[1] :]
        signal = _joined(record, known) if masses else record.signal.interpolation
        records.append(
            Record.make(
                record.t,
                record.y,
                np.hstack([record.u, known]),
                interpolation=signal,
                weight=record.weight,
            )
        )
    return replace(
        free,
        records=tuple(records),
        elements=replace(free.elements, pinned=masses, _parts={}),
    )


def _joined(record: Record, known: Array) -> Callable[[Array], Array]:
    curve = CubicSpline(record.t, known)
    return lambda times: np.hstack([record.signal(times), curve(times)])


def _rows_until_drift(
    record: Record,
    motion: dict[int, tuple[Array, Array]],
    seen: dict[int, _Accelerometer],
    noise_std: Array,
) -> int:
    """Samples for which the integrated noise stays below a share of the motion."""
    if not motion:
        return 0
    n = len(record)
    elapsed = record.t - record.t[0]
    walk = np.sqrt(np.median(np.diff(record.t)) / 3.0) * elapsed**1.5
    rows = n
    for mass, (x, _) in motion.items():
        drift = noise_std[seen[mass].place] / abs(seen[mass].gain) * walk
        size = np.sqrt(np.cumsum(x**2) / np.arange(1, n + 1))
        late = np.flatnonzero((drift > DRIFT * size) & (np.arange(n) > FIRST_WINDOW))
        rows = min(rows, int(late[0]) if len(late) else n)
    return rows


def _mass_scale(
    records: tuple[Record, ...],
    model: ElementModel,
    masses: Array,
    seen: dict[int, _Accelerometer],
) -> tuple[float, list[float]]:
    """Log of the masses' typical size, and guesses of it to start from."""
    known = masses[~np.isnan(masses)]
    if len(known):
        scale = float(np.log(known).mean())
        return scale, [scale]
    forces = [place for place, mass in enumerate(model.driven) if mass != BASE]
    force = np.concatenate([record.u[:, forces] for record in records])
    size = np.sqrt((force**2).mean())
    motion = np.concatenate(
        [
            np.column_stack([sensor.acceleration(record) for sensor in seen.values()])
            if seen
            else record.y
            for record in records
        ]
    )
    with np.errstate(all="ignore"):
        felt = np.sqrt(np.nanmean(motion**2))
    ratio = size / felt if felt > 0.0 and size > 0.0 else 1.0
    scale = float(np.log(ratio))
    return scale, [scale, scale - 1.0, scale + 1.0]
