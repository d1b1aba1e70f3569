"""The whitening filter against dense generalised least squares with a diffuse level."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import cholesky, null_space, solve_triangular

from discoverers.whitening import Windows, split_windows, whitened_normal_equations


def dense_whitening(windows, columns, precision, elapsed, drift):
    """Gram, REML log-determinant and number of contrasts of all windows, each in full.

    In a window the covariance is diag(1 / precision) + drift * min(elapsed): the contrasts that
    remove a free level are an orthonormal basis N of what is orthogonal to ones.
    """
    size = columns.shape[1]
    gram, log_determinant, n_rows = np.zeros((size, size)), 0.0, 0
    for index, valid in zip(windows.index, windows.valid, strict=True):
        rows = index[valid]
        rows = rows[precision[rows] > 0]
        if len(rows) < 2:
            continue
        since = elapsed[rows] - elapsed[rows[0]]
        covariance = np.diag(1.0 / precision[rows]) + drift * np.minimum.outer(since, since)
        contrast = null_space(np.ones((1, len(rows)))).T
        factor = cholesky(contrast @ covariance @ contrast.T, lower=True)
        white = solve_triangular(factor, contrast @ columns[rows], lower=True)
        gram += white.T @ white
        # Contrasts with the first datum, which the filter uses, differ by a constant: log n.
        log_determinant += 2.0 * np.log(np.diagonal(factor)).sum() + np.log(len(rows))
        n_rows += len(rows) - 1
    return gram, log_determinant, n_rows


def make_problem(seed, lengths, size, missing):
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    edges = np.concatenate([[0], np.cumsum(lengths)])
    stretches = [slice(int(a), int(b)) for a, b in pairwise(edges)]
    elapsed = np.cumsum(rng.uniform(0.2, 2.0, n))
    columns = np.cumsum(rng.normal(size=(n, size)), axis=0) + 3.0
    precision = rng.uniform(0.2, 5.0, n) * (rng.random(n) >= missing)
    return stretches, columns, precision, elapsed


def assembled(normal):
    return np.block([[normal.gram, normal.moment[:, None]], [normal.moment[None], normal.energy]])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    size=st.integers(1, 4),
    missing=st.sampled_from([0.0, 0.3, 0.8]),
    window=st.integers(2, 20),
    drift=st.sampled_from([0.0, 1e-4, 0.1, 1.0, 100.0]),
)
def test_gram_moment_energy_and_likelihood_are_those_of_dense_gls(
    seed, lengths, size, missing, window, drift
):
    stretches, columns, precision, elapsed = make_problem(seed, lengths, size, missing)
    windows = split_windows(stretches, window)
    normal = whitened_normal_equations(windows, columns, precision, elapsed, drift)
    gram, log_determinant, n_rows = dense_whitening(windows, columns, precision, elapsed, drift)
    np.testing.assert_allclose(assembled(normal), gram, rtol=1e-9, atol=1e-9)
    assert normal.n_rows == n_rows
    assert normal.log_determinant == pytest.approx(log_determinant, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_log_determinants_of_two_drifts_differ_as_in_dense_reml(missing):
    stretches, columns, precision, elapsed = make_problem(3, [50, 33], 2, missing)
    windows = split_windows(stretches, 12)
    drifts = (0.0, 0.03, 5.0)
    got = [
        whitened_normal_equations(windows, columns, precision, elapsed, drift).log_determinant
        for drift in drifts
    ]
    expected = []
    for drift in drifts:
        value = 0.0
        for index, valid in zip(windows.index, windows.valid, strict=True):
            rows = index[valid][precision[index[valid]] > 0]
            if len(rows) < 2:
                continue
            covariance = np.diag(1.0 / precision[rows])
            # The walk may start at the first row: an earlier start only shifts the free level.
            walk = elapsed[rows] - elapsed[index[0]]
            covariance += drift * np.minimum.outer(walk, walk)
            # REML by its textbook form: log|C| + log|1' C^-1 1|.
            value += np.linalg.slogdet(covariance)[1]
            value += np.log(np.linalg.inv(covariance).sum())
        expected.append(value)
    np.testing.assert_allclose(np.diff(got), np.diff(expected), rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    missing=st.sampled_from([0.0, 0.5]),
    window=st.integers(2, 20),
)
def test_without_drift_it_is_weighted_least_squares_around_window_means(
    seed, lengths, missing, window
):
    stretches, columns, precision, elapsed = make_problem(seed, lengths, 3, missing)
    windows = split_windows(stretches, window)
    normal = whitened_normal_equations(windows, columns, precision, elapsed, 0.0)
    gram = np.zeros((3, 3))
    for index, valid in zip(windows.index, windows.valid, strict=True):
        rows = index[valid]
        weight = precision[rows]
        if weight.sum() > 0.0:
            centred = columns[rows] - weight @ columns[rows] / weight.sum()
            gram += (weight[:, None] * centred).T @ centred
    np.testing.assert_allclose(assembled(normal), gram, rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=4),
    window=st.integers(1, 60),
)
def test_windows_tile_every_stretch_evenly_and_in_order(lengths, window):
    edges = np.concatenate([[0], np.cumsum(lengths)])
    stretches = [slice(int(a), int(b)) for a, b in pairwise(edges)]
    windows = split_windows(stretches, window)
    np.testing.assert_array_equal(windows.index[windows.valid], np.arange(edges[-1]))
    assert np.all(np.diff(windows.index, axis=1) >= 0)
    for stretch, length in zip(stretches, lengths, strict=True):
        inside = (windows.index[:, 0] >= stretch.start) & (windows.index[:, -1] < stretch.stop)
        counts = windows.valid[inside].sum(axis=1)
        assert counts.sum() == length  # no window crosses the end of a stretch
        assert counts.max() - counts.min() <= 1
        assert counts.max() <= 1.5 * window + 1
        assert counts.min() >= min(length, 2 * window / 3 - 1)


def test_a_row_is_counted_once_where_a_short_window_repeats_it():
    columns = np.array([[0.0, 1.0], [1.0, 3.0], [2.0, 2.0]])
    precision, elapsed = np.ones(3), np.arange(3.0)
    short = Windows(np.array([[0, 1, 2]]), np.array([[True, True, True]]))
    padded = Windows(np.array([[0, 1, 2, 2, 2]]), np.array([[True, True, True, False, False]]))
    a = whitened_normal_equations(short, columns, precision, elapsed, 0.3)
    b = whitened_normal_equations(padded, columns, precision, elapsed, 0.3)
    np.testing.assert_array_equal(assembled(a), assembled(b))
    assert (a.n_rows, a.log_determinant) == (b.n_rows, b.log_determinant)


def test_windows_with_less_than_two_data_say_nothing():
    columns = np.random.default_rng(0).normal(size=(9, 3))
    precision = np.zeros(9)
    precision[[1, 5]] = 2.0
    normal = whitened_normal_equations(
        split_windows([slice(0, 9)], 3), columns, precision, np.arange(9.0), 0.1
    )
    assert normal.n_rows == 0
    assert normal.log_determinant == 0.0
    np.testing.assert_array_equal(assembled(normal), 0.0)


def test_levels_of_the_windows_and_unmeasured_rows_do_not_matter():
    stretches, columns, precision, elapsed = make_problem(5, [45], 3, 0.3)
    windows = split_windows(stretches, 9)
    plain = whitened_normal_equations(windows, columns, precision, elapsed, 0.2)
    moved = columns.copy()
    for i, (index, valid) in enumerate(zip(windows.index, windows.valid, strict=True)):
        moved[index[valid]] += 10.0 * (i - 2.0)
    moved[precision == 0.0] = 1e5
    other = whitened_normal_equations(windows, moved, precision, elapsed, 0.2)
    np.testing.assert_allclose(assembled(other), assembled(plain), rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-6, 1e6]))
def test_noise_and_drift_scale_together(seed, scale):
    stretches, columns, precision, elapsed = make_problem(seed, [40], 3, 0.2)
    windows = split_windows(stretches, 10)
    plain = whitened_normal_equations(windows, columns, precision, elapsed, 0.4)
    other = whitened_normal_equations(windows, columns, precision / scale, elapsed, 0.4 * scale)
    np.testing.assert_allclose(assembled(other) * scale, assembled(plain), rtol=1e-9, atol=1e-9)
    expected = plain.log_determinant + plain.n_rows * np.log(scale)
    assert other.log_determinant == pytest.approx(expected, rel=1e-9, abs=1e-8)


def test_residuals_drawn_from_the_model_come_out_white_and_tell_their_drift():
    rng = np.random.default_rng(6)
    n, drift = 6000, 0.3
    precision = np.full(n, 4.0)
    elapsed = np.arange(float(n))
    data = np.cumsum(np.sqrt(drift) * rng.normal(size=n)) + 0.5 * rng.normal(size=n)
    columns = np.stack([rng.normal(size=n), data], axis=1)
    windows = split_windows([slice(0, n)], 30)
    normals = {
        value: whitened_normal_equations(windows, columns, precision, elapsed, value)
        for value in (0.03, 0.1, drift, 1.0, 3.0)
    }
    right = normals[drift]
    assert right.energy / right.n_rows == pytest.approx(1.0, abs=4.0 * np.sqrt(2.0 / n))
    likeliest = min(normals, key=lambda v: normals[v].energy + normals[v].log_determinant)
    assert likeliest == drift
