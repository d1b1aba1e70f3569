"""Laws in anybody's units, coarse records, and verdicts that do not rest on a prior alone."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp

from discoverers import SMNNDiscoverer
from discoverers.automatic.atoms import PARAMETER, Template
from discoverers.automatic.judge import Judge
from discoverers.automatic.systems import Candidate, System
from discoverers.automatic.weak_form import WeakForm
from discoverers.denoising import denoise
from discoverers.exceptions import IdentifiabilityWarning
from discoverers.integration import MechanisticIntegral
from discoverers.trajectories import as_trajectories

x, y = sympy.symbols("x y")


def run_of(rate, start, end, n=150):
    t = np.linspace(0.0, end, n)
    scale = 1e-13 * np.abs(start)
    return t, solve_ivp(
        lambda s, q: rate(*q), (0.0, end), start, method="DOP853", t_eval=t, rtol=1e-11, atol=scale
    ).y.T


def test_a_power_of_a_hundred_thousand_animals_is_found():
    t, X = run_of(lambda q: [0.47 * q - 1.9e-9 * q**2.6], [6.1e3], 18.0)
    model = SMNNDiscoverer("auto").fit(t, X)
    (law,) = model.equations_
    found = law.as_coefficients_dict()
    (power,) = law.atoms(sympy.Pow)
    assert float(power.exp) == pytest.approx(2.6, abs=1e-4)
    assert float(found[power]) == pytest.approx(-1.9e-9, rel=1e-3)
    assert len(found) == 2


def test_a_polynomial_that_agrees_with_smoothed_states_gives_way_to_a_law_that_is_followed():
    t, X = run_of(lambda q: [0.9 * q - 0.12 * q**2 - 1.2 * q / (0.6 + q)], [3.4], 10.0)
    (law,) = SMNNDiscoverer("auto").fit(t, X).equations_
    q = sympy.Symbol("x0") if law.has(sympy.Symbol("x0")) else sympy.Symbol("x")
    held = float(sympy.solve(sympy.denom(sympy.together(law)), q)[0])
    assert held == pytest.approx(-0.6, abs=1e-3)


def test_attraction_and_centrifugal_force_are_found():
    t, X = run_of(lambda q: [1.27 / q**3 - 0.91 / q**2 + 0.4], [0.7], 4.0)
    model = SMNNDiscoverer("auto").fit(t, X)
    symbol = sympy.Symbol(model.equations_.state_names[0])
    coefficients = sympy.expand(model.equations_[0]).as_coefficients_dict()
    assert set(coefficients) == {sympy.Integer(1), symbol**-2, symbol**-3}
    assert float(coefficients[symbol**-3]) == pytest.approx(1.27, rel=1e-3)


@pytest.mark.parametrize(
    ("rate", "start", "terms"),
    [
        (lambda q: [0.11 + 4.3 * q**3 / (1.7**3 + q**3) - 1.1 * q], 1.25, 3),
        (lambda q: [2.9 / (1.3**4 + q**4) - 0.7 * q], 0.1, 2),
    ],
    ids=["activation by three", "repression by four"],
)
def test_cooperative_binding_is_found_in_its_plain_form(rate, start, terms):
    t, X = run_of(rate, [start], 6.0)
    model = SMNNDiscoverer("auto").fit(t, X)
    assert len(sympy.Add.make_args(model.equations_[0])) == terms
    inside = np.linspace(0.5 * X.min(), 1.5 * X.max(), 7)
    expected = np.array([rate(q)[0] for q in inside])
    np.testing.assert_allclose(
        model.derivative(inside[:, None])[:, 0], expected, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_units_leave_terms_in_the_dictionary(unit):
    t = np.linspace(0.0, 5.0, 40)
    runs = as_trajectories(t, unit * np.exp(-0.3 * t))
    form = WeakForm(runs, denoise(runs), MechanisticIntegral(), 30, ("x0",))
    state = sympy.Symbol("x0")
    for term in (1 / (PARAMETER**2 + state**2), state**5, state**-3):
        (values,) = form.features(form.compile(term), (0.5 * unit,))
        expected = sympy.lambdify([state, PARAMETER], term)(form.states[:, 0], 0.5 * unit)
        np.testing.assert_allclose(values[:, 0], expected, rtol=1e-12)
    # A pole at a measurement is no term in any unit.
    (pole,) = form.features(form.compile(1 / (state - PARAMETER)), (float(form.states[3, 0]),))
    assert len(pole) == 0


def test_a_law_keeps_to_its_own_orbit_between_coarse_samples():
    t, X = run_of(lambda q, v: [v, -4.0 * q], [1.0, 0.3], 48.0, 41)
    noisy = X + 1e-3 * np.random.default_rng(0).normal(size=X.shape)
    runs = replace(as_trajectories(t, noisy), state_names=("x", "y"))
    judge = Judge.build(runs, denoise(runs, np.array([1e-3, 1e-3])))
    law = System(((Candidate(Template(y), 1.0),), (Candidate(Template(x), -4.0),)))
    verdict = judge(law)
    assert not judge.misfits(verdict)
    np.testing.assert_allclose(verdict.fit.theta, [1.0, -4.0], rtol=1e-3)


def test_a_function_that_fits_better_than_the_polynomial_unsettles_it():
    t, X = run_of(lambda q: [0.213 * q**0.34 - 0.067 * q], [0.4], 60.0)
    noisy = X * (1.0 + 0.01 * np.random.default_rng([0, 4, 10, 0, 77]).normal(size=X.shape))
    with pytest.warns(IdentifiabilityWarning, match="other system"):
        model = SMNNDiscoverer("auto").fit(t, noisy)
    assert not model.identifiable_
    # A straight decay has no such rival.
    t, X = run_of(lambda q: [0.63 - 0.45 * q], [7.0], 10.0)
    noisy = X * (1.0 + 0.01 * np.random.default_rng(0).normal(size=X.shape))
    with warnings.catch_warnings():
        warnings.simplefilter("error", IdentifiabilityWarning)
        assert SMNNDiscoverer("auto").fit(t, noisy).identifiable_


def test_seven_measurements_settle_nothing():
    t, X = run_of(lambda q: [-1.15 * q / (0.8 + q)], [6.0], 6.0, 7)
    with pytest.warns(IdentifiabilityWarning):
        assert not SMNNDiscoverer("auto").fit(t, X).identifiable_


@pytest.mark.slow
def test_half_of_a_coarse_chaotic_record_is_answered_by_its_law():
    t, X = run_of(
        lambda a, b, c: [9.3 * (b - a), 29.4 * a - b - a * c, a * b - 2.41 * c],
        [2.3, 3.4, 19.0],
        10.0,
    )
    random = np.random.default_rng([0, 35, 10, 500, 77])
    noisy = X * (1.0 + 0.01 * random.normal(size=X.shape))
    kept = np.sort(random.permutation(150)[:75])
    model = SMNNDiscoverer("auto").fit(t[kept], noisy[kept])
    a, b, c = map(sympy.Symbol, model.equations_.state_names)
    found = [set(law.as_coefficients_dict()) for law in model.equations_]
    assert found == [{a, b}, {a, b, a * c}, {a * b, c}]


@pytest.mark.slow
def test_exact_data_are_searched_widely_for_a_law_off_the_grid():
    t, X = run_of(
        lambda q, p: [
            0.83 * q - 0.0071 * q**2 - 27.0 * q**2 * p / (31.0**2 + q**2),
            -0.41 * p + 0.92 * q**2 * p / (31.0**2 + q**2),
        ],
        [24.0, 0.9],
        25.0,
    )
    model = SMNNDiscoverer("auto").fit(t, X)
    assert (np.asarray(model.chi2_) < 2.0).all()
    away = model.simulate(t, [70.0, 1.6])
    np.testing.assert_allclose(
        away,
        run_of(
            lambda q, p: [
                0.83 * q - 0.0071 * q**2 - 27.0 * q**2 * p / (31.0**2 + q**2),
                -0.41 * p + 0.92 * q**2 * p / (31.0**2 + q**2),
            ],
            [70.0, 1.6],
            25.0,
        )[1],
        rtol=1e-3,
    )
