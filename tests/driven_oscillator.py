"""Exact data of a linear oscillator whose acceleration is measured, and the estimator for it."""

import numpy as np
from scipy.integrate import solve_ivp

from discoverers import SKANODERegressor
from tests.oscillator_structure import OscillatorStructure

K, C, B = 4.0, 0.3, 2.0
T = np.arange(0.0, 15.0, 0.1)
START = (0.5, -1.0)


def force(t):
    return np.sin(np.pi * np.asarray(t))


def oscillator(t, start=START, signal=force, t0=0.0):
    """States of x'' = -K x - C x' + B u(t), by SciPy at 1e-10, and the acceleration."""
    t = np.asarray(t, dtype=float)
    u = lambda time: float(np.asarray(signal(time)).ravel()[0])  # noqa: E731
    solution = solve_ivp(
        lambda time, s: [s[1], -K * s[0] - C * s[1] + B * u(time)],
        (t0, max(t.max(), t0) + 1e-9),
        start,
        method="DOP853",
        rtol=1e-10,
        atol=1e-12,
        dense_output=True,
        max_step=0.05,
    )
    states = solution.sol(t).T
    inputs = np.array([u(time) for time in t])
    return states, -K * states[:, 0] - C * states[:, 1] + B * inputs


STATES, ACCELERATION = oscillator(T)


def make(**parameters):
    return SKANODERegressor(OscillatorStructure(), **parameters)


def coefficients(model):
    """k, c, b as found."""
    return model.coef_[1] * [-1.0, -1.0, 1.0]
