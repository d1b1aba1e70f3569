"""The numbers of the pictures over time: fitted runs, and what would be measured of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from discoverers.base import BaseDiscoverer, FittedTrajectory

_SMOOTH = 500


class Measured(NamedTuple):
    """Values (n, columns) at times (n,) of a run."""

    t: NDArray[np.float64]
    X: NDArray[np.float64]


def measured_runs(
    estimator: "BaseDiscoverer", t: Any, X: Any, trajectory: Any
) -> "list[tuple[Measured | None, FittedTrajectory]]":
    """Pair the fitted runs with the given measurements, else those the estimator kept, or None."""
    kept = getattr(estimator, "measured_", None)
    if X is None and t is None and kept is not None:
        pairs = zip(kept, estimator.solution_, strict=True)
        return [(Measured(run.t, values), run) for values, run in pairs]
    return fitted_runs(estimator, t, X, trajectory, estimator.channel_names_)


def fitted_runs(
    estimator: "BaseDiscoverer", t: Any, X: Any, trajectory: Any, names: Sequence[str]
) -> "list[tuple[Measured | None, FittedTrajectory]]":
    """Pair the fitted runs with the given ones, which have columns for `names`, or with None."""
    fitted = estimator.solution_
    if X is None:
        if t is not None:
            raise ValueError("t was given without X; pass both, or neither")
        return [(None, run) for run in fitted]
    from discoverers.trajectories import as_trajectories

    given = as_trajectories(
        t,
        X,
        trajectory=trajectory,
        trajectory_column=estimator.trajectory_column,
        time_unit=estimator.time_unit,
    )
    if len(given) != len(fitted) or given.n_states != len(names):
        raise ValueError(
            f"t and X hold {len(given)} runs of {given.n_states} columns, the estimator was "
            f"fitted to {len(fitted)} runs, and {len(names)} columns {list(names)} are drawn; "
            "pass these"
        )
    return [(Measured(run.t, run.X), own) for run, own in zip(given, fitted, strict=True)]


def fitted_channels(
    estimator: "BaseDiscoverer", fitted: "FittedTrajectory", times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what would be measured of the fitted states, shape (n, C)."""
    from discoverers.prediction import fitted_states

    states = fitted_states(estimator.equations_, fitted, times, _inputs(estimator, fitted)).X
    return _observed(estimator, fitted, times, states)


def simulated_channels(
    estimator: "BaseDiscoverer", fitted: "FittedTrajectory", times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what would be measured if the equations ran alone from the first fitted state."""
    from discoverers.simulation import simulate

    u = _inputs(estimator, fitted)
    states = simulate(estimator.equations_, times, fitted.full[0], u=u).X
    return _observed(estimator, fitted, times, states)


def _inputs(estimator: "BaseDiscoverer", fitted: "FittedTrajectory") -> Any:
    """Return the inputs of a fitted run as a function of time, None if there are none."""
    from discoverers.simulation import interpolated_input

    if not fitted.u.shape[1]:
        return None
    return interpolated_input(fitted.t, fitted.u, estimator.training_data_.interpolation)


def _observed(
    estimator: "BaseDiscoverer",
    fitted: "FittedTrajectory",
    times: NDArray[np.float64],
    states: NDArray[np.float64],
) -> NDArray[np.float64]:
    if estimator.observation_ is None:
        return states[:, : len(estimator.state_names_)]
    from discoverers.prediction import channels

    inputs = fitted.inputs(times, estimator.training_data_.interpolation)
    return channels(estimator.equations_, estimator.observation_, states, inputs)


def dense(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return times that make a smooth line through few samples, the samples' own among them."""
    between = -(-_SMOOTH // t.size)
    if between == 1:
        return t
    steps = np.linspace(0.0, 1.0, between, endpoint=False)
    return np.append((t[:-1, None] + np.diff(t)[:, None] * steps).ravel(), t[-1])
