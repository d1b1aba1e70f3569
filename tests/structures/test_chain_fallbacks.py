"""Laws that need more than a dictionary and one trajectory: corners, chaos, several sensors."""

import numpy as np
import pytest
import sympy
from numpy.testing import assert_allclose
from scipy.linalg import expm

from discoverers.shooting import (
    Column,
    Observation,
    Record,
    StateSpaceModel,
    calibrate,
    lifted,
    lifted_tangent,
    tangent,
)
from discoverers.sparse import NormalEquations
from discoverers.structures import ChainStructure, Channel, Options
from discoverers.structures.chain.corners import _calibrated, _relinearised, knotted, price_corners
from discoverers.structures.chain.dictionary import Corner, make_dictionary
from discoverers.structures.chain.extraction import Extraction
from discoverers.structures.chain.judging import Judge
from tests.structures.chain_systems import (
    ACCELERATION,
    CHAIN,
    REST,
    data,
    duffing,
    force,
    oscillator,
    task_at_rest,
)

T = np.arange(201) * 0.1


def clearance(x, v, u):
    return -3.0 * x - 0.1 * v + u - np.abs(x - 0.5) + np.abs(x + 0.5)


# --- corners


def test_a_corner_is_a_column_with_its_number_and_a_price_for_the_knot():
    dictionary = make_dictionary(CHAIN, Options())
    bent = dictionary.with_corners([Corner(0, "x", 0.5)])
    K = len(dictionary)
    x = sympy.Symbol("x")
    assert bent.terms[K] == sympy.Abs(x - 0.5)
    assert bent.terms[:K] == dictionary.terms
    charges = bent.charges(200, 1.0)
    assert charges[K] / charges[dictionary.terms.index(x)] == pytest.approx(2.2)
    assert bent.moved({K: Corner(0, "x", 0.7)}).terms[K] == sympy.Abs(x - 0.7)


def test_the_tangent_prices_corners_beside_the_best_law():
    rng = np.random.default_rng(0)
    x, v, u = rng.uniform(-2.0, 2.0, (3, 400))
    values = {"x": x, "v": v, "u": u}
    dictionary = make_dictionary(CHAIN, Options(library="poly3"))
    places = [Corner(0, "x", float(knot)) for knot in np.linspace(-1.5, 1.5, 13)]
    terms = [*dictionary.terms, *(place.term for place in places)]
    columns = np.column_stack(
        [
            np.broadcast_to(sympy.lambdify(sympy.symbols("x v u"), term)(x, v, u), x.shape)
            for term in terms
        ]
    )
    target = -2.0 * values["x"] + 0.8 * np.abs(x - 0.5) + u + 0.02 * rng.normal(size=400)
    normal = NormalEquations.from_rows(columns / 0.02, target / 0.02)
    linear = [k for k, term in enumerate(dictionary.terms) if term in sympy.symbols("x u")]
    charges = dictionary.charges(400, 1.0)
    (support, corners), *_ = price_corners(normal, dictionary, charges, places, linear, 8)
    assert sorted(support) == sorted(linear)
    assert [corner.knot for corner in corners] == pytest.approx([0.5])
    smooth = NormalEquations.from_rows(columns / 0.02, (target - columns[:, -5] * 0.8) / 0.02)
    plain = price_corners(smooth, dictionary, charges, places[:0], linear, 8)
    assert plain == []


def test_knots_are_calibrated_with_the_honest_error_of_least_squares():
    _, a = oscillator(clearance, T)
    given = data(T, a, force(T), REST, noise=0.01)
    observed = given.observation(CHAIN.state_names)
    task = task_at_rest(given, floor=1e-9)
    columns = [Column(term, {"v": 1.0}) for term in ("x", "v", "u")]
    fit, moved = knotted(
        task, columns, [Corner(0, "x", -0.4), Corner(0, "x", 0.6)],
        np.array([-3.0, -0.1, 1.0, 1.0, -1.0]), REST, np.zeros((1, 2), dtype=bool),
        np.array([0.01]), 2, 30,
    )  # fmt: skip
    std = fit.x0_std[0, 2:]
    assert observed.channels == ("a",)
    assert_allclose([corner.knot for corner in moved], [-0.5, 0.5], atol=4.0 * std.max())
    # Against the inverse of the normal matrix of finite differences of the channel.
    names = (*CHAIN.state_names, "b", "c")
    bent = [Column(f"Abs(x - {name})", {"v": 1.0}) for name in "bc"]
    model = StateSpaceModel(names, ("u",), [*CHAIN.kinematics(), *columns, *bent])

    def channel(p):
        start = np.concatenate([REST[0], p[5:]])
        theta = np.concatenate([[1.0], p[:5]])
        frozen = calibrate(
            model, theta, start, given.records, given.observation(names), [0.01],
            free_theta=np.zeros(6, dtype=bool), substeps=2,
        )  # fmt: skip
        return frozen.paths[0].F[:, 1]

    at = np.concatenate([fit.theta[1:], fit.x0[0, 2:]])
    slope = np.column_stack([(channel(at + d) - channel(at - d)) / 2e-5 for d in 1e-5 * np.eye(7)])
    expected = np.sqrt(np.diagonal(np.linalg.inv(slope.T @ slope))[5:]) * 0.01
    assert_allclose(std, expected, rtol=0.02)


