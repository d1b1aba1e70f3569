"""Calibration against SciPy's least squares, and its uncertainty against repeated noise."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

from discoverers.shooting import (
    Column,
    FunctionObservation,
    Observation,
    Record,
    StateSpaceModel,
    calibrate,
    integrate,
    lifted,
    tangent,
)

TERMS = ["x", "v", "x**3", "u"]
TRUTH = np.array([1.0, -1.5, -0.1, -10.0, 1.0])


def oscillator(terms=TERMS):
    kinematics = Column("v", {"x": 1.0}, value=1.0)
    return StateSpaceModel(
        ["x", "v"], ["u"], [kinematics, *(Column(term, {"v": 1.0}) for term in terms)]
    )


def duffing(n=201, noise=0.0, seed=0, x0=(0.0, 0.0)):
    """Accelerations of the forced Duffing oscillator, by SciPy."""
    t = 0.1 * np.arange(n)
    right = lambda s, y: [  # noqa: E731
        y[1], -1.5 * y[0] - 0.1 * y[1] - 10.0 * y[0] ** 3 + np.sin(np.pi * s)
    ]  # fmt: skip
    X = solve_ivp(right, (0.0, t[-1]), x0, t_eval=t, rtol=1e-10, atol=1e-12, method="DOP853").y.T
    a = np.array([right(s, y)[1] for s, y in zip(t, X, strict=True)])
    rng = np.random.default_rng(seed)
    force = lambda s: np.sin(np.pi * s)[:, None]  # noqa: E731
    y = a + noise * rng.normal(size=n)
    return Record.make(t, y, np.sin(np.pi * t), interpolation=force), X


def acceleration(model):
    return Observation.acceleration(model, ("v",))


def test_accelerations_alone_give_the_coefficients_and_the_states():
    record, X = duffing()
    model = oscillator()
    fit = calibrate(
        model, [0, -1, 0, 0, 1], [0.0, 0.0], [record], acceleration(model), [1e-3], windows=40
    )
    assert fit.converged
    np.testing.assert_allclose(fit.theta, TRUTH, rtol=1e-5)
    np.testing.assert_allclose(fit.paths[0].X, X, atol=1e-6)


def test_the_minimum_is_that_of_scipy():
    record, _ = duffing(80, noise=0.05)
    model = oscillator()
    start = np.array([1.0, -1.2, -0.2, -8.0, 0.9])
    fit = calibrate(
        model, start, [0.0, 0.0], [record], acceleration(model), [0.05],
        free_x0=[True, True], substeps=2,
    )  # fmt: skip

    def residual(vector):
        theta = np.concatenate([[1.0], vector[:4]])
        return (record.y - integrate(model, theta, vector[4:], record, substeps=2).F[:, 1:])[
            :, 0
        ] / 0.05

    scipy_fit = least_squares(residual, np.concatenate([start[1:], [0, 0]]), xtol=1e-12, ftol=1e-12)
    assert fit.cost == pytest.approx(2.0 * scipy_fit.cost, rel=1e-7)
    np.testing.assert_allclose(
        np.concatenate([fit.theta[1:], fit.x0[0]]), scipy_fit.x, rtol=1e-3, atol=1e-4
    )
    normal = scipy_fit.jac.T @ scipy_fit.jac
    np.testing.assert_allclose(fit.normal, normal, rtol=1e-2, atol=1e-3 * np.abs(normal).max())


def test_standard_errors_are_the_spread_over_repeated_noise():
    model = oscillator()
    found, stated = [], []
    for seed in range(40):
        record, _ = duffing(120, noise=0.02, seed=seed)
        fit = calibrate(model, TRUTH, [0.0, 0.0], [record], acceleration(model), [0.02], substeps=2)
        found.append(fit.theta[1:])
        stated.append(fit.theta_std[1:])
    ratio = np.std(found, axis=0) / np.mean(stated, axis=0)
    # The spread of 40 draws is known to within a fifth or so.
    assert np.all((ratio > 0.65) & (ratio < 1.45)), ratio


def test_runs_share_coefficients_and_keep_their_own_starts():
    model = oscillator()
    runs = [duffing(90, x0=start)[0] for start in ((0.3, 0.0), (-0.2, 0.5))]
    known = np.array([[0.3, 0.0], [0.0, 0.0]])
    free = np.array([[False, False], [True, True]])
    fit = calibrate(
        model, [1, -1.2, -0.05, -8, 0.9], known, runs, acceleration(model), [1e-3], free_x0=free
    )
    np.testing.assert_allclose(fit.theta, TRUTH, rtol=1e-4)
    np.testing.assert_allclose(fit.x0, [[0.3, 0.0], [-0.2, 0.5]], atol=1e-4)
    assert fit.covariance.shape == (6, 6)
    assert np.all(fit.x0_std[0] == 0.0)
    assert np.all(fit.x0_std[1] > 0.0)


def test_rows_that_were_not_measured_do_not_count():
    model = oscillator()
    record, _ = duffing(100, noise=0.01)
    y = record.y.copy()
    y[::3] = np.nan
    thinned = Record(record.t, y, record.u, record.weight, record.signal)
    wild = Record(
        record.t, np.nan_to_num(y, nan=1e6), record.u, (~np.isnan(y[:, 0])).astype(float),
        record.signal,
    )  # fmt: skip
    one, other = (
        calibrate(model, TRUTH, [0.0, 0.0], [run], acceleration(model), [0.01], substeps=2)
        for run in (thinned, wild)
    )
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-8)
    assert one.n_observed[0] == np.sum(~np.isnan(y))


def test_a_constant_state_is_a_parameter_inside_of_a_term():
    model = StateSpaceModel(
        ["x", "w"], [], [Column("sin(w*x)", {"x": 1.0}), Column("1", {"x": 1.0})]
    )
    t = np.linspace(0.0, 3.0, 61)
    exact = solve_ivp(
        lambda s, y: -1.2 * np.sin(1.7 * y) + 0.4, (0, 3), [1.0], t_eval=t, rtol=1e-10, atol=1e-12
    ).y[0]
    fit = calibrate(
        model, [-1.0, 0.3], [1.0, 1.4], [Record.make(t, exact)],
        Observation.linear(["x"], states=[[1.0, 0.0]]), [1e-4], free_x0=[False, True],
    )  # fmt: skip
    np.testing.assert_allclose([*fit.theta, fit.x0[0, 1]], [-1.2, 0.4, 1.7], rtol=1e-4)


def test_runs_share_the_parameters_inside_of_terms():
    model = StateSpaceModel(["x", "w"], [], [Column("sin(w*x)", {"x": 1.0})])
    t = np.linspace(0.0, 2.0, 41)
    runs = []
    for seed, start in enumerate((0.5, 1.0, -0.8)):
        exact = solve_ivp(
            lambda s, y: -1.2 * np.sin(1.7 * y), (0, 2), [start], t_eval=t, rtol=1e-10, atol=1e-12
        ).y[0]
        runs.append(Record.make(t, exact + 0.01 * np.random.default_rng(seed).normal(size=41)))
    observed = Observation.linear(["x"], states=[[1.0, 0.0]])
    x0 = np.array([[0.5, 1.4], [1.0, 1.4], [-0.8, 1.4]])
    options = {"free_x0": np.ones((3, 2), dtype=bool)}
    fit = calibrate(model, [-1.0], x0, runs, observed, [0.01], **options)
    assert np.ptp(fit.x0[:, 1]) == 0.0
    assert np.ptp(fit.x0_std[:, 1]) == 0.0
    assert fit.covariance.shape == (5, 5)
    assert abs(fit.x0[0, 1] - 1.7) < 4.0 * fit.x0_std[0, 1]
    assert fit.theta_std[0] == pytest.approx(np.sqrt(fit.covariance[0, 0]))
    normal = tangent(model, fit.theta, fit.x0, runs, observed, [0.01], **options)
    np.testing.assert_allclose(normal.covariance([0]), fit.covariance[:1, :1], rtol=1e-3)


def test_a_prior_pulls_by_its_precision():
    t = np.linspace(0.0, 1.0, 11)
    model = StateSpaceModel(["x"], [], [Column("1", {"x": 1.0})])
    observed = Observation.linear(["x"], states=[[1.0]])
    fit = calibrate(
        model, [0.0], [0.0], [Record.make(t, 2.0 * t)], observed, [0.5],
        prior_mean=[1.0], prior_precision=[[3.0]],
    )  # fmt: skip
    information = np.sum(t**2) / 0.25
    assert fit.theta[0] == pytest.approx((information * 2.0 + 3.0) / (information + 3.0))


def test_a_function_of_states_and_rates_is_observed_like_its_matrix():
    model = oscillator()
    record, X = duffing(80)
    mixed = Record.make(record.t, np.column_stack([X[:, 0], record.y[:, 0] + X[:, 1]]), record.u)
    matrix = Observation.linear(["p", "q"], states=[[1, 0], [0, 1]], rates=[[0, 0], [0, 1]])
    function = FunctionObservation(
        ("p", "q"), lambda X, F, U: np.column_stack([X[:, 0], F[:, 1] + X[:, 1]])
    )
    start = [1, -1.2, -0.2, -8, 0.9]
    one, other = (
        calibrate(model, start, [0, 0], [mixed], observed, [1e-3, 1e-2], substeps=2)
        for observed in (matrix, function)
    )
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-6)


def test_a_model_that_blows_up_has_infinite_cost_and_says_so():
    model = StateSpaceModel(["x"], [], [Column("x**2", {"x": 1.0}, value=1.0)])
    t = np.linspace(0.0, 3.0, 31)
    fit = calibrate(
        model, [1.0], [1.0], [Record.make(t, np.ones(31))],
        Observation.linear(["x"], states=[[1.0]]), [0.1],
    )  # fmt: skip
    assert fit.cost == np.inf
    assert not fit.converged
    assert "blows up" in fit.message


def test_the_tangent_prices_terms_that_are_not_in_the_model():
    terms = [*TERMS, "x**2", "v**2", "v**3"]
    model = oscillator(terms)
    record, _ = duffing(120, noise=0.01)
    theta = np.zeros(model.n_columns)
    theta[:5] = TRUTH
    part = oscillator()
    start = calibrate(part, TRUTH, [0, 0], [record], acceleration(part), [0.01], substeps=2)
    theta[:5] = start.theta
    normal = tangent(model, theta, start.x0, [record], acceleration(model), [0.01], substeps=2)
    np.testing.assert_allclose(normal.solve(range(4)), start.theta[1:], rtol=1e-4)
    assert normal.loss(range(4)) == pytest.approx(start.cost, rel=1e-6)
    for extra in (4, 5, 6):
        support = [0, 1, 2, 3, extra]
        columns = [0, *(k + 1 for k in support)]
        fit = calibrate(
            model.select(columns), theta[columns], start.x0, [record],
            acceleration(model.select(columns)), [0.01], substeps=2,
        )  # fmt: skip
        promised = start.cost - normal.loss(support)
        assert promised == pytest.approx(start.cost - fit.cost, abs=0.1 * max(1.0, promised))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("level", [300.0, 800.0], ids=["its square overflows", "it overflows"])
def test_a_candidate_beyond_numbers_prices_nothing_and_spoils_no_other(level):
    terms = ["x", "v", "u"]
    record, _ = duffing(60)
    theta = [1.0, 0.0, -0.1, 1.0]
    with_it, without = oscillator([*terms, "exp(x)"]), oscillator(terms)
    start = [level, 0.0]
    found = tangent(with_it, [*theta, 0.0], start, [record], acceleration(with_it), [0.01])
    plain = tangent(without, theta, start, [record], acceleration(without), [0.01])
    np.testing.assert_allclose(found.gram[:3, :3], plain.gram)
    np.testing.assert_allclose(found.moment[:3], plain.moment)
    assert found.energy == pytest.approx(plain.energy)
    assert not found.gram[3].any()
    assert found.loss([0, 1, 2, 3]) == pytest.approx(plain.loss([0, 1, 2]))


def test_the_tangent_gives_every_subset_its_best_start():
    model = oscillator()
    record, _ = duffing(120, noise=0.01, x0=(0.2, 0.1))
    fit = calibrate(
        model, TRUTH, [0.2, 0.1], [record], acceleration(model), [0.01], free_x0=[True, True],
        substeps=2,
    )  # fmt: skip
    normal = tangent(
        model, fit.theta, fit.x0, [record], acceleration(model), [0.01], free_x0=[True, True],
        substeps=2,
    )  # fmt: skip
    np.testing.assert_allclose(normal.solve(range(4)), fit.theta[1:], rtol=1e-4)
    np.testing.assert_allclose(normal.covariance(range(4)), fit.covariance[:4, :4], rtol=1e-4)
    assert normal.n_rows == 118


def test_multiple_shooting_survives_a_start_that_single_shooting_does_not():
    t = 0.02 * np.arange(500)
    lorenz = lambda s, y: [  # noqa: E731
        10 * (y[1] - y[0]), y[0] * (28 - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]
    ]  # fmt: skip
    X = solve_ivp(lorenz, (0, t[-1]), [1, 1, 20], t_eval=t, rtol=1e-10, atol=1e-10).y.T
    X += 0.05 * np.random.default_rng(0).normal(size=X.shape)
    names = ["x", "y", "z"]
    places = [
        ("x", "x"),
        ("y", "x"),
        ("x", "y"),
        ("y", "y"),
        ("x*z", "y"),
        ("x*y", "z"),
        ("z", "z"),
    ]
    model = StateSpaceModel(names, [], [Column(term, {to: 1.0}) for term, to in places])
    truth = np.array([-10, 10, 28, -1, -1, 1, -8 / 3])
    start = 0.6 * truth
    observed = Observation.linear(names, states=np.eye(3))
    record = Record.make(t, X)
    single = calibrate(
        model, start, X[:1], [record], observed, [0.05] * 3, free_x0=[True] * 3, substeps=2
    )
    multiple = lifted(model, start, [X], [record], observed, [0.05] * 3, substeps=2)
    assert single.cost > 100 * multiple.cost
    np.testing.assert_allclose(multiple.theta, truth, rtol=2e-3)
    assert multiple.cost == pytest.approx(1500, rel=0.15)


def test_multiple_and_single_shooting_end_in_the_same_minimum():
    model = oscillator()
    record, X = duffing(100, noise=0.02)
    one = calibrate(model, TRUTH, [0.0, 0.0], [record], acceleration(model), [0.02], substeps=2)
    guess = X + 0.05 * np.random.default_rng(1).normal(size=X.shape)
    other = lifted(
        model, 0.7 * TRUTH, [guess], [record], acceleration(model), [0.02], x0=[[0.0, 0.0]],
        substeps=2,
    )  # fmt: skip
    np.testing.assert_allclose(other.theta, one.theta, rtol=1e-4)
    assert other.cost == pytest.approx(one.cost, rel=1e-6)


def test_an_iteration_costs_one_integration(monkeypatch):
    """Trials are integrated with sensitivities at once; what was integrated is reported."""
    calls = []

    def counted(*args, **options):
        calls.append(args)
        return integrate(*args, **options)

    monkeypatch.setattr("discoverers.shooting.residuals.integrate", counted)
    model = oscillator()
    record, _ = duffing(100, noise=0.01)
    fit = calibrate(
        model, 0.95 * TRUTH, [0.0, 0.0], [record], acceleration(model), [0.01], substeps=2
    )
    assert fit.converged
    assert fit.n_iterations > 3
    # One more where it starts; rejected trials, which a start this close does not need, cost more.
    assert len(calls) <= fit.n_iterations + 2
    path = integrate(model, fit.theta, fit.x0[0], record, substeps=2)
    np.testing.assert_allclose(fit.paths[0].X, path.X, rtol=1e-12, atol=1e-14)
