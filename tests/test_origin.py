"""States that lie far from zero beside what they vary: laws are found around the data."""

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import solve_ivp

from discoverers import SMNNDiscoverer
from discoverers.constraints import Forbidden
from discoverers.denoising import denoise
from discoverers.equations import Equations
from discoverers.exceptions import MisfitWarning
from discoverers.libraries import PolynomialLibrary, resolve_library
from discoverers.origin import Origin
from discoverers.trajectories import as_trajectories

OFFSETS = np.array([10003.37, -500.0])


def path(rate, x0, t):
    return solve_ivp(rate, (t[0], t[-1]), x0, t_eval=t, rtol=1e-11, atol=1e-9).y.T


def around(x0, y0):
    """Predators and prey, both counted from somewhere."""

    def rate(_, s):
        x, y = s[0] - x0, s[1] - y0
        return 0.8 * x - 0.4 * x * y, 0.3 * x * y - 0.9 * y

    return rate


def noisy(X, share, seed=0):
    return X + share * X.std(axis=0) * np.random.default_rng(seed).standard_normal(X.shape)


@pytest.fixture(scope="module")
def record():
    t = np.linspace(0.0, 18.0, 200)
    X = path(around(*OFFSETS), OFFSETS + np.array([2.0, 1.0]), t)
    return t, pd.DataFrame(noisy(X, 0.02), columns=["x", "y"]), X


@pytest.fixture(scope="module")
def fitted(record):
    t, X, _ = record
    return SMNNDiscoverer(library="poly2").fit(t, X)


def bound_to(names, library="poly3"):
    return resolve_library(library).bind(names, [])


def origin_of(X, library="poly3"):
    trajectories = as_trajectories(np.arange(len(X), dtype=float), X)
    return Origin.among(denoise(trajectories), bound_to(trajectories.state_names, library))


def test_the_law_of_data_far_from_zero_is_found(fitted):
    x0, y0 = OFFSETS.tolist()
    truth = Equations(
        [
            f"0.8*(x - {x0}) - 0.4*(x - {x0})*(y - ({y0}))",
            f"0.3*(x - {x0})*(y - ({y0})) - 0.9*(y - ({y0}))",
        ],
        ["x", "y"],
    )
    assert fitted.equations_.compare(truth).exact
    assert (fitted.chi2_ < 1.3).all()
    values = OFFSETS + np.random.default_rng(1).uniform(0.5, 4.0, (20, 2))
    expected = np.array([around(x0, y0)(0.0, one) for one in values])
    np.testing.assert_allclose(fitted.derivative(values), expected, atol=0.05)


def test_coefficients_are_those_of_terms_counted_from_among_the_data(fitted, record):
    _, _, X = record
    # Horner's rule around the centre by hand: names, coefficients and errors belong together.
    assert fitted.terms_[1:3] == ("x - 10006", "y + 498")
    centre = OFFSETS - [10006.0, -498.0]
    a, b = centre  # x - x0 = z - a and y - y0 = w - b
    expected = {
        "x - 10006": (0.8 + 0.4 * b, -0.3 * b),
        "y + 498": (0.4 * a, -0.3 * a - 0.9),
        "(x - 10006)*(y + 498)": (-0.4, 0.3),
    }
    for term, pair in expected.items():
        k = fitted.terms_.index(term)
        for v, value in enumerate(pair):
            assert abs(fitted.coef_[v, k] - value) <= 4.0 * fitted.coef_std_[v, k]
    assert np.abs(fitted.solution_[0].X - X).max() < 0.03
    assert np.abs(fitted.x0_[0] - X[0]).max() < 0.03


def test_predictions_are_in_the_users_numbers_and_survive_saving(fitted, record, tmp_path):
    t, _, X = record
    assert fitted.score(t, X) > 0.999
    assert np.abs(fitted.simulate(t, x0=X[0]) - X).max() < 0.15
    fitted.save(tmp_path / "model")
    again = SMNNDiscoverer.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(t), fitted.predict(t))


