"""Reductions of a regression against numpy.linalg.lstsq on its rows, for every subset."""

from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discoverers.sparse import NormalEquations


def regression(seed, n, size, noise=0.3):
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(n, size)) @ (np.eye(size) + 0.4 * rng.normal(size=(size, size)))
    target = columns @ (rng.normal(size=size) * (rng.random(size) < 0.5))
    return columns, target + noise * rng.normal(size=n)


def residual(columns, target, support):
    if not len(support):
        return float(target @ target)
    part = columns[:, list(support)]
    coef = np.linalg.lstsq(part, target, rcond=None)[0]
    return float(np.sum((target - part @ coef) ** 2))


def of_size(size, k):
    supports = list(combinations(range(size), k))
    return np.array(supports, dtype=np.intp).reshape(len(supports), k)


def subsets(size):
    return chain.from_iterable(combinations(range(size), k) for k in range(size + 1))


problems = {"seed": st.integers(0, 10**6), "size": st.integers(1, 9), "extra": st.integers(3, 60)}


@settings(max_examples=20, deadline=None)
@given(**problems)
def test_the_loss_of_every_subset_is_that_of_lstsq(seed, size, extra):
    columns, target = regression(seed, size + extra, size)
    normal = NormalEquations.from_rows(columns, target)
    assert (normal.n_columns, normal.n_rows) == (size, size + extra)
    tolerance = 1e-8 * (target @ target)
    for k in range(size + 1):
        supports = of_size(size, k)
        expected = [residual(columns, target, support) for support in supports]
        np.testing.assert_allclose(normal.losses(supports), expected, atol=tolerance)
        assert normal.loss(tuple(supports[0])) == pytest.approx(expected[0], abs=tolerance)


@settings(max_examples=30, deadline=None)
@given(**problems)
def test_coefficients_and_covariance_are_those_of_lstsq_in_any_order(seed, size, extra):
    columns, target = regression(seed, size + extra, size)
    normal = NormalEquations.from_rows(columns, target)
    rng = np.random.default_rng(seed)
    support = rng.permutation(size)[: rng.integers(1, size + 1)].tolist()
    part = columns[:, support]
    np.testing.assert_allclose(
        normal.solve(support), np.linalg.lstsq(part, target, rcond=None)[0], rtol=1e-6, atol=1e-7
    )
    inverse = np.linalg.pinv(part)
    expected = inverse @ inverse.T
    np.testing.assert_allclose(
        normal.covariance(support), expected, atol=1e-7 * np.abs(expected).max()
    )


@settings(max_examples=30, deadline=None)
@given(**problems)
def test_drop_costs_are_rises_of_the_loss(seed, size, extra):
    columns, target = regression(seed, size + extra, size)
    normal = NormalEquations.from_rows(columns, target)
    support = list(range(size))
    whole = residual(columns, target, support)
    expected = [
        residual(columns, target, support[:i] + support[i + 1 :]) - whole for i in range(size)
    ]
    np.testing.assert_allclose(normal.drop_costs(support), expected, atol=1e-7 * (target @ target))


@settings(max_examples=30, deadline=None)
@given(**problems)
def test_losses_with_one_more_are_losses_of_the_larger_subsets(seed, size, extra):
    columns, target = regression(seed, size + extra, size)
    normal = NormalEquations.from_rows(columns, target)
    for k in range(size):
        supports = of_size(size, k)[:20]
        got = normal.losses_with_one_more(supports)
        assert got.shape == (len(supports), size)
        for row, support in zip(got, supports.tolist(), strict=True):
            for j in range(size):
                if j in support:
                    assert row[j] == np.inf
                else:
                    expected = residual(columns, target, [*support, j])
                    assert row[j] == pytest.approx(expected, abs=1e-7 * (target @ target))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 6), first=st.integers(1, 20))
