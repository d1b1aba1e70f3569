"""Equations of any order, of orders that differ, and with some of the derivatives measured."""

import numpy as np
import pandas as pd
import pytest
import sympy
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

import discoverers
from discoverers import SMNNDiscoverer
from discoverers.chains import Chains, read_chains
from discoverers.constraints import Forbidden
from discoverers.equations import Equations
from discoverers.simulation import simulate

x, y = sympy.symbols("x y")
v, w, a = sympy.Symbol("x'"), sympy.Symbol("y'"), sympy.Symbol("x''")


def solved(rate, start, t):
    return solve_ivp(
        lambda _, q: rate(q), (0.0, t[-1]), start, t_eval=t, rtol=1e-10, atol=1e-12
    ).y.T


def with_noise(path, noise, names, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(path + noise * path.std(axis=0) * rng.normal(size=path.shape), None, names)


def jerk(noise):
    """A cubic jerk system of Sprott's, chaotic, 800 positions."""
    t = np.linspace(0.0, 40.0, 800)
    path = solved(lambda q: [q[1], q[2], -0.7 * q[2] - q[1] + q[0] - q[0] ** 3], [0.5, 0, 0], t)
    return t, with_noise(path[:, :1], noise, ["x"]), path


@pytest.mark.parametrize(("noise", "error"), [(0.0, 1e-5), (0.01, 2e-3), (0.02, 4e-3)])
def test_a_law_of_third_order_is_found_from_positions(noise, error):
    t, X, path = jerk(noise)
    model = SMNNDiscoverer(order=3).fit(t, X)
    found = model.equations_.compare([-0.7 * a - v + x - x**3])
    assert found.exact
    assert found.relative_coefficient_error < error
    assert model.equations_.order == 3
    fitted = model.solution_[0]
    assert np.abs(fitted.full - path).max() < max(0.1 * noise, 1e-4) * path.std(axis=0).max() * 3
    np.testing.assert_array_equal(fitted.derivative[:, 0], fitted.full[:, 1])
    assert "x''' = " in repr(model.equations_)


def test_a_law_of_third_order_answers_saves_and_runs_on(tmp_path):
    t, X, path = jerk(0.0)
    model = SMNNDiscoverer(order=3).fit(t[:600], X[:600])
    np.testing.assert_allclose(model.predict(t[:640])[:, 0], path[:640, 0], atol=1e-3)
    np.testing.assert_allclose(model.simulate(t[:100], path[0])[:, 0], path[:100, 0], atol=1e-3)
    state = [0.3, -0.2, 0.1]
    assert model.derivative(state) == pytest.approx([-0.07 + 0.2 + 0.3 - 0.027], abs=1e-3)
    model.save(tmp_path / "jerk.zip")
    again = discoverers.load(tmp_path / "jerk.zip")
    assert again.equations_ == model.equations_
    np.testing.assert_array_equal(again.predict(t[:640]), model.predict(t[:640]))


@pytest.mark.parametrize("order", [{"x": 2}, [2, 1], {"x": 2, "y": 1}])
def test_orders_may_differ_from_state_to_state(order):
    """A spring whose force relaxes: the position is of second order, the force of first."""
    t = np.linspace(0.0, 20.0, 400)
    path = solved(
        lambda q: [q[2], -0.5 * q[1] - 2.0 * q[2], -q[0] - 0.2 * q[2] + 1.5 * q[1]],
        [1.0, 0.5, 0.0],
        t,
    )
    X = with_noise(path[:, :2], 0.01, ["x", "y"])
    model = SMNNDiscoverer("poly2", order=order).fit(t, X)
    assert model.equations_.order == (2, 1)
    assert model.equations_.compare([-x - 0.2 * v + 1.5 * y, -0.5 * y - 2.0 * v]).exact
    assert model.terms_[:4] == ("1", "x", "y", "x'")
    np.testing.assert_allclose(model.solution_[0].full, path, atol=0.02)
    np.testing.assert_allclose(model.predict(np.array([20.0, 20.2]))[0], path[-1, :2], atol=0.02)


# --- derivatives that were measured

COUPLED = [-4.5 * x + 1.5 * y - 0.2 * v, 1.5 * x - 3.5 * y - 0.1 * w - y**3]


def coupled(noise):
    """Two masses on springs, the second stiffening: positions and velocities."""
    t = np.linspace(0.0, 20.0, 400)
    path = solved(
        lambda q: [
            q[2],
            q[3],
            -4.5 * q[0] + 1.5 * q[1] - 0.2 * q[2],
            1.5 * q[0] - 3.5 * q[1] - 0.1 * q[3] - q[1] ** 3,
        ],
        [1.5, -1.0, 0.0, 0.0],
        t,
    )
    return t, with_noise(path, noise, ["x", "y", "x'", "y'"]), path


def only_one_velocity(X):
    return X[["x", "x'", "y"]]


def a_column_of_nan(X):
    return X.assign(**{"y'": np.nan})


def velocities_now_and_then(X):
    rows = np.arange(len(X))
    seldom = X["x'"].where(rows % 7 == 0)
    return X.assign(**{"x'": seldom, "y'": X["y'"].where(rows > 200)})


@pytest.mark.parametrize("part", [only_one_velocity, a_column_of_nan, velocities_now_and_then])
def test_velocities_may_be_measured_in_part(part):
    t, X, path = coupled(0.02)
    given = part(X)
    model = SMNNDiscoverer(order=2).fit(t, given)
    found = model.equations_.compare(COUPLED)
    assert found.exact
    assert found.relative_coefficient_error < 4e-3
    assert (model.chi2_ < 1.4).all()
    assert model.state_names_ == ("x", "y")
    assert model.channel_names_ == tuple(given.columns)
    truth = pd.DataFrame(path, columns=["x", "y", "x'", "y'"])[list(given.columns)]
    np.testing.assert_allclose(model.predict(t), truth, atol=0.03)
    assert model.score(t, given) > 0.99
    measured = given.notna().any().to_numpy()
    noise = model.noise_std_ / truth.std(ddof=0).to_numpy()
    assert noise[measured] == pytest.approx(np.full(measured.sum(), 0.02), rel=0.25)
    assert np.isnan(noise[~measured]).all()


def test_a_held_out_run_starts_where_positions_and_velocities_are_known():
    t, X, path = coupled(0.0)
    whole = SMNNDiscoverer(order=2).fit(t, X[["y'", "x", "x'", "y"]])
    assert whole.score([t[:100]], [X[["y'", "x", "x'", "y"]][:100]]) > 0.9999
    np.testing.assert_allclose(whole.states(t), path[:, :2], atol=1e-4)
    part = SMNNDiscoverer(order=2).fit(t, only_one_velocity(X))
    with pytest.raises(ValueError, match="initial derivatives"):
        part.score([t], [only_one_velocity(X)])


def test_estimates_and_standard_errors_are_those_of_least_squares_through_the_law():
    """SciPy fits x'' = -k x - c x' and its start to the same positions and few velocities."""
    t = np.linspace(0.0, 8.0, 160)

    def path(p):
        rate = 0.5 * p[1]
        wave = np.sqrt(p[0] - rate**2)
        fade, phase = np.exp(-rate * t), wave * t
        b = (p[3] + rate * p[2]) / wave
        position = fade * (p[2] * np.cos(phase) + b * np.sin(phase))
        speed = -rate * position + wave * fade * (b * np.cos(phase) - p[2] * np.sin(phase))
        return position, speed

    truth = np.array([9.0, 0.3, 1.0, 0.0])
    rng = np.random.default_rng(3)
    sizes = 0.02, 0.06
    X = pd.DataFrame(dict(zip(["x", "x'"], path(truth), strict=True)))
    X += np.array(sizes) * rng.normal(size=X.shape)
    X.loc[t > 3.0, "x'"] = np.nan
    seen = X["x'"].notna().to_numpy()

    def residuals(p):
        position, speed = path(p)
        return np.concatenate(
            [(position - X["x"]) / sizes[0], ((speed - X["x'"]) / sizes[1])[seen]]
        )

    fit = least_squares(residuals, truth, xtol=1e-14, ftol=1e-14)
    errors = np.sqrt(np.diagonal(np.linalg.inv(fit.jac.T @ fit.jac)))
    # The full set of terms is the law's: nothing is selected, nothing inflated.
    model = SMNNDiscoverer(
        "poly1", order=2, noise_std=sizes, constraints=[Forbidden("x'", "1")], gamma=0.0
    ).fit(t, X)
    assert model.terms_ == ("1", "x", "x'")
    np.testing.assert_allclose(-model.coef_[0, 1:], fit.x[:2], atol=0.1 * errors[:2].min())
    np.testing.assert_allclose(model.coef_std_[0, 1:], errors[:2], rtol=0.15)


@pytest.mark.slow
def test_intervals_cover_where_derivatives_are_not_measured():
    t = np.linspace(0.0, 20.0, 400)
    path = solved(lambda q: [q[1], q[2], -1.2 * q[2] - q[1] - 0.6 * q[0]], [1.0, 0.0, 0.0], t)
    oscillator = solved(lambda q: [q[1], -4.0 * q[0] - 0.2 * q[1]], [1.0, 0.0], t)
    cases = [(3, path[:, :1], [-0.6, -1.0, -1.2]), (2, oscillator[:, :1], [-4.0, -0.2])]
    for order, values, truth in cases:
        inside = []
        for seed in range(60):
            X = with_noise(values, 0.01, ["x"], seed)
            known = Forbidden("x" + "'" * (order - 1), "1")
            model = SMNNDiscoverer("poly1", order=order, constraints=[known]).fit(t, X)
            coef, std = model.coef_[0, 1:], model.coef_std_[0, 1:]
            if (coef != 0.0).all():
                inside += (np.abs(coef - truth) < 1.96 * std).tolist()
        assert len(inside) > 0.9 * 60 * order
        assert np.mean(inside) > 0.88


# --- what cannot be


@pytest.mark.parametrize(
    ("order", "columns", "message"),
    [
        (2, ["x", "y'"], r"\[\"y'\"\], but not \['y'\]. A position that is never measured"),
        (2, ["x", "x''"], "of the order of their equations or more"),
        ({"x": 1}, ["x", "x'"], "of the order of their equations or more"),
        ({"z": 2}, ["x", "y"], r"order names \['z'\], but the states are \['x', 'y'\]"),
        ([2], ["x", "y"], "order has 1 entries, but there are 2 states"),
        ([2, 0], ["x", "y"], "integers of at least 1"),
        (["2", 1], ["x", "y"], "integers of at least 1"),
    ],
)
def test_orders_that_do_not_fit_the_columns_are_refused(order, columns, message):
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)), columns=columns)
    with pytest.raises(ValueError, match=message):
        SMNNDiscoverer(order=order).fit(np.arange(30.0), X)


