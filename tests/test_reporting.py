"""What is written down of a discovery: tables that agree with each other and with the fit."""

from dataclasses import replace

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp

from discoverers.datasets import generate, lotka_volterra, van_der_pol
from discoverers.denoising import denoise
from discoverers.discovery import Discovery
from discoverers.integration import MechanisticIntegral
from discoverers.libraries import resolve_library
from discoverers.refinement import refine
from discoverers.reporting import CLOSE, TIED, report_refined, report_selection
from discoverers.selection import select_terms
from discoverers.trajectories import as_trajectories

CIRCLES = [(0.9, -0.4), (1.2, -0.9)]

COLUMNS = [
    *("complexity", "loss", "score", "equation", "sympy_format", "lambda_format"),
    *("criterion", "selected"),
]


def select(t, X, library="poly2", u=None):
    trajectories = as_trajectories(t, X, u=u)
    bound = resolve_library(library).bind(trajectories.state_names, trajectories.input_names)
    return select_terms(
        trajectories,
        denoise(trajectories),
        bound,
        MechanisticIntegral(),
        window=30,
        gamma=1.0,
        max_terms=None,
    )


@pytest.fixture(scope="module")
def selection():
    runs = [generate(lotka_volterra(), n, noise=0.05, seed=n) for n in (120, 70)]
    return select([run.t for run in runs], [run.X for run in runs])


@pytest.fixture(scope="module")
def refined(selection):
    return refine(selection, None, known_noise=False)


@pytest.fixture(scope="module", params=["selection", "refined"])
def found(request, selection, refined) -> Discovery:
    return (
        report_selection(selection)
        if request.param == "selection"
        else report_refined(selection, refined)
    )


def test_coefficients_are_those_of_the_equations(found):
    symbols = {name: sympy.Symbol(name) for name in found.equations.state_names}
    assert found.coef.shape == found.coef_std.shape == (2, len(found.terms))
    for v, name in enumerate(found.equations.state_names):
        listed = {
            sympy.sympify(term, locals=symbols): value
            for term, value in zip(found.terms, found.coef[v], strict=True)
            if value != 0
        }
        stated = found.equations.terms()[name]
        assert set(listed) == set(stated)
        for term, value in stated.items():
            assert value == pytest.approx(listed[term])
    np.testing.assert_array_equal(found.coef_std > 0, found.coef != 0)


def test_the_front_has_pysrs_columns_then_ours(found):
    assert list(found.pareto_front.columns) == COLUMNS


def test_the_front_grows_falls_and_marks_what_was_chosen(found):
    front = found.pareto_front
    assert len(front) > 2
    assert (np.diff(front["complexity"]) > 0).all()
    assert (np.diff(front["loss"]) < 0).all()
    assert front["selected"].sum() == 1
    chosen = front[front["selected"]].iloc[0]
    assert chosen["sympy_format"] == tuple(found.equations)
    assert chosen["equation"] == str(found.equations)
    assert chosen["complexity"] == np.count_nonzero(found.coef)
    assert chosen["criterion"] == pytest.approx(front["criterion"].min())


def test_rows_of_the_front_agree_with_themselves(found):
    X = np.array([[0.4, 1.3], [2.0, 0.5]])
    symbols = sympy.symbols(found.equations.state_names)
    for _, row in found.pareto_front.iterrows():
        count = sum(len(sympy.Add.make_args(side)) for side in row["sympy_format"] if side != 0)
        assert count == row["complexity"]
        values = [
            [float(side.subs(dict(zip(symbols, x, strict=True)))) for side in row["sympy_format"]]
            for x in X
        ]
        np.testing.assert_allclose(row["lambda_format"](X), values, rtol=1e-9)


def test_score_is_the_fall_of_the_log_loss_per_term(found):
    front = found.pareto_front
    assert front["score"][0] == 0.0
    for i in range(1, len(front)):
        fall = np.log(front["loss"][i - 1]) - np.log(front["loss"][i])
        more = front["complexity"][i] - front["complexity"][i - 1]
        assert front["score"][i] == pytest.approx(fall / more)


def test_solutions_are_per_run_and_obey_the_equations(found, selection):
    rate = found.equations.lambdify()
    assert len(found.solution) == 2
    for solved, run in zip(found.solution, selection.trajectories, strict=True):
        np.testing.assert_array_equal(solved.t, run.t)
        assert solved.X.shape == run.X.shape
        np.testing.assert_array_equal(solved.derivative, rate(solved.X))
        assert solved.u.shape == (len(run.t), 0)


def test_history_has_a_row_per_state(found, selection):
    history = found.history
    assert list(history["state"]) == list(selection.trajectories.state_names)
    np.testing.assert_array_equal(history["noise_std"], found.noise_std)
    np.testing.assert_array_equal(history["chi2"], found.extras["chi2_"])
    np.testing.assert_array_equal(history["n_terms"], np.count_nonzero(found.coef, axis=1))
    assert (history["smoothing_seconds"] > 0).all()
    assert (history["supports_tried"] > 10).all()


