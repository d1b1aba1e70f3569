"""Answers of a fitted estimator row by row: interpolation, forecast, and a score that is finite."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline

from .gaps import cross_gaps
from .runs import InputFunction, Interpolation, RawRun, evaluate_input
from .simulation import Simulation, chain_rates, interpolated_input, simulate

if TYPE_CHECKING:
    from .equations import Equations

MISSING_ERROR = 10.0
"""Error that a missing prediction counts as, in standard deviations of the state."""


@dataclass(frozen=True)
class FittedTrajectory:
    """The fitted solution of one training run.

    Attributes
    ----------
    t : ndarray of shape (n,)
        Strictly increasing times in the user's units.
    X : ndarray of shape (n, V)
        Fitted states.
    derivative : ndarray of shape (n, V)
        Their time derivatives.
    u : ndarray of shape (n, m)
        Inputs.
    chain : ndarray of shape (n, N - V) or None
        Derivatives below the order of the equations, x', y', x'', ...; None of first order.
    """

    t: NDArray[np.float64]
    X: NDArray[np.float64]
    derivative: NDArray[np.float64]
    u: NDArray[np.float64]
    chain: NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls,
        equations: Equations,
        t: NDArray[np.float64],
        full: NDArray[np.float64],
        u: NDArray[np.float64],
    ) -> FittedTrajectory:
        """From states and derivatives below the order of the equations, (n, N)."""
        count = len(equations)
        rates = _rates(equations, full, u)
        chain = full[:, count:] if full.shape[1] > count else None
        return cls(t=t, X=full[:, :count], derivative=rates[:, :count], u=u, chain=chain)

    @property
    def full(self) -> NDArray[np.float64]:
        """States, then their derivatives below the order of the equations, (n, N)."""
        return self.X if self.chain is None else np.hstack([self.X, self.chain])

    def __call__(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """States at times inside the span, by cubic Hermite interpolation, shape (n, V)."""
        return np.asarray(CubicHermiteSpline(self.t, self.X, self.derivative)(times))

    def inputs(
        self, times: NDArray[np.float64], interpolation: Interpolation
    ) -> NDArray[np.float64]:
        """Inputs at times inside the span, shape (n, m)."""
        if not self.u.shape[1]:
            return np.empty((len(times), 0))
        return np.asarray(interpolated_input(self.t, self.u, interpolation)(times))


class Observes(Protocol):
    """How channels follow from states, where it is not the states that are measured.

    States of equations of higher order are followed by their derivatives.
    """

    def values(
        self, X: NDArray[np.float64], F: NDArray[np.float64], U: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Channels (n, C) of states (n, V), their rates (n, V) and inputs (n, m)."""


