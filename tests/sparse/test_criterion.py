"""Charges counted directly, and a deviance without a jump."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discoverers.sparse import GradedCriterion
from discoverers.sparse.criterion import deviance

degrees_of = st.lists(st.integers(0, 6), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(degrees=degrees_of, n_states=st.integers(1, 9), gamma=st.floats(0.0, 3.0))
def test_charges_count_the_candidates_of_the_same_degree_or_less(degrees, n_states, gamma):
    criterion = GradedCriterion.from_degrees(np.array(degrees), n_states, gamma)
    charges = criterion.charges(500)
    for i, degree in enumerate(degrees):
        competitors = sum(1 for other in degrees if other <= degree)
        assert criterion.competitors[i] == competitors
        assert charges[i] == pytest.approx(
            np.log(500.0) + 2.0 * gamma * np.log(n_states * competitors)
        )


@settings(max_examples=40, deadline=None)
@given(degrees=degrees_of, added=st.lists(st.integers(4, 9), max_size=30))
def test_a_richer_library_does_not_make_simpler_terms_dearer(degrees, added):
    simple = [min(degree, 3) for degree in degrees]
    small = GradedCriterion.from_degrees(np.array(simple), 2).charges(100)
    large = GradedCriterion.from_degrees(np.array(simple + added), 2).charges(100)
    np.testing.assert_array_equal(large[: len(simple)], small)
    if added:
        assert large[len(simple) :].min() >= small.max()


@settings(max_examples=40, deadline=None)
@given(degrees=degrees_of, data=st.data())
def test_a_selection_of_candidates_keeps_the_charges_they_have_among_all(degrees, data):
    criterion = GradedCriterion.from_degrees(np.array(degrees), 3, 0.5)
    kept = np.array(
        data.draw(st.lists(st.integers(0, len(degrees) - 1), unique=True)), dtype=np.intp
    )
    part = criterion.restrict(kept)
    np.testing.assert_array_equal(part.charges(77), criterion.charges(77)[kept])
    assert (part.n_states, part.gamma) == (3, 0.5)


def test_without_gamma_it_is_plain_bic_and_few_rows_are_charged_something():
    criterion = GradedCriterion.from_degrees(np.array([0, 1, 1, 2]), 5, gamma=0.0)
    np.testing.assert_allclose(criterion.charges(1000), np.log(1000.0))
    for n_rows in (0, 1, 2):
        np.testing.assert_allclose(criterion.charges(n_rows), np.log(2.0))


@settings(max_examples=60, deadline=None)
@given(n_rows=st.integers(1, 10**6), share=st.floats(0.0, 1e8))
def test_deviance_is_the_loss_up_to_n_and_profiles_the_variance_beyond(n_rows, share):
    loss = share * n_rows
    # -2 log likelihood + const: known variance below, the maximum over variances >= 1 above.
    variances = np.append(np.geomspace(1.0, max(share, 1.0), 2001), max(share, 1.0))
    expected = np.min(loss / variances + n_rows * np.log(variances))
    assert deviance(loss, n_rows) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("n_rows", [3, 50, 10**5])
def test_deviance_is_continuous_with_its_slope_and_increases(n_rows):
    h = 1e-5 * n_rows
    below, at, above = deviance([n_rows - h, n_rows, n_rows + h], n_rows)
    assert at == n_rows
    assert (at - below) / h == pytest.approx(1.0, abs=1e-4)
    assert (above - at) / h == pytest.approx(1.0, abs=1e-4)
    losses = np.geomspace(1e-3, 1e9, 500)
    assert np.all(np.diff(deviance(losses, n_rows)) > 0.0)


def test_deviance_takes_one_loss_or_an_array_of_them():
    assert deviance(4.0, 10).shape == ()
    values = np.array([[0.0, 5.0], [10.0, 10.0 * np.e]])
    np.testing.assert_allclose(deviance(values, 10), [[0.0, 5.0], [10.0, 20.0]])
    assert deviance([], 10).shape == (0,)
