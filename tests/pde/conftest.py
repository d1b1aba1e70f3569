"""Fields with closed forms, or integrated by SciPy, to try the estimator on."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import solve_ivp


def heat(t, x, rate=0.3):
    """Sum of decaying waves on a ring of length 2 pi: u_t = rate u_xx exactly."""
    return (
        1.0
        + np.exp(-rate * t)[:, None] * np.sin(x)
        + 0.7 * np.exp(-9.0 * rate * t)[:, None] * np.cos(3.0 * x)
        + 0.5 * np.exp(-4.0 * rate * t)[:, None] * np.sin(2.0 * x + 1.0)
    )


def soliton(t, x, speed, shift=0.0):
    """Travelling wave of u_t = -6 u u_x - u_xxx."""
    phase = 0.5 * np.sqrt(speed) * (x - speed * t[:, None] - shift)
    return 0.5 * speed / np.cosh(phase) ** 2


def two_solitons(t, x):
    """Hirota's solution of u_t = -6 u u_x - u_xxx with two waves that meet."""
    k = np.array([1.2, 0.7])
    shift = np.array([-6.0, 2.0])
    e1, e2 = (np.exp(k[i] * (x - shift[i]) - k[i] ** 3 * t[:, None]) for i in range(2))
    a = ((k[0] - k[1]) / (k[0] + k[1])) ** 2
    f = 1.0 + e1 + e2 + a * e1 * e2
    fx = k[0] * e1 + k[1] * e2 + a * (k[0] + k[1]) * e1 * e2
    fxx = k[0] ** 2 * e1 + k[1] ** 2 * e2 + a * (k[0] + k[1]) ** 2 * e1 * e2
    return 2.0 * (fxx / f - (fx / f) ** 2)


def burgers(t, x, viscosity):
    """Cole and Hopf's solution of u_t = -u u_x + viscosity u_xx on a ring of length 2 pi."""
    theta = np.ones((len(t), len(x)))
    slope = np.zeros((len(t), len(x)))
    for j, (size, phase) in enumerate([(0.6, 0.3), (0.25, 1.5)], start=1):
        decay = size * np.exp(-viscosity * j**2 * t)[:, None]
        theta += decay * np.cos(j * x + phase)
        slope -= decay * j * np.sin(j * x + phase)
    return -2.0 * viscosity * slope / theta


def allen_cahn(diffusion=0.15, n=121):
    """u_t = u - u**3 + diffusion u_xx between walls without flux, by SciPy."""
    x = np.linspace(-5.0, 5.0, 2 * n - 1)
    h = x[1] - x[0]

    def slope(_, u):
        wide = np.concatenate([u[2:0:-1], u, u[-2:-4:-1]])
        curved = (-wide[4:] + 16 * wide[3:-1] - 30 * wide[2:-2] + 16 * wide[1:-3] - wide[:-4]) / (
            12 * h**2
        )
        return diffusion * curved + u - u**3

    t = np.linspace(0.0, 4.0, 90)
    along = np.pi * (x + 5.0) / 10.0
    start = 0.5 * np.cos(3 * along) + 0.3 * np.cos(6 * along) + 0.2 * np.cos(along) + 0.1
    found = solve_ivp(slope, (0.0, 4.0), start, "LSODA", t, rtol=1e-9, atol=1e-11)
    return t, x[::2], found.y[::2].T


def noisy(X, share, seed=0):
    return X + share * X.std() * np.random.default_rng(seed).standard_normal(X.shape)


@pytest.fixture(scope="session")
def closed():
    """Return the functions above; the field of each PDE is known without the package's help."""
    return SimpleNamespace(
        heat=heat,
        soliton=soliton,
        two_solitons=two_solitons,
        burgers=burgers,
        allen_cahn=allen_cahn,
        noisy=noisy,
    )


@pytest.fixture(scope="session")
def ring():
    """Return times and positions on a ring, and a field of Burgers' equation, viscosity 0.2."""
    t, x = np.linspace(0.0, 3.0, 60), 2.0 * np.pi * np.arange(96) / 96
    return t, x, burgers(t, x, 0.2)
