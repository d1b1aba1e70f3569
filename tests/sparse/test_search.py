"""The search against enumeration of every subset, and planted supports where that is too long."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discoverers.sparse import GradedCriterion, NormalEquations, search_subsets
from discoverers.sparse import search as searching
from discoverers.sparse.search import forward_support


def criterion_for(size, gamma=1.0, seed=None):
    degrees = np.ones(size, dtype=np.int64)
    if seed is not None:
        degrees = np.sort(np.random.default_rng(seed).integers(0, 4, size))
    return GradedCriterion.from_degrees(degrees, 1, gamma)


def planted(seed, n, size, support, noise=1.0, correlation=0.0, amplitude=1.0):
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(n, size))
    columns += correlation * rng.normal(size=(n, 1))
    coef = np.zeros(size)
    coef[list(support)] = amplitude * rng.choice([-1.0, 1.0], len(support))
    return columns, columns @ coef + noise * rng.normal(size=n)


def score_by_rows(columns, target, support, charges):
    """The criterion from its definition: deviance of the lstsq residual plus charges."""
    n, loss = len(target), target @ target
    if support:
        part = columns[:, list(support)]
        loss = np.sum((target - part @ np.linalg.lstsq(part, target, rcond=None)[0]) ** 2)
    value = loss if loss <= n else n * (1.0 + np.log(loss / n))
    return value + sum(charges[j] for j in support)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 9),
    n=st.integers(30, 120),
    noise=st.sampled_from([0.3, 1.0, 3.0]),
    correlation=st.sampled_from([0.0, 1.5]),
    gamma=st.sampled_from([0.0, 1.0]),
)
def test_the_best_support_is_the_optimum_over_all_subsets(seed, size, n, noise, correlation, gamma):
    rng = np.random.default_rng(seed)
    support = np.flatnonzero(rng.random(size) < 0.5)
    columns, target = planted(seed, n, size, support, noise, correlation, amplitude=0.5)
    criterion = criterion_for(size, gamma, seed)
    search = search_subsets(NormalEquations.from_rows(columns, target), criterion, range(size))
    charges = criterion.charges(n)
    best = min(
        score_by_rows(columns, target, subset, charges)
        for k in range(size + 1)
        for subset in combinations(range(size), k)
    )
    assert score_by_rows(columns, target, search.best, charges) == pytest.approx(best, abs=1e-6)
    assert search.scores[search.best] == pytest.approx(best, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 8), noise=st.sampled_from([0.3, 3.0]))
def test_what_is_reported_is_consistent_and_best_of_each_size(seed, size, noise):
    columns, target = planted(seed, 50, size, range(0, size, 2), noise)
    criterion = criterion_for(size, seed=seed)
    normal = NormalEquations.from_rows(columns, target)
    search = search_subsets(normal, criterion, range(size))
    charges = criterion.charges(50)
    assert search.losses.keys() == search.scores.keys()
    for support, loss in search.losses.items():
        assert list(support) == sorted(set(support))
        assert loss == pytest.approx(normal.loss(support), rel=1e-7, abs=1e-8 * normal.energy)
        expected = score_by_rows(columns, target, support, charges)
        assert search.scores[support] == pytest.approx(expected, abs=1e-5)
    assert search.best == min(search.scores, key=search.scores.get)
    # Sizes up to 4 are tried exhaustively: the best of each is the best of all.
    for k in range(min(size, 4) + 1):
        best = min(normal.loss(subset) for subset in combinations(range(size), k))
        assert search.losses[search.by_size[k]] == pytest.approx(best, abs=1e-8 * normal.energy)


@pytest.mark.parametrize("terms", [1, 3, 6, 9])
@pytest.mark.parametrize("correlation", [0.0, 1.0])
def test_a_planted_support_among_thirty_columns_is_found(terms, correlation):
    found = 0
    for seed in range(8):
        support = np.sort(np.random.default_rng(100 + seed).permutation(30)[:terms])
        columns, target = planted(seed, 300, 30, support, correlation=correlation)
        search = search_subsets(
            NormalEquations.from_rows(columns, target), criterion_for(30), range(30)
        )
        assert search.scores[search.best] <= search.scores.get(tuple(support.tolist()), np.inf)
        found += search.best == tuple(support.tolist())
    assert found >= 7


def test_supports_beyond_the_beam_are_found_by_elimination():
    support = np.arange(0, 30, 2)  # 15 terms, the beam ends at 12
    columns, target = planted(0, 400, 30, support)
    search = search_subsets(
        NormalEquations.from_rows(columns, target), criterion_for(30), range(30)
    )
    assert search.best == tuple(support.tolist())


def test_noise_alone_seldom_earns_a_term():
    empty = 0
    for seed in range(30):
        columns, target = planted(seed, 200, 20, [])
        search = search_subsets(
            NormalEquations.from_rows(columns, target), criterion_for(20), range(20)
        )
        empty += search.best == ()
    assert empty >= 28


@pytest.mark.parametrize("size", [8, 30])
@pytest.mark.parametrize("max_terms", [0, 1, 2, 5])
def test_no_support_is_larger_than_allowed(size, max_terms):
    columns, target = planted(1, 200, size, range(7))
    search = search_subsets(
        NormalEquations.from_rows(columns, target), criterion_for(size), range(size), max_terms
    )
    assert max(map(len, search.losses)) == max_terms
    assert len(search.best) == max_terms


@pytest.mark.parametrize("size", [7, 30])
def test_only_candidates_are_used(size):
    columns, target = planted(2, 200, size, [0, 1, 4])
    allowed = [*range(1, size, 2), 4]
    search = search_subsets(
        NormalEquations.from_rows(columns, target), criterion_for(size), allowed
    )
    assert set().union(*search.losses) <= set(allowed)
    assert search.best == (1, 4)


def test_without_candidates_the_empty_support_is_chosen():
    columns, target = planted(3, 50, 4, [0])
    normal = NormalEquations.from_rows(columns, target)
    search = search_subsets(normal, criterion_for(4), [])
    assert search.best == ()
    assert search.losses == {(): normal.energy}
    assert search.by_size == {0: ()}
    assert forward_support(normal, [], 5) == ()


def test_of_two_equal_columns_one_is_chosen():
    columns, target = planted(4, 200, 10, [2, 5])
    columns[:, 8] = columns[:, 2]
    search = search_subsets(
        NormalEquations.from_rows(columns, target), criterion_for(10), range(10)
    )
    assert search.best in {(2, 5), (5, 8)}


def test_collinear_columns_are_not_chosen_together():
    columns, target = planted(5, 200, 12, [1, 3], noise=0.1)
    columns[:, 7] = columns[:, 1] - 2.0 * columns[:, 3]
    columns[:, 9] = columns[:, 1] + 1e-9 * columns[:, 0]
    search = search_subsets(
        NormalEquations.from_rows(columns, target), criterion_for(12), range(12)
    )
    assert len(search.best) == 2
    assert not {1, 9} <= set(search.best)


@pytest.mark.parametrize("n", [1, 2, 5, 12, 24])
def test_more_columns_than_rows_give_at_most_a_third_of_the_rows(n):
    columns, target = planted(6, n, 40, [3], noise=0.01, amplitude=10.0)
    search = search_subsets(
        NormalEquations.from_rows(columns, target), criterion_for(40), range(40)
    )
    assert max(map(len, search.losses)) <= max(n // 3, 1)
    assert np.all(np.isfinite(list(search.losses.values())))
    if n >= 24:
        assert search.best == (3,)


def test_the_order_of_the_candidates_does_not_matter():
    columns, target = planted(7, 150, 15, [1, 6, 11], correlation=1.0)
    normal, criterion = NormalEquations.from_rows(columns, target), criterion_for(15)
    plain = search_subsets(normal, criterion, range(15))
    mixed = search_subsets(normal, criterion, np.random.default_rng(0).permutation(15).tolist())
    assert mixed == plain


def test_the_criterion_decides_not_the_loss():
    """A dear column that fits a little better loses against a cheap one."""
    rng = np.random.default_rng(8)
    cheap = rng.normal(size=200)
    dear = cheap + 0.05 * rng.normal(size=200)
    target = 0.6 * dear + rng.normal(size=200)
    normal = NormalEquations.from_rows(np.column_stack([cheap, dear]), target)
    loss_gap = normal.loss([0]) - normal.loss([1])
    competitors = np.array([1, 10**6])
    search = search_subsets(normal, GradedCriterion(competitors, 1), range(2))
    assert abs(loss_gap) < 2.0 * np.log(1e6)
    assert search.best == (0,)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 5))
def test_the_forward_reference_is_as_good_as_greedy_selection(seed, size):
    columns, target = planted(seed, 80, 12, [0, 3, 7], correlation=0.5)
    normal = NormalEquations.from_rows(columns, target)
    support = forward_support(normal, range(12), size)
    assert len(support) == size
    greedy: list[int] = []
    for _ in range(size):
        rest = [j for j in range(12) if j not in greedy]
        greedy.append(min(rest, key=lambda j: normal.loss([*greedy, j])))
    assert normal.loss(support) <= normal.loss(greedy) * (1.0 + 1e-9)


def test_the_forward_reference_does_not_exceed_the_candidates():
    columns, target = planted(9, 80, 6, [0, 3])
    normal = NormalEquations.from_rows(columns, target)
    assert forward_support(normal, [1, 3, 5], 12) == (1, 3, 5)


def test_scores_that_are_no_numbers_end_the_search(monkeypatch):
    columns, target = planted(0, 40, 5, (1, 3))
    target[7] = np.nan
    calls, neighbours = [], searching._neighbours

    def counted(*arguments):
        calls.append(arguments)
        if len(calls) > 20:
            raise AssertionError("the search goes on for ever")
        return neighbours(*arguments)

    monkeypatch.setattr(searching, "_neighbours", counted)
    found = search_subsets(NormalEquations.from_rows(columns, target), criterion_for(5), range(5))
    assert not np.isfinite(found.scores[found.best])