@pytest.mark.parametrize(
    "knots",
    [
        pytest.param((-0.47, 0.52), id="knots that are off"),
        pytest.param((-0.5, 0.45, 0.55), id="a corner too many"),
    ],
)
def test_terms_that_make_up_for_knots_leave_while_knots_are_free(knots):
    _, a = oscillator(clearance, T, u=lambda s: 3.0 * force(s))
    given = data(T, a, 3.0 * force(T), REST, noise=1e-3)
    task = task_at_rest(given, floor=4e-3)
    dictionary = make_dictionary(CHAIN, Options())
    names = [str(term) for term in dictionary.terms]
    work = Extraction(
        task, dictionary, Judge.of(task, dictionary), given.observation(CHAIN.state_names),
        np.array([1e-3]), 1,
    )  # fmt: skip
    plain = sorted(names.index(name) for name in ("x", "v", "u", "tanh(x)", "x*Abs(x)"))
    value = {"x": -3.0, "v": -0.1, "u": 1.0}
    coef = [value.get(names[k], 0.0) for k in plain] + [1.0, *([-1.0 / (len(knots) - 1)] * 2)]
    corners = [Corner(0, "x", knot) for knot in knots]
    first = _calibrated(work, plain, corners, np.array(coef[: len(plain) + len(knots)]), REST)
    best = _relinearised(work, first)
    assert {names[k] for k in best.plain} == {"x", "v", "u"}
    assert_allclose([corner.knot for corner in best.corners], [-0.5, 0.5], atol=5e-3)
    assert best.score < first.score
    # With the true terms the residual is the noise's.
    assert np.sqrt(best.law.rss[0] / len(T)) == pytest.approx(1e-3, rel=0.2)


def test_a_clearance_is_found_with_its_knots():
    # Two tones, strong enough that the mass crosses both corners often.
    drive = lambda s: 2.0 * (np.sin(0.9 * s) + np.sin(2.3 * s))  # noqa: E731
    t = np.arange(301) * 0.1
    _, a = oscillator(clearance, t, u=drive)
    fit = ChainStructure().discover(data(t, a, drive(t), REST, noise=0.01), Options())
    law = fit.equations.terms()["v"]
    kinks = [term for term in law if term.has(sympy.Abs)]
    assert {str(term) for term in law if term not in kinks} == {"x", "v", "u"}
    knots = fit.extras["knots_"]
    assert_allclose(sorted(knots["knot"]), [-0.5, 0.5], atol=4.0 * knots["std_error"].max())
    assert (knots["std_error"] < 0.01).all()
    assert fit.covariance.shape == (len(fit.parameter_names),) * 2
    assert [name for name in fit.parameter_names if name.startswith("knot of")] == [
        f"knot of {term}" for term in knots["term"]
    ]


def test_no_corner_where_the_law_is_smooth():
    _, a = oscillator(duffing, T)
    fit = ChainStructure().discover(data(T, a, force(T), REST, noise=0.02), Options())
    assert len(fit.extras["knots_"]) == 0
    assert {str(term) for term in fit.equations.terms()["v"]} == {"x", "v", "x**3", "u"}


# --- multiple shooting


def holmes(x, v, u):
    return x - x**3 - 0.25 * v + u


def test_a_chaotic_record_is_lost_to_single_shooting_and_saved_by_nodes():
    t = np.arange(1500) * 0.1
    drive = lambda s: 0.4 * np.cos(s)  # noqa: E731
    X, _ = oscillator(holmes, t, (0.5, 0.0), drive)
    noisy = X[:, 0] + 0.01 * np.random.default_rng(0).normal(size=len(t))
    record = Record.make(t, noisy, drive(t))
    model = StateSpaceModel(
        ["x", "v"], ["u"],
        [Column("v", {"x": 1.0}, value=1.0), *(Column(k, {"v": 1.0}) for k in "xvu"),
         Column("x**3", {"v": 1.0})],
    )  # fmt: skip
    start = np.array([1.0, 0.7, -0.4, 0.8, -0.8])
    observed = Observation.linear(["x"], states=[[1.0, 0.0]], n_inputs=1)
    single = calibrate(
        model, start, X[0], [record], observed, [0.01], free_x0=[True] * 2, windows=40, substeps=2
    )
    guess = np.column_stack([noisy, np.gradient(noisy, t)])
    saved = lifted(model, start, [guess], [record], observed, [0.01], substeps=2)
    assert not single.cost < 100.0 * len(t)
    assert saved.cost == pytest.approx(len(t), rel=0.1)
    away = np.abs(saved.theta[1:] - [1.0, -0.25, 1.0, -1.0])
    assert np.all(away < 4.0 * saved.theta_std[1:])
    assert np.all(saved.theta_std[1:] < 0.01)


