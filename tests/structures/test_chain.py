"""What `ChainStructure` promises, against trajectories of SciPy's integrator."""

import numpy as np
import pytest
import sympy
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from discoverers.shooting import Record
from discoverers.structures import ChainStructure, Channel, Data, Options

from .chain_systems import REST, UNKNOWN, data, duffing, force, oscillator

T = np.arange(0.0, 20.05, 0.1)


def law_of(fit, state="v"):
    return {str(term): value for term, value in fit.equations.terms()[state].items()}


def errors_of(fit, state="v"):
    std = np.sqrt(np.diagonal(fit.covariance))
    names = [name.split(": ") for name in fit.parameter_names]
    return {parts[1]: s for parts, s in zip(names, std, strict=True) if parts[0] == f"{state}'"}


@pytest.fixture(scope="module")
def clean():
    states, a = oscillator(duffing, T)
    return states, a


@pytest.fixture(scope="module")
def noisy_fit(clean):
    return ChainStructure().discover(data(T, clean[1], force(T), UNKNOWN, noise=0.01), Options())


def test_duffing_is_found_from_noisy_acceleration_with_unknown_start(noisy_fit, clean):
    law, std = law_of(noisy_fit), errors_of(noisy_fit)
    truth = {"x": -1.5, "v": -0.1, "u": 1.0, "x**3": -10.0}
    assert law.keys() == truth.keys()
    std = {"x**3" if name == "x^3" else name: value for name, value in std.items()}
    for name, value in truth.items():
        assert abs(law[name] - value) < 4.0 * std[name], name
    assert np.mean((noisy_fit.states[0][:, 0] - clean[0][:, 0]) ** 2) < 5e-6
    assert_allclose(noisy_fit.noise_std, 0.01, rtol=0.2)
    assert noisy_fit.converged
    # Cubes can be counted from anywhere with the library's help; only simplicity fixes the level.
    assert noisy_fit.x_offset_identifiable is False


def test_report_is_complete_and_consistent(noisy_fit):
    V, K = 2, len(noisy_fit.terms)
    assert noisy_fit.coef.shape == noisy_fit.coef_std.shape == (V, K)
    assert noisy_fit.coef[0, noisy_fit.terms.index("v")] == 1.0
    P = len(noisy_fit.parameter_names)
    assert noisy_fit.covariance.shape == (P, P) == (6, 6)
    assert noisy_fit.parameter_names[-2:] == ("x(0)", "v(0)")
    row = noisy_fit.coef_std[1]
    assert_allclose(row[row > 0.0].size, 4)
    front = noisy_fit.pareto_front
    assert front["selected"].sum() == 1
    assert (np.diff(front["complexity"]) > 0).all()
    assert front.loc[front["selected"], "complexity"].item() == 4
    assert noisy_fit.alternatives["score_behind"].iloc[0] == 0.0
    assert_allclose(noisy_fit.alternatives["weight"].sum(), 1.0)
    assert list(noisy_fit.history["stage"]) == ["network", "extraction", "calibration"]
    states, rates = noisy_fit.states[0], noisy_fit.rates[0]
    assert_allclose(rates[:, 0], states[:, 1])


def test_edge_functions_show_the_curves_with_bands_that_cover(noisy_fit):
    curve = next(edge for edge in noisy_fit.edge_functions if edge.inputs == ("x",))
    x = curve.grid[0]
    truth = -1.5 * x - 10.0 * x**3
    assert np.abs(curve(x) - truth).max() < 0.1 * np.abs(truth).max()
    inside = np.abs(curve.values - truth) <= 4.0 * curve.std + 1e-3
    assert inside.mean() > 0.8
    assert "x^3" in curve.symbolic
    linear = next(edge for edge in noisy_fit.edge_functions if edge.inputs == ("u",))
    assert_allclose(linear(0.5) - linear(0.0), 0.5, atol=0.02)


def test_van_der_pol_needs_a_product_and_gets_it():
    def law(x, v, u):
        return (1.0 - x**2) * v - x + u

    states, a = oscillator(law, T)
    # Irregular times, and a gap.
    keep = np.sort(np.random.default_rng(1).choice(np.arange(1, len(T)), 170, replace=False))
    y = a[keep].copy()
    y[60:66] = np.nan
    fit = ChainStructure().discover(
        data(T[keep], y, force(T[keep]), UNKNOWN, noise=0.01), Options()
    )
    found = law_of(fit)
    assert found.keys() == {"x", "v", "u", "v*x**2"}
    assert_allclose(found["v*x**2"], -1.0, atol=0.02)
    assert np.mean((fit.states[0][:, 0] - states[keep, 0]) ** 2) < 1e-4


