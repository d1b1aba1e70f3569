"""Simulations against travelling waves, closed forms and SciPy; failures that stay calm."""

import numpy as np
import pytest

from discoverers.pde import PDEEquations
from discoverers.pde.exponential import ExponentialStep
from discoverers.pde.simulation import simulate_field


def test_soliton_travels_on_the_ring(closed):
    t, x = np.linspace(0.0, 2.0, 11), np.linspace(-20.0, 20.0, 256, endpoint=False)
    exact = closed.soliton(t, x, 1.5)
    kdv = PDEEquations(["-6*u*u_x - u_xxx"])
    found = simulate_field(kdv, t, exact[0][:, None], x[1] - x[0], periodic=True)
    assert found.message == ""
    np.testing.assert_allclose(found.X[:, :, 0], exact, atol=2e-5)


def test_burgers_on_the_ring_matches_cole_and_hopf(ring):
    t, x, exact = ring
    burgers = PDEEquations(["-u*u_x + 0.2*u_xx"])
    found = simulate_field(burgers, t, exact[0][:, None], x[1], periodic=True)
    np.testing.assert_allclose(found.X[:, :, 0], exact, atol=1e-6)


def test_coarse_ring_is_integrated_on_a_finer_one(closed):
    t, x = np.linspace(0.0, 1.0, 5), 2.0 * np.pi * np.arange(24) / 24
    exact = closed.heat(t, x)
    found = simulate_field(PDEEquations(["0.3*u_xx"]), t, exact[0][:, None], x[1], periodic=True)
    np.testing.assert_allclose(found.X[:, :, 0], exact, atol=1e-10)


def test_walls_without_flux_match_scipy(closed):
    t, x, exact = closed.allen_cahn()
    equations = PDEEquations(["u - u**3 + 0.15*u_xx"])
    found = simulate_field(equations, t, exact[0][:, None], x[1] - x[0], periodic=False)
    np.testing.assert_allclose(found.X[:, :, 0], exact, atol=5e-5)


def test_fixed_ends_keep_the_decaying_sine():
    t, x = np.linspace(0.0, 1.0, 6), np.linspace(0.0, np.pi, 61)
    exact = 2.0 + 0.5 * x + np.exp(-0.4 * t)[:, None] * np.sin(x)
    found = simulate_field(
        PDEEquations(["0.4*u_xx"]),
        t,
        exact[0][:, None],
        x[1],
        periodic=False,
        boundary="fixed",
    )
    np.testing.assert_allclose(found.X[:, :, 0], exact, atol=1e-5)


def test_two_states_couple():
    t, x = np.linspace(0.0, 2.0, 9), 2.0 * np.pi * np.arange(32) / 32
    # a_t = b_xx, b_t = -a_xx turns waves of number 2 by an angle of 4 t.
    start = np.stack([np.cos(2 * x), np.sin(2 * x)], axis=1)
    found = simulate_field(
        PDEEquations(["b_xx", "-a_xx"], ["a", "b"]), t, start, x[1], periodic=True
    )
    angle = 2 * x + 4.0 * t[:, None]
    np.testing.assert_allclose(found.X[:, :, 0], np.cos(angle), atol=2e-5)
    np.testing.assert_allclose(found.X[:, :, 1], np.sin(angle), atol=2e-5)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("side", ["u**3", "-u_xx"])
def test_what_grows_without_bound_ends_in_nan(side, periodic):
    x = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
    start = (1.5 + np.sin(3 * x) + 1e-3 * np.cos(17 * x))[:, None]
    t = np.linspace(0.0, 5.0, 26)
    found = simulate_field(PDEEquations([side]), t, start, x[1], periodic=periodic)
    assert "t = " in found.message
    assert np.isfinite(found.X[0]).all()
    assert np.isnan(found.X[-1]).all()


def test_exponential_step_is_of_fourth_order():
    def solve(n):
        # v' = -v + v**2 from 1/2: v = 1 / (1 + exp(t)).
        step = ExponentialStep.make(np.array([-1.0]), 1.0 / n)
        v = np.array([0.5 + 0j])
        for _ in range(n):
            v = step(v, lambda w: w**2)
        return abs(v[0] - 1.0 / (1.0 + np.e))

    assert np.log2(solve(8) / solve(16)) == pytest.approx(4.0, abs=0.3)
