"""Answers that blow up over their own record give way to those that do not, or say so."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sympy
from scipy.integrate import solve_ivp

from discoverers import SMNNDiscoverer
from discoverers.discovery import Discovery, FittedTrajectory
from discoverers.equations import Equations
from discoverers.exceptions import IntegrationWarning
from discoverers.integrability import broken_runs, first_that_integrates, warn_of_broken_runs

SQUARE = Equations(["x**2"], ["x"])
DECAY = Equations(["-x"], ["x"])


def run_of(equations, start, end, n=41, u=None):
    t = np.linspace(0.0, end, n)
    inputs = np.empty((n, 0)) if u is None else u(t)[:, None]
    return FittedTrajectory.of(equations, t, np.tile(np.atleast_1d(start), (n, 1)), inputs)


def answer(equations, *runs):
    return Discovery(
        equations=equations,
        terms=("x",),
        coef=np.zeros((1, 1)),
        coef_std=np.zeros((1, 1)),
        pareto_front=pd.DataFrame(),
        noise_std=np.ones(1),
        solution=tuple(runs),
        history=pd.DataFrame({"state": ["x"]}),
        converged=True,
    )


def test_each_run_is_followed_over_its_own_span():
    # x = 1/(1/x0 - t): from 1.0 there is no path beyond t = 1, from 0.4 none beyond 2.5.
    runs = [run_of(SQUARE, 0.4, 2.0), run_of(SQUARE, 1.0, 2.0), run_of(SQUARE, 0.4, 2.6)]
    found = broken_runs(SQUARE, runs)
    assert list(found) == [1, 2]
    assert float(found[1].split("t = ")[1].split(":")[0]) == pytest.approx(1.0, abs=1e-6)
    assert float(found[2].split("t = ")[1].split(":")[0]) == pytest.approx(2.5, abs=1e-6)


def test_derivatives_start_where_they_were_fitted():
    # x = 1/(1 - t)^2 solves x'' = 6 x^2 from x = 1, x' = 2; the way back down it does not blow up.
    equations = Equations(["6*x**2"], ["x"], order=2)
    assert list(broken_runs(equations, [run_of(equations, [1.0, 2.0], 1.05)])) == [0]
    assert not broken_runs(equations, [run_of(equations, [1.0, -2.0], 1.05)])


def test_inputs_run_as_they_were_measured():
    equations = Equations(["u*x**2"], ["x"], ["u"])
    # 1/x = 1/x0 - int u: a pulse of area 0.5 or of 2.
    short = run_of(equations, 1.0, 4.0, u=lambda t: 0.5 * (t < 1.0))
    strong = run_of(equations, 1.0, 4.0, u=lambda t: 2.0 * (t < 1.0))
    assert list(broken_runs(equations, [short, strong], "hold")) == [1]


def test_functions_that_are_not_compiled_are_followed_too():
    own = Equations(["f(x)"], ["x"], functions={"f": np.square})
    assert list(broken_runs(own, [run_of(own, 0.4, 2.0), run_of(own, 1.0, 2.0)])) == [1]


def test_chaos_that_leaves_the_record_is_no_failure():
    lorenz = Equations(["10*(y - x)", "28*x - y - x*z", "x*y - 8*z/3"], ["x", "y", "z"])
    run = run_of(lorenz, [1.0, 1.0, 20.0], 40.0)
    assert not broken_runs(lorenz, [run])


def test_the_best_that_can_be_integrated_answers():
    run = run_of(SQUARE, 1.0, 2.0)
    made = []

    def offer(equations):
        def make():
            made.append(equations)
            return answer(equations, run)

        return equations, make

    cubic, linear = Equations(["x**3"], ["x"]), Equations(["0.5*x"], ["x"])
    found = first_that_integrates(answer(SQUARE, run), map(offer, [cubic, linear, DECAY]), "linear")
    assert found.equations == linear
    assert made == [linear]
    assert found.extras["integrates_"]
    assert found.history["laws_passed_over"].tolist() == [2]
    stays = first_that_integrates(answer(DECAY, run), map(offer, [linear]), "linear")
    assert stays.equations == DECAY
    assert made == [linear]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_broken_runs(stays, (0,))
    failed = replace(found, converged=False)
    again = first_that_integrates(
        replace(answer(SQUARE, run), converged=False), [(linear, lambda: failed)], "linear"
    )
    assert not again.converged


def test_where_none_can_be_integrated_the_answer_says_so():
    run = run_of(SQUARE, 1.0, 2.0)
    cubic = Equations(["x**3"], ["x"])
    offers = [(cubic, lambda: answer(cubic, run)), (DECAY, lambda: None)]
    found = first_that_integrates(answer(SQUARE, run), offers, "linear")
    assert found.equations == SQUARE
    assert found.extras["integrates_"] is False
    with pytest.warns(IntegrationWarning, match="neither can any other") as told:
        warn_of_broken_runs(found, ("a",))
    assert "t = 1:" in str(told[0].message)


def hyperbola(end, n, noise, seed):
    t = np.linspace(0.0, end, n)
    return t, (1.0 + noise * np.random.default_rng(seed).normal(size=n)) / (1.0 - t)


def test_fits_that_would_blow_up_are_replaced():
    replaced = []
    for seed in range(8):
        t, X = hyperbola(0.985, 60, 0.03, seed)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            model = SMNNDiscoverer().fit(t, X)
        rate = sympy.lambdify(sympy.Symbol("x0"), model.equations_[0])
        path = solve_ivp(lambda _, s, f=rate: [f(s[0])], (0.0, 0.985), model.x0_[0], method="LSODA")
        assert model.integrates_
        assert path.success
        assert np.isfinite(path.y).all()
        passed_over = model.history_["laws_passed_over"][0]
        warned = [one for one in told if issubclass(one.category, IntegrationWarning)]
        assert len(warned) == (passed_over > 0)
        assert not warned or f"{passed_over} law(s)" in str(warned[0].message)
        replaced.append(passed_over > 0)
    # One in a few, not all of them.
    assert 0 < sum(replaced) < len(replaced)


def test_a_fit_that_stays_finite_is_left_alone():
    t, X = hyperbola(0.9, 60, 0.01, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = SMNNDiscoverer().fit(t, X)
    assert model.integrates_
    assert model.history_["laws_passed_over"].tolist() == [0]
    np.testing.assert_allclose(float(model.equations_[0].coeff(sympy.Symbol("x0") ** 2)), 1.0, 0.05)