def channels(
    equations: Equations,
    observation: Observes,
    X: NDArray[np.float64],
    u: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Channels observed at states X (n, V) and inputs u (n, m); NaN where there is no state."""
    there = np.isfinite(X).all(axis=1)
    with np.errstate(all="ignore"):
        rates = equations.lambdify("numpy")(X[there], u[there] if u.shape[1] else None)
        values = observation.values(X[there], rates, u[there])
    out = np.full((len(X), values.shape[1]), np.nan)
    out[there] = values
    return out


@dataclass(frozen=True)
class Prediction:
    """States (or channels) of one run and, if the integration failed, why."""

    X: NDArray[np.float64]
    message: str = ""


def predict_known(
    equations: Equations,
    fitted: FittedTrajectory,
    run: RawRun,
    interpolation: Interpolation = "linear",
) -> Prediction:
    """States of a training run: the fitted solution, integrated across gaps and beyond its span."""
    start, end = fitted.t[0], fitted.t[-1]
    inside = (run.t >= start) & (run.t <= end)
    X = np.full((len(run.t), fitted.full.shape[1]), np.nan)
    within = fitted_states(
        equations, fitted, run.t[inside], _signal(fitted, run, inside, interpolation)
    )
    X[inside] = within.X
    messages = [within.message]
    for node, rows in ((-1, run.t > end), (0, run.t < start)):
        if rows.any():
            result = simulate(
                equations,
                run.t[rows],
                fitted.full[node],
                _signal(fitted, run, rows, interpolation),
                t0=float(fitted.t[node]),
                scale=np.abs(fitted.full).max(axis=0),
            )
            X[rows] = result.X
            messages.append(result.message)
    return Prediction(X, " ".join(filter(None, messages)))


def fitted_states(
    equations: Equations,
    fitted: FittedTrajectory,
    times: NDArray[np.float64],
    signal: InputFunction | None,
) -> Prediction:
    """States at times inside the fitted span, with their derivatives below the order, (n, N).

    `signal` holds the inputs as a function of time; None where there are none.
    """
    slopes = fitted.derivative
    if fitted.chain is not None:
        below = _rates(equations, fitted.full, fitted.u)[:, len(equations) :]
        slopes = np.hstack([slopes, below])

    def rates(at: NDArray[np.float64], states: NDArray[np.float64]) -> NDArray[np.float64]:
        inputs = np.empty((len(at), 0)) if signal is None else evaluate_input(signal, at)
        return _rates(equations, states, inputs)

    def integrate(at: NDArray[np.float64], t0: float, state: NDArray[np.float64]) -> Simulation:
        scale = np.abs(fitted.full).max(axis=0)
        return simulate(equations, at, state, signal, t0=t0, scale=scale)

    return Prediction(*cross_gaps(fitted.t, fitted.full, slopes, times, rates, integrate))


def predict_from(
    equations: Equations,
    run: RawRun,
    x0: NDArray[np.float64],
    *,
    start: float | None = None,
    solution: Sequence[FittedTrajectory] = (),
    interpolation: Interpolation = "linear",
) -> Prediction:
    """States of a run by pure simulation from `x0` at `start` (its earliest time by default)."""
    signal: Any = None
    if run.u.shape[1]:
        signal = run.signal or interpolated_input(run.t, run.u, interpolation)
    result: Simulation = simulate(
        equations,
        run.t,
        x0,
        signal,
        t0=start,
        scale=np.max([np.abs(x0), *(np.abs(one.full).max(axis=0) for one in solution)], axis=0),
    )
    return Prediction(result.X, result.message)


def first_full_row(
    equations: Equations, run: RawRun, label: str, columns: Sequence[int] | None = None
) -> tuple[float, NDArray[np.float64]]:
    """Time and states of the first row in which all states were measured.

    `columns` tells where each column of `X` stands among states and derivatives; by default they
    are the states.
    """
    full = ~np.isnan(run.X).any(axis=1) & (run.weight > 0)
    if not full.any():
        raise ValueError(
            f"X has no row in which all states are measured{label}, so the simulation of this "
            f"held-out run has no initial state. Pass it as x0=."
        )
    columns = range(len(equations)) if columns is None else columns
    if len(columns) < sum(equations.orders):
        raise ValueError(
            f"Equations of order {equations.order} need initial derivatives, which a held-out run "
            f"does not tell. Pass states and derivatives as x0=."
        )
    start = float(run.t[full].min())
    return start, run.X[full & (run.t == start)].mean(axis=0)[np.argsort(columns)]


def predict_held_out(
    equations: Equations,
    run: RawRun,
    start: float,
    state: NDArray[np.float64],
    solution: Sequence[FittedTrajectory],
    interpolation: Interpolation = "linear",
) -> Prediction:
    """Simulate a run that was not part of the fit from a time on; earlier rows are NaN."""
    rows = run.t >= start
    later = replace(run, rows=run.rows[rows], t=run.t[rows], X=run.X[rows], u=run.u[rows])
    answer = predict_from(
        equations, later, state, start=start, solution=solution, interpolation=interpolation
    )
    X = np.full((len(run.t), answer.X.shape[1]), np.nan)
    X[rows] = answer.X
    return Prediction(X, answer.message)


def bounded_r2(
    measured: NDArray[np.float64],
    predicted: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> float:
    """R2 averaged over the states, with bounded errors, so that it is finite whatever happens.

    Entries that were not measured do not count. A missing prediction, and every error larger than
    that, counts as an error of `MISSING_ERROR` standard deviations of the state, so the score is
    never below ``1 - MISSING_ERROR**2``. Where no error is that large this is scikit-learn's
    ``r2_score`` with uniform average. Of a state that does not vary, an exact prediction scores 1
    and any other 0, less ``MISSING_ERROR**2`` times the missing share.

    Parameters
    ----------
    measured, predicted : ndarray of shape (n, V)
    weight : ndarray of shape (n,)

    Returns
    -------
    float
    """
    scores = []
    for truth, answer in zip(measured.T, predicted.T, strict=True):
        known = ~np.isnan(truth) & (weight > 0)
        if not known.any():
            continue
        share = weight[known] / weight[known].sum()
        values, missing = truth[known], ~np.isfinite(answer[known])
        # A state of which only some rows were measured keeps its own mean and spread.
        variance = float(share @ (values - share @ values) ** 2)
        with np.errstate(over="ignore", invalid="ignore"):
            squared = np.where(missing, 0.0, answer[known] - values) ** 2
        lost = float(share @ missing)
        if variance <= np.finfo(float).eps ** 2 * max(1.0, float(np.abs(values).max())) ** 2:
            exact = not missing.any() and squared.max() <= 1e-20 * max(1.0, np.abs(values).max())
            scores.append(1.0 if exact else -(MISSING_ERROR**2) * lost)
            continue
        limit = MISSING_ERROR**2 * variance
        squared = np.where(missing, limit, np.minimum(squared, limit))
        scores.append(1.0 - float(share @ squared) / variance)
    if not scores:
        raise ValueError("X holds no measured value (all NaN or of weight 0); nothing to score.")
    return float(np.mean(scores))


def failures(predictions: Sequence[Prediction], ids: Sequence[Hashable]) -> str:
    """One text about all runs whose integration failed; empty if none did."""
    failed = [
        f"trajectory {run_id!r}: {prediction.message}" if len(ids) > 1 else prediction.message
        for run_id, prediction in zip(ids, predictions, strict=True)
        if prediction.message
    ]
    more = f" (and {len(failed) - 3} more)" if len(failed) > 3 else ""
    return " ".join(failed[:3]) + more


def _rates(
    equations: Equations, full: NDArray[np.float64], u: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Time derivatives (n, N) of states and their derivatives below the order."""
    with np.errstate(all="ignore"):
        highest = equations.lambdify("numpy")(full, u if u.shape[1] else None)
    return np.asarray(np.hstack([full, highest])[:, chain_rates(equations.orders)])


def _signal(
    fitted: FittedTrajectory, run: RawRun, rows: NDArray[np.bool_], interpolation: Interpolation
) -> InputFunction | None:
    """Inputs at the rows: those of the fit, and those of the rows, if they came with any."""
    if not fitted.u.shape[1]:
        return None
    if run.signal is not None:
        return run.signal
    if not run.u.shape[1]:
        return interpolated_input(fitted.t, fitted.u, interpolation)
    times = np.concatenate([fitted.t, run.t[rows]])
    return interpolated_input(times, np.concatenate([fitted.u, run.u[rows]]), interpolation)
