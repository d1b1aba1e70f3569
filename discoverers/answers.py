"""The answers of a fitted estimator: predict, simulate, score and derivative."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from .coercion import shape_of, to_matrix
from .equations import Equations
from .exceptions import IntegrationError, IntegrationWarning
from .prediction import (
    FittedTrajectory,
    Observes,
    Prediction,
    bounded_r2,
    channels,
    failures,
    first_full_row,
    predict_from,
    predict_held_out,
    predict_known,
)
from .questions import Questions, inputs_missing
from .runs import Interpolation, RawRun, Runs, run_label
from .trajectories import initial_states

Method = TypeVar("Method", bound=Callable[..., Any])


def accepts_y(method: Method) -> Method:
    """Let scikit-learn pass the states by its own keyword, `y`; the signature stays (t, X)."""

    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "y" in kwargs:
            if not args and "t" not in kwargs and "X" in kwargs:
                kwargs["t"] = kwargs.pop("X")
            if len(args) > 1 or "X" in kwargs:
                raise TypeError(f"{method.__name__}() got the states twice: as X and as y.")
            kwargs["X"] = kwargs.pop("y")
        return method(self, *args, **kwargs)

    return cast(Method, wrapper)


class Answers(Questions):
    """Mixin with everything that a fitted estimator is asked; state is in its attributes."""

    equations_: Equations
    observation_: Observes | None
    solution_: tuple[FittedTrajectory, ...]
    state_names_: tuple[str, ...]
    on_failure: str

    # `t` is what scikit-learn calls X: data, not metadata to route.
    __metadata_request__predict: ClassVar = {"t": UNUSED}
    __metadata_request__score: ClassVar = {"t": UNUSED}

    def predict(
        self,
        t: Any,
        *,
        x0: Any = None,
        trajectory: ArrayLike | None = None,
        u: Any = None,
    ) -> Any:
        """What was measured, at the times `t`: the states, or the channels observed of them.

        Inside the span of a training run this is the fitted solution (and `u` is not needed), in
        gaps of the record integrated from their ends so that both are met; after it, the equations
        integrated from the last fitted state; before it, backwards from the first. With `x0` it is
        what `simulate` gives, as it would be measured.

        Parameters
        ----------
        t : array-like or list
            As in `fit`. A list without `trajectory` must have as many runs as `fit` had.
        x0 : array-like of shape (V,) or (runs, V), or mapping, default=None
            Initial states at the earliest time of each run.
        trajectory : array-like of shape (n,), default=None
            Ids of training runs; needed if `fit` was given ids.
        u : array-like, list or callable, default=None
            Inputs; needed outside the training span if there are inputs.

        Returns
        -------
        ndarray of shape (n,) or (n, C), or list of ndarray
            In the order of the rows of `t`; (n,) if X had no columns in `fit`; a list for a list.

        Raises
        ------
        ValueError
            If runs cannot be matched with those of `fit`, or inputs are missing.
        IntegrationError
            If an integration failed and ``on_failure="raise"``.
        """
        return self._answer(t, x0, trajectory, u, "predict", observed=True)

    def states(
        self,
        t: Any,
        *,
        x0: Any = None,
        trajectory: ArrayLike | None = None,
        u: Any = None,
    ) -> Any:
        """States at the times `t`, measured or not: `predict` before anything is observed.

        Parameters
        ----------
        t, x0, trajectory, u
            As in `predict`.

        Returns
        -------
        ndarray of shape (n,) or (n, V), or list of ndarray
            Columns in the order of `state_names_`.
        """
        return self._answer(t, x0, trajectory, u, "states", observed=False)

    def simulate(self, t: Any, x0: Any, u: Any = None) -> Any:
        """States by integrating the discovered equations from an initial state.

        Parameters
        ----------
        t : array-like of shape (n,), or list of such arrays
            Times; numbers count `time_unit` if `fit` was given dates.
        x0 : array-like of shape (V,) or (runs, V)
            State at the earliest time of each run.
        u : array-like of shape (n,) or (n, m), list or callable, default=None
            Inputs at `t` (in between they run as in the fit), or a function of time.

        Returns
        -------
        ndarray of shape (n,) or (n, V), or list of ndarray
            NaN from where an integration failed on (with an `IntegrationWarning`).
        """
        check_is_fitted(self)
        return self._simulate(t, x0, u, None, observed=False)

    @accepts_y
    def score(
        self,
        t: Any,
        X: Any,
        *,
        trajectory: ArrayLike | None = None,
        u: Any = None,
        x0: Any = None,
        sample_weight: Any = None,
    ) -> float:
        """R2 of the predictions, averaged over the columns of `X`; always finite.

        An array is compared with ``predict(t)``. Each run of a list, and each run whose id `fit`
        did not see, is held out: it is simulated from `x0`, or else from its first fully measured
        row on, and earlier rows do not count. A missing prediction (after a blow-up) and any
        larger error count as an error of ten standard deviations, so the score is at least -99.

        Parameters
        ----------
        t, X, trajectory, u, sample_weight
            As in `fit`. NaN in `X` is ignored.
        x0 : array-like of shape (V,) or (runs, V), or mapping, default=None
            Initial states at the earliest time of each run; all runs are simulated then.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If ids were given to `fit` but not here, or a held-out run has no fully measured row.
        """
        check_is_fitted(self)
        self._check_features(t, u)
        raw = self._read(
            t, X, with_states=True, trajectory=trajectory, u=u, sample_weight=sample_weight
        )
        known: Sequence[int | None] = [None] * len(raw.runs)
        if x0 is None and raw.form != "list":
            known = self._match(raw, "score", allow_unknown=True)
        given = initial_states(x0, raw, self._n_initial, allow_nan=True)
        predictions, weights = [], []
        for place, (index, run) in enumerate(zip(known, raw.runs, strict=True)):
            weight = run.weight
            if index is not None:
                predictions.append(self._predict_known(index, run, observed=True))
            else:
                self._require_inputs(run)
                start, state = self._held_out_start(run, given[place], run_label(raw, place))
                states = predict_held_out(
                    self.equations_, run, start, state, self.solution_, self._interpolation
                )
                predictions.append(self._observe(run, states))
                weight = np.where(run.t >= start, weight, 0.0)
            weights.append(weight)
        self._report(raw, predictions, may_raise=False)
        return bounded_r2(
            np.concatenate([run.X for run in raw.runs]),
            np.concatenate([prediction.X for prediction in predictions]),
            np.concatenate(weights),
        )

    def derivative(self, X: Any, u: Any = None) -> NDArray[np.float64]:
        """Right-hand side of the discovered equations at given states.

        Parameters
        ----------
        X : array-like of shape (V,), (n, V), or (n,) if there is one state
            States; for equations of higher order followed by their derivatives below the order,
            (N,) or (n, N): x, y, x', y', ...
        u : array-like of shape (m,) or (n, m), default=None
            Inputs; needed if there are any.

        Returns
        -------
        ndarray of the shape of X
            Right-hand sides, per unit of time of the equations; of second order accelerations,
            (V,) or (n, V).
        """
        check_is_fitted(self)
        n_states, n_inputs = self._n_initial, len(self.input_names_)
        states, names = to_matrix(X, "X")
        if n_states == len(self.equations_):
            self._check_names(names, self.state_names_, "X")
        shape = shape_of(X, "X")
        if len(shape) == 1 and n_states > 1:
            states = states.T
        if states.shape[1] != n_states:
            raise ValueError(
                f"X must have shape ({n_states},) or (n, {n_states}) for {n_states} state(s), "
                f"got {shape}."
            )
        inputs = None
        if n_inputs:
            if u is None:
                raise ValueError(inputs_missing(self.input_names_))
            matrix, names = to_matrix(u, "u")
            self._check_names(names, self.input_names_, "u")
            if len(shape_of(u, "u")) == 1 and (n_inputs > 1 or len(states) == 1):
                matrix = matrix.T
            if matrix.shape[1] != n_inputs or len(matrix) not in (1, len(states)):
                raise ValueError(
                    f"u must have shape ({n_inputs},) or ({len(states)}, {n_inputs}), "
                    f"got {shape_of(u, 'u')}."
                )
            inputs = np.broadcast_to(matrix, (len(states), n_inputs))
        elif u is not None:
            raise ValueError("u was given, but the equations were fitted without inputs.")
        with np.errstate(all="ignore"):
            values = self.equations_.lambdify("numpy")(states, inputs)
        rows = shape if n_states == len(self.equations_) else (*shape[:-1], len(self.equations_))
        return np.asarray(values, dtype=np.float64).reshape(rows)

    @property
    def _n_initial(self) -> int:
        """How many numbers an initial state has."""
        return sum(self.equations_.orders)

    @property
    def _interpolation(self) -> Interpolation:
        return self.training_data_.interpolation

    def _answer(
        self, t: Any, x0: Any, trajectory: Any, u: Any, method: str, *, observed: bool
    ) -> Any:
        check_is_fitted(self)
        if x0 is not None:
            return self._simulate(t, x0, u, trajectory, observed=observed)
        self._check_features(t, u)
        raw = self._read(t, trajectory=trajectory, u=u)
        known = cast("list[int]", self._match(raw, method))
        predictions = [
            self._predict_known(index, run, observed=observed)
            for index, run in zip(known, raw.runs, strict=True)
        ]
        self._report(raw, predictions)
        return self._arrange(raw, predictions)

    def _predict_known(self, index: int, run: RawRun, *, observed: bool) -> Prediction:
        fitted = self.solution_[index]
        if ((run.t < fitted.t[0]) | (run.t > fitted.t[-1])).any():
            self._require_inputs(run)
        states = predict_known(self.equations_, fitted, run, self._interpolation)
        return self._observe(run, states, fitted) if observed else self._states_of(states)

    def _states_of(self, states: Prediction) -> Prediction:
        """Without derivatives."""
        return Prediction(states.X[:, : len(self.state_names_)], states.message)

    def _observe(
        self, run: RawRun, states: Prediction, fitted: FittedTrajectory | None = None
    ) -> Prediction:
        """What would be measured of predicted states."""
        if self.observation_ is None:
            return self._states_of(states)
        inputs = run.u
        if fitted is not None and not inputs.shape[1]:
            inputs = fitted.inputs(run.t, self._interpolation)
        values = channels(self.equations_, self.observation_, states.X, inputs)
        return Prediction(values, states.message)

    def _held_out_start(
        self, run: RawRun, x0: NDArray[np.float64], label: str
    ) -> tuple[float, NDArray[np.float64]]:
        """Time and state from which a run that was not part of the fit is simulated.

        The entries of `x0`, at the run's earliest time, are known unless NaN. An estimator that
        does not observe the states themselves finds them by other means.
        """
        if np.isnan(x0).all():
            columns = getattr(self.observation_, "places", None)
            return first_full_row(self.equations_, run, label, columns)
        if np.isnan(x0).any():
            raise ValueError(
                f"x0 contains NaN{label}: a simulation needs all initial states. Give them all, or "
                f"none to start at the first fully measured row."
            )
        return float(run.t.min()), x0

    def _simulate(self, t: Any, x0: Any, u: Any, trajectory: Any, *, observed: bool) -> Any:
        raw = self._read(t, trajectory=trajectory, u=u, allow_elapsed=True)
        if x0 is None:
            raise ValueError("x0 must hold the initial state(s), got None.")
        states = initial_states(x0, raw, self._n_initial)
        for run in raw.runs:
            self._require_inputs(run)
        predictions = []
        for run, state in zip(raw.runs, states, strict=True):
            prediction = predict_from(
                self.equations_,
                run,
                state,
                solution=self.solution_,
                interpolation=self._interpolation,
            )
            answer = self._observe(run, prediction) if observed else self._states_of(prediction)
            predictions.append(answer)
        self._report(raw, predictions)
        return self._arrange(raw, predictions)

    def _report(
        self, raw: Runs, predictions: Sequence[Prediction], *, may_raise: bool = True
    ) -> None:
        text = failures(predictions, [run.id for run in raw.runs])
        if not text:
            return
        if may_raise and self.on_failure == "raise":
            raise IntegrationError(text)
        warnings.warn(
            f"{text} The prediction is NaN from there on.", IntegrationWarning, stacklevel=4
        )

    def _arrange(self, raw: Runs, predictions: Sequence[Prediction]) -> Any:
        """Predictions in the order in which the rows came."""
        # One column without a name for its axis in, the same out; several states need theirs.
        squeeze = self.training_data_.squeeze and predictions[0].X.shape[1] == 1
        answers = [prediction.X[:, 0] if squeeze else prediction.X for prediction in predictions]
        if raw.listed:
            return answers
        stacked = np.empty((raw.n_rows, *answers[0].shape[1:]))
        for run, answer in zip(raw.runs, answers, strict=True):
            stacked[run.rows] = answer
        return stacked
