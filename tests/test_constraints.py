"""What the user knows holds in the answer, and helps where the data alone do not suffice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear, minimize

from discoverers import MisfitWarning, SMNNDiscoverer, load
from discoverers.constraints import Bounded, Forbidden, Known, Required, Shared, bind_rules
from discoverers.datasets import generate, lotka_volterra, sir, van_der_pol
from discoverers.libraries import resolve_library
from discoverers.regression import _solved, _within_bounds
from discoverers.sparse import GradedCriterion, NormalEquations, search_subsets
from discoverers.sparse.bounded import bounded_step


def fit(record, library="poly3", **parameters):
    frame = record.to_frame()
    return SMNNDiscoverer(library, **parameters).fit(frame["t"], frame.drop(columns="t"))


@pytest.fixture(scope="module")
def oscillator():
    return generate(van_der_pol(), 200, noise=0.05, seed=0)


@pytest.fixture(scope="module")
def epidemic():
    return generate(sir(), 200, noise=0.05, seed=1)


def coefficient(model, state, term):
    return model.coef_[model.state_names_.index(state), model.terms_.index(term)]


# --- in the estimator


def test_a_known_equation_is_kept_as_it_is(oscillator):
    model = fit(oscillator, constraints=[Known("x", "y", only=True)])
    assert coefficient(model, "x", "y") == 1.0
    assert np.count_nonzero(model.coef_[0]) == 1
    assert not model.coef_std_[0].any()
    assert model.equations_.compare(oscillator.system.equations).exact
    free = fit(oscillator)
    place = free.terms_.index("y")
    assert model.coef_std_[1, place] <= 1.05 * free.coef_std_[1, place]


def test_a_wrong_known_coefficient_stays_wrong_and_the_misfit_is_told(oscillator):
    with pytest.warns(UserWarning, match="unexplained|settle|No term"):
        model = fit(oscillator, constraints=[Known("x", "y", 0.5, only=True)])
    assert coefficient(model, "x", "y") == 0.5
    assert np.count_nonzero(model.coef_[0]) == 1
    assert model.chi2_.max() > 2.0


def test_required_terms_stay_and_forbidden_ones_do_not_come(oscillator):
    model = fit(oscillator, constraints=[Required("y", "x**3"), Forbidden(None, "x**2*y")])
    assert coefficient(model, "y", "x**3") != 0.0
    assert not model.coef_[:, model.terms_.index("x**2*y")].any()


def test_bounds_hold_and_bite(oscillator):
    free = coefficient(fit(oscillator), "y", "x")
    assert free < -0.9
    model = fit(oscillator, constraints=[Bounded("y", "x", lower=-0.8, upper=-0.2)])
    assert -0.8 - 1e-9 <= coefficient(model, "y", "x") <= -0.2 + 1e-9


def test_a_bound_that_the_data_keep_changes_nothing(oscillator):
    free, bounded = fit(oscillator), fit(oscillator, constraints=[Bounded("y", "x", upper=0.0)])
    np.testing.assert_allclose(free.coef_, bounded.coef_, rtol=1e-6, atol=1e-12)


def test_what_one_state_loses_the_other_gains(epidemic):
    shared = Shared({("s", "s*i"): -1.0, ("i", "s*i"): 1.0})
    model = fit(epidemic, "poly2", constraints=[shared])
    assert coefficient(model, "s", "s*i") == -coefficient(model, "i", "s*i") != 0.0
    assert model.equations_.compare(epidemic.system.equations).exact
    truth = epidemic.system.parameters
    error = abs(coefficient(model, "i", "s*i") - max(truth.values()))
    std = model.coef_std_[1, model.terms_.index("s*i")]
    assert error < 4.0 * std
    assert std == pytest.approx(model.coef_std_[0, model.terms_.index("s*i")])


def test_constraints_survive_saving(tmp_path, epidemic):
    constraints = [
        Shared({("s", "s*i"): -1.0, ("i", "s*i"): 1.0}),
        Known("i", "i", -0.1),
        Bounded("s", "s*i", upper=0.0),
    ]
    model = fit(epidemic, "poly2", constraints=constraints)
    model.save(tmp_path / "model.zip")
    again = load(tmp_path / "model.zip")
    assert list(again.constraints) == constraints
    assert again.equations_ == model.equations_


@pytest.mark.parametrize(
    ("constraints", "error", "message"),
    [
        ([Known("q", "x")], ValueError, r"no state 'q'; the states are \['x', 'y'\]"),
        ([Known("x", "sin(x)")], ValueError, r"library has no term sin\(x\).*Add it to `library`"),
        ([Required("x", "x"), Forbidden("x", "x")], ValueError, "x in x' is required, but forbid"),
        ([Bounded("x", "x", 1.0, 0.0)], ValueError, "must be lower < upper, got 1.0 and 0.0"),
        ([Shared({("x", "x"): 1.0})], ValueError, "needs two terms or more"),
        ([Shared({("x", "x"): 1.0, ("y", "x"): 0.0})], ValueError, "factors other than 0"),
        (
            [Shared({("x", "x"): 1.0, ("y", "x"): 1.0}), Known("y", "x", 2.0)],
            ValueError,
            "is shared, and known or forbidden too",
        ),
        (
            [Shared({("x", "x"): 1.0, ("y", "x"): 1.0}), Shared({("x", "x"): 1, ("y", "y"): 1})],
            ValueError,
            "overlaps another Shared",
        ),
        (
            [Known("x", "x", 1.0), Known("x", "x", 2.0)],
            ValueError,
            "x in x' is Known twice, as 1 an",
        ),
        (
            [Bounded("x", "x", upper=1.0), Bounded("x", "x", lower=2.0)],
            ValueError,
            "x in x' has bounds with no value",
        ),
        (
            [Known("x", "x", 2.0), Bounded("x", "x", upper=1.0)],
            ValueError,
            "x in x' is Known as a value above its bound",
        ),
        (["x"], TypeError, "must hold Known, Required, Forbidden, Bounded or Shared, got str"),
    ],
)
def test_constraints_that_cannot_hold_are_named(oscillator, constraints, error, message):
    with pytest.raises(error, match=message):
        fit(oscillator, "poly2", constraints=constraints)


# --- the parts, against plain algebra


def rules_of(constraints):
    library = resolve_library("poly2").bind(["x", "y"])
    return bind_rules(constraints, library)


def test_bounds_of_one_coefficient_hold_together():
    _, rules = rules_of([Bounded("x", "x", lower=-1.0), Bounded("x", "x", upper=2.0)])
    place = np.isfinite(rules.lower)
    assert (rules.lower[place], rules.upper[place]) == (-1.0, 2.0)


def test_only_leaves_nothing_but_known_terms():
    library, rules = rules_of([Known("x", "y", only=True), Known("x", "x", -0.5)])
    assert sorted(np.array(library.names)[library.allowed[0]]) == ["x", "y"]
    assert library.allowed[1].all()
    assert np.nansum(rules.known[0]) == 0.5


def test_groups_take_their_least_squares_value():
    _, rules = rules_of([Shared({("x", "x*y"): -1.0, ("y", "x*y"): 2.0})])
    place = rules_of([])[0].names.index("x*y")
    coef = np.zeros((2, 6))
    coef[0, place], coef[1, place] = -1.0, 3.0
    got = rules.gather(coef)
    # The least squares of (-a, 2 a) against (-1, 3).
    best = (1.0 + 6.0) / 5.0
    np.testing.assert_allclose(got[:, place], [-best, 2.0 * best])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_required_and_known_columns_are_those_of_a_plain_regression(seed):
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(40, 6))
    target = columns @ [1.0, 0.0, -2.0, 0.0, 0.3, 0.0] + 0.1 * rng.normal(size=40)
    normal = NormalEquations.from_rows(columns, target)
    reduced = normal.eliminate([1, 4])
    for support in ([0], [0, 2], [2, 3, 5]):
        whole = np.linalg.lstsq(columns[:, [1, 4, *support]], target)[1][0]
        assert reduced.loss(support) == pytest.approx(whole, rel=1e-8)
    given_one = normal.given([2], np.array([-2.0]))
    rest = target + 2.0 * columns[:, 2]
    assert given_one.loss([0, 4]) == pytest.approx(
        np.linalg.lstsq(columns[:, [0, 4]], rest)[1][0], rel=1e-8
    )
    criterion = GradedCriterion.from_degrees(np.ones(6, dtype=np.int64), 1)
    search = search_subsets(normal, criterion, range(6), required=[3])
    assert all(3 in support for support in search.losses)
    best = list(search.best)
    assert search.losses[search.best] == pytest.approx(
        np.linalg.lstsq(columns[:, best], target)[1][0], rel=1e-8
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_step_within_bounds_is_scipys_minimum(seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(8, 4))
    matrix, gradient = root.T @ root, 3.0 * rng.normal(size=4)
    lower, upper = -rng.uniform(0.0, 0.5, 4), rng.uniform(0.0, 0.5, 4)
    lower[0], upper[1] = -np.inf, np.inf
    step = bounded_step(matrix, gradient, 0.0, lower, upper, np.linalg.solve(matrix, gradient))
    answer = minimize(
        lambda x: 0.5 * x @ matrix @ x - gradient @ x,
        np.zeros(4),
        jac=lambda x: matrix @ x - gradient,
        bounds=list(zip(lower, upper, strict=True)),
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    assert np.all((step >= lower - 1e-12) & (step <= upper + 1e-12))
    np.testing.assert_allclose(step, answer.x, atol=1e-4)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_bound_that_the_truth_breaks_is_kept_all_the_same(noise):
    record = generate(lotka_volterra(), 200, noise=noise, seed=0)
    with pytest.warns(MisfitWarning):
        model = fit(record, "poly2", constraints=[Bounded("x", "x*y", lower=0.0)])
    assert coefficient(model, "x", "x*y") >= 0.0


def test_regression_keeps_bounds_that_no_support_keeps_by_itself():
    rng = np.random.default_rng(0)
    columns = rng.standard_normal((60, 3))
    target = columns @ [-1.0, 2.0, 0.0] + 0.1 * rng.standard_normal(60)
    normal = NormalEquations.from_rows(10.0 * columns, 10.0 * target)
    criterion = GradedCriterion(np.ones(3, dtype=np.int64), 1)
    lower, upper = np.array([0.5, -np.inf, -np.inf]), np.full(3, np.inf)
    search = search_subsets(normal, criterion, range(3), required=[0])
    bounds = np.stack([lower, upper])
    kept = _within_bounds(search, normal, criterion, bounds).best
    oracle = lsq_linear(columns[:, kept], target, (lower[list(kept)], upper[list(kept)]))
    np.testing.assert_allclose(_solved(normal, kept, bounds), oracle.x, rtol=1e-6)
    assert {0, 1} <= set(kept)
