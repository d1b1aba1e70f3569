"""ARX and NARX: the next sample as a function of past samples and inputs, simulated freely."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import product
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from discoverers.baselines.lags import (
    Lags,
    ScaledRun,
    Step,
    even_step,
    grid_rows,
    require_whole,
    scale_of,
    stack,
)
from discoverers.prediction import bounded_r2
from discoverers.runs import Runs, evaluate_input, read_runs
from discoverers.trajectories import as_trajectories

__all__ = ["ARXBaseline", "NARXBaseline"]

Array = NDArray[np.float64]
EXPLODED = 1e3
"""A free run that is so many times larger than the training data has blown up."""


class _Autoregression(RegressorMixin, BaseEstimator):
    """What ARX and NARX share: lags, their choice on training rows, free runs."""

    order: int | str
    stride: int | str
    alpha: float | str
    max_order: int
    holdout: float

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "order": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "stride": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "alpha": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "max_order": [Interval(Integral, 1, None, closed="left")],
        "holdout": [Interval(Real, 0, 1, closed="neither")],
    }
    # `t` is what scikit-learn calls X: data, not metadata to route.
    __metadata_request__fit: ClassVar = {"t": UNUSED}
    __metadata_request__predict: ClassVar = {"t": UNUSED}
    __metadata_request__score: ClassVar = {"t": UNUSED}

    _strides: ClassVar[tuple[int, ...]] = (1, 2, 5, 10)
    _alphas: ClassVar[tuple[float, ...]] = (0.0, 1e-4, 1e-2, 1.0)

    @abstractmethod
    def _regress(self, columns: Array, samples: Array, alpha: float) -> Any:
        """A fitted scikit-learn regressor."""

    @abstractmethod
    def _step(self, fitted: Any) -> Step:
        """What the regressor predicts for one row, without the checks that a free run repeats."""

    def _orders(self) -> tuple[int, ...]:
        return tuple(k for k in (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 25, 30) if k <= self.max_order)

    def fit(self, t: Any, y: Any, *, u: Any = None) -> Self:
        """Fit lagged columns; order, stride and penalty by free runs inside the training rows.

        Parameters
        ----------
        t : array-like of shape (n,) or (n, 1 + m), or list of such arrays
            Evenly spaced times; further columns are inputs.
        y : array-like of shape (n,) or (n, C), or list of such arrays
            Measured channels; rows with NaN are left out of the regression.
        u : array-like of shape (n,) or (n, m), list of such arrays, or callable, default=None
            Inputs.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If times are uneven, or there are too few rows for one lag.
        """
        self._validate_params()
        trajectories = as_trajectories(t, y, u=u)
        step = even_step(list(trajectories))
        y_scale = scale_of(np.concatenate([run.X for run in trajectories]))
        u_scale = scale_of(np.concatenate([run.u for run in trajectories]))
        runs = [ScaledRun(run.X / y_scale, run.u / u_scale) for run in trajectories]
        table = pd.DataFrame(
            [
                (lags.order, lags.stride, alpha, self._trial(runs, lags, alpha))
                for lags, alpha in self._candidates(runs)
            ],
            columns=["order", "stride", "alpha", "error"],
        )
        if table.empty:
            raise ValueError(
                f"t has {max(len(run.y) for run in runs)} rows in its longest run, too few for one "
                f"lag and a held-out part; lower order or stride, or pass more rows."
            )
        best = table.loc[table["error"].idxmin()]
        lags = Lags(int(best["order"]), int(best["stride"]))
        self.estimator_ = self._regress(*stack(runs, lags), float(best["alpha"]))
        self._lags = lags
        self._runs = runs
        self._scales = (y_scale, u_scale)
        self._times = [(float(run.t[0]), step) for run in trajectories]
        self._squeeze = trajectories.squeeze
        self._listed = trajectories.form == "list"
        self._clock = trajectories.clock
        self.order_, self.stride_, self.alpha_ = lags.order, lags.stride, float(best["alpha"])
        self.selection_ = table
        self.channel_names_ = trajectories.state_names
        self.input_names_ = trajectories.input_names
        self.n_features_in_ = 1 + len(trajectories.input_names)
        return self

    def predict(self, t: Any, *, u: Any = None) -> Any:
        """Channels at times of the training grid or after it, by free runs.

        Inside a training run it starts from that run's first measured rows; after it, from the
        last ones, and every row up to the last one asked for must be there, with its input.

        Returns
        -------
        ndarray of shape (n,) or (n, C), or list of such arrays
            NaN from a blow-up on.

        Raises
        ------
        ValueError
            If a time is not on the training grid, lies before it, or the rows after it have gaps.
        """
        check_is_fitted(self)
        raw = read_runs(
            t, u=u, with_states=False, clock=self._clock, allow_elapsed=True, prefix="y"
        )
        answers = self._answers(raw)
        answers = [y[:, 0] if self._squeeze else y for y in answers]
        return answers if self._listed else answers[0]

    def score(self, t: Any, y: Any, *, u: Any = None) -> float:
        """R2 of `predict`, averaged over channels; errors are bounded, so it is finite."""
        check_is_fitted(self)
        raw = read_runs(t, y, u=u, clock=self._clock, allow_elapsed=True, prefix="y")
        measured = np.concatenate([run.X for run in raw.runs])
        return bounded_r2(measured, np.concatenate(self._answers(raw)), np.ones(len(measured)))

    def _answers(self, raw: Runs) -> list[Array]:
        if len(raw.runs) != len(self._runs):
            raise ValueError(
                f"t has {len(raw.runs)} run(s), but {len(self._runs)} were fitted; a free run "
                f"starts from measured rows of its own run. Pass as many, in the order of fit."
            )
        y_scale, u_scale = self._scales
        step_of_model = self._step(self.estimator_)
        answers = []
        for raw_run, run, (first, step) in zip(raw.runs, self._runs, self._times, strict=True):
            rows = grid_rows(raw_run.t, first, step)
            inputs = raw_run.u
            if raw_run.signal is not None:
                inputs = evaluate_input(raw_run.signal, raw_run.t)
            n, m = run.u.shape
            after = rows >= n
            if inputs.shape[1] != m and (after.any() or inputs.shape[1]):
                raise ValueError(
                    f"u has {inputs.shape[1]} column(s), the fit had {m}; pass the same inputs."
                )
            inside = self._lags.simulate(step_of_model, run.y, run.u, EXPLODED)
            y = np.empty((len(rows), run.y.shape[1]))
            y[~after] = inside[rows[~after]]
            if after.any():
                places = np.argsort(rows[after], kind="stable")
                require_whole(rows[after][places], n)
                later = inputs[after][places] / u_scale
                found = np.empty((len(places), y.shape[1]))
                found[places] = self._continued(run, inside, later)
                y[after] = found
            answers.append(y * y_scale)
        return answers

    def _continued(self, run: ScaledRun, inside: Array, later: Array) -> Array:
        reach = self._lags.reach
        # Rows that were not measured are taken from the free run.
        history = np.where(np.isfinite(run.y), run.y, inside)[len(run.y) - reach :]
        u = np.concatenate([run.u[len(run.u) - reach :], later])
        return self._lags.simulate(self._step(self.estimator_), history, u, EXPLODED)[reach:]

    def _candidates(self, runs: Sequence[ScaledRun]) -> Iterator[tuple[Lags, float]]:
        """Lags and penalties that the rows allow."""
        orders = self._orders() if isinstance(self.order, str) else (int(self.order),)
        strides = self._strides if isinstance(self.stride, str) else (int(self.stride),)
        alphas = self._alphas if isinstance(self.alpha, str) else (float(self.alpha),)
        longest = max(len(run.y) for run in runs)
        for order, stride, alpha in product(orders, strides, alphas):
            lags = Lags(order, stride)
            kept = int(longest * (1.0 - self.holdout))
            if kept - lags.reach >= 2 and kept < longest:
                yield lags, alpha

    def _trial(self, runs: Sequence[ScaledRun], lags: Lags, alpha: float) -> float:
        """Mean squared error of a free run over the last part of every run, fitted to the rest."""
        if not any(isinstance(value, str) for value in (self.order, self.stride, self.alpha)):
            return 0.0  # nothing to choose
        cuts = [int(len(run.y) * (1.0 - self.holdout)) for run in runs]
        heads = [ScaledRun(run.y[:cut], run.u[:cut]) for run, cut in zip(runs, cuts, strict=True)]
        columns, samples = stack(heads, lags)
        if len(columns) < 2:
            return np.inf
        step = self._step(self._regress(columns, samples, alpha))
        errors = []
        for run, cut in zip(runs, cuts, strict=True):
            start = cut - lags.reach
            if start < 0 or not np.isfinite(run.y[start:cut]).all():
                continue
            y = lags.simulate(step, run.y[start:cut], run.u[start:], EXPLODED)[lags.reach :]
            error = (y - run.y[cut:])[np.isfinite(run.y[cut:])]
            # A free run that blows up is worse than every one that does not.
            errors.append(np.where(np.isfinite(error), error, EXPLODED) ** 2)
        return float(np.mean(np.concatenate(errors))) if errors else np.inf

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.regressor_tags.poor_score = True
        return tags


class ARXBaseline(_Autoregression):
    """Linear autoregression with inputs, least squares or ridge on lagged columns.

    ``y_k = sum_i a_i y_{k - i s} + sum_j b_j u_{k - j s} + b``, j from 0. Order, stride s and
    penalty are chosen by free runs over the last part of the training rows, never on later ones.

    Parameters
    ----------
    order : int or "auto", default="auto"
        Number of lags.
    stride : int or "auto", default="auto"
        Rows from one lag to the next: fast sampling makes neighbours too alike to regress on.
    alpha : float or "auto", default="auto"
        Penalty of ridge regression on columns in units of their rms; 0 is least squares.
    max_order : int, default=30
        Largest order that "auto" tries.
    holdout : float, default=0.25
        Share of every run, at its end, that choices are judged on. All rows are used afterwards.

    Attributes
    ----------
    order_, stride_ : int
    alpha_ : float
    estimator_ : scikit-learn regressor
        On lagged columns, all in units of their rms.
    selection_ : DataFrame
        Every candidate and its mean squared error over the held-out part.
    channel_names_, input_names_ : tuple of str

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.baselines import ARXBaseline
    >>> t = np.arange(0, 40, 0.1)
    >>> y = np.exp(-0.1 * t) * np.cos(2 * t)
    >>> model = ARXBaseline(order=2, stride=1, alpha=0.0).fit(t[:200], y[:200])
    >>> bool(np.abs(model.predict(t[200:]) - y[200:]).max() < 1e-8)
    True
    """

    def __init__(
        self,
        order: int | str = "auto",
        *,
        stride: int | str = "auto",
        alpha: float | str = "auto",
        max_order: int = 30,
        holdout: float = 0.25,
    ) -> None:
        self.order = order
        self.stride = stride
        self.alpha = alpha
        self.max_order = max_order
        self.holdout = holdout

    def _regress(self, columns: Array, samples: Array, alpha: float) -> Any:
        linear = LinearRegression() if alpha == 0.0 else Ridge(alpha=alpha * len(columns) * 1e-3)
        return linear.fit(columns, samples)

    def _step(self, fitted: Any) -> Step:
        weights, offset = np.atleast_2d(fitted.coef_), np.atleast_1d(fitted.intercept_)
        return lambda row: np.asarray(weights @ row + offset)


class NARXBaseline(_Autoregression):
    """Nonlinear autoregression with inputs: polynomials of lagged columns, or kernels on them.

    Parameters
    ----------
    order, stride, alpha, max_order, holdout
        As of `ARXBaseline`; fewer orders are tried, for each costs more.
    kind : {"polynomial", "kernel"}, default="polynomial"
        Ridge regression on all products up to `degree`, or kernel ridge regression with a Gaussian
        kernel of `width`.
    degree : int, default=2
    width : float, default=3.0
        Of the Gaussian kernel, in standard deviations of the columns times the root of their
        number.

    Attributes
    ----------
    order_, stride_, alpha_, estimator_, selection_, channel_names_, input_names_
        As of `ARXBaseline`; `estimator_` is a pipeline.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.baselines import NARXBaseline
    >>> x = [0.3]
    >>> for _ in range(60):
    ...     x.append(3.7 * x[-1] * (1 - x[-1]))
    >>> model = NARXBaseline(order=1, stride=1, alpha=0.0).fit(np.arange(50.0), np.array(x[:50]))
    >>> bool(np.abs(model.predict(np.arange(50.0, 55.0)) - x[50:55]).max() < 1e-6)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_Autoregression._parameter_constraints,
        "kind": [StrOptions({"polynomial", "kernel"})],
        "degree": [Interval(Integral, 1, None, closed="left")],
        "width": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        order: int | str = "auto",
        *,
        stride: int | str = "auto",
        alpha: float | str = "auto",
        max_order: int = 8,
        holdout: float = 0.25,
        kind: str = "polynomial",
        degree: int = 2,
        width: float = 3.0,
    ) -> None:
        self.order = order
        self.stride = stride
        self.alpha = alpha
        self.max_order = max_order
        self.holdout = holdout
        self.kind = kind
        self.degree = degree
        self.width = width

    def _orders(self) -> tuple[int, ...]:
        return tuple(k for k in (1, 2, 4, 8, 16) if k <= self.max_order)

    def _regress(self, columns: Array, samples: Array, alpha: float) -> Any:
        penalty = alpha * len(columns) * 1e-3
        if self.kind == "kernel":
            gamma = 0.5 / (self.width**2 * columns.shape[1])
            kernel = KernelRidge(kernel="rbf", gamma=gamma, alpha=max(penalty, 1e-8))
            model = make_pipeline(StandardScaler(), kernel)
        else:
            products = PolynomialFeatures(self.degree, include_bias=False)
            linear = LinearRegression() if alpha == 0.0 else Ridge(alpha=penalty)
            model = make_pipeline(products, StandardScaler(), linear)
        return model.fit(columns, samples)

    def _step(self, fitted: Any) -> Step:
        scaler = fitted.named_steps["standardscaler"]
        if self.kind == "kernel":
            kernel = fitted.named_steps["kernelridge"]
            centres, gamma = kernel.X_fit_, kernel.gamma
            weights = kernel.dual_coef_.reshape(len(centres), -1)

            def step(row: Array) -> Array:
                distance = np.sum((centres - (row - scaler.mean_) / scaler.scale_) ** 2, axis=1)
                return np.asarray(np.exp(-gamma * distance) @ weights)

            return step
        linear = fitted[-1]
        slopes = np.atleast_2d(linear.coef_) / scaler.scale_
        offset = np.atleast_1d(linear.intercept_) - slopes @ scaler.mean_
        # Every product as so many factors, of which the column past the last is a 1.
        factors = np.array(
            [
                np.repeat(np.arange(len(powers)), powers).tolist()
                + [len(powers)] * int(self.degree - powers.sum())
                for powers in fitted.named_steps["polynomialfeatures"].powers_
            ]
        )
        return lambda row: slopes @ np.append(row, 1.0)[factors].prod(axis=1) + offset
