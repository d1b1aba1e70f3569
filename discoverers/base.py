"""The scikit-learn contract, written once; an estimator adds `_discover` and its parameters."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import Tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import validate_data

from .answers import Answers, accepts_y
from .coercion import TIME_UNITS
from .discovery import Discovery, FittedTrajectory, TrainingData, fitted_attributes
from .exceptions import EmptyEquationWarning
from .exports import Exports
from .persistence import load_estimator
from .trajectories import MIN_SAMPLES, Trajectories, as_trajectories

__all__ = ["BaseDiscoverer", "Discovery", "FittedTrajectory", "TrainingData", "load"]

load = load_estimator


class BaseDiscoverer(CallbackSupportMixin, Answers, Exports, RegressorMixin, BaseEstimator):
    """Base class of the estimators: times in, measured states in, governing equations out.

    To scikit-learn the times `t` are "X" and the measured states `X` are "y". A subclass has the
    parameters `time_unit`, `trajectory_column` and `on_failure` besides its own, merges
    `_parameter_constraints`, and implements `_discover`.

    Parameters
    ----------
    time_unit : {"ns", "us", "ms", "s", "min", "h", "d"}, default="s"
        Unit that dates and durations in `t` are converted to (since the earliest date); the
        equations are in this unit. Numbers are used as they are.
    trajectory_column : str, default=None
        Column of the DataFrame `t` or `X` whose values tell the runs apart.
    on_failure : {"nan", "raise"}, default="nan"
        When an integration fails in `predict` or `simulate`: NaN from there on and an
        `IntegrationWarning`, or `IntegrationError`. `score` never raises it.

    Attributes
    ----------
    equations_ : Equations
        The governing equations, in the user's units.
    coef_, coef_std_ : ndarray of shape (V, K)
        Coefficients of the candidate terms `terms_` and their standard deviations.
    terms_ : tuple of str
    pareto_front_, history_ : DataFrame
    state_names_, input_names_ : tuple of str
    channel_names_ : tuple of str
        Columns of `X`: the states themselves, unless they are observed indirectly.
    observation_ : object or None
        How the columns of `X` follow from the states; None where they are the states.
    solution_ : tuple of FittedTrajectory
        The fitted solution of each run.
    x0_ : ndarray of shape (runs, V)
        Fitted initial states.
    noise_std_ : ndarray of shape (C,)
        Standard deviation of the noise of each column of `X`.
    converged_ : bool
    n_features_in_ : int
        Columns of `t`: 1 and the number of input columns.
    feature_names_in_ : ndarray of str
        Names of the columns of `t`, if it was a DataFrame whose columns are all text.
    training_data_ : TrainingData
        Ids and form of the runs, and the clock that maps dates to numbers.
    device_ : str
        Where the fit was computed.

    Notes
    -----
    Every fitted attribute is set at the end of `fit`: a fit that fails or is interrupted leaves
    the estimator as it was. Callbacks of `sklearn.callback` are set by `set_callbacks`.
    """

    time_unit: str

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "time_unit": [StrOptions(set(TIME_UNITS))],
        "trajectory_column": [str, None],
        "on_failure": [StrOptions({"nan", "raise"})],
    }
    _min_samples: ClassVar[int] = MIN_SAMPLES
    # `t` is what scikit-learn calls X: data, not metadata to route.
    __metadata_request__fit: ClassVar = {"t": UNUSED}

    @abstractmethod
    def _discover(self, trajectories: Trajectories) -> Discovery:
        """Find the equations; must not change `self`."""

    def _state_names(
        self, channel_names: Sequence[str], input_names: Sequence[str]
    ) -> tuple[str, ...]:
        """Names of the states that `x0` of `fit` is about; by default the columns of `X`."""
        return tuple(channel_names)

    def _may_be_unmeasured(self, column: str, columns: Sequence[str]) -> bool:
        """Whether a column of `X`, one of several, may be NaN in every row."""
        return False

    # --- fit

    @accepts_y
    @with_callbacks
    def fit(
        self,
        t: Any,
        X: Any,
        *,
        trajectory: ArrayLike | None = None,
        u: Any = None,
        x0: Any = None,
        sample_weight: Any = None,
    ) -> Self:
        """Discover the governing equations of measured time series.

        Parameters
        ----------
        t : array-like of shape (n,), (n, 1) or (n, 1 + m), or list of such arrays
            Times: numbers, dates or durations, in any order. Of several columns the first is time
            and the others are inputs. Duplicate times are averaged.
        X : array-like of shape (n,) or (n, V), or list of such arrays
            Measured states; NaN where a state was not measured. Columns of a DataFrame name them.
        trajectory : array-like of shape (n,), default=None
            Ids that tell stacked runs apart.
        u : array-like of shape (n,) or (n, m), list of such arrays, or callable, default=None
            Inputs, or a function of the times.
        x0 : array-like of shape (V,) or (runs, V), or mapping from id to (V,), default=None
            Initial states that are known exactly; NaN for those that are not.
        sample_weight : array-like of shape (n,), or list, default=None
            Non-negative weights; weight 2 equals the row given twice.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameterError
            If a parameter of the constructor has a wrong type or value.
        ValueError, TypeError
            If the data do not fit together; the text names the argument and what to do.
        """
        self._validate_params()
        context = self._init_callback_context(max_subtasks=None)
        before = dict(self.__dict__)
        try:
            context.call_on_fit_task_begin(estimator=self, X=t, y=X)
            features = self._features(t)
            trajectories = as_trajectories(
                t,
                X,
                trajectory=trajectory,
                u=u,
                x0=x0,
                sample_weight=sample_weight,
                trajectory_column=self.trajectory_column,
                time_unit=self.time_unit,
                min_samples=self._min_samples,
                prefix=self._column_prefix,
                state_names=self._state_names,
                may_be_unmeasured=self._may_be_unmeasured,
            )
            fitted = fitted_attributes(self._discover(trajectories), trajectories, features)
            self.__dict__ = _without_results(before) | fitted
            context.call_on_fit_task_end(estimator=self, X=t, y=X, reconstruction_attributes=fitted)
        except BaseException:
            # Also for Ctrl-C: the estimator stays as it was before this fit.
            self.__dict__ = before
            raise
        empty = [
            name for name, side in zip(self.state_names_, self.equations_, strict=True) if side == 0
        ]
        if empty:
            warnings.warn(
                f"No term was kept in the equation(s) of {empty}: the derivative reads 0. The data "
                f"may be constant, too noisy, or need other candidate terms.",
                EmptyEquationWarning,
                stacklevel=4,
            )
        return self

    def _iterations(self, name: str, maximum: int) -> Iterator[int]:
        """Count the iterations of a fit, telling the callbacks; ends when one asks to stop."""
        context = self._callback_fit_ctx
        for iteration in range(maximum):
            task = context.subcontext(task_name=name).call_on_fit_task_begin(estimator=self)
            stop = True
            try:
                yield iteration
            finally:
                # After an error in the loop's body this runs late, when the callbacks are gone.
                if hasattr(self, "_callback_fit_ctx"):
                    stop = task.call_on_fit_task_end(estimator=self)
            if stop:
                return

    def _features(self, t: Any) -> dict[str, Any]:
        """`n_features_in_` and `feature_names_in_` as scikit-learn finds them, not yet set."""
        found: dict[str, Any] | None = None
        for table in self._feature_tables(t):
            probe = BaseEstimator()
            validate_data(probe, table, skip_check_array=True)
            if found is not None and probe.n_features_in_ != found["n_features_in_"]:
                raise ValueError(
                    f"t must have as many columns in every run, got {probe.n_features_in_} "
                    f"after {found['n_features_in_']}."
                )
            found = found or dict(vars(probe))
        return found or {}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.required = True
        # scikit-learn's regression data are shuffled random rows, not measurements over time.
        tags.regressor_tags.poor_score = True
        return tags


def _without_results(state: dict[str, Any]) -> dict[str, Any]:
    """Attributes other than fitted ones, so that a new fit leaves none of the old behind."""
    return {
        name: value
        for name, value in state.items()
        if name != "_module" and (name.startswith("_") or not name.endswith("_"))
    }
