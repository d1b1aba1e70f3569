"""How well a fit describes the record: the fitted states, and the equations on their own."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from discoverers.base import BaseDiscoverer
    from discoverers.trajectories import Trajectories


@dataclass(frozen=True)
class StateQuality:
    """Fit of one state over all runs.

    Parameters
    ----------
    state : str
        Name of the state.
    noise_std : float
        Estimated standard deviation of the measurement noise, in the state's unit.
    r2_fitted : float
        R2 of the fitted states, which follow the measurements and the equations together.
    r2_simulated : float
        R2 of the equations integrated from the first fitted state of each run to its end; NaN if
        the integration blows up. Chaotic systems lose the measured path after a while even with
        the true equations.
    """

    state: str
    noise_std: float
    r2_fitted: float
    r2_simulated: float


def fit_quality(estimator: "BaseDiscoverer", data: "Trajectories") -> tuple[StateQuality, ...]:
    """Compare the measurements with the fitted and the simulated states.

    Parameters
    ----------
    estimator : BaseDiscoverer
        A fitted estimator.
    data : Trajectories
        The measurements that it was fitted to.

    Returns
    -------
    tuple of StateQuality
        One for each state, in order.
    """
    from discoverers.simulation import simulate

    measured, fitted, simulated = [], [], []
    for run, solution in zip(data, estimator.solution_, strict=True):
        measured.append(run.X)
        fitted.append(solution(run.t))
        result = simulate(
            estimator.equations_,
            run.t,
            fitted[-1][0],
            u=run.u if run.u.shape[1] else None,
        )
        simulated.append(result.X)
    X = np.concatenate(measured)
    r2_fitted = r_squared(X, np.concatenate(fitted))
    r2_simulated = r_squared(X, np.concatenate(simulated))
    return tuple(
        StateQuality(name, float(noise), float(fit), float(simulation))
        for name, noise, fit, simulation in zip(
            estimator.state_names_, estimator.noise_std_, r2_fitted, r2_simulated, strict=True
        )
    )


def r_squared(measured: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of each state's variance that a prediction explains.

    Parameters
    ----------
    measured : ndarray of shape (n, V)
        Measurements; NaN where there is none.
    predicted : ndarray of shape (n, V)
        Predictions; NaN in a place that was measured makes the state's result NaN.

    Returns
    -------
    ndarray of shape (V,)
        1 for a perfect prediction, NaN for a state that never changes.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.commandline.quality import r_squared
    >>> r_squared(np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [1.0], [1.0]]))
    array([0.5])
    """
    seen = ~np.isnan(measured)
    residual = np.where(seen, measured - predicted, 0.0)
    deviation = np.where(seen, measured - np.nanmean(measured, axis=0), 0.0)
    total = (deviation**2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(total > 0, 1.0 - (residual**2).sum(axis=0) / total, np.nan)