def test_pooled_regressions_are_those_of_the_stacked_rows(seed, size, first):
    columns, target = regression(seed, first + 15, size)
    whole = NormalEquations.from_rows(columns, target, log_determinant=3.5)
    pooled = NormalEquations.from_rows(
        columns[:first], target[:first], log_determinant=1.0
    ) + NormalEquations.from_rows(columns[first:], target[first:], log_determinant=2.5)
    np.testing.assert_allclose(pooled.gram, whole.gram, atol=1e-12)
    np.testing.assert_allclose(pooled.moment, whole.moment, atol=1e-12)
    assert pooled.energy == pytest.approx(whole.energy)
    assert (pooled.n_rows, pooled.log_determinant) == (whole.n_rows, whole.log_determinant)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    exponents=st.lists(st.integers(-12, 12), min_size=5, max_size=5),
    target_exponent=st.integers(-12, 12),
)
def test_units_of_columns_and_target_do_not_matter(seed, exponents, target_exponent):
    columns, target = regression(seed, 40, 5)
    scale, unit = 10.0 ** np.array(exponents), 10.0**target_exponent
    plain = NormalEquations.from_rows(columns, target)
    other = NormalEquations.from_rows(columns * scale, target * unit)
    support = [0, 2, 3, 4]
    np.testing.assert_allclose(
        other.solve(support) * scale[support] / unit, plain.solve(support), rtol=1e-7, atol=1e-9
    )
    assert other.loss(support) / unit**2 == pytest.approx(plain.loss(support), rel=1e-7)
    np.testing.assert_allclose(
        other.drop_costs(support) / unit**2, plain.drop_costs(support), rtol=1e-6, atol=1e-9
    )


def test_equal_columns_share_their_coefficient_and_add_nothing_to_each_other():
    columns, target = regression(0, 50, 3)
    double = np.column_stack([columns, columns[:, 0]])
    normal = NormalEquations.from_rows(double, target)
    tolerance = 1e-8 * (target @ target)
    assert normal.loss([0, 1, 3]) == pytest.approx(residual(columns, target, [0, 1]), abs=tolerance)
    shared = normal.solve([0, 1, 3])
    alone = np.linalg.lstsq(columns[:, :2], target, rcond=None)[0]
    np.testing.assert_allclose(shared[[0, 2]].sum(), alone[0], rtol=1e-2)
    np.testing.assert_allclose(shared[1], alone[1], rtol=1e-2)
    more = normal.losses_with_one_more(np.array([[0, 1]]))[0]
    assert more[3] == pytest.approx(normal.loss([0, 1]), abs=tolerance)
    np.testing.assert_allclose(
        normal.drop_costs([0, 1, 3])[[0, 2]], 0.0, atol=1e-6 * (target @ target)
    )


def test_a_linear_combination_of_the_support_adds_nothing():
    columns, target = regression(1, 60, 4)
    mixed = np.column_stack([columns, columns[:, :2] @ [0.7, -2.0]])
    normal = NormalEquations.from_rows(mixed, target)
    more = normal.losses_with_one_more(np.array([[0, 1], [2, 3]]))
    assert more[0, 4] == pytest.approx(residual(columns, target, [0, 1]), rel=1e-9)
    assert more[1, 4] == pytest.approx(residual(mixed, target, [2, 3, 4]), rel=1e-6)


def test_a_column_of_zeros_is_harmless():
    columns, target = regression(2, 30, 3)
    columns[:, 1] = 0.0
    normal = NormalEquations.from_rows(columns, target)
    expected = residual(columns, target, [0, 2])
    assert normal.loss([0, 1, 2]) == pytest.approx(expected, rel=1e-9)
    assert normal.solve([0, 1, 2])[1] == 0.0
    more = normal.losses_with_one_more(np.array([[0, 2]]))
    assert more[0, 1] == pytest.approx(expected, rel=1e-9)


def test_losses_are_never_negative_though_the_fit_is_exact():
    rng = np.random.default_rng(3)
    columns = rng.normal(size=(20, 4))
    normal = NormalEquations.from_rows(columns, 1e6 * columns @ [1.0, -2.0, 3.0, 4.0])
    for support in subsets(4):
        assert normal.loss(support) >= 0.0
    assert normal.loss([0, 1, 2, 3]) <= 1e-9 * normal.energy
    assert np.all(normal.losses_with_one_more(np.array([[0, 1, 2]])) >= 0.0)
