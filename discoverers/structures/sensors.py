"""Faults of sensors that look like laws: offsets, drifts, gravity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from discoverers.exceptions import ConvergenceWarning, MisfitWarning

from .base import Channel, Data, Note, StructuralFit

__all__ = ["sensor_notes"]

Array = NDArray[np.float64]

NOTICEABLE = 0.5
"""Offsets smaller than this share of what else is left change no law that is worth a word."""

FLOOR = 5e-3
"""Share of a column's standard deviation that integration and interpolation may leave."""

CERTAIN = 5.0
"""Standard errors from which on an offset or a drift is no chance."""

CARRIED = 5.0
"""A mean that carries the state this many times as far as it swings is hardly a motion."""


_ADVICE = {
    False: "fit again with sensor_offset='estimate'",
    True: "subtract it from the column and fit again",
}
"""By whether there is a drift."""


def sensor_notes(found: StructuralFit, data: Data) -> Iterator[Note]:
    """Say which columns read as if their sensors had an offset or a drift.

    A structure on springs has a mean acceleration of nearly zero whatever the law, so an offset of
    an accelerometer has no place in the law and stays in the residuals. One so large that the fit
    follows it into free fall shows in the column itself: its mean moves the velocity much further
    than it swings.

    Parameters
    ----------
    found : StructuralFit
        Equations with their fitted states.
    data : Data
        What was measured.

    Yields
    ------
    Note
        At most one for each column.
    """
    poor = any(note.category in (MisfitWarning, ConvergenceWarning) for note in found.notes)
    for place, channel in enumerate(data.channels):
        note = _carried_away(data, place, channel) if poor else None
        note = note or _left_over(found, data, place)
        if note is not None:
            yield note


def _left_over(found: StructuralFit, data: Data, place: int) -> Note | None:
    """An offset or a drift common to all runs in what the fit leaves of a column."""
    times, left, measured = [], [], []
    for record, states, rates in zip(data.records, found.states, found.rates, strict=True):
        fitted = found.observation.values(states, rates, record.u)[:, place]
        rest = record.y[:, place] - fitted
        known = np.isfinite(rest)
        times.append(record.t[known] - record.t[0])
        left.append(rest[known])
        measured.append(record.y[known, place])
    t, rest = np.concatenate(times), np.concatenate(left)
    if len(rest) < 10 or np.ptp(t) == 0.0:
        return None
    name = data.channels[place].name
    line = np.column_stack([np.ones_like(t), (t - t.mean()) / np.ptp(t)])
    (offset, drift), *_ = np.linalg.lstsq(line, rest, rcond=None)
    scatter = float(np.std(rest - line @ np.array([offset, drift])))
    errors = scatter / np.sqrt((line**2).sum(axis=0))
    least = max(NOTICEABLE * scatter, FLOOR * float(np.std(np.concatenate(measured))))
    clear = np.abs([offset, drift]) > np.maximum(CERTAIN * errors, least)
    if not clear.any():
        return None
    parts = [f"an offset of {offset:.4g}"] if clear[0] else []
    parts += [f"a drift of {drift:.4g} over a run"] if clear[1] else []
    return Note(
        f"What the law leaves of column {name!r} has {' and '.join(parts)} (it scatters by "
        f"{scatter:.2g} about it). If the sensor may have one, {_ADVICE[bool(clear[1])]}: the law "
        f"and its errors suffer from it.",
        MisfitWarning,
    )


def _carried_away(data: Data, place: int, channel: Channel) -> Note | None:
    """A mean of a measured rate that no bounded motion has."""
    if data.measure is not None or len(channel.rates) != 1 or channel.states or channel.inputs:
        return None
    (state,) = channel.rates
    for record in data.records:
        y, t = record.y[:, place], record.t
        known = np.isfinite(y)
        y, t = y[known], t[known]
        if len(y) < 10:
            continue
        steps = np.diff(t)
        mean = float(np.sum(0.5 * (y[1:] + y[:-1]) * steps) / (t[-1] - t[0]))
        about = np.concatenate([[0.0], np.cumsum((0.5 * (y[1:] + y[:-1]) - mean) * steps)])
        gone = mean * float(t[-1] - t[0])
        if abs(gone) > CARRIED * float(np.ptp(about)) > 0.0:
            return Note(
                f"Column {channel.name!r} is said to measure {state}' and has the mean "
                f"{mean:.4g}, which takes {state} {abs(gone) / float(np.ptp(about)):.3g} times as "
                f"far as it swings. If the sensor feels gravity or has an offset, fit again with "
                f"sensor_offset='estimate', or subtract its reading at rest.",
                MisfitWarning,
            )
    return None