def test_position_is_enough_for_a_first_order_law():
    solved = solve_ivp(
        lambda t, y: y - y**3 + np.cos(t), (0.0, 20.0), [0.2], t_eval=T[:-1], rtol=1e-10, atol=1e-12
    )
    t = T[: solved.y.shape[1]]
    seen = (Channel("x", states={"x": 1.0}),)
    given = data(t, solved.y[0], np.cos(t), np.full((1, 1), np.nan), seen, noise=0.003)
    fit = ChainStructure(order=1).discover(given, Options())
    law = law_of(fit, "x")
    assert law.keys() == {"x", "u", "x**3"}
    assert_allclose([law["x"], law["u"], law["x**3"]], [1.0, 1.0, -1.0], atol=0.02)
    assert fit.x_offset_identifiable is None


@pytest.mark.slow
def test_two_masses_are_told_apart():
    t = np.arange(0.0, 12.0, 0.1)

    def push(s):
        return 2.0 * np.sin(1.3 * s) + np.sin(2.9 * s)

    def rates(s, y):
        x1, v1, x2, v2 = y
        spring = 1.5 * (x2 - x1)
        return [v1, -2.0 * x1 - 0.2 * v1 + spring + push(s), v2, -spring - 0.3 * v2]

    solved = solve_ivp(rates, (0.0, 12.0), np.zeros(4), t_eval=t, rtol=1e-10, atol=1e-12)
    y = np.array([rates(s, state) for s, state in zip(t, solved.y.T, strict=True)])[:, [1, 3]]
    channels = (Channel("a1", rates={"v1": 1.0}), Channel("a2", rates={"v2": 1.0}))
    given = data(t, y, push(t), np.zeros((1, 4)), channels, noise=0.01)
    fit = ChainStructure(n_dof=2).discover(given, Options(library="poly1"))
    assert law_of(fit, "v1").keys() == {"x1", "v1", "x2", "u"}
    assert law_of(fit, "v2").keys() == {"x1", "x2", "v2"}
    assert_allclose(law_of(fit, "v1")["x1"], -3.5, atol=0.05)
    assert np.mean((fit.states[0][:, 2] - solved.y[2]) ** 2) < 1e-4


def test_what_the_user_knows_is_kept(clean):
    x = sympy.Symbol("x")
    options = Options(required={x**3: -10.0}, forbidden=frozenset({sympy.sin(x)}), parity="odd")
    fit = ChainStructure().discover(data(T, clean[1], force(T), REST, noise=0.01), options)
    assert law_of(fit)["x**3"] == -10.0
    assert fit.coef_std[1, fit.terms.index("x^3" if "x^3" in fit.terms else "x**3")] == 0.0
    assert not {"sin(x)", "x**2", "x^2", "cos(x)", "exp(x)"} & set(fit.terms)
    assert np.all(fit.x0 == 0.0)
    assert fit.x_offset_identifiable is None


@pytest.mark.slow
def test_a_library_that_is_short_is_called_so(clean):
    fit = ChainStructure().discover(
        data(T, clean[1], force(T), REST, noise=0.01), Options(library="poly1")
    )
    assert any("not expressible" in note.text for note in fit.notes)
    curve = next(edge for edge in fit.edge_functions if edge.inputs == ("x",))
    x = curve.grid[0]
    truth = -1.5 * x - 10.0 * x**3
    assert np.sqrt(np.mean((curve(x) - truth) ** 2)) < 0.05 * np.abs(truth).max()


def test_senseless_data_come_to_an_end():
    noise = np.random.default_rng(0).normal(size=60)
    fit = ChainStructure().discover(data(T[:60], noise, None, UNKNOWN), Options())
    assert np.isfinite(fit.coef).all()
    assert all(np.isfinite(part).all() for part in fit.states)


def test_runs_have_their_own_starts():
    runs, starts = [], [(0.8, 0.0), (-0.3, 1.0)]
    for start in starts:
        _, a = oscillator(lambda x, v, u: -2.0 * x - 0.2 * v - x**3, T[:120], start)
        runs.append(Record.make(T[:120], a))
    fit = ChainStructure().discover(
        Data(tuple(runs), (Channel("a", rates={"v": 1.0}),), (), np.full((2, 2), np.nan)), Options()
    )
    assert law_of(fit).keys() == {"x", "v", "x**3"}
    assert_allclose(fit.x0, starts, atol=1e-3)
    assert fit.parameter_names[-1] == "v(0) of run 1"


def test_names_and_quantities():
    chain = ChainStructure(order=3, n_dof=2)
    assert chain.state_names(["y"], []) == ("x1", "v1", "a1", "x2", "v2", "a2")
    assert ChainStructure(order=5).state_names(["y"], [])[-1] == "d4x"
    assert ChainStructure().quantities(["y"], [])["acceleration"] == ("v'",)
    assert chain.quantities(["y"], [])["acceleration"] == ("a1", "a2")
    with pytest.raises(ValueError, match=r"inputs are named \['v'\]"):
        ChainStructure().state_names(["y"], ["v"])
    with pytest.raises(ValueError, match="hidden=1 needs order=2 and n_dof=1"):
        ChainStructure(order=1, hidden=1).discover(
            data(T, T, None, np.full((1, 1), np.nan), (Channel("x", states={"x": 1.0}),)), Options()
        )
