"""Equations of second order from positions alone."""

import numpy as np
import pandas as pd
import pytest
import sympy
from scipy.integrate import solve_ivp

from discoverers import SMNNDiscoverer
from discoverers.chains import read_chains
from discoverers.constraints import Known
from discoverers.denoising import denoise
from discoverers.trajectories import as_trajectories

x, v, u = sympy.Symbol("x"), sympy.Symbol("x'"), sympy.Symbol("u")

SYSTEMS = {
    "Van der Pol": ((1 - x**2) * v - x, (2.0, 0.0)),
    "Duffing": (-0.2 * v - x - x**3, (1.5, 0.0)),
    "damped spring": (-9.0 * x - 0.3 * v, (1.0, 0.0)),
}


def positions(name, n=300, noise=0.01, seed=0, missing=0.0, irregular=False):
    law, start = SYSTEMS[name]
    rate = sympy.lambdify((x, v), law)
    rng = np.random.default_rng(seed)
    t = np.linspace(0.0, 15.0, n)
    if irregular:
        t = np.sort(rng.uniform(0.0, 15.0, n))
    path = solve_ivp(
        lambda s, y: [y[1], rate(*y)], (0.0, 15.0), start, t_eval=t, rtol=1e-10, atol=1e-12
    ).y
    measured = path[0] + noise * path[0].std() * rng.normal(size=n)
    measured[rng.uniform(size=n) < missing] = np.nan
    return t, pd.DataFrame({"x": measured}), path


def law_of(name):
    return [sympy.expand(SYSTEMS[name][0])]


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_law_and_the_velocity_are_found_from_noisy_positions(name):
    t, X, path = positions(name, noise=0.02)
    model = SMNNDiscoverer(order=2).fit(t, X)
    assert model.equations_.order == 2
    assert model.equations_.compare(law_of(name)).exact
    velocity = model.solution_[0].derivative[:, 0]
    assert np.sqrt(np.mean((velocity - path[1]) ** 2)) < 0.02 * path[1].std()
    assert model.noise_std_ == pytest.approx([0.02 * path[0].std()], rel=0.2)
    assert model.chi2_.shape == (1,)
    assert 0.6 < model.chi2_[0] < 1.4


def test_gaps_and_irregular_times_do_no_harm():
    t, X, _ = positions("Duffing", noise=0.01, missing=0.3, irregular=True)
    model = SMNNDiscoverer(order=2).fit(t, X)
    assert model.equations_.compare(law_of("Duffing")).exact


def test_forces_enter_as_inputs():
    t = np.linspace(0.0, 20.0, 500)
    force = np.sin(1.3 * t) + 0.5 * np.sin(0.4 * t)
    path = solve_ivp(
        lambda s, y: [
            y[1],
            -2.0 * y[0] - 0.3 * y[1] + 1.5 * (np.sin(1.3 * s) + 0.5 * np.sin(0.4 * s)),
        ],
        (0.0, 20.0), [0.0, 0.0], t_eval=t, rtol=1e-10, atol=1e-12,
    ).y  # fmt: skip
    noisy = path[0] + 0.005 * np.random.default_rng(0).normal(size=len(t))
    model = SMNNDiscoverer("poly2", order=2).fit(
        t, pd.DataFrame({"x": noisy}), u=pd.DataFrame({"u": force})
    )
    assert model.equations_.compare([-2.0 * x - 0.3 * v + 1.5 * u]).exact


def test_a_fitted_model_answers_as_any_other():
    t, X, path = positions("damped spring")
    model = SMNNDiscoverer("poly2", order=2).fit(t, X)
    assert model.coef_.shape == (1, 6)
    assert model.terms_[:3] == ("1", "x", "x'")
    assert model.x0_.shape == (1, 1)
    np.testing.assert_allclose(model.predict(t)[:, 0], path[0], atol=0.02)
    ahead = np.array([15.0, 15.5, 16.0])
    exact = solve_ivp(
        lambda s, y: [y[1], -9.0 * y[0] - 0.3 * y[1]], (0, 1), path[:, -1],
        t_eval=ahead - 15.0, rtol=1e-10,
    ).y[0]  # fmt: skip
    np.testing.assert_allclose(model.predict(ahead)[:, 0], exact, atol=0.02)
    np.testing.assert_allclose(model.derivative([[1.0, 2.0]]), [[-9.6]], atol=0.05)
    simulated = model.simulate([0.0, 0.5], [1.0, 0.0])
    assert simulated[0, 0] == 1.0
    assert model.score(t, X) > 0.999


