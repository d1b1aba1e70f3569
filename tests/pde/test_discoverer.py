"""PDEDiscoverer on fields with closed forms: what it finds, what it says, what it refuses."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, LeaveOneOut

from discoverers import PDEDiscoverer
from discoverers.datasets import kdv
from discoverers.exceptions import (
    EmptyEquationWarning,
    IdentifiabilityWarning,
    IntegrationError,
    IntegrationWarning,
    InvalidParameterError,
    MisfitWarning,
    NotFittedError,
)

BURGERS = ["-u*u_x + 0.2*u_xx"]


@pytest.fixture(scope="module")
def fitted(ring, closed):
    t, x, exact = ring
    return PDEDiscoverer().fit(t, closed.noisy(exact, 0.02), x=x)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
def test_burgers_is_found_on_the_ring(ring, closed, share):
    t, x, exact = ring
    found = PDEDiscoverer().fit(t, closed.noisy(exact, share), x=x)
    comparison = found.equations_.compare(BURGERS)
    assert comparison.exact, found.equations_
    assert comparison.relative_coefficient_error < max(1e-6, share)
    assert found.periodic_
    assert found.converged_


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_kdv_is_found_between_ends_as_two_solitons_meet(closed, share):
    t, x = np.linspace(-5.0, 9.0, 120), np.linspace(-18.0, 22.0, 240)
    found = PDEDiscoverer(periodic=False).fit(
        t, closed.noisy(closed.two_solitons(t, x), share), x=x
    )
    comparison = found.equations_.compare(["-6*u*u_x - u_xxx"])
    assert comparison.exact, found.equations_
    assert comparison.relative_coefficient_error < max(1e-4, 0.2 * share)


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_allen_cahn_is_found_between_walls(closed, share):
    t, x, exact = closed.allen_cahn()
    found = PDEDiscoverer().fit(t, closed.noisy(exact, share), x=x)
    assert found.equations_.compare(["u - u**3 + 0.15*u_xx"]).exact, found.equations_
    assert not found.periodic_
    assert found.boundary_ == "zero_flux"


def test_two_states_are_found_together(closed):
    # Advection with exchange, u_t = -u_x + v, v_t = 0.5 v_x - u + 0.1 v_xx: wave by wave.
    t, x = np.linspace(0.0, 4.0, 70), 2.0 * np.pi * np.arange(48) / 48
    X = np.zeros((len(t), len(x), 2))
    for k, start in ((1, (1.0, 0.5j)), (2, (0.6, 0.3)), (4, (0.3j, 0.2))):
        matrix = np.array([[-1j * k, 1.0], [-1.0, 0.5j * k - 0.1 * k**2]])
        values, vectors = np.linalg.eig(matrix)
        weights = np.linalg.solve(vectors, np.array(start))
        modes = np.exp(np.outer(t, values)) * weights @ vectors.T
        X += (modes[:, None, :] * np.exp(1j * k * x)[:, None]).real
    found = PDEDiscoverer(state_names=["a", "b"]).fit(t, closed.noisy(X, 0.01), x=x)
    assert found.equations_.compare(["-a_x + b", "0.5*b_x - a + 0.1*b_xx"]).exact
    assert found.predict(t).shape == X.shape
    assert found.score(t, X) > 0.99


def test_gaps_and_uneven_times_are_allowed(ring, closed):
    t, x, exact = ring
    random = np.random.default_rng(2)
    X = closed.noisy(exact, 0.02)
    X[random.random(X.shape) < 0.2] = np.nan
    kept = random.permutation(len(t))[:50]
    found = PDEDiscoverer().fit(t[kept], X[kept], x=x)
    comparison = found.equations_.compare(BURGERS)
    assert comparison.exact, found.equations_
    assert comparison.relative_coefficient_error < 0.02


def test_a_part_of_space_without_sensors_is_named_and_runs_beside_it_do(ring, closed):
    t, x, exact = ring
    noisy = closed.noisy(exact, 0.02)
    dead = noisy.copy()
    dead[:, 20] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert PDEDiscoverer().fit(t, dead, x=x).equations_.compare(BURGERS).exact
    middle = slice(len(x) // 2 - 6, len(x) // 2 + 6)
    blind = noisy.copy()
    blind[:, middle] = np.nan
    with pytest.warns(MisfitWarning, match="At 12 positions of run 0"):
        PDEDiscoverer().fit(t, blind, x=x)
    sides = [slice(None, middle.start), slice(middle.stop, None)]
    found = PDEDiscoverer().fit([t, t], [noisy[:, s] for s in sides], x=[x[s] for s in sides])
    compared = found.equations_.compare(BURGERS)
    assert compared.recall == 1.0
    assert compared.max_coefficient_error < 0.01


def test_runs_as_a_list_share_one_equation(closed):
    x = [2.0 * np.pi * np.arange(n) / n for n in (64, 80)]
    t = [np.linspace(0.0, 2.0, 40), np.linspace(0.5, 3.0, 50)]
    X = [closed.noisy(closed.burgers(*grid, 0.2), 0.02, i) for i, grid in enumerate(zip(t, x))]  # noqa: B905
    found = PDEDiscoverer().fit(t, X, x=x)
    assert found.equations_.compare(BURGERS).exact
    predicted = found.predict(t)
    assert [part.shape for part in predicted] == [(40, 64), (50, 80)]
    assert found.score(t, X, x=x) > 0.99


def test_generated_kdv_is_found():
    record = kdv(noise=0.05, seed=2)[0]
    found = PDEDiscoverer().fit(record.t, record.X, x=record.x)
    comparison = found.equations_.compare(record.equations)
    assert comparison.exact, found.equations_
    assert comparison.relative_coefficient_error < 0.01


def test_attributes_tell_what_was_done(fitted):
    assert fitted.terms_[:4] == ("1", "u", "u**2", "u**3")
    assert fitted.coef_.shape == fitted.coef_std_.shape == (1, len(fitted.terms_))
    np.testing.assert_array_equal(fitted.coef_ != 0, fitted.coef_std_ > 0)
    assert (np.abs(fitted.coef_ - _truth(fitted.terms_)) <= 5 * fitted.coef_std_ + 1e-12).all()
    front = fitted.pareto_front_
    assert list(front.columns[:4]) == ["complexity", "loss", "score", "equation"]
    assert front["selected"].sum() == 1
    assert front.loc[front["selected"], "equation"].item() == str(fitted.equations_)
    assert fitted.alternatives_["equation"][0] == str(fitted.equations_)
    assert fitted.alternatives_["weight"].sum() == pytest.approx(1.0)
    assert 0.5 < fitted.chi2_[0] < 1.5
    assert fitted.history_["n_terms"].tolist() == [2]
    assert fitted.latex().startswith("\\begin{aligned}")
    assert len(fitted.sympy()) == 1


def _truth(terms):
    out = np.zeros((1, len(terms)))
    out[0, terms.index("u*u_x")], out[0, terms.index("u_xx")] = -1.0, 0.2
    return out


def test_standard_errors_cover(ring, closed):
    t, x, exact = ring
    inside = []
    for seed in range(8):
        found = PDEDiscoverer(derivative_order=2, degree=2).fit(
            t, closed.noisy(exact, 0.03, seed), x=x
        )
        truth = _truth(found.terms_)[0]
        active = truth != 0
        error = np.abs(found.coef_[0] - truth)[active] / found.coef_std_[0][active]
        inside.extend(error < 2.0)
    assert np.mean(inside) >= 0.8


def test_predictions_continue_the_wave(fitted, ring, closed):
    t, x, exact = ring
    later = np.linspace(0.0, 5.0, 30)
    np.testing.assert_allclose(
        fitted.predict(later[::-1])[::-1], closed.burgers(later, x, 0.2), atol=0.03
    )
    np.testing.assert_allclose(fitted.simulate(t, exact[0]), exact, atol=0.01)
    fine = 2.0 * np.pi * np.arange(120) / 120
    start = closed.burgers(np.zeros(1), fine, 0.2)[0]
    np.testing.assert_allclose(
        fitted.simulate(t, start, x=fine), closed.burgers(t, fine, 0.2), atol=0.01
    )
    rate = np.gradient(exact, t, axis=0, edge_order=2)[20]
    np.testing.assert_allclose(fitted.derivative(exact[20]), rate, atol=0.01)
    assert fitted.score(t, exact) > 0.999


def test_known_noise_and_forbidden_terms_are_heeded(ring, closed):
    t, x, exact = ring
    X = closed.noisy(exact, 0.02)
    found = PDEDiscoverer(noise_std=0.02 * exact.std()).fit(t, X, x=x)
    assert found.noise_std_[0] == pytest.approx(0.02 * exact.std())
    assert found.equations_.compare(BURGERS).exact
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        without = PDEDiscoverer(forbidden=["u*u_x"]).fit(t, X, x=x)
    assert without.coef_[0, without.terms_.index("u*u_x")] == 0.0


def test_products_of_derivatives_are_found_when_asked_for():
    # h = -2 nu log(theta) solves h_t = nu h_xx - h_x**2 / 2 where theta is a solution of heat.
    t, x = np.linspace(0.0, 3.0, 60), 2.0 * np.pi * np.arange(96) / 96
    theta = 1.0 + 0.6 * np.exp(-0.2 * t)[:, None] * np.cos(x + 0.3)
    theta += 0.25 * np.exp(-0.8 * t)[:, None] * np.cos(2 * x + 1.5)
    found = PDEDiscoverer(derivative_factors=2).fit(t, -0.4 * np.log(theta), x=x)
    assert found.equations_.compare(["0.2*u_xx - 0.5*u_x**2"]).exact


def test_the_grid_search_takes_runs_as_samples(closed):
    x = 2.0 * np.pi * np.arange(48) / 48
    t = [np.linspace(0.2 * i, 2.0 + 0.2 * i, 30) for i in range(3)]
    X = [closed.burgers(times, x, 0.2) for times in t]
    search = GridSearchCV(
        PDEDiscoverer(derivative_order=2), {"degree": [1, 2]}, cv=LeaveOneOut(), error_score="raise"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(t, X, x=x)
    assert search.best_params_ == {"degree": 2}
    assert search.best_score_ > 0.999


def test_fields_at_rest_and_misfits_warn(closed):
    t, x = np.linspace(0.0, 2.0, 40), 2.0 * np.pi * np.arange(48) / 48
    still = closed.noisy(np.ones((40, 1)) * np.sin(x), 0.05)
    with pytest.warns(EmptyEquationWarning, match="No term"):
        assert str(PDEDiscoverer().fit(t, still, x=x).equations_) == "u_t = 0"
    # The speed of this wave depends on time, which no candidate knows.
    driven = np.sin(x - np.sin(3.0 * t)[:, None]) + 0.5 * np.cos(2 * x - t[:, None] ** 2)
    with pytest.warns(MisfitWarning, match="chi2"):
        PDEDiscoverer().fit(t, closed.noisy(driven, 0.001), x=x)


def test_a_travelling_wave_alone_does_not_identify_its_equation(closed):
    # Along one wave u_t = -c u_x for any equation: the simplest is reported.
    t, x = np.linspace(0.0, 4.0, 60), np.linspace(-20.0, 20.0, 160, endpoint=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        found = PDEDiscoverer().fit(t, closed.noisy(closed.soliton(t, x, 1.5), 0.01), x=x)
    assert found.equations_.compare(["-1.5*u_x"]).exact


def test_what_cannot_be_integrated_is_nan_or_an_error(ring):
    t, x, exact = ring
    # Time reversed, diffusion has the wrong sign.
    found = PDEDiscoverer().fit(t, exact[::-1], x=x)
    assert found.equations_.compare(["u*u_x - 0.2*u_xx"]).exact
    with pytest.warns(IntegrationWarning, match="NaN from there"):
        assert np.isnan(found.predict(np.linspace(0.0, 50.0, 20))[-1]).all()
    found.on_failure = "raise"
    with pytest.raises(IntegrationError, match="after t ="):
        found.predict(np.linspace(0.0, 50.0, 20))
    assert np.isfinite(found.score(t, exact[::-1]))


def test_clones_and_pickles_give_the_same_equations(fitted, ring, closed):
    t, x, exact = ring
    again = clone(fitted).fit(t, closed.noisy(exact, 0.02), x=x)
    np.testing.assert_array_equal(again.coef_, fitted.coef_)
    copied = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copied.predict(t), fitted.predict(t))


T, GRID = np.linspace(0.0, 1.0, 20), np.linspace(0.0, 1.0, 30)
FIELD = np.random.default_rng(0).standard_normal((20, 30))


@pytest.mark.parametrize(
    ("t", "X", "x", "match"),
    [
        (T, FIELD, None, "x is missing"),
        (T, FIELD.T, GRID, "Transpose"),
        (T, FIELD[:, 0], GRID, "shape"),
        (T, FIELD, GRID**2, "equally spaced"),
        (T[:5], FIELD[:5], GRID, "at least 16 and 24"),
        (np.r_[T[:-1], T[0]], FIELD, GRID, "twice"),
        (np.r_[T[:-1], np.nan], FIELD, GRID, "finite"),
        (T, np.where(FIELD > 2, np.inf, FIELD), GRID, "infinite"),
        (T, np.where(FIELD > -1, np.nan, FIELD), GRID, "at most 70 %"),
        (T, np.stack([FIELD, 0 * FIELD], 2), GRID, "constant in state 1"),
        (T, FIELD + 1j, GRID, "complex"),
        (np.datetime64("2024-01-01") + np.arange(20), FIELD, GRID, "t holds dates"),
        (T, FIELD.astype(str) + "a", GRID, "numbers"),
        (T, [FIELD, FIELD], GRID, "t must be a list"),
        ([T, T], [FIELD, FIELD], [GRID], "1 grids for the 2"),
        ([T, T], [FIELD, np.stack([FIELD, FIELD], 2)], GRID, "as many states"),
    ],
)
def test_unusable_data_are_refused_by_name(t, X, x, match):
    with pytest.raises(ValueError, match=match):
        PDEDiscoverer().fit(t, X, x=x)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"degree": 0}, InvalidParameterError, "degree"),
        ({"boundary": "open"}, InvalidParameterError, "boundary"),
        ({"periodic": "no"}, InvalidParameterError, "periodic"),
        ({"forbidden": ["w_x"]}, ValueError, "no candidate"),
        ({"noise_std": [0.1, 0.1]}, ValueError, "noise_std"),
        ({"state_names": ["a", "b"]}, ValueError, "state_names"),
        ({"state_names": [1]}, ValueError, "non-empty texts"),
        ({"state_names": ["x"]}, ValueError, "'x', which stands for the position"),
        ({"state_names": ["t"]}, ValueError, "'t', which stands for time"),
    ],
)
def test_unusable_parameters_are_refused_by_name(options, error, match):
    with pytest.raises(error, match=match):
        PDEDiscoverer(**options).fit(T, FIELD, x=GRID)


def test_questions_that_make_no_sense_are_refused(fitted, ring):
    t, x, exact = ring
    with pytest.raises(NotFittedError):
        PDEDiscoverer().predict(t)
    with pytest.raises(ValueError, match="backwards"):
        fitted.predict([-1.0, 0.0])
    with pytest.raises(ValueError, match="u0 must have shape"):
        fitted.simulate(t, exact[0][:10])
    with pytest.raises(ValueError, match="u0 must be finite"):
        fitted.simulate(t, np.full(len(x), np.nan))
    with pytest.raises(ValueError, match="X must end in"):
        fitted.derivative(exact[:, :5])


def test_a_failed_fit_leaves_the_estimator_as_it_was(fitted, ring):
    t, _, exact = ring
    before = fitted.equations_
    with pytest.raises(ValueError, match="x is missing"):
        fitted.fit(t, exact)
    assert fitted.equations_ is before
