"""What is observed of a model: channels as functions of states, their rates and the inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .model import StateSpaceModel

__all__ = ["FunctionObservation", "LinearObservation", "Observation"]

Array = NDArray[np.float64]


class Observation(ABC):
    """Channels (C,) observed at states `X`, rates `F` and inputs `U`."""

    channels: tuple[str, ...]

    @abstractmethod
    def values(self, X: Array, F: Array, U: Array) -> Array:
        """Channels at states (n, n_s), rates (n, n_s) and inputs (n, m), shape (n, C)."""

    @abstractmethod
    def jacobians(self, X: Array, F: Array, U: Array) -> tuple[Array, Array]:
        """Derivatives by states and by rates, each (n, C, n_s) or broadcasting to it."""

    def sensitivities(self, X: Array, F: Array, U: Array, dX: Array, dF: Array) -> Array:
        """Derivatives of the channels by parameters, (n, C, P), from those of X and F."""
        by_state, by_rate = self.jacobians(X, F, U)
        return np.asarray(by_state @ dX + by_rate @ dF)

    @staticmethod
    def linear(
        channels: Sequence[str],
        states: ArrayLike | None = None,
        rates: ArrayLike | None = None,
        inputs: ArrayLike | None = None,
        *,
        n_states: int | None = None,
        n_inputs: int = 0,
    ) -> LinearObservation:
        """``y = C s + D s' + E u`` from matrices (C, n_s), (C, n_s) and (C, m); None is zero."""
        given = [np.asarray(m, dtype=np.float64) for m in (states, rates) if m is not None]
        if not given and n_states is None:
            raise ValueError("Give states or rates, or n_states.")
        width = given[0].shape[1] if given else int(n_states or 0)
        zero = np.zeros((len(channels), width))
        E = np.zeros((len(channels), n_inputs)) if inputs is None else np.asarray(inputs, float)
        return LinearObservation(
            tuple(channels),
            zero if states is None else np.asarray(states, dtype=np.float64),
            zero if rates is None else np.asarray(rates, dtype=np.float64),
            E,
        )

    @staticmethod
    def acceleration(
        model: StateSpaceModel, velocities: Sequence[str], channels: Sequence[str] | None = None
    ) -> LinearObservation:
        """The rates of the named states: accelerations, if they are velocities."""
        rates = np.zeros((len(velocities), model.n_states))
        for row, name in zip(rates, velocities, strict=True):
            row[model.index(name)] = 1.0
        names = channels or [f"{name}'" for name in velocities]
        return Observation.linear(names, rates=rates, n_inputs=model.n_inputs)


@dataclass(frozen=True, eq=False)
class LinearObservation(Observation):
    """``y = C s + D s' + E u + b``.

    Attributes
    ----------
    channels : tuple of str
    states, rates : ndarray of shape (C, n_s)
    inputs : ndarray of shape (C, m)
    offsets : ndarray of shape (C,) or None
        What sensors read at rest; None is zero.
    """

    channels: tuple[str, ...]
    states: Array
    rates: Array
    inputs: Array
    offsets: Array | None = None

    def values(self, X: Array, F: Array, U: Array) -> Array:
        """Channels, shape (n, C)."""
        out = X @ self.states.T + F @ self.rates.T
        out = out + U @ self.inputs.T if self.inputs.size else out
        return out if self.offsets is None else out + self.offsets

    def jacobians(self, X: Array, F: Array, U: Array) -> tuple[Array, Array]:
        """The constant matrices."""
        return self.states[None], self.rates[None]


@dataclass(frozen=True, eq=False)
class FunctionObservation(Observation):
    """Channels by a function of the user's.

    Attributes
    ----------
    channels : tuple of str
    function : callable
        ``function(X, F, U)`` with states (n, n_s), rates (n, n_s), inputs (n, m), row by row, to
        (n,) or (n, C).
    """

    channels: tuple[str, ...]
    function: Callable[[Array, Array, Array], ArrayLike]

    def values(self, X: Array, F: Array, U: Array) -> Array:
        """Channels, shape (n, C)."""
        out = np.asarray(self.function(X, F, U), dtype=np.float64)
        expected = (len(X), len(self.channels))
        if out.size != expected[0] * expected[1]:
            raise ValueError(
                f"observe must return one value per row and channel, shape {expected}; it "
                f"returned {out.shape}."
            )
        return out.reshape(expected)

    def jacobians(self, X: Array, F: Array, U: Array) -> tuple[Array, Array]:
        """Central differences, with steps of 1e-6 of each column's size."""
        return (
            self._differences(X, lambda moved: self.values(moved, F, U)),
            self._differences(F, lambda moved: self.values(X, moved, U)),
        )

    def _differences(self, at: Array, function: Callable[[Array], Array]) -> Array:
        columns = []
        for j in range(at.shape[1]):
            step = 1e-6 * max(float(np.abs(at[:, j]).max(initial=0.0)), 1e-6)
            moved = np.zeros_like(at)
            moved[:, j] = step
            columns.append((function(at + moved) - function(at - moved)) / (2.0 * step))
        return np.stack(columns, axis=2)
