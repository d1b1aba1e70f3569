"""The front against enumeration of every combination of the equations' supports."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discoverers.sparse import (
    GradedCriterion,
    NormalEquations,
    SubsetSearch,
    combine,
    search_subsets,
)


def random_search(rng, label):
    """A search's result with made-up losses: sizes may be missing and losses tie or rise."""
    sizes = [0, *sorted(rng.permutation(np.arange(1, 6))[: rng.integers(1, 5)].tolist())]
    losses, by_size = {}, {}
    for size in sizes:
        for copy in range(2):
            support = tuple(label * 100 + copy * 10 + i for i in range(size))
            losses.setdefault(support, float(rng.choice([0.3, 2.0, 40.0, 900.0]) * rng.random()))
        by_size[size] = min((s for s in losses if len(s) == size), key=losses.get)
    scores = {support: loss + 3.0 * len(support) for support, loss in losses.items()}
    return SubsetSearch(min(scores, key=scores.get), losses, scores, by_size)


def deviance_by_definition(loss, n):
    return loss if loss <= n else n * (1.0 + np.log(loss / n))


def brute_force(searches, n_rows):
    """Lowest total deviance of every total size over all combinations."""
    best = {}
    for parts in product(*(search.by_size.values() for search in searches)):
        total = sum(map(len, parts))
        cost = sum(
            deviance_by_definition(search.losses[part], n)
            for search, part, n in zip(searches, parts, n_rows, strict=True)
        )
        if total not in best or cost < best[total][0]:
            best[total] = (cost, parts)
    return best


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), n_equations=st.integers(1, 4))
def test_the_front_holds_the_best_system_of_each_size_that_pays(seed, n_equations):
    rng = np.random.default_rng(seed)
    searches = [random_search(rng, label) for label in range(n_equations)]
    n_rows = [int(n) for n in rng.integers(5, 200, n_equations)]
    front = combine(searches, n_rows)
    best = brute_force(searches, n_rows)
    chosen = tuple(search.best for search in searches)
    selected_size = sum(map(len, chosen))
    expected, lowest = {}, np.inf
    for total in sorted(best):
        cost, _ = best[total]
        if total == selected_size or cost < lowest - 1.0:
            expected[total] = cost
            lowest = min(lowest, cost)
    sizes = [sum(map(len, supports)) for supports in front.supports]
    assert sizes == list(expected)
    assert front.supports[front.selected] == chosen
    for i, (size, supports) in enumerate(zip(sizes, front.supports, strict=True)):
        losses = [search.losses[part] for search, part in zip(searches, supports, strict=True)]
        assert front.losses[i] == pytest.approx(sum(losses) / sum(n_rows))
        scores = [search.scores[part] for search, part in zip(searches, supports, strict=True)]
        assert front.scores[i] == pytest.approx(sum(scores))
        if i != front.selected:
            cost = sum(map(deviance_by_definition, losses, n_rows))
            assert cost == pytest.approx(expected[size])


def test_the_front_of_real_searches_selects_the_truth_and_falls():
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(300, 8))
    searches = []
    for support in ([0, 3], [1, 2, 6]):
        target = columns[:, support].sum(axis=1) + rng.normal(size=300)
        criterion = GradedCriterion.from_degrees(np.ones(8, dtype=np.int64), 2)
        normal = NormalEquations.from_rows(columns, target)
        searches.append(search_subsets(normal, criterion, range(8)))
    front = combine(searches, [300, 300])
    assert front.supports[front.selected] == ((0, 3), (1, 2, 6))
    sizes = [sum(map(len, supports)) for supports in front.supports]
    assert sizes[:6] == [0, 1, 2, 3, 4, 5]
    assert np.all(np.diff(front.losses) < 0.0)
    assert front.losses[front.selected] == pytest.approx(1.0, abs=0.2)
    assert min(front.scores) == pytest.approx(front.scores[front.selected])


def test_equations_without_terms_make_a_front_of_one():
    search = SubsetSearch((), {(): 4.0}, {(): 4.0}, {0: ()})
    front = combine([search, search], [10, 10])
    assert front.supports == (((), ()),)
    assert front.losses == (0.4,)
    assert front.scores == (8.0,)
    assert front.selected == 0
