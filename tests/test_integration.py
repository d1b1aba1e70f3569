"""Integrals against closed forms, SciPy splines and the paper's equations written out dense."""

from dataclasses import replace
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import make_interp_spline

from discoverers import integration
from discoverers.denoising import Denoised
from discoverers.integration import MechanisticIntegral, integrate_stretches
from discoverers.mnn_dense import MNNIntegral
from discoverers.regression import allow_for_truncation
from discoverers.whitening import split_windows


def uneven_times(seed, n, spread=0.6):
    rng = np.random.default_rng(seed)
    return np.concatenate([[0.0], np.cumsum(rng.uniform(1.0 - spread, 1.0 + spread, n - 1))])


def dense_integral(steps, theta, order, decay, weight_governing):
    """Eqs. 5 (y' = theta), 6 (y(0) = 0), 7 and 8, rows weighted, solved by lstsq."""
    n, size = len(theta), order + 1
    rows, right = [], []

    def add(row, value):
        rows.append(row.ravel())
        right.append(value)

    for t in range(n):
        row = np.zeros((n, size))
        row[t, 1] = weight_governing
        add(row, weight_governing * theta[t])
    row = np.zeros((n, size))
    row[0, 0] = 1.0
    add(row, np.zeros(theta.shape[1]))
    for t, s in enumerate(steps):
        for r in range(size):
            weight = (decay * s) ** r
            forward, backward = np.zeros((2, n, size))
            forward[t + 1, r] = backward[t, r] = weight
            for q in range(r, size):
                forward[t, q] -= weight * s ** (q - r) / factorial(q - r)
                backward[t + 1, q] -= weight * (-s) ** (q - r) / factorial(q - r)
            add(forward, np.zeros(theta.shape[1]))
            add(backward, np.zeros(theta.shape[1]))
    y = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    return y.reshape(n, size, -1)[:, 0]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 14),
    order=st.integers(2, 5),
    decay=st.sampled_from([0.3, 1.0]),
    weight=st.sampled_from([1.0, 10.0]),
)
def test_the_integral_is_that_of_the_dense_least_squares_problem(seed, n, order, decay, weight):
    steps = np.diff(uneven_times(seed, n))
    theta = np.random.default_rng(seed).normal(size=(n, 2))
    got = MechanisticIntegral(order, decay, weight)(steps, theta)
    expected = dense_integral(steps, theta, min(order, n - 1), decay, weight)
    np.testing.assert_allclose(got, expected, atol=1e-6 * np.abs(expected).max())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 40), order=st.integers(2, 7))
def test_polynomials_below_the_order_are_integrated_exactly(seed, n, order):
    t = uneven_times(seed, n, spread=0.4)
    unit = t / t[-1]
    degree = min(order, n - 1) - 1
    powers = np.arange(degree + 1)
    theta, truth = unit[:, None] ** powers, t[-1] * unit[:, None] ** (powers + 1) / (powers + 1)
    got = MechanisticIntegral(order=order)(np.diff(t), theta)
    np.testing.assert_allclose(got, truth, atol=1e-7 * t[-1])


@pytest.mark.parametrize("n", range(3, 9))
def test_a_few_points_are_integrated_as_well_as_by_the_polynomial_that_is_exact(n):
    t = np.linspace(0.0, 0.8, n)
    got = MechanisticIntegral()(np.ones(n - 1), np.exp(t)[:, None])[:, 0] * (t[1] - t[0])
    polynomial = np.polynomial.Polynomial.fit(t, np.exp(t), min(n - 2, 4)).integ()
    bound = np.abs(polynomial(t) - polynomial(0.0) - np.expm1(t)).max()
    assert np.abs(got - np.expm1(t)).max() < 3.0 * bound


def test_smooth_functions_agree_with_their_antiderivatives_and_with_a_quintic_spline():
    t = np.arange(400) * 0.05
    theta = np.stack([np.sin(t), np.exp(-0.3 * t), 1.0 / (1.0 + t), np.cos(3.0 * t)], axis=1)
    truth = np.stack(
        [1.0 - np.cos(t), (1.0 - np.exp(-0.3 * t)) / 0.3, np.log1p(t), np.sin(3.0 * t) / 3.0],
        axis=1,
    )
    got = 0.05 * MechanisticIntegral()(np.ones(399), theta)
    np.testing.assert_allclose(got, truth, atol=2e-6)
    spline = make_interp_spline(t, theta, k=5).antiderivative()
    np.testing.assert_allclose(got, spline(t) - spline(0.0), atol=2e-6)


