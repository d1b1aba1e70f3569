"""Oscillators by SciPy's integrator, as the chain's tests observe them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from discoverers.shooting import Record
from discoverers.structures import Channel, Data, Options
from discoverers.structures.chain.model import Chain, ChainTask

Array = NDArray[np.float64]
Law = Callable[[Array, Array, Array], Array]

ACCELERATION = (Channel("a", rates={"v": 1.0}),)
UNKNOWN = np.full((1, 2), np.nan)
REST = np.zeros((1, 2))
CHAIN = Chain(2, 1, ("u",))


def force(t: Array) -> Array:
    """The paper's force."""
    return np.sin(np.pi * t)


def oscillator(
    law: Law, t: Array, x0: tuple[float, float] = (0.0, 0.0), u: Callable[[Array], Array] = force
) -> tuple[Array, Array]:
    """States (n, 2) and accelerations (n,) of ``x'' = law(x, x', u)``."""
    solved = solve_ivp(
        lambda s, y: [y[1], law(y[0], y[1], u(s))], (t[0], t[-1]), x0, t_eval=t, rtol=1e-10,
        atol=1e-12, method="DOP853",
    )  # fmt: skip
    x, v = solved.y
    return solved.y.T, law(x, v, u(t))


def duffing(x: Array, v: Array, u: Array) -> Array:
    """The paper's."""
    return -1.5 * x - 0.1 * v - 10.0 * x**3 + u


def data(
    t: Array,
    y: Array,
    u: Array | None,
    x0: Array,
    channels: tuple[Channel, ...] = ACCELERATION,
    noise: float = 0.0,
    seed: int = 0,
) -> Data:
    """One run with noise added."""
    y = y + noise * np.random.default_rng(seed).normal(size=y.shape)
    names = () if u is None else ("u",)
    return Data((Record.make(t, y, u),), channels, names, x0)


def task_at_rest(given: Data, floor: float) -> ChainTask:
    """The problem of a forced oscillator that starts from rest."""
    return ChainTask(
        CHAIN,
        given,
        Options(),
        given.records,
        np.zeros((1, 2), dtype=bool),
        False,
        np.array([floor]),
    )
