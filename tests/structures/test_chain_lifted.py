"""Laws from acceleration and an unknown start where single trajectories are lost: chaos, jumps."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from discoverers.structures import ChainStructure, Options
from tests.structures.chain_systems import UNKNOWN, data, oscillator


def found(t, a, u, share=0.01):
    """Terms of the law with their coefficients, from the acceleration with noise."""
    fit = ChainStructure().discover(data(t, a, u, UNKNOWN, noise=share * float(a.std())), Options())
    assert_allclose(fit.noise_std, share * a.std(), rtol=0.15)
    return {str(term): float(value) for term, value in fit.equations.terms()["v"].items()}


@pytest.mark.slow
def test_relaxation_oscillations_are_found():
    t = np.arange(600) * 0.05
    _, a = oscillator(
        lambda x, v, u: 5.0 * (1.0 - x**2) * v - x, t, (1.0, 0.0), lambda s: 0.0 * s
    )  # fmt: skip
    law = found(t, a, None)
    assert set(law) == {"x", "v", "v*x**2"}
    assert_allclose([law["x"], law["v"], law["v*x**2"]], [-1.0, 5.0, -5.0], rtol=0.01)


@pytest.mark.slow
def test_a_pendulum_balanced_upright_is_found():
    # The push r is smooth, and so is u = -12 x - 3 v + r, which is given at the samples.
    t = np.arange(600) * 0.05

    def push(s):
        return 1.5 * (np.sin(0.5 * s) + np.sin(1.1 * s + 1.0) + np.sin(2.3 * s + 2.0))

    X, a = oscillator(
        lambda x, v, r: 4.0 * np.sin(x) - 0.3 * v - 12.0 * x - 3.0 * v + r, t, (0.1, 0.0), push
    )
    law = found(t, a, -12.0 * X[:, 0] - 3.0 * X[:, 1] + push(t))
    assert set(law) == {"v", "u", "sin(x)"}
    assert_allclose([law["v"], law["u"], law["sin(x)"]], [-0.3, 1.0, 4.0], rtol=0.05)


@pytest.mark.slow
def test_uedas_chaos_is_found():
    t = np.arange(1000) * 0.1
    _, a = oscillator(
        lambda x, v, u: -0.05 * v - x**3 + u, t, (1.0, 0.0), lambda s: 7.5 * np.cos(s)
    )  # fmt: skip
    law = found(t, a, 7.5 * np.cos(t))
    assert set(law) == {"v", "x**3", "u"}
    assert_allclose([law["v"], law["x**3"], law["u"]], [-0.05, -1.0, 1.0], rtol=0.02)