def test_a_law_that_is_sparse_around_zero_keeps_its_terms():
    t = np.linspace(0.0, 20.0, 300)

    def rate(_, s):
        return s[0] * (1.0 - 0.001 * s[1]), s[1] * (0.001 * s[0] - 1.0)

    X = path(rate, [1020.0, 1000.0], t)
    assert (np.abs(X.mean(axis=0)) > 60.0 * X.std(axis=0)).all()
    for share in (0.0, 0.01):
        model = SMNNDiscoverer(library="poly2").fit(t, noisy(X, share))
        assert model.terms_[1] == "x0"
        truth = Equations(["x0 - x0*x1/1000", "x0*x1/1000 - x1"], ["x0", "x1"])
        assert model.equations_.compare(truth).exact


def test_positions_with_an_offset_have_a_law_of_second_order():
    t = np.linspace(0.0, 20.0, 150)

    def rate(_, s):
        x = s[0] - 273.15
        return s[1], -x - 0.3 * x**3 - 0.1 * s[1]

    X = noisy(path(rate, [275.15, 0.0], t), 0.01)[:, :1]
    model = SMNNDiscoverer(order=2).fit(t, pd.DataFrame(X, columns=["x"]))
    truth = Equations(["-(x - 273.15) - 0.3*(x - 273.15)**3 - 0.1*v"], ["x"], ["v"])
    slopes = np.column_stack([[271.5, 273.0, 275.0], [0.5, -1.0, 0.2]])
    expected = [float(truth[0].subs({"x": x, "v": v})) for x, v in slopes]
    np.testing.assert_allclose(model.derivative(slopes)[:, -1], expected, atol=0.02)


def test_what_the_user_says_of_terms_keeps_them_as_they_are(record):
    t, X, _ = record
    model = SMNNDiscoverer(library="poly1", constraints=[Forbidden("x", "1")])
    with pytest.warns(MisfitWarning):
        model.fit(t, X)
    assert model.terms_[1] == "x"


@pytest.mark.parametrize("library", ["poly3", PolynomialLibrary(2, interaction=False)])
def test_terms_counted_from_elsewhere_are_the_same_functions(library):
    X = OFFSETS + np.random.default_rng(0).normal(size=(50, 2))
    origin = origin_of(X, library)
    assert origin is not None
    np.testing.assert_allclose(
        origin.written.evaluate(X), origin.library.evaluate(X - origin.values), rtol=1e-9
    )


def test_an_origin_is_a_part_of_laws_that_are_longer_around_others():
    origin = Origin(np.array([1000.0, 70.0]), bound_to(["x", "y"], "poly2"))
    one, x, y, xx, xy, _ = np.eye(6, dtype=bool)
    assert origin.matters_in(np.stack([one | x | xx, one | y])) == 0
    assert origin.matters_in(np.stack([x | xy, one | y])) == 1
    assert origin.matters_in(np.stack([x | xy, y | xy])) == 2
    assert origin.matters_in(np.stack([y | xy, one | xx])) == 2
    assert origin.matters_in(np.stack([one | y, x])) == 1


def test_only_states_far_from_zero_are_counted_from_elsewhere():
    rng = np.random.default_rng(0)
    X = np.column_stack([5.0 + rng.normal(size=60), -312.34 + 0.02 * rng.normal(size=60)])
    origin = origin_of(X)
    assert origin.values[0] == 0.0
    assert origin.values[1] == pytest.approx(-312.34, abs=0.011)
    assert origin_of(X[:, :1]) is None


@pytest.mark.parametrize(
    "library", ["poly2+fourier", PolynomialLibrary(2, include_bias=False), "poly1*poly1*fourier"]
)
def test_candidates_that_a_shift_would_change_are_left_alone(library):
    X = 1000.0 + np.random.default_rng(0).normal(size=(60, 2))
    assert origin_of(X, library) is None


def test_a_state_at_rest_has_no_spread_to_be_far_in():
    X = np.column_stack([np.full(40, 7.0), np.sin(np.arange(40.0))])
    assert origin_of(X) is None
