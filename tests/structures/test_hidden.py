"""Hidden forces with memory: found where they are, with the right rate, and only there."""

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp

from discoverers.exceptions import MisfitWarning
from discoverers.shooting import Record
from discoverers.structures.base import Channel, Data, Options
from discoverers.structures.hidden import discovery, judging
from discoverers.structures.hidden.discovery import search_hidden
from discoverers.structures.hidden.task import HiddenTask

V, Z = sympy.symbols("v z")
AMPLITUDES = (1.0, 0.8, 0.9)
FREQUENCIES = (np.pi, 1.1, 2.3)


def force(t):
    return sum(a * np.sin(w * t) for a, w in zip(AMPLITUDES, FREQUENCIES, strict=True))


RATES = {
    "dahl": ({"v": 2.0, "z*Abs(v)": -4.0}, lambda v, z: 2 * v - 4 * abs(v) * z),
    "maxwell": ({"v": 1.5, "z": -1.0}, lambda v, z: 1.5 * v - z),
    "bouc_wen": (
        {"v": 1.5, "z*Abs(v)": -0.9, "v*Abs(z)": -0.5},
        lambda v, z: 1.5 * v - 0.9 * abs(v) * z - 0.5 * v * abs(z),
    ),
    "bouc_wen_2": (
        {"v": 1.5, "z*Abs(v)*Abs(z)": -0.9, "v*z**2": -0.5},
        lambda v, z: 1.5 * v - 0.9 * abs(v) * abs(z) * z - 0.5 * v * z * z,
    ),
}


def simulate(law, rate, *, start=0.0, step=0.1, duration=50.0):
    """Times, force, states and acceleration of a mass, with SciPy."""

    def rates(t, y):
        return [y[1], law(y[0], y[1]) - y[2] + force(t), rate(y[1], y[2])]

    t = np.arange(0.0, duration, step)
    grid = t if start == 0.0 else np.concatenate([[0.0], t + start])
    solution = solve_ivp(
        rates, (0.0, grid[-1]), np.zeros(3), t_eval=grid, rtol=1e-9, atol=1e-11, max_step=0.05
    )
    states = solution.y.T if start == 0.0 else solution.y.T[1:]
    at = t + start
    a = np.array([rates(s, y)[1] for s, y in zip(at, states, strict=True)])
    return t, force(at), states, a


def as_data(t, u, a, *, known=True, noise=0.01, seed=0, noise_std=None):
    y = a + noise * np.random.default_rng(seed).normal(size=len(a))
    x0 = np.zeros((1, 2)) if known else np.full((1, 2), np.nan)
    channel = Channel("acceleration", rates={"v": 1.0})
    return Data((Record.make(t, y, u),), (channel,), ("force",), x0, noise_std)


def linear(x, v):
    return -1.2 * x - 0.15 * v


REST = Options(initial_state="rest")


@pytest.fixture(scope="module")
def dahl():
    t, u, states, a = simulate(linear, RATES["dahl"][1])
    return states, a, search_hidden(as_data(t, u, a), REST).fit


def coefficients(fit):
    return {str(term): float(value) for term, value in fit.equations.terms()["z"].items()}


def test_rate_of_dahls_friction_is_discovered_from_acceleration(dahl):
    _, _, fit = dahl
    found, true = coefficients(fit), RATES["dahl"][0]
    assert set(found) == set(true)
    for term, value in true.items():
        assert found[term] == pytest.approx(value, rel=0.03)


def test_hidden_force_is_a_virtual_measurement(dahl):
    states, _, fit = dahl
    assert fit.converged
    assert np.corrcoef(fit.states[0][:, 2], states[:, 2])[0, 1] > 0.999
    np.testing.assert_allclose(fit.states[0], states, atol=0.05)


def test_observation_of_the_fit_is_the_acceleration(dahl):
    _, a, fit = dahl
    u = np.zeros((len(a), 1))
    predicted = fit.observation.values(fit.states[0], fit.rates[0], u)[:, 0]
    assert np.sqrt(np.mean((predicted - a) ** 2)) < 0.005


def test_hidden_force_enters_with_minus_one(dahl):
    _, _, fit = dahl
    place = fit.terms.index("z")
    assert fit.coef[1, place] == -1.0
    assert fit.coef_std[1, place] == 0.0


def test_covariance_covers_the_truth(dahl):
    _, _, fit = dahl
    true = {"v'": {"x": -1.2, "v": -0.15, "force": 1.0}, "z'": RATES["dahl"][0]}
    std = np.sqrt(np.diagonal(fit.covariance))
    for name, error in zip(fit.parameter_names, std, strict=True):
        state, term = name.split(": ")
        row = fit.coef[["x'", "v'", "z'"].index(state)]
        expected = {str(sympy.sympify(k)): v for k, v in true[state].items()}
        text = str(sympy.sympify(term))
        assert abs(row[fit.terms.index(term)] - expected[text]) < 4.5 * error


