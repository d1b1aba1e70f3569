"""Constant offsets of accelerometers, estimated beside the law."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .base import Data, Options, StructuralFit, Structure

__all__ = ["WithOffsets", "discover_with_offsets"]

Array = NDArray[np.float64]

ROUNDS = 4
SETTLED = 0.5
"""A change of an offset below this share of its standard error is the last."""


@dataclass(frozen=True, eq=False)
class WithOffsets:
    """A discovery, and what the sensors read at rest.

    Attributes
    ----------
    fit : StructuralFit
        Of `data`.
    data : Data
        The channels without their offsets.
    offsets, offsets_std : ndarray of shape (C,)
        0 of channels that measure no acceleration.
    """

    fit: StructuralFit
    data: Data
    offsets: Array
    offsets_std: Array


def discover_with_offsets(structure: Structure, data: Data, options: Options) -> WithOffsets:
    """Find the equations and the accelerometers' offsets, in turns.

    The mean acceleration of a bounded motion is all but zero whatever its law, so that an offset
    stays in the residuals nearly as it is, and hardly depends on coefficients: a second turn mostly
    is the last. Its standard error is that of the residuals' mean.

    Parameters
    ----------
    structure : Structure
    data : Data
    options : Options

    Returns
    -------
    WithOffsets

    Raises
    ------
    ValueError
        If no channel measures the rate of a state, or a function says what channels measure.
    """
    sensors = np.array([bool(channel.rates) for channel in data.channels])
    if data.measure is not None or not sensors.any():
        raise ValueError(
            "sensor_offset='estimate' is for accelerometers, and observe says of no column that it "
            'measures an acceleration (or another rate, as "v\'"). An offset of a position is a '
            "matter of where it counts from; leave sensor_offset='none'."
        )
    offsets = np.where(sensors, _means([record.y for record in data.records], data)[0], 0.0)
    for turn in range(1, ROUNDS + 1):
        moved = _without(data, offsets)
        fit = structure.discover(moved, options)
        left = [
            record.y - fit.observation.values(states, rates, record.u)
            for record, states, rates in zip(moved.records, fit.states, fit.rates, strict=True)
        ]
        change, errors = _means(left, data)
        change, errors = np.where(sensors, change, 0.0), np.where(sensors, errors, 0.0)
        if turn == ROUNDS or np.all(np.abs(change) <= SETTLED * errors):
            break  # with the offsets that the fit has
        offsets = offsets + change
    return WithOffsets(fit, moved, offsets, errors)


def _without(data: Data, offsets: Array) -> Data:
    return replace(
        data, records=tuple(replace(record, y=record.y - offsets) for record in data.records)
    )


def _means(channels: list[Array], data: Data) -> tuple[Array, Array]:
    """Weighted mean of each channel over all runs, and its standard error."""
    values = np.concatenate(channels)
    weight = np.concatenate([record.weight for record in data.records])[:, None]
    weight = np.where(np.isfinite(values), weight, 0.0)
    total = np.maximum(weight.sum(axis=0), 1e-300)
    values = np.where(np.isfinite(values), values, 0.0)
    mean = (weight * values).sum(axis=0) / total
    variance = (weight * (values - mean) ** 2).sum(axis=0) / total
    return mean, np.sqrt(variance * (weight**2).sum(axis=0)) / total