def test_alternatives_are_sorted_weighed_and_led_by_the_choice(found):
    table = found.extras["alternatives_"]
    behind = table["score_behind"].to_numpy()
    assert behind[0] == 0.0
    assert (np.diff(behind) >= 0).all()
    assert (behind <= CLOSE).all()
    assert table["weight"].sum() == pytest.approx(1.0)
    np.testing.assert_allclose(table["weight"] / table["weight"][0], np.exp(-0.5 * behind))
    assert table["equations"][0] == found.equations
    assert list(table["equation"]) == [str(system) for system in table["equations"]]
    assert table["equation"].is_unique


def test_the_joint_fit_leaves_its_mark_and_regression_does_not(selection, refined):
    plain, joint = report_selection(selection), report_refined(selection, refined)
    extra = set(joint.history.columns) - set(plain.history.columns)
    assert extra == {"link_level", "systems_fitted", "refinement_seconds"}
    assert (joint.history["systems_fitted"] == refined.n_fitted).all()
    assert (joint.history["link_level"] == refined.link_level).all()
    assert joint.converged == refined.converged
    np.testing.assert_array_equal(joint.noise_std, refined.noise_std)
    np.testing.assert_array_equal(plain.noise_std, selection.denoised.noise_std)
    for solved, states in zip(joint.solution, refined.states, strict=True):
        np.testing.assert_array_equal(solved.X, states)


def test_close_calls_are_listed_as_alternatives():
    record = generate(van_der_pol(), 100, noise=0.1, seed=1)
    selection = select(record.t, record.X, "poly3")
    refined = refine(selection, None, known_noise=False)
    table = report_refined(selection, refined).extras["alternatives_"]
    assert len(table) == len(refined.alternatives(CLOSE)) > 1
    assert (np.diff(table["weight"]) <= 0).all()


def test_ties_are_said_to_be_ties(found, selection, refined):
    behind = found.extras["alternatives_"]["score_behind"]
    assert found.extras["identifiable_"] == ((behind <= TIED).sum() == 1)
    scores = [score for _, score in refined.alternatives(np.inf)]
    reach = sorted(score - min(scores) for score in scores)
    assert report_refined(selection, refined).extras["identifiable_"] == (reach[1] > TIED)


@pytest.mark.parametrize(("starts", "settled"), [([(0.9, -0.4)], False), (CIRCLES, True)])
def test_clean_runs_on_one_circle_leave_the_law_open_and_on_two_settle_it(starts, settled):
    """On x^2 + y^2 = c x the rate y^2 - x^2 is c x - 2 x^2, and c differs between circles."""
    t = np.linspace(0.0, 10.0, 150)
    runs = [
        solve_ivp(_dipole, (0.0, 10.0), start, t_eval=t, rtol=1e-11, atol=1e-13).y.T
        for start in starts
    ]
    found = report_selection(select([t] * len(runs), runs))
    assert found.extras["identifiable_"] == settled
    x, y = sympy.symbols("x0 x1")
    near = [
        system["x1"].subs({x: sympy.Rational(1, 3), y: sympy.Rational(1, 5)})
        for system in found.extras["alternatives_"]["equations"]
    ]
    truth = 1 / 25 - 1 / 9
    assert min(abs(float(value) - truth) for value in near) < 1e-5
    assert len(near) == 1 or not settled


def _dipole(_, state):
    return 2.0 * state[0] * state[1], state[1] ** 2 - state[0] ** 2


def test_terms_that_were_screened_out_are_listed_with_zeros(selection, refined):
    kept = selection.kept
    wider = resolve_library("poly3").bind(selection.library.state_names)
    embedded = np.array([wider.names.index(selection.library.names[k]) for k in kept])
    found = report_refined(replace(selection, library=wider, kept=embedded), refined)
    assert found.coef.shape == (2, len(wider))
    np.testing.assert_array_equal(found.coef[:, embedded], refined.coef)
    assert np.count_nonzero(found.coef) == np.count_nonzero(refined.coef)
    assert tuple(found.equations) == tuple(report_refined(selection, refined).equations)


def test_inputs_enter_derivatives_and_equations():
    t = np.linspace(0.0, 15.0, 200)
    u = np.cos(0.9 * t)[:, None]
    # The closed form of x' = -x + 2 cos(0.9 t) with x(0) = 1.
    w = 0.9
    forced = 2.0 * (np.cos(w * t) + w * np.sin(w * t)) / (1.0 + w**2)
    x = forced + (1.0 - 2.0 / (1.0 + w**2)) * np.exp(-t)
    x += 0.01 * np.random.default_rng(0).standard_normal(len(t))
    selection = select(t, x, "poly1", u=u)
    found = report_refined(selection, refine(selection, None, known_noise=False))
    assert found.equations.compare(["-x0 + 2*u0"]).exact
    solved = found.solution[0]
    np.testing.assert_array_equal(solved.u, u)
    np.testing.assert_array_equal(solved.derivative, found.equations.lambdify()(solved.X, u))