def test_what_is_known_of_the_acceleration_can_be_said():
    t, X, _ = positions("damped spring")
    model = SMNNDiscoverer("poly2", order=2, constraints=[Known("x'", "x", -9.0)]).fit(t, X)
    assert model.coef_[0, 1] == -9.0
    assert model.coef_[0, 2] == pytest.approx(-0.3, abs=0.05)


def test_slopes_of_the_smoother_vary_as_much_as_they_say():
    t = np.linspace(0.0, 6.0, 120)
    errors, stated = [], []
    for seed in range(30):
        noisy = np.sin(2.0 * t) + 0.05 * np.random.default_rng(seed).normal(size=len(t))
        denoised = denoise(as_trajectories(t, noisy))
        scale = denoised.time_scale
        errors.append(denoised.slopes[0][10:-10, 0] / scale - 2.0 * np.cos(2.0 * t[10:-10]))
        stated.append(np.sqrt(denoised.fits[0].variances[0][10:-10, 1]) / scale)
    ratio = np.sqrt(np.mean(np.square(errors))) / np.mean(stated)
    assert 0.6 < ratio < 1.4


def test_velocities_join_the_states_without_data():
    runs = as_trajectories([0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 4.0, 7.0])
    chains = read_chains(2, runs.state_names)
    wide = chains.trajectories(runs)
    assert wide.state_names == ("x0", "x0'")
    assert not wide[0].measured[:, 1].any()
    denoised = chains.denoised(denoise(runs, orders=chains.smoother_orders()))
    assert denoised.states[0].shape == (4, 2)
    assert denoised.inferred.tolist() == [False, True]


@pytest.mark.parametrize("order", [0, 1.5, [2, 2], {"y": 2}, [True]])
def test_an_order_that_there_is_not_is_refused(order):
    with pytest.raises(ValueError, match="order"):
        SMNNDiscoverer(order=order).fit(np.arange(9.0), np.arange(9.0))


def coupled(noise, missing):
    """Two masses on springs, the second stiffening, the first one shaken; positions only."""
    rng = np.random.default_rng(0)
    t = np.linspace(0.0, 25.0, 600)

    def force(s):
        return np.sin(1.1 * s) + 0.7 * np.cos(2.3 * s + 1.0)

    def rate(s, q):
        a, b, va, vb = q
        return [
            va,
            vb,
            -4.5 * a + 1.5 * b - 0.2 * va + force(s),
            1.5 * a - 3.5 * b - 0.1 * vb - b**3,
        ]

    path = solve_ivp(rate, (0.0, 25.0), [1.0, -0.5, 0, 0], t_eval=t, rtol=1e-10, atol=1e-12).y.T
    X = pd.DataFrame(path[:, :2], columns=["a", "b"])
    X = X + noise * X.std().to_numpy() * rng.normal(size=X.shape)
    return t, X.mask(rng.uniform(size=X.shape) < missing), pd.DataFrame({"F": force(t)}), path


@pytest.mark.parametrize(("noise", "missing"), [(0.0, 0.0), (0.02, 0.25)])
def test_a_chain_of_masses_with_an_input_is_found_from_positions(noise, missing):
    t, X, force, path = coupled(noise, missing)
    model = SMNNDiscoverer(order=2, input_interpolation="cubic").fit(t, X, u=force)
    truth = ["-4.5*a + 1.5*b - 0.2*v + F", "1.5*a - 3.5*b - 0.1*w - b**3"]
    names = {"v": sympy.Symbol("a'"), "w": sympy.Symbol("b'")}
    found = model.equations_.compare([sympy.sympify(law).subs(names) for law in truth])
    assert found.exact
    assert found.relative_coefficient_error < (1e-3 if noise == 0.0 else 0.02)
    velocities = model.solution_[0].derivative
    assert np.abs(velocities - path[:, 2:]).max() < 0.05 * path[:, 2:].std()


def test_a_library_without_linear_terms_keeps_the_kinematics():
    t = np.linspace(0.0, 15.0, 300)
    angle = solve_ivp(
        lambda s, q: [q[1], -4.0 * np.sin(q[0])], (0.0, 15.0), [2.0, 0.0], t_eval=t, rtol=1e-10
    ).y[0]
    model = SMNNDiscoverer("fourier", order=2).fit(t, pd.DataFrame({"x": angle}))
    assert model.equations_.round(3)["x"] == -4.0 * sympy.sin(x)
    # The velocity is there for x' = v only; the law may not use it.
    assert model.terms_[-1] == "x'"
    assert model.coef_[0, -1] == 0.0
