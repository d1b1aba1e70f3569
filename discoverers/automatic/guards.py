"""Laws that are wild just beyond the data are worth less than tame ones that fit as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .systems import System

__all__ = ["Box"]

Array = NDArray[np.float64]

WIDER = 0.5
TAME = 30.0
"""Rates in the box may be so many times as fast as among the data."""

PER_DECADE = 5.0
UNDEFINED = 30.0
SAMPLES = 256


@dataclass(frozen=True, eq=False)
class Box:
    """Points among the data, and points in a box around them that is half as wide again.

    Attributes
    ----------
    states, inputs : ndarray of shape (n, V) and (n, m)
        Among the data.
    around : ndarray of shape (n', V)
        In the box; a state that keeps its sign among the data keeps it here.
    around_inputs : ndarray of shape (n', m)
    """

    states: Array
    inputs: Array
    around: Array
    around_inputs: Array

    @classmethod
    def around_data(cls, states: Array, inputs: Array) -> Box:
        """The box of denoised states (n, V) and inputs (n, m)."""
        low, high = states.min(axis=0), states.max(axis=0)
        reach = 0.5 * WIDER * (high - low)
        bottom = np.where(low > 0.0, np.maximum(low - reach, 0.5 * low), low - reach)
        top = np.where(high < 0.0, np.minimum(high + reach, 0.5 * high), high + reach)
        random = np.random.default_rng(0)
        points = bottom + (top - bottom) * random.random((SAMPLES, states.shape[1]))
        picked = random.integers(len(inputs), size=SAMPLES)
        return cls(states, inputs, points, np.ascontiguousarray(inputs[picked]))

    def penalty(self, system: System, names: tuple[Sequence[str], Sequence[str]]) -> float:
        """What is added to the score of a system with calibrated numbers."""
        model, theta, constants = system.model(*names), system.coefficients, system.parameters
        n = self.states.shape[1]

        def rates(states: Array, inputs: Array) -> Array:
            held = np.broadcast_to(constants, (len(states), len(constants)))
            return np.abs(model.rates(np.hstack([states, held]), inputs, theta)[:, :n])

        with np.errstate(all="ignore"):
            inside = rates(self.states, self.inputs).max(axis=0)
            beyond = rates(self.around, self.around_inputs)
        if not np.isfinite(beyond).all():
            return UNDEFINED
        excess = beyond.max(axis=0) / (TAME * np.maximum(inside, 1e-300))
        return float(PER_DECADE * np.log10(np.maximum(excess, 1.0)).sum())
