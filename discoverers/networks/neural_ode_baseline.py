"""What the neural-ODE baselines share: a perceptron in an equation, its training, its answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from discoverers.prediction import bounded_r2
from discoverers.shooting import Observation, Record

from .learning import free_run
from .mlp import MLP
from .structured_ode import Kinematics, StructuredODE
from .training import Clock, Schedule, train

__all__ = ["NeuralODEBaseline"]

Array = NDArray[np.float64]

SCHEDULE = Schedule(windows=(2, 4, 8, 16, 32, 64, 128))
"""The same for all three. Windows start short, where guessed states do least harm, and double:
in windows four times as long a law learnt on short ones is often too far off to come back."""


class NeuralODEBaseline(RegressorMixin, BaseEstimator):
    """What the three baselines share: a perceptron in an equation, and its training.

    Parameters
    ----------
    n_layers : int, default=5
    width : int, default=32
        Hidden layers of the perceptron, and units of each.
    interpolation : {"cubic", "linear", "hold"}, default="cubic"
        How inputs run between their samples.
    max_epochs : int or None, default=None
        Most iterations of one phase of the training; None is 30 of Levenberg-Marquardt.
    time_budget : float or None, default=None
        Seconds after which training stops where it is.
    random_state : int, default=0
        Seed of the initial weights: the same seed gives the same answer.
    callback : callable or None, default=None
        ``callback(phase, epoch)`` before every iteration; True ends the phase.

    Attributes
    ----------
    latent_ : tuple of ndarray of shape (n, n_states)
        States of the model at the sample times of each run.
    states_ : tuple of ndarray of shape (n, n_states) or None
        The same where they have a meaning as displacement and velocity, otherwise None.
    x0_ : ndarray of shape (runs, n_states)
        Initial states.
    noise_std_ : ndarray of shape (C,)
        Root mean square residual of each channel.
    module_ : torch.nn.Module
    history_ : DataFrame
    converged_ : bool
    """

    n_layers: int
    width: int
    interpolation: Literal["cubic", "linear", "hold"]
    max_epochs: int | None
    time_budget: float | None
    random_state: int
    callback: Callable[[str, int], Any] | None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_layers": [Interval(Integral, 1, None, closed="left")],
        "width": [Interval(Integral, 1, None, closed="left")],
        "interpolation": [StrOptions({"cubic", "linear", "hold"})],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), None],
        "time_budget": [Interval(Real, 0, None, closed="neither"), None],
        "random_state": [Interval(Integral, 0, None, closed="left")],
        "callback": [callable, None],
    }

    def fit(self, t: Any, y: Any, *, u: Any = None) -> Self:
        """Learn the dynamics from observed channels.

        Parameters
        ----------
        t : array-like of shape (n,), or list of such arrays
            Increasing times; a list has one entry per run.
        y : array-like of shape (n,) or (n, C), or list of such arrays
            Observed channels; NaN where one was not measured.
        u : array-like of shape (n,) or (n, m), or list of such arrays, default=None
            Inputs.
        """
        self._validate_params()
        records = self._records(t, y, u)
        n_channels = records[0].y.shape[1]
        kinematics, observation = self._model(n_channels, records[0].u.shape[1])
        guesses = [self._guess(record, kinematics) for record in records]
        known = np.array([self._known(record, kinematics) for record in records])
        network = MLP(
            kinematics.n_states + records[0].u.shape[1],
            kinematics.n_outputs,
            self.n_layers,
            self.width,
            random_state=self.random_state,
        )
        ode = StructuredODE(network, kinematics, records[0].u.shape[1])
        schedule = SCHEDULE.capped(self.max_epochs)
        trained = train(
            ode,
            records,
            observation,
            [states for states, _ in guesses],
            known,
            schedule=schedule,
            targets=[outputs for _, outputs in guesses],
            iterations=self._iterations,
            clock=Clock(self.time_budget),
        )
        residuals = np.concatenate(
            [
                record.y - self._observe(ode, observation, X, record)
                for X, record in zip(trained.states, records, strict=True)
            ]
        )
        self.module_ = ode
        self.observation_ = observation
        self.latent_ = trained.states
        self.states_ = trained.states if self._meaningful else None
        self.x0_ = np.array([X[0] for X in trained.states])
        self.noise_std_ = np.sqrt(np.nanmean(residuals**2, axis=0))
        self.history_ = trained.history
        self.converged_ = trained.converged
        self.n_features_in_ = 1
        return self

    def predict(self, t: Any, *, u: Any = None, run: int = 0) -> Array:
        """Observed channels of a free run from the fitted initial state.

        Parameters
        ----------
        t : array-like of shape (n,)
            Times; the first is the time of the initial state.
        u : array-like of shape (n,) or (n, m), default=None
            Inputs, if there were any in `fit`.
        run : int, default=0
            Run whose initial state to start from.

        Returns
        -------
        y : ndarray of shape (n,) or (n, C)
            NaN after a blow-up.
        """
        check_is_fitted(self)
        X, record = self._free_run(t, u, run)
        y = self._observe(self.module_, self.observation_, X, record)
        return y[:, 0] if y.shape[1] == 1 else y

    def score(self, t: Any, y: Any, *, u: Any = None, run: int = 0) -> float:
        """R2 of the free run that `predict` gives, averaged over channels.

        Parameters
        ----------
        t : array-like of shape (n,)
        y : array-like of shape (n,) or (n, C)
            Measured channels, NaN where not measured.
        u : array-like of shape (n,) or (n, m), default=None
        run : int, default=0

        Returns
        -------
        float
            Finite after a blow-up too, so that models can be ranked.
        """
        predicted = self.predict(t, u=u, run=run)
        n = len(predicted)
        measured = _record(t, y, None, self.interpolation).y
        if measured.shape[1] != predicted.reshape(n, -1).shape[1]:
            raise ValueError(
                f"y must have the {predicted.reshape(n, -1).shape[1]} column(s) of fit, got "
                f"{measured.shape[1]}."
            )
        return bounded_r2(measured, predicted.reshape(n, -1), np.ones(n))

    def latent(self, t: Any, *, u: Any = None, run: int = 0) -> Array:
        """States (n, n_states) of the free run that `predict` observes.

        The paper scores the first two as displacement and velocity, whatever they mean.
        """
        check_is_fitted(self)
        return self._free_run(t, u, run)[0]

    def __sklearn_tags__(self) -> Tags:
        """Tags of the estimator: `t` may have one dimension, `y` several columns and NaN."""
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags

    # --- what a baseline is made of

    _meaningful: ClassVar[bool] = False

    @abstractmethod
    def _model(self, n_channels: int, n_inputs: int) -> tuple[Kinematics, Observation]:
        """What is known of the states, and how the channels read them."""

    @abstractmethod
    def _guess(self, record: Record, kinematics: Kinematics) -> tuple[Array, Array]:
        """Guessed states (n, n_s), and the network's outputs (n, d) there."""

    def _known(self, record: Record, kinematics: Kinematics) -> Array:
        """Known entries of the initial state, NaN for the others."""
        return np.full(kinematics.n_states, np.nan)

    # --- common steps

    def _iterations(self, name: str, maximum: int) -> Iterable[int]:
        for epoch in range(maximum):
            if self.callback is not None and self.callback(name, epoch):
                return
            yield epoch

    def _records(self, t: Any, y: Any, u: Any) -> list[Record]:
        listed = isinstance(t, (list, tuple)) and len(t) > 0 and np.ndim(t[0]) > 0
        times = list(t) if listed else [t]
        channels = list(y) if listed else [y]
        inputs = [None] * len(times) if u is None else (list(u) if listed else [u])
        if not len(times) == len(channels) == len(inputs):
            raise ValueError(
                f"t, y and u must list the same runs, got {len(times)}, {len(channels)} and "
                f"{len(inputs)}."
            )
        records = [
            _record(t_run, y_run, u_run, self.interpolation)
            for t_run, y_run, u_run in zip(times, channels, inputs, strict=True)
        ]
        measured = np.concatenate([np.isfinite(record.y) for record in records])
        if not measured.any(axis=0).all():
            empty = np.flatnonzero(~measured.any(axis=0)).tolist()
            raise ValueError(f"y holds no measured value in column(s) {empty}; leave them out.")
        return records

    def _free_run(self, t: Any, u: Any, run: int) -> tuple[Array, Record]:
        times = np.asarray(t, dtype=np.float64).ravel()
        empty = np.zeros((len(times), len(self.noise_std_)))
        record = _record(times, empty, u, self.interpolation)
        if record.u.shape[1] != self.module_.n_inputs:
            raise ValueError(
                f"u must have the {self.module_.n_inputs} column(s) of fit, got "
                f"{record.u.shape[1]}."
            )
        if not 0 <= run < len(self.x0_):
            raise ValueError(f"run must be from 0 to {len(self.x0_) - 1}, got {run}.")
        return free_run(self.module_, record, self.x0_[run], SCHEDULE.substeps), record

    @staticmethod
    def _observe(ode: StructuredODE, observation: Observation, X: Array, record: Record) -> Array:
        with torch.no_grad():
            F = ode.rates(torch.from_numpy(np.ascontiguousarray(X)), torch.from_numpy(record.u))
        return np.asarray(observation.values(X, F.numpy(), record.u))


def _record(t: Any, y: Any, u: Any, interpolation: Any) -> Record:
    times = np.asarray(t, dtype=np.float64).ravel()
    for name, values in (("y", y), ("u", u)):
        if values is not None and len(values) != len(times):
            raise ValueError(
                f"{name} has {len(values)} row(s) but t has {len(times)}. Pass one row per time."
            )
    if len(times) < 3 or not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise ValueError("t must hold at least 3 finite times in increasing order.")
    if u is not None and not np.isfinite(np.asarray(u, dtype=np.float64)).all():
        raise ValueError("u must be finite: interpolate missing inputs first.")
    return Record.make(times, y, u, interpolation=interpolation)
