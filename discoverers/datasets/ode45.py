"""MATLAB's ode45, step for step: some published records are only as exact as its defaults.

Dormand and Prince's pair of order 5(4) with ode45's own error norm, first step, step control and
interpolant. With its default tolerances the result is off by some parts in a thousand, and a record
made in this way can be compared with such publications; SciPy's RK45 has the same pair of formulas
but another control of the step, so that its errors are others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["ode45"]

# Dormand & Prince 1980, J. Comput. Appl. Math. 6:19: nodes, stages, error of the fourth order.
_NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = np.array([71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40])

# Free interpolant of the fourth order, powers 1 to 4 of the step's fraction: Shampine & Reichelt
# 1997, The MATLAB ODE suite, SIAM J. Sci. Comput. 18:1.
_INTERPOLANT = np.array(
    [
        [1.0, -183 / 64, 37 / 12, -145 / 128],
        [0.0, 0.0, 0.0, 0.0],
        [0.0, 1500 / 371, -1000 / 159, 1000 / 371],
        [0.0, -125 / 32, 125 / 12, -375 / 64],
        [0.0, 9477 / 3392, -729 / 106, 25515 / 6784],
        [0.0, -11 / 7, 11 / 3, -55 / 28],
        [0.0, 3 / 2, -4.0, 5 / 2],
    ]
)

_POWER = 1 / 5


def ode45(
    rhs: Callable[[float, NDArray[np.float64]], Sequence[float]],
    t: NDArray[np.float64],
    x0: NDArray[np.float64],
    *,
    rtol: float = 1e-3,
    atol: float = 1e-6,
) -> tuple[NDArray[np.float64], int]:
    """Integrate as MATLAB's ode45 does, and interpolate at the times `t`.

    Parameters
    ----------
    rhs : callable
        ``rhs(t, x)`` gives the rates of the V states.
    t : ndarray of shape (n,)
        Increasing times, at least two; the integration goes from the first to the last.
    x0 : ndarray of shape (V,)
        State at ``t[0]``.
    rtol, atol : float, default=1e-3, 1e-6
        Tolerances; the defaults are ode45's.

    Returns
    -------
    X : ndarray of shape (n, V)
        States at `t`.
    n_steps : int
        Accepted steps.

    Raises
    ------
    ValueError
        If no step is short enough for the tolerances.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.datasets.ode45 import ode45
    >>> X, n_steps = ode45(lambda t, x: -x, np.linspace(0.0, 1.0, 11), np.array([1.0]))
    >>> n_steps
    10
    >>> bool(abs(X[-1, 0] - np.exp(-1.0)) < 1e-6)
    True
    """
    end, threshold = float(t[-1]), atol / rtol
    now, x = float(t[0]), np.asarray(x0, dtype=float)
    longest = 0.1 * abs(end - now)
    rates = np.asarray(rhs(now, x), dtype=float)
    step = min(longest, float(t[1] - t[0]))
    slope = _norm(rates, np.maximum(np.abs(x), threshold)) / (0.8 * rtol**_POWER)
    if step * slope > 1.0:
        step = 1.0 / slope
    X = np.empty((t.size, x.size))
    X[0] = x
    done, n_steps = 1, 0
    while now < end:
        shortest = 16.0 * float(np.spacing(abs(now)))
        step = min(longest, max(shortest, step))
        if 1.1 * step >= end - now:
            step = end - now
        step, new, stages, error, failed = _accepted_step(
            rhs, now, x, rates, step, shortest, rtol, threshold
        )
        after = end if step == end - now else now + step
        n_steps += 1
        until = int(np.searchsorted(t, after, side="right"))
        powers = ((t[done:until] - now) / step)[:, None] ** np.arange(1, 5)
        X[done:until] = x + step * (powers @ _INTERPOLANT.T) @ stages
        done = until
        if not failed:
            change = 1.25 * (error / rtol) ** _POWER
            step = step / change if change > 0.2 else 5.0 * step
        now, x, rates = after, new, stages[-1]
    return X, n_steps


def _accepted_step(
    rhs: Callable[[float, NDArray[np.float64]], Sequence[float]],
    now: float,
    x: NDArray[np.float64],
    rates: NDArray[np.float64],
    step: float,
    shortest: float,
    rtol: float,
    threshold: float,
) -> tuple[float, NDArray[np.float64], NDArray[np.float64], float, bool]:
    """Try steps until one is exact enough: its length, new state, stages, error, retries or not."""
    failed = False
    while True:
        stages = np.empty((7, x.size))
        stages[0] = rates
        for i, weights in enumerate(_STAGES, start=1):
            at = x + step * (np.asarray(weights) @ stages[:i])
            stages[i] = rhs(now + _NODES[i] * step, at)
        scale = np.maximum(np.maximum(np.abs(x), np.abs(at)), threshold)
        error = step * _norm(_ERROR @ stages, scale)
        if error <= rtol:
            return step, at, stages, error, failed
        if step <= shortest or not np.isfinite(at).all():
            raise ValueError(
                f"ode45 finds no step short enough at t={now:g}; the solution leaves every bound "
                "or jumps there. Use another x0, other parameters or a shorter span."
            )
        if failed:
            step = max(shortest, 0.5 * step)
        else:
            step = max(shortest, step * max(0.1, 0.8 * (rtol / error) ** _POWER))
        failed = True


def _norm(values: NDArray[np.float64], scale: NDArray[np.float64]) -> float:
    """ode45's norm: the largest component."""
    return float(np.max(np.abs(values) / scale))
