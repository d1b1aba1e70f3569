"""What a fitted `PDEDiscoverer` is asked: predictions, simulations, scores."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from discoverers.exceptions import IntegrationError, IntegrationWarning

from .denoising import denoise_start
from .equations import PDEEquations
from .fields import Field, as_fields
from .simulation import FieldSimulation, simulate_field

__all__ = ["FieldAnswers"]

Array = NDArray[np.float64]

FAILED = 10.0
"""Error that `score` counts where a simulation failed, in standard deviations of the data."""


class FieldAnswers:
    """Mixin with everything that a fitted estimator is asked; state is in its attributes."""

    equations_: PDEEquations
    solution_: tuple[Any, ...]
    x_: tuple[Array, ...]
    periodic_: bool
    boundary_: str
    state_names_: tuple[str, ...]
    on_failure: str
    listed_: bool
    squeeze_: bool

    def predict(self, t: Any) -> Any:
        """Integrate the equations from the smoothed first field of each training run.

        Parameters
        ----------
        t : array-like of shape (n_times,), or list of such arrays
            Times, none before the run's first; a list has one array per training run.

        Returns
        -------
        ndarray of shape (n_times, n_space) or (n_times, n_space, V), or list of such arrays
            In the form of the X given to `fit`; NaN where the integration failed.

        Raises
        ------
        ValueError
            If there are more or fewer arrays than runs, or a time lies before the first.
        IntegrationError
            If the integration fails and ``on_failure="raise"``.
        """
        check_is_fitted(self)
        several = self.listed_
        times = list(t) if several and isinstance(t, (list, tuple)) else [t]
        if len(times) != len(self.solution_):
            raise ValueError(
                f"t must be a list with one array per training run ({len(self.solution_)}), got "
                f"{len(times)}. For another start use simulate(t, u0)."
            )
        out = []
        for when, fitted in zip(times, self.solution_, strict=True):
            wanted = _times(when)
            if wanted.min() < fitted.t[0]:
                raise ValueError(
                    f"t begins at {wanted.min():.6g}, before the run's first time "
                    f"{fitted.t[0]:.6g}; such equations cannot be integrated backwards."
                )
            found = self._integrate(wanted, fitted.X[0], fitted.x, begin=float(fitted.t[0]))
            out.append(self._settled(found))
        shaped = [X[:, :, 0] if self.squeeze_ else X for X in out]
        return shaped if several else shaped[0]

    def simulate(self, t: ArrayLike, u0: ArrayLike, *, x: ArrayLike | None = None) -> Array:
        """Integrate the equations from a given field.

        Parameters
        ----------
        t : array-like of shape (n_times,)
            Increasing times; `u0` is the field at the first.
        u0 : array-like of shape (n_space,) or (n_space, V)
        x : array-like of shape (n_space,), optional
            Equally spaced positions; those of the first training run if not given.

        Returns
        -------
        ndarray of shape (n_times, n_space) or (n_times, n_space, V)
            In the form of `u0`; NaN where the integration failed.
        """
        check_is_fitted(self)
        start = np.asarray(u0, dtype=np.float64)
        squeeze = start.ndim == 1
        start = start[:, None] if squeeze else start
        positions = self.x_[0] if x is None else np.asarray(x, dtype=np.float64)
        expected = (len(positions), len(self.state_names_))
        if start.shape != expected:
            raise ValueError(
                f"u0 must have shape {expected} (positions, states), got {np.shape(u0)}"
                f"{'' if x is not None else '; give x= for another grid'}."
            )
        if not np.isfinite(start).all():
            raise ValueError("u0 must be finite.")
        X = self._settled(self._integrate(_times(t), start, positions))
        return X[:, :, 0] if squeeze else X

    def derivative(self, X: ArrayLike, *, x: ArrayLike | None = None) -> Array:
        """Time derivatives that the equations give to fields.

        Parameters
        ----------
        X : array-like of shape (..., n_space, V), or (..., n_space) for one state
        x : array-like of shape (n_space,), optional
            Positions; those of the first training run if not given.

        Returns
        -------
        ndarray
            Of the shape of X.
        """
        check_is_fitted(self)
        values = np.asarray(X, dtype=np.float64)
        positions = self.x_[0] if x is None else np.asarray(x, dtype=np.float64)
        n_states = len(self.state_names_)
        bare = n_states == 1 and values.shape[-1] == len(positions)
        values = values[..., None] if bare else values
        if values.ndim < 2 or values.shape[-2:] != (len(positions), n_states):
            raise ValueError(
                f"X must end in (n_space, V) = {(len(positions), n_states)}, got {np.shape(X)}."
            )
        out = self.equations_.rates(values, _spacing(positions), periodic=self.periodic_)
        return out[..., 0] if bare else out

    def score(self, t: Any, X: Any, *, x: Any = None) -> float:
        """R2 of simulations that start from each run's own, smoothed, first field.

        Parameters
        ----------
        t : array-like of shape (n_times,), or list of such arrays
        X : array-like of shape (n_times, n_space) or (n_times, n_space, V), or list of such arrays
        x : array-like of shape (n_space,), or list of such arrays, optional
            Positions; those of the first training run if not given.

        Returns
        -------
        float
            1 minus squared error over variance, each state in units of its own variance. Finite
            also where a simulation blows up: errors there count 10 standard deviations.
        """
        check_is_fitted(self)
        fields = as_fields(t, X, self.x_[0] if x is None else x, self.state_names_)
        error, total = 0.0, 0.0
        for run in fields:
            start = self._start(run)
            found = self._integrate(run.t, start, run.x).X
            seen = np.isfinite(run.X)
            centre = np.nanmean(run.X, axis=(0, 1))
            spread = np.maximum(np.nanstd(run.X, axis=(0, 1)), 1e-150)
            miss = np.abs(found - run.X) / spread
            miss = np.where(np.isfinite(miss), np.minimum(miss, FAILED), FAILED)
            error += float((miss[seen] ** 2).sum())
            total += float(((((run.X - centre) / spread) ** 2)[seen]).sum())
        return 1.0 - error / total

    def _start(self, run: Field) -> Array:
        return denoise_start(run, self.periodic_)

    def _integrate(
        self, t: Array, start: Array, x: Array, begin: float | None = None
    ) -> FieldSimulation:
        """Fields at times t in any order, from one at ``begin`` (the first of t if not given)."""
        wanted, back = np.unique(t, return_inverse=True)
        grid = wanted if begin is None or wanted[0] == begin else np.append(begin, wanted)
        found = simulate_field(
            self.equations_, grid, start, _spacing(x),
            periodic=self.periodic_, boundary=self.boundary_,
        )  # fmt: skip
        return FieldSimulation(found.X[len(grid) - len(wanted) :][back], found.message)

    def _settled(self, found: FieldSimulation) -> Array:
        if found.message:
            text = f"The equations could not be integrated: {found.message}."
            if self.on_failure == "raise":
                raise IntegrationError(text)
            warnings.warn(f"{text} NaN from there on.", IntegrationWarning, stacklevel=3)
        return found.X


def _times(t: Any) -> Array:
    times = np.asarray(t, dtype=np.float64)
    times = times[:, 0] if times.ndim == 2 and times.shape[1] == 1 else times
    if times.ndim != 1 or not len(times) or not np.isfinite(times).all():
        raise ValueError(f"t must hold finite times in one dimension, got shape {np.shape(t)}.")
    return times


def _spacing(x: Array) -> float:
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"x must hold positions in one dimension, got shape {x.shape}.")
    return float((x[-1] - x[0]) / (len(x) - 1))
