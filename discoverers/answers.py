"""The answers of a fitted estimator: predict, simulate, score and derivative."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted, validate_data

from .coercion import is_runs, reject_sparse, shape_of, to_matrix
from .discovery import TrainingData
from .equations import Equations
from .exceptions import IntegrationError, IntegrationWarning
from .prediction import (
    FittedTrajectory,
    Prediction,
    bounded_r2,
    failures,
    predict_from,
    predict_held_out,
    predict_known,
)
from .runs import RawRun, Runs, read_runs, run_label
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


class Answers:
    """Mixin with everything that a fitted estimator is asked; state is in its attributes."""

    equations_: Equations
    solution_: tuple[FittedTrajectory, ...]
    training_data_: TrainingData
    state_names_: tuple[str, ...]
    input_names_: tuple[str, ...]
    n_features_in_: int
    trajectory_column: Hashable | None
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
        """States at the times `t`.

        Inside the span of a training run this is the fitted solution (and `u` is not needed);
        after it, the equations integrated from the last fitted state; before it, backwards from
        the first. With `x0` it is `simulate`.

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
        ndarray of shape (n,) or (n, V), or list of ndarray
            In the order of the rows of `t`; (n,) if X had no columns in `fit`; a list for a list.

        Raises
        ------
        ValueError
            If runs cannot be matched with those of `fit`, or inputs are missing.
        IntegrationError
            If an integration failed and ``on_failure="raise"``.
        """
        check_is_fitted(self)
        if x0 is not None:
            return self._simulate(t, x0, u, trajectory)
        self._check_features(t, u)
        raw = self._read(t, trajectory=trajectory, u=u)
        known = cast("list[int]", self._match(raw, "predict"))
        predictions = [
            self._predict_known(index, run) for index, run in zip(known, raw.runs, strict=True)
        ]
        self._report(raw, predictions)
        return self._arrange(raw, predictions)

    def simulate(self, t: Any, x0: Any, u: Any = None) -> Any:
        """Integrate the discovered equations from an initial state, whatever was measured.

        Parameters
        ----------
        t : array-like of shape (n,), or list of such arrays
            Times; numbers count `time_unit` if `fit` was given dates.
        x0 : array-like of shape (V,) or (runs, V)
            State at the earliest time of each run.
        u : array-like of shape (n,) or (n, m), list or callable, default=None
            Inputs at `t` (linear in between), or a function of time.

        Returns
        -------
        ndarray of shape (n,) or (n, V), or list of ndarray
            NaN from where an integration failed on (with an `IntegrationWarning`).
        """
        check_is_fitted(self)
        return self._simulate(t, x0, u, None)

    @accepts_y
    def score(
        self,
        t: Any,
        X: Any,
        *,
        trajectory: ArrayLike | None = None,
        u: Any = None,
        sample_weight: Any = None,
    ) -> float:
        """R2 of the predictions, averaged over the states; always finite.

        An array is compared with ``predict(t)``. Each run of a list, and each run whose id `fit`
        did not see, is held out: it is simulated from its first fully measured row on, and
        earlier rows do not count. A missing prediction (after a blow-up) and any larger error
        count as an error of ten standard deviations, so the score is at least -99.

        Parameters
        ----------
        t, X, trajectory, u, sample_weight
            As in `fit`. NaN in `X` is ignored.

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
        if raw.form == "list":
            known: list[int | None] = [None] * len(raw.runs)
        else:
            known = self._match(raw, "score", allow_unknown=True)
        predictions = []
        weights = []
        for place, (index, run) in enumerate(zip(known, raw.runs, strict=True)):
            weight = run.weight
            if index is not None:
                predictions.append(self._predict_known(index, run))
            else:
                self._require_inputs(run)
                label = run_label(raw, place)
                prediction, start = predict_held_out(self.equations_, run, label, self.solution_)
                predictions.append(prediction)
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
            States.
        u : array-like of shape (m,) or (n, m), default=None
            Inputs; needed if there are any.

        Returns
        -------
        ndarray of the shape of X
            Time derivatives, per unit of time of the equations.
        """
        check_is_fitted(self)
        n_states, n_inputs = len(self.equations_), len(self.input_names_)
        states, names = to_matrix(X, "X")
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
                raise ValueError(_inputs_missing(self.input_names_))
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
        return np.asarray(values, dtype=np.float64).reshape(shape)

    def _feature_tables(self, t: Any) -> list[Any]:
        """`t` as 2-D tables for scikit-learn's bookkeeping of columns; rows are not looked at."""
        tables = []
        for entry in t if is_runs(t) else [t]:
            reject_sparse(entry, "t")
            table, shape = entry, shape_of(entry, "t")
            if isinstance(entry, pd.DataFrame):
                if self.trajectory_column is not None:
                    table = entry.drop(columns=self.trajectory_column, errors="ignore")
            elif len(shape) < 2:
                # The name of a Series or an Index says nothing about columns.
                table = np.empty((0, 1))
            else:
                table = np.empty((0, shape[1]))
            tables.append(table)
        return tables

    def _check_features(self, t: Any, u: Any = None) -> None:
        """Compare the columns of `t` with those of `fit`, with scikit-learn's messages."""
        entries = t if is_runs(t) else [t]
        for entry, table in zip(entries, self._feature_tables(t), strict=True):
            if len(shape_of(entry, "t")) < 2:
                if self.n_features_in_ > 1 and u is None:
                    raise ValueError(
                        f"Expected 2D array, got 1D array instead: t had {self.n_features_in_} "
                        f"columns (time and inputs) in fit. Reshape your data to "
                        f"(n, {self.n_features_in_}), or pass the inputs as u=."
                    )
                continue
            validate_data(cast(BaseEstimator, self), table, reset=False, skip_check_array=True)

    def _read(self, t: Any, X: Any = None, *, with_states: bool = False, **arguments: Any) -> Runs:
        """Read rows to answer, and check that states and inputs are those of `fit`."""
        raw = read_runs(
            t,
            X,
            trajectory_column=self.trajectory_column,
            clock=self.training_data_.clock,
            with_states=with_states,
            **arguments,
        )
        if with_states:
            if len(raw.state_names) != len(self.state_names_):
                raise ValueError(
                    f"X has {len(raw.state_names)} column(s), but the estimator was fitted with "
                    f"{len(self.state_names_)} state(s) {list(self.state_names_)}."
                )
            self._check_names(raw.state_names if raw.states_named else None, self.state_names_, "X")
        if raw.input_names:
            if len(raw.input_names) != len(self.input_names_):
                raise ValueError(
                    f"{len(raw.input_names)} input(s) were given, but the estimator was fitted "
                    f"with {len(self.input_names_)} {list(self.input_names_)}."
                )
            self._check_names(raw.input_names if raw.inputs_named else None, self.input_names_, "u")
        return raw

    def _check_names(
        self, given: Sequence[str] | None, expected: Sequence[str], argument: str
    ) -> None:
        # Names that fit numbered itself bind nobody.
        prefix = "x" if argument == "X" else "u"
        numbered = tuple(f"{prefix}{i}" for i in range(len(expected)))
        if given and tuple(expected) != numbered and tuple(given) != tuple(expected):
            raise ValueError(
                f"{argument} has the columns {list(given)}, but the estimator was fitted with "
                f"{list(expected)}. Pass the same columns in the same order."
            )

    def _predict_known(self, index: int, run: RawRun) -> Prediction:
        fitted = self.solution_[index]
        if ((run.t < fitted.t[0]) | (run.t > fitted.t[-1])).any():
            self._require_inputs(run)
        return predict_known(self.equations_, fitted, run)

    def _require_inputs(self, run: RawRun) -> None:
        if run.u.shape[1] < len(self.input_names_):
            raise ValueError(_inputs_missing(self.input_names_))

    def _match(self, raw: Runs, method: str, *, allow_unknown: bool = False) -> list[int | None]:
        """Index of the training run that each run is; None for a run that `fit` did not see."""
        known = self.training_data_
        if raw.form == "ids":
            matched = [
                known.ids.index(run.id) if run.id in known.ids and known.form != "array" else None
                for run in raw.runs
            ]
            unknown = [run.id for run, i in zip(raw.runs, matched, strict=True) if i is None]
            if unknown and not allow_unknown:
                raise ValueError(
                    f"trajectory id(s) {unknown} were not in fit, so {method} cannot know where "
                    f"those runs are. Pass their initial states as x0=, or ids of {_ids(known)}."
                )
            return list(matched)
        if known.form == "ids":
            raise ValueError(
                f"fit was given trajectory ids ({_ids(known)}), {method} was not. Pass "
                f"trajectory= (or the column), or x0=."
            )
        if len(raw.runs) != len(known.ids):
            raise ValueError(
                f"{method} got {len(raw.runs)} run(s), but fit had {len(known.ids)}, so they "
                f"cannot be matched by position. Pass x0= to simulate new runs, or trajectory= "
                f"with the positions of the runs meant."
            )
        return list(range(len(raw.runs)))

    def _simulate(self, t: Any, x0: Any, u: Any, trajectory: Any) -> Any:
        raw = self._read(t, trajectory=trajectory, u=u, allow_elapsed=True)
        if x0 is None:
            raise ValueError("x0 must hold the initial state(s), got None.")
        n_states = len(self.state_names_) * self.equations_.order
        states = initial_states(x0, raw, n_states)
        for run in raw.runs:
            self._require_inputs(run)
        predictions = [
            predict_from(self.equations_, run, state, solution=self.solution_)
            for run, state in zip(raw.runs, states, strict=True)
        ]
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
        squeeze = self.training_data_.squeeze
        answers = [prediction.X[:, 0] if squeeze else prediction.X for prediction in predictions]
        if raw.listed:
            return answers
        stacked = np.empty((raw.n_rows, *answers[0].shape[1:]))
        for run, answer in zip(raw.runs, answers, strict=True):
            stacked[run.rows] = answer
        return stacked


def _inputs_missing(names: Sequence[str]) -> str:
    return (
        f"u: the equations have the input(s) {list(names)}, which are needed outside the span of "
        f"the training data. Pass them as u= (or as further columns of t, if fit had them there)."
    )


def _ids(known: TrainingData) -> str:
    shown = ", ".join(repr(entry) for entry in known.ids[:5])
    return shown + (", ..." if len(known.ids) > 5 else "")
