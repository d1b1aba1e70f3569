"""Published fields, when they are there, and systems that no default was chosen by."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.io import loadmat

from discoverers import PDEDiscoverer
from discoverers.datasets import kdv

PUBLISHED = {"kdv": ["-6*u*u_x - u_xxx"], "burgers": ["-u*u_x + 0.1*u_xx"]}


def published(name):
    folder = os.environ.get("DISCOVERERS_DATA")
    file = Path(folder or ".") / "pysindy_pde" / f"{name}.mat"
    if not folder or not file.is_file():
        pytest.skip(f"DISCOVERERS_DATA names no folder with pysindy_pde/{name}.mat")
    contents = loadmat(file)
    return contents["t"].ravel(), contents["x"].ravel(), contents["usol"].real.T


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(("share", "error"), [(0.0, 1e-6), (0.05, 3e-3)])
def test_published_fields_give_their_equations(closed, name, share, error):
    t, x, exact = published(name)
    found = PDEDiscoverer().fit(t, closed.noisy(exact, share), x=x)
    comparison = found.equations_.compare(PUBLISHED[name])
    assert comparison.exact, found.equations_
    assert comparison.relative_coefficient_error < error


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_published_fields_give_their_equations_for_other_noise(closed, name, share):
    t, x, exact = published(name)
    for seed in (1, 2):
        found = PDEDiscoverer().fit(t, closed.noisy(exact, share, seed), x=x)
        assert found.equations_.compare(PUBLISHED[name]).exact, found.equations_


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
def test_generated_kdv_is_exact_run_by_run(share):
    for record in kdv(3, noise=share, seed=11):
        found = PDEDiscoverer().fit(record.t, record.X, x=record.x)
        comparison = found.equations_.compare(record.equations)
        assert comparison.exact, found.equations_
        assert comparison.relative_coefficient_error < 0.02


def integrated(right, starts, length, t, n):
    """Fields on a ring by SciPy from a right-hand side of (fields, derivative)."""
    x = length * np.arange(n) / n
    symbol = 2j * np.pi * np.fft.rfftfreq(n, length / n)
    kept = np.arange(len(symbol)) <= n // 3

    def derivative(values, order):
        return np.fft.irfft(np.where(kept, symbol**order * np.fft.rfft(values), 0.0), n)

    def slope(_, y):
        return np.concatenate(right(y.reshape(len(starts), n), derivative))

    start = np.concatenate([one(x) for one in starts])
    found = solve_ivp(slope, (t[0], t[-1]), start, "LSODA", t, rtol=1e-8, atol=1e-10)
    fields = found.y.T.reshape(len(t), len(starts), n).transpose(0, 2, 1)
    return t, x, fields


def kuramoto_sivashinsky():
    length = 14.0 * np.pi
    return (
        *integrated(
            lambda y, d: [-d(0.5 * y[0] ** 2, 1) - d(y[0], 2) - d(y[0], 4)],
            [lambda x: np.cos(4 * np.pi * x / length) * (1 + np.sin(2 * np.pi * x / length))],
            length,
            np.linspace(0.0, 60.0, 181),
            96,
        ),
        ["-u*u_x - u_xx - u_xxxx"],
    )


def fisher():
    return (
        *integrated(
            lambda y, d: [y[0] - y[0] ** 2 + 0.6 * d(y[0], 2)],
            [lambda x: 0.9 * np.exp(-((x - 11.0) ** 2)) + 0.5 * np.exp(-((x - 22.0) ** 2) / 3)],
            32.0,
            np.linspace(0.0, 6.0, 100),
            128,
        ),
        ["u - u**2 + 0.6*u_xx"],
    )


def fitzhugh_nagumo():
    return (
        *integrated(
            lambda y, d: [
                y[0] - y[0] ** 3 - y[1] + d(y[0], 2),
                0.3 * y[0] - 0.1 * y[1] + 0.4 * d(y[1], 2),
            ],
            [
                lambda x: 1.4 * np.exp(-((x - 16.0) ** 2) / 7) - 0.4 * np.cos(np.pi * x / 12),
                lambda x: 0.5 * np.exp(-((x - 9.0) ** 2) / 9) + 0.1 * np.sin(np.pi * x / 24),
            ],
            48.0,
            np.linspace(0.0, 24.0, 140),
            128,
        ),
        ["u - u**3 - v + u_xx", "0.3*u - 0.1*v + 0.4*v_xx"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("system", [kuramoto_sivashinsky, fisher, fitzhugh_nagumo])
def test_unseen_systems_are_found_with_the_same_defaults(system):
    t, x, exact, truth = system()
    for share in (0.0, 0.01, 0.05):
        random = np.random.default_rng(7)
        X = exact + share * exact.std(axis=(0, 1)) * random.standard_normal(exact.shape)
        found = PDEDiscoverer().fit(t, X, x=x)
        comparison = found.equations_.compare(truth)
        assert comparison.exact, (share, found.equations_)
        assert comparison.relative_coefficient_error < max(1e-3, share)