def test_a_position_of_nothing_but_nan_is_refused():
    t, X, _ = coupled(0.0)
    with pytest.raises(ValueError, match=r"state\(s\) \['y'\] are NaN in every row"):
        SMNNDiscoverer(order=2).fit(t, X.assign(y=np.nan))


def test_gradient_descent_takes_one_order_and_positions_only():
    t, X, _ = coupled(0.0)
    with pytest.raises(ValueError, match="engine='sgd'"):
        SMNNDiscoverer("poly1", order=2, engine="sgd").fit(t, X)
    with pytest.raises(ValueError, match="engine='sgd'"):
        SMNNDiscoverer("poly1", order=3, engine="sgd").fit(t, X[["x"]])


# --- values


def test_what_is_said_of_the_order_is_read_once():
    assert read_chains(1, ["x", "x'"]) is None
    assert read_chains({"x": 1}, ["x", "y"]) is None
    chains = read_chains([3, 1], ["y'", "x", "y", "x''"][1:3])
    assert chains == Chains(("x", "y"), (3, 1), (0, 1))
    assert chains.state_names == ("x", "y", "x'", "x''")
    assert chains.highest.tolist() == [3, 1]
    mixed = read_chains(2, ["y'", "x", "y"])
    assert mixed.names == ("x", "y")
    assert mixed.columns == (3, 0, 1)
    assert mixed.observation.values(np.arange(4.0)[None], None, None).tolist() == [[3.0, 0.0, 1.0]]


def test_equations_of_different_orders_are_values_like_any_other():
    mixed = Equations([-x - v + y, -2.0 * y + v], ["x", "y"], order=[2, 1])
    assert mixed.order == (2, 1)
    assert repr(mixed).splitlines()[0].startswith("x'' = ")
    assert repr(mixed).splitlines()[1].startswith("y' = ")
    assert [str(symbol) for symbol in mixed.variables] == ["x", "y", "x'"]
    assert Equations.from_dict(mixed.to_dict()) == mixed
    assert mixed != Equations([-x - v + y, -2.0 * y + v], ["x", "y"], order=2)
    assert mixed.as_eqs()[0].lhs.derivative_count == 2
    assert mixed.as_eqs()[1].lhs.derivative_count == 1
    t = np.linspace(0.0, 3.0, 7)
    exact = solved(lambda q: [q[2], -2.0 * q[1] + q[2], -q[0] - q[2] + q[1]], [1.0, 0.5, 0.2], t)
    np.testing.assert_allclose(simulate(mixed, t, [1.0, 0.5, 0.2]).X, exact, atol=1e-6)
    with pytest.raises(ValueError, match="order has 3 entries"):
        Equations([x, y], ["x", "y"], order=[1, 2, 1])