def test_where_no_trajectory_lasts_the_nodes_are_the_path():
    # Held upright by feedback that is measured: open loop every error grows by e^60.
    t = np.arange(600) * 0.05
    rng = np.random.default_rng(1)
    pushed = np.cumsum(rng.normal(size=600)) * 0.3
    x, v, u = np.zeros(600), np.zeros(600), np.zeros(600)
    model = StateSpaceModel(
        ["x", "v"], ["u"],
        [Column("v", {"x": 1.0}, value=1.0), *(Column(k, {"v": 1.0}) for k in "xvu")],
    )  # fmt: skip
    truth = np.array([1.0, 4.0, -0.3, 1.0])
    A = np.array([[0, 1, 0], [4.0, -0.3, 1.0], [0, 0, 0]])
    move = expm(A * 0.05)
    for i in range(599):
        u[i] = -12.0 * x[i] - 3.0 * v[i] + np.tanh(pushed[i])
        x[i + 1], v[i + 1] = (move @ [x[i], v[i], u[i]])[:2]
    noisy = np.column_stack([x, v]) + 0.01 * rng.normal(size=(600, 2))
    record = Record.make(t, noisy, u, interpolation="hold")
    observed = Observation.linear(["x", "v"], states=np.eye(2), n_inputs=1)
    saved = lifted(model, 0.6 * truth, [noisy], [record], observed, [0.01] * 2, substeps=2)
    assert saved.converged
    assert np.abs(saved.paths[0].X - np.column_stack([x, v])).max() < 0.05
    # The minimum lies below the truth's own cost, by about chi-squared of five unknowns.
    gained = ((noisy - np.column_stack([x, v])) ** 2).sum() / 0.01**2 - saved.cost
    assert 0.0 < gained < 20.5  # one in a thousand
    assert np.all((saved.theta_std[1:] > 0.0) & (saved.theta_std[1:] < 0.2))
    assert saved.covariance.shape == (5, 5)


def test_the_lifted_tangent_is_the_tangent_where_a_trajectory_lasts():
    X, a = oscillator(duffing, T)
    noisy = a + 0.01 * np.random.default_rng(0).normal(size=len(T))
    record = Record.make(T, noisy, force(T))
    model = StateSpaceModel(
        ["x", "v"], ["u"],
        [Column("v", {"x": 1.0}, value=1.0), *(Column(k, {"v": 1.0}) for k in ("x", "v", "u")),
         Column("x**3", {"v": 1.0}), Column("x**2", {"v": 1.0})],
    )  # fmt: skip
    at = np.array([1.0, -1.5, -0.1, 1.0, -10.0, 0.0])
    observed = Observation.acceleration(model, ["v"])
    one = tangent(model, at, REST, [record], observed, [0.01], substeps=2)
    assert one is not None
    other = lifted_tangent(
        model, at, [X], [record], observed, [0.01], x0=REST, substeps=2, link=1e-5
    )
    assert other is not None
    assert_allclose(other.solve(range(5)), one.solve(range(5)), rtol=1e-2, atol=1e-2)
    assert_allclose(other.loss(range(5)), one.loss(range(5)), rtol=1e-2)


@pytest.mark.slow
def test_a_law_is_found_through_chaos():
    t = np.arange(1000) * 0.15
    drive = lambda s: 0.4 * np.cos(s)  # noqa: E731
    _, a = oscillator(holmes, t, (0.5, 0.0), drive)
    fit = ChainStructure().discover(
        data(t, a, drive(t), np.full((1, 2), np.nan), noise=0.005), Options()
    )
    assert {str(term) for term in fit.equations.terms()["v"]} == {"x", "v", "x**3", "u"}
    assert_allclose(fit.noise_std, 0.005, rtol=0.1)


# --- several sensors on one mass


@pytest.mark.parametrize(
    "channels",
    [
        (ACCELERATION[0], Channel("p", states={"x": 1.0})),
        (ACCELERATION[0], Channel("b", rates={"v": 1.0})),
    ],
    ids=["acceleration and position", "two accelerations"],
)
def test_several_sensors_may_watch_one_mass(channels):
    X, a = oscillator(duffing, T)
    y = np.column_stack([a, X[:, 0] if "p" in channels[1].name else a])
    fit = ChainStructure().discover(
        data(T, y, force(T), np.full((1, 2), np.nan), channels=channels, noise=0.01), Options()
    )
    assert {str(term) for term in fit.equations.terms()["v"]} == {"x", "v", "x**3", "u"}
    assert fit.noise_std.shape == (2,)
    assert_allclose(fit.noise_std, 0.01, rtol=0.25)