def test_uneven_steps_agree_with_a_quintic_spline():
    t = 0.03 * uneven_times(1, 500)
    theta = np.stack([np.sin(2.0 * t), np.cos(t) ** 3], axis=1)
    got = 0.03 * MechanisticIntegral()(np.diff(t) / 0.03, theta)
    spline = make_interp_spline(t, theta, k=5).antiderivative()
    np.testing.assert_allclose(got, spline(t) - spline(0.0), atol=2e-6)
    np.testing.assert_allclose(got[:, 0], (1.0 - np.cos(2.0 * t)) / 2.0, atol=2e-6)


@pytest.mark.parametrize(("order", "expected"), [(3, 4.0), (5, 6.0)])
def test_errors_fall_with_the_order_that_is_promised(order, expected):
    errors = []
    for n in (41, 81, 161):
        t = np.linspace(0.0, 6.0, n)
        got = (t[1] - t[0]) * MechanisticIntegral(order=order)(np.ones(n - 1), np.cos(t)[:, None])
        errors.append(np.abs(got[:, 0] - np.sin(t)).max())
    rates = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(rates > expected - 0.7), rates


def test_the_reference_is_more_accurate():
    t = np.arange(60) * 0.25
    theta, truth = np.cos(t)[:, None], np.sin(t)
    plain = MechanisticIntegral()
    assert plain.reference == replace(plain, order=plain.order + 2)
    error = np.abs(0.25 * plain(np.ones(59), theta)[:, 0] - truth).max()
    better = np.abs(0.25 * plain.reference(np.ones(59), theta)[:, 0] - truth).max()
    assert better < 0.3 * error


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 60))
def test_integration_is_linear_and_starts_at_zero(seed, n):
    rng = np.random.default_rng(seed)
    steps = np.diff(uneven_times(seed, n))
    theta, mix = rng.normal(size=(n, 3)), rng.normal(size=(3, 2))
    integral = MechanisticIntegral()
    got = integral(steps, theta)
    np.testing.assert_allclose(
        integral(steps, theta @ mix), got @ mix, atol=1e-7 * max(1.0, np.abs(got).max())
    )
    np.testing.assert_allclose(got[0], 0.0, atol=0.5 * np.abs(theta).max())
    ones = integral(steps, np.ones((n, 1)))[:, 0]
    np.testing.assert_allclose(ones, np.concatenate([[0.0], np.cumsum(steps)]), atol=1e-7 * n)


@pytest.mark.parametrize("extra", [0, 1, 65, 4096, 5000])
def test_a_long_run_in_chunks_equals_the_whole(monkeypatch, extra):
    n = 4096 + extra
    t = 0.02 * uneven_times(2, n, spread=0.3)
    theta = np.stack([np.cos(3.0 * t), np.sin(t) ** 2 + 0.1], axis=1)
    integral = MechanisticIntegral()
    chunked = integral(np.diff(t) / 0.02, theta)
    monkeypatch.setattr(integration, "CHUNK", 10**6)
    whole = integral(np.diff(t) / 0.02, theta)
    np.testing.assert_allclose(chunked, whole, atol=1e-6 * np.abs(whole).max())
    np.testing.assert_allclose(0.02 * chunked[:, 0], np.sin(3.0 * t) / 3.0, atol=1e-5)


@pytest.mark.parametrize("offset", range(-2, 4))
def test_every_length_around_a_chunk_is_covered(monkeypatch, offset):
    monkeypatch.setattr(integration, "CHUNK", 100)
    n = 300 + offset
    theta = np.cos(0.05 * np.arange(n))[:, None]
    got = 0.05 * MechanisticIntegral()(np.ones(n - 1), theta)[:, 0]
    np.testing.assert_allclose(got, np.sin(0.05 * np.arange(n)), atol=1e-6)


