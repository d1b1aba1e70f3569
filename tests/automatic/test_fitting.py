"""Calibration through the ODE: against closed forms fitted by SciPy, with uneven noise and gaps."""

from dataclasses import replace

import numpy as np
import pytest
import sympy
from scipy.optimize import curve_fit

from discoverers.automatic.atoms import PARAMETER, Template
from discoverers.automatic.fitting import Records, calibrate
from discoverers.automatic.guards import Box
from discoverers.automatic.systems import Candidate, System
from discoverers.denoising import denoise
from discoverers.trajectories import as_trajectories

x, y = sympy.symbols("x y")
NAMES = (("x",), ())


def decay(t, rate, start):
    return start * np.exp(-rate * t)


def records(t, X, **options):
    trajectories = as_trajectories(t, X)
    return Records.make(trajectories, denoise(trajectories, **options))


def law(*terms):
    return System((tuple(terms),))


def test_decay_is_calibrated_as_its_closed_form_is():
    t = np.linspace(0.0, 4.0, 60)
    noise = 0.02
    data = decay(t, 0.7, 3.0) + noise * np.random.default_rng(0).normal(size=60)
    data[[7, 30]] = np.nan
    held = records(t, data, noise_std=np.array([noise]))
    fit = calibrate(law(Candidate(Template(x), -0.3)), held, np.array([noise]), NAMES)
    seen = ~np.isnan(data)
    best, covariance = curve_fit(
        decay, t[seen], data[seen], [0.5, 2.0], sigma=np.full(58, noise), absolute_sigma=True
    )
    assert fit.converged
    assert held.n_rows == 58
    assert -fit.theta[0] == pytest.approx(best[0], rel=1e-5)
    assert fit.x0[0, 0] == pytest.approx(best[1], rel=1e-5)
    assert fit.errors[0] == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-3)
    residual = (data - decay(t, *best))[seen] / noise
    assert fit.cost == pytest.approx((residual**2).sum(), rel=1e-5)


def test_a_constant_inside_of_a_term_is_calibrated_too():
    # x' = -x / (p + x): p ln x + x = const - t.
    start, p = 3.0, 0.6
    values = np.linspace(start, 0.4, 4000)
    times = p * np.log(start / values) + start - values
    t = np.linspace(0.0, times[-1], 80)
    template = Template(x / (PARAMETER + x), (1.0,), 0.05, 20.0, 30.0, 1)
    held = records(t, np.interp(t, times, values))
    fit = calibrate(
        law(Candidate(template, -0.5, 1.5)), held, np.array([1e-4]), NAMES, tolerance=1e-7
    )
    assert fit.theta[0] == pytest.approx(-1.0, rel=1e-3)
    assert fit.constants[0] == pytest.approx(p, rel=3e-3)
    assert fit.errors.shape == (2,)
    assert np.all(fit.errors > 0.0)


def test_a_known_coefficient_stays_and_velocities_need_no_data():
    def swing(t, omega, start, speed):
        return start * np.cos(omega * t) + speed / omega * np.sin(omega * t)

    t = np.linspace(0.0, 6.0, 80)
    noise = 0.01
    data = swing(t, 1.3, 1.0, 0.4) + noise * np.random.default_rng(2).normal(size=80)
    full = as_trajectories(t, np.column_stack([data, swing(t, 1.3, 1.0, 0.4)]))
    denoised = denoise(full, np.full(2, noise))
    blank = replace(full[0], X=np.column_stack([data, np.full(80, np.nan)]))
    held = Records.make(replace(full, runs=(blank,)), denoised)
    system = System(((Candidate(Template(y), 1.0, known=True),), (Candidate(Template(x), -1.0),)))
    fit = calibrate(system, held, np.full(2, noise), (("x", "y"), ()))
    best, covariance = curve_fit(
        swing, t, data, [1.2, 1.0, 0.0], sigma=np.full(80, noise), absolute_sigma=True
    )
    assert held.n_rows == 80
    assert fit.theta[0] == 1.0
    assert -fit.theta[1] == pytest.approx(best[0] ** 2, rel=1e-4)
    np.testing.assert_allclose(fit.x0[0], best[1:], rtol=1e-3)
    # The error of a square.
    assert fit.errors == pytest.approx([2.0 * best[0] * np.sqrt(covariance[0, 0])], rel=1e-2)
    assert system.charge(80) == law(Candidate(Template(x))).charge(80) + 2.0 * np.log(2.0)
    assert (system.n_terms, system.searched) == (1, (1,))


def test_runs_share_the_law_but_not_their_starts():
    t = np.linspace(0.0, 2.0, 40)
    held = records([t, t + 1.0], [decay(t, 0.9, 2.0), decay(t, 0.9, -1.0)])
    fit = calibrate(law(Candidate(Template(x), -0.2)), held, np.array([1e-4]), NAMES)
    assert fit.theta[0] == pytest.approx(-0.9, rel=1e-6)
    np.testing.assert_allclose(fit.x0[:, 0], [2.0, -1.0], rtol=1e-6)


def test_noise_that_grows_with_the_state_weighs_large_values_less():
    t = np.linspace(0.0, 10.0, 300)
    clean = np.column_stack([10.0 * np.exp(-0.4 * t)])
    noisy = clean * (1.0 + 0.05 * np.random.default_rng(1).normal(size=clean.shape))
    share = records(t, noisy).share[:, 0]
    assert share[-1] > 4.0 * share[0]
    even = clean + 0.05 * np.random.default_rng(1).normal(size=clean.shape)
    share = records(t, even).share[:, 0]
    assert share.max() < 2.0 * share.min()


def test_what_blows_up_has_infinite_cost():
    t = np.linspace(0.0, 10.0, 50)
    held = records(t, np.full(50, 2.0) + 0.01 * np.sin(7.0 * t))
    wild = calibrate(
        law(Candidate(Template(x**3), 50.0)), held, np.array([1e-3]), NAMES, give_up=np.inf
    )
    tame = calibrate(law(Candidate(Template(x), 0.0)), held, np.array([1e-3]), NAMES)
    assert np.isfinite(tame.cost)
    assert wild.cost > tame.cost


def test_a_law_that_is_wild_beyond_the_data_is_punished():
    states = np.linspace(0.5, 2.0, 60)[:, None]
    box = Box.around_data(states, np.zeros((60, 0)))
    assert box.around.min() >= 0.25
    assert box.around.max() > 2.3
    steep = Template(sympy.exp(PARAMETER * x), (1.0,), 0.0, 100.0, 30.0, 1)
    tame = law(Candidate(Template(x), 1.0), Candidate(Template(x**2), -0.4))
    # exp(20 x) at 2.37 is e^7.5 = 1800 times what it is at 2: 1.8 decades above 30.
    wild = law(Candidate(steep, 1.0, 20.0))
    assert box.penalty(tame, NAMES) == 0.0
    decades = 20.0 * 0.375 / np.log(10.0) - np.log10(30.0)
    assert box.penalty(wild, NAMES) == pytest.approx(5.0 * decades, abs=0.6)
    # Not defined beyond 2.2, which lies in the box.
    root = law(Candidate(Template(sympy.log(sympy.Float(2.2) - x)), 1.0))
    assert box.penalty(root, NAMES) == 30.0
