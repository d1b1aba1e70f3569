"""Multiple shooting where no single trajectory lasts: standard errors are those of the errors."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import expm

from discoverers.shooting import (
    Calibration,
    Column,
    Observation,
    Record,
    StateSpaceModel,
    lifted,
)

Array = NDArray[np.float64]

N, STEP, NOISE = 600, 0.05, 0.01
TRUTH = np.array([1.0, 4.0, -0.3, 1.0])
MODEL = StateSpaceModel(
    ["x", "v"], ["u"],
    [Column("v", {"x": 1.0}, value=1.0), *(Column(k, {"v": 1.0}) for k in "xvu")],
)  # fmt: skip
OBSERVED = Observation.linear(["x", "v"], states=np.eye(2), n_inputs=1)


@pytest.fixture(scope="module")
def held_upright() -> tuple[Array, Array]:
    """States (n, 2) and force (n,) of a loop that is stable; open, errors grow by e^55."""
    pushed = np.tanh(0.3 * np.cumsum(np.random.default_rng(1).normal(size=N)))
    move = expm(np.array([[0.0, 1.0, 0.0], [4.0, -0.3, 1.0], [0.0, 0.0, 0.0]]) * STEP)
    X, u = np.zeros((N, 2)), np.zeros(N)
    for i in range(N):
        u[i] = -12.0 * X[i, 0] - 3.0 * X[i, 1] + pushed[i]
        if i + 1 < N:
            X[i + 1] = (move @ [*X[i], u[i]])[:2]
    return X, u


def fitted(X: Array, u: Array, seed: int, x0: Array | None = None) -> Calibration:
    noisy = X + NOISE * np.random.default_rng(seed).normal(size=X.shape)
    record = Record.make(np.arange(N) * STEP, noisy, u, interpolation="hold")
    return lifted(
        MODEL, 0.6 * TRUTH, [noisy], [record], OBSERVED, [NOISE] * 2, x0=x0, substeps=2
    )  # fmt: skip


def test_an_estimated_start_has_an_error_and_a_known_one_has_none(held_upright):
    X, u = held_upright
    free, known = fitted(X, u, 0), fitted(X, u, 0, X[:1])
    # An unstable loop tells where it began by its first samples: less than a noise, not nothing.
    assert np.all((free.x0_std > 0.05 * NOISE) & (free.x0_std < NOISE))
    assert np.all(np.abs(free.x0 - X[:1]) < 4.5 * free.x0_std)
    assert free.covariance.shape == (5, 5)
    assert np.all(known.x0_std == 0.0)
    assert known.covariance.shape == (3, 3)
    # What is known cannot make the coefficients less certain.
    assert np.all(known.theta_std[1:] < 1.01 * free.theta_std[1:])


@pytest.mark.slow
def test_standard_errors_are_the_spread_over_records_where_no_trajectory_lasts(held_upright):
    X, u = held_upright
    ratios = []
    for seed in range(60):
        fit = fitted(X, u, 1000 + seed)
        away = np.concatenate([fit.theta[1:] - TRUTH[1:], fit.x0[0] - X[0]])
        ratios.append(away / np.concatenate([fit.theta_std[1:], fit.x0_std[0]]))
    scatter = np.sqrt(np.mean(np.square(ratios), axis=0))
    # Of 60 unit normals the root mean square is 1 within 0.3, more than three standard errors.
    assert np.all(np.abs(scatter - 1.0) < 0.3)
    assert 0.90 < np.mean(np.abs(ratios) < 1.96) < 0.99