def test_frames_agree_with_the_equations(dahl):
    _, _, fit = dahl
    chosen = fit.pareto_front[fit.pareto_front["selected"]]
    assert len(chosen) == 1
    assert chosen["equation"].iloc[0] == str(fit.equations)
    assert fit.alternatives["equation"].iloc[0] == str(fit.equations)
    assert fit.coef.shape == fit.coef_std.shape == (3, len(fit.terms))


def test_spring_and_damper_are_charged_as_terms_that_nobody_picked():
    t, u, _, a = simulate(linear, RATES["maxwell"][1], duration=5.0)
    n = len(t)
    task = HiddenTask(as_data(t, u, a), REST)
    search = task.static_search()
    terms = [str(column.expr) for column in search.model.columns[1:]]
    charges = dict(zip(terms, search.charges, strict=True))
    assert charges["x"] == charges["v"] == 2.0
    # The force is picked out of all candidates: extended BIC.
    assert charges["force"] == pytest.approx(np.log(n) + 2.0 * np.log(len(charges)))
    assert min(value for term, value in charges.items() if term not in "xv") == charges["force"]
    locked = HiddenTask(as_data(t, u, a), Options(required={V: None})).static_search()
    place = [str(column.expr) for column in locked.model.columns[1:]].index("v")
    assert locked.charges[place] == 0.0
    assert locked.locked == (place,)


def test_law_without_memory_has_no_hidden_force():
    t, u, _, a = simulate(lambda x, v: linear(x, v) - 2.0 * x**3, lambda v, z: 0.0)
    assert search_hidden(as_data(t, u, a), REST).fit is None


def test_short_library_is_told_from_memory():
    t, u, _, a = simulate(lambda x, v: linear(x, v) - 2.0 * x**3, lambda v, z: 0.0, duration=30.0)
    found = search_hidden(as_data(t, u, a), Options(initial_state="rest", library="poly1"))
    assert found.fit is None
    assert [note.category for note in found.notes] == [MisfitWarning]
    assert "x**3" in found.notes[0].text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maxwell", "bouc_wen", "bouc_wen_2"])
def test_rates_of_hysteresis_are_discovered(name):
    t, u, states, a = simulate(linear, RATES[name][1])
    fit = search_hidden(as_data(t, u, a, noise=0.02), REST).fit
    assert set(coefficients(fit)) == set(RATES[name][0])
    assert np.corrcoef(fit.states[0][:, 2], states[:, 2])[0, 1] > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("damping", [0.15, 0.0])
def test_a_damper_beside_a_fading_force_is_found_where_there_is_one(damping):
    # A fading force can take over most of a weak damper's part, and the noise is large.
    t, u, states, a = simulate(
        lambda x, v: -1.2 * x - damping * v, RATES["maxwell"][1], start=7.3, duration=30.0
    )
    fit = search_hidden(as_data(t, u, a, known=False, noise=0.03), Options()).fit
    law = {str(term) for term in fit.equations.terms()["v"]}
    assert law == ({"x", "v", "z", "force"} if damping else {"x", "z", "force"})
    assert set(coefficients(fit)) == set(RATES["maxwell"][0])
    assert np.corrcoef(fit.states[0][:, 2], states[:, 2])[0, 1] > 0.99


@pytest.mark.slow
def test_start_may_be_unknown():
    t, u, states, a = simulate(linear, RATES["bouc_wen"][1], start=7.3)
    fit = search_hidden(as_data(t, u, a, known=False), Options()).fit
    assert set(coefficients(fit)) == set(RATES["bouc_wen"][0])
    np.testing.assert_allclose(fit.x0[0], states[0], atol=0.02)
    assert np.all(fit.x0_std[0] > 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("width", [0.3, 0.05])
def test_smooth_dry_friction_is_not_memory(width):
    t, u, _, a = simulate(lambda x, v: linear(x, v) - 0.5 * np.tanh(v / width), lambda v, z: 0.0)
    assert search_hidden(as_data(t, u, a), REST).fit is None


def test_a_force_that_forgets_between_samples_asks_for_denser_ones():
    fast = discovery._unexplained(judging.Verdict((judging.FORGETS_FAST,))).text
    assert "Sample more densely" in fast
    assert "richer `library`" not in fast
    both = discovery._unexplained(judging.Verdict(("the rate is long", judging.FORGETS_FAST))).text
    assert "Sample more densely" in both
    assert "richer `library`" in both
    other = discovery._unexplained(judging.Verdict(("its rate needs 6 terms",))).text
    assert "densely" not in other
    assert "richer `library`" in other
