"""Screening of functions against dense least squares, and what many states leave of the work."""

from math import comb

import numpy as np
import pytest
import sympy

from discoverers import SMNNDiscoverer
from discoverers.automatic import proposals as proposing
from discoverers.automatic import screening
from discoverers.automatic.atoms import templates_for
from discoverers.automatic.screening import affordable, screened


def problem(seed=0, rows=80, functions=60):
    """Three monomials, then functions with three constants each; two of all make the target."""
    random = np.random.default_rng(seed)
    simple = random.normal(size=(rows, 3))
    wide = np.repeat(random.normal(size=(rows, functions)), 3, axis=1)
    wide += 0.3 * random.normal(size=wide.shape)
    columns = np.hstack([simple, wide])
    kind = np.concatenate([np.arange(3), 3 + np.repeat(np.arange(functions), 3)])
    target = 2.0 * columns[:, 1] + 0.7 * columns[:, 100] + 0.1 * random.normal(size=rows)
    return columns, target, kind


def test_all_columns_take_part_while_pairs_are_few():
    columns, target, kind = problem()
    everything = screened(columns, target, np.ones(183), kind, kind < 3, [(), (0,)])
    np.testing.assert_array_equal(everything, np.arange(183))


def test_of_many_the_function_in_the_law_and_all_monomials_stay(monkeypatch):
    columns, target, kind = problem()
    monkeypatch.setattr(screening, "MOST_PAIRS", 2.0 * 33**2 / 2.0)
    kept = screened(columns, target, np.ones(183), kind, kind < 3, [(), (0,)])
    assert affordable(1, 2) == 33
    assert len(kept) == 33
    assert {0, 1, 2} <= set(kept)
    # Of a function all constants stay, or none.
    assert all(np.isin(np.flatnonzero(kind == one), kept).all() for one in kind[kept])

    # Oracle: the best column beside the best monomial, by dense least squares.
    def loss(column):
        part = columns[:, [1, column]]
        return np.sum((target - part @ np.linalg.lstsq(part, target, rcond=None)[0]) ** 2)

    order = sorted(range(3, 183), key=loss)
    assert kind[order[0]] == kind[100]
    assert set(order[:3]) <= set(kept)


def beside(columns, target):
    scaled = columns / np.linalg.norm(columns, axis=0)
    cross, moment = scaled[:, :3].T @ scaled, target @ scaled
    return screening._beside((0, 2), np.arange(3), cross, moment, float(target @ target))


def test_losses_beside_monomials_are_those_of_least_squares():
    columns, target, _ = problem()
    found = beside(columns, target)
    for column in (1, 5, 100):
        part = columns[:, [0, 2, column]]
        rest = target - part @ np.linalg.lstsq(part, target, rcond=None)[0]
        assert found[column] == pytest.approx(rest @ rest, rel=1e-9)


def test_monomials_that_are_one_and_the_same_are_no_place_to_start():
    columns, target, _ = problem()
    columns[:, 2] = columns[:, 0]
    np.testing.assert_array_equal(beside(columns, target), np.inf)


@pytest.mark.parametrize("n_states", [1, 2, 4])
def test_with_few_states_nothing_is_left_out(n_states):
    names = [f"x{k}" for k in range(n_states)]
    # Positive states allow most functions.
    values = np.random.default_rng(0).uniform(0.5, 8.0, (40, n_states))
    columns = sum(len(one.grid) or 1 for one in templates_for(names, values, n_states))
    assert columns <= affordable(n_states, 1 + (n_states + 1) + comb(n_states + 1, 2))


def test_with_ten_states_pairs_stay_few():
    assert 500 < affordable(10, 67) < 1500


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_law_is_found_among_the_functions_that_are_left(monkeypatch):
    t = np.linspace(0.0, 10.0, 150)
    X = np.exp(3.0 + (np.log(0.1) - 3.0) * np.exp(-0.3 * t))[:, None]  # x' = .9 x - .3 x log x
    monkeypatch.setattr(screening, "MOST_PAIRS", 4.0 * 120**2 / 2.0)
    left, of = [], proposing.screened

    def noted(filtered, *others):
        left.append((len(of(filtered, *others)), filtered.shape[1]))
        return of(filtered, *others)

    monkeypatch.setattr(proposing, "screened", noted)
    model = SMNNDiscoverer("auto").fit(t, X)
    assert all(kept <= 120 < columns for kept, columns in left)
    x = sympy.Symbol("x0")
    found = model.equations_["x0"].as_coefficients_dict()
    assert set(found) == {x, x * sympy.log(x)}
    assert float(found[x * sympy.log(x)]) == pytest.approx(-0.3, rel=1e-3)
    assert float(found[x]) == pytest.approx(0.9, rel=1e-3)
