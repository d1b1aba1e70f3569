"""Oscillators for the tests of the networks, integrated by SciPy."""

import numpy as np
from scipy.integrate import solve_ivp

from discoverers.shooting import Observation, Record

ACCELERATION = Observation.linear(["a"], rates=[[0.0, 1.0]], n_inputs=1)


def duffing(n=100, noise=0.0, dt=0.1):
    """Times, states, acceleration, force of a forced Duffing oscillator from rest."""
    t = dt * np.arange(n)

    def rates(time, s):
        return [s[1], -1.5 * s[0] - 0.1 * s[1] - 10.0 * s[0] ** 3 + np.sin(np.pi * time)]

    states = solve_ivp(rates, (0.0, t[-1]), [0.0, 0.0], t_eval=t, rtol=1e-10, atol=1e-12).y.T
    u = np.sin(np.pi * t)
    y = -1.5 * states[:, 0] - 0.1 * states[:, 1] - 10.0 * states[:, 0] ** 3 + u
    return t, states, y + noise * np.random.default_rng(0).standard_normal(n), u


def duffing_record(n=100, noise=0.0):
    """The record, and the true states."""
    t, states, y, u = duffing(n, noise)
    return Record.make(t, y, u), states