def test_every_stretch_starts_from_zero():
    t = np.arange(90) * 0.1
    theta = np.stack([np.cos(t), np.ones(90)], axis=1)
    stretches = [slice(0, 20), slice(20, 55), slice(55, 90)]
    integral = MechanisticIntegral()
    got = 0.1 * integrate_stretches(integral, stretches, np.ones(89), theta)
    for part in stretches:
        np.testing.assert_allclose(got[part, 0], np.sin(t[part]) - np.sin(t[part][0]), atol=1e-5)
        np.testing.assert_allclose(got[part, 1], t[part] - t[part][0], atol=1e-8)
    assert integral.segments(90) == [slice(0, 90)]


@settings(max_examples=40, deadline=None)
@given(n=st.integers(3, 500), segment=st.integers(3, 120))
def test_segments_of_the_original_network_tile_the_run_evenly(n, segment):
    integral = MNNIntegral("dense", segment, 1e-10, 100)
    parts = integral.segments(n)
    rows = np.concatenate([np.arange(part.start, part.stop) for part in parts])
    np.testing.assert_array_equal(rows, np.arange(n))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) <= segment
    assert max(lengths) - min(lengths) <= 1


def test_steps_a_million_times_apart_are_still_integrated():
    steps = np.ones(60)
    steps[20], steps[40] = 1e-6, 1e-3
    t = 0.05 * np.concatenate([[0.0], np.cumsum(steps)])
    got = 0.05 * MechanisticIntegral()(steps, np.cos(t)[:, None])[:, 0]
    np.testing.assert_allclose(got, np.sin(t), atol=1e-3)


def hand_made(steps, slopes, precision):
    n_states = slopes[0].shape[1]
    return Denoised(
        data=tuple(np.zeros_like(part) for part in slopes),
        precision=tuple(precision),
        states=tuple(np.zeros_like(part) for part in slopes),
        slopes=tuple(slopes),
        steps=tuple(steps),
        time_scale=1.0,
        noise_std=np.ones(n_states),
        discrepancy=np.zeros(np.shape(np.ones(n_states))),
        smoothness=np.ones(n_states),
        freedom=np.ones(n_states),
    )


@pytest.mark.parametrize("frequency", [0.2, 0.6, 1.2])
def test_the_truncation_allowance_bounds_the_true_error_of_the_integral(frequency):
    window = 30
    t = uneven_times(3, 240, spread=0.3)
    slopes = np.stack([np.cos(frequency * t), np.sin(0.5 * frequency * t)], axis=1)
    truth = np.stack(
        [np.sin(frequency * t) / frequency, -2.0 * np.cos(0.5 * frequency * t) / frequency], axis=1
    )
    integral = MechanisticIntegral()
    error = integral(np.diff(t), slopes) - truth
    windows = split_windows([slice(0, 240)], window)
    centred = np.concatenate(
        [
            error[rows[valid]] - error[rows[valid]].mean(axis=0)
            for rows, valid in zip(windows.index, windows.valid, strict=True)
        ]
    )
    precision = np.full((240, 2), 1e16)
    precision[7] = 0.0
    allowed = allow_for_truncation(hand_made([np.diff(t)], [slopes], [precision]), integral, window)
    got = allowed.precision[0]
    np.testing.assert_array_equal(got[7], 0.0)
    seen = precision[:, 0] > 0
    variance = 1.0 / got[seen] - 1.0 / precision[seen]
    assert np.all(variance >= 0.0)
    mean_square = np.mean(centred**2, axis=0)
    assert np.all(variance.min(axis=0) > mean_square)
    assert np.all(variance.max(axis=0) < 100.0 * mean_square + 1e-12)


def test_well_resolved_slopes_leave_the_precision_as_it_is():
    t = np.arange(200) * 0.05
    precision = np.random.default_rng(0).uniform(50.0, 200.0, (200, 1))
    denoised = hand_made([np.ones(199)], [0.05 * np.cos(t)[:, None]], [precision])
    allowed = allow_for_truncation(denoised, MechanisticIntegral(), 30)
    np.testing.assert_allclose(allowed.precision[0], precision, rtol=1e-6)
