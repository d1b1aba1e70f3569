"""Noise estimates against known noise, brute-force leave-one-out and Vandermonde null spaces."""

from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import null_space

from discoverers.noise import NoiseModel, difference_variance, estimate_noise
from discoverers.smoothing import smooth_channels


def times(rng, n, *, uneven):
    steps = rng.uniform(0.3, 1.7, n - 1) if uneven else np.ones(n - 1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def smoothed_noise(t, x, weight=None):
    """`estimate_noise` as the pipeline calls it: one state, any number of runs."""
    weight = [np.ones(len(part)) for part in x] if weight is None else weight
    scale = np.median(np.concatenate([np.diff(part) for part in t]))
    (fit,) = smooth_channels(
        [np.diff(part) / scale for part in t],
        [part[:, None] for part in x],
        [part[:, None] for part in weight],
    )
    return estimate_noise(t, x, weight, fit.values, fit.leverage)


def null_space_variance(t, x):
    """Every window's contrast is the null vector of the transposed Vandermonde matrix."""
    means = []
    for order in range(2, 7):
        contrasts = []
        for start in range(len(t) - order):
            nodes = t[start : start + order + 1]
            unit = (nodes - nodes.mean()) / np.ptp(nodes)
            (vector,) = null_space(np.vander(unit, order, increasing=True).T).T
            contrasts.append(vector @ x[start : start + order + 1])
        if len(contrasts) >= 6:
            means.append(np.mean(np.square(contrasts)))
    return min(means)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(8, 40), uneven=st.booleans())
def test_divided_differences_are_the_unit_contrasts_orthogonal_to_polynomials(seed, n, uneven):
    rng = np.random.default_rng(seed)
    t = times(rng, n, uneven=uneven)
    x = np.sin(0.3 * t) + 0.1 * rng.normal(size=n)
    assert difference_variance(t, x, np.ones(len(x))) == pytest.approx(
        null_space_variance(t, x), rel=1e-7
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), degree=st.integers(0, 5), uneven=st.booleans())
def test_polynomials_of_degree_five_or_less_leave_nothing(seed, degree, uneven):
    rng = np.random.default_rng(seed)
    t = times(rng, 40, uneven=uneven) / 40.0
    x = np.polynomial.Polynomial(rng.normal(size=degree + 1))(t)
    assert difference_variance(t, x, np.ones(len(x))) <= (1e-12 * (1.0 + np.abs(x).max())) ** 2


@pytest.mark.parametrize("uneven", [False, True])
def test_white_noise_is_recovered_by_differences(uneven):
    ratios = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        t = times(rng, 1000, uneven=uneven)
        ratios.append(difference_variance(t, 3.0 * rng.normal(size=1000), np.ones(1000)) / 9.0)
    # The least of five orders errs a little downwards.
    assert 0.92 < np.mean(ratios) < 1.01
    assert min(ratios) > 0.75
    assert max(ratios) < 1.2


def test_differences_do_not_depend_on_the_unit_or_origin_of_time_and_scale_with_the_data():
    rng = np.random.default_rng(0)
    t = times(rng, 100, uneven=True)
    x = np.cos(0.2 * t) + 0.05 * rng.normal(size=100)
    plain = difference_variance(t, x, np.ones(len(x)))
    assert difference_variance(1e-6 * t + 3.0, x, np.ones(len(x))) == pytest.approx(plain, rel=1e-6)
    assert difference_variance(t, 1e4 * x, np.ones(len(x))) == pytest.approx(1e8 * plain, rel=1e-9)


def test_fewer_than_eight_values_say_nothing():
    for n in range(8):
        assert difference_variance(np.arange(float(n)), np.ones(n), np.ones(n)) == np.inf
    assert np.isfinite(difference_variance(np.arange(8.0), np.arange(8.0), np.ones(8)))


def test_the_model_is_variance_with_a_floor_and_a_discrepancy():
    model = NoiseModel(constant=0.25, proportional=0.04, least=0.3, discrepancy=0.01)
    y = np.array([[0.0, 1.0], [-5.0, 10.0]])
    expected = np.array([[0.3, 0.3], [1.25, 4.25]])
    np.testing.assert_allclose(model.measurement(y), expected)
    np.testing.assert_allclose(model.variance(y), expected + 0.01)


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("sigma", [1e-3, 0.02, 0.2])
def test_constant_noise_is_recovered(sigma, uneven):
    ratios = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        t = times(rng, 400, uneven=uneven)
        x = 2.0 + np.sin(0.15 * t) + sigma * rng.normal(size=400)
        model = smoothed_noise([t], [x])
        ratios.append(np.mean(model.measurement(x)) / sigma**2)
    assert 0.88 < np.mean(ratios) < 1.08
    assert min(ratios) > 0.7
    assert max(ratios) < 1.35


def test_proportional_noise_is_found_with_its_share():
    shares, floors, kept = [], [], 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        t = times(rng, 600, uneven=False)
        signal = np.exp(1.5 * np.sin(0.05 * t))  # 0.22 to 4.5
        x = signal * (1.0 + 0.05 * rng.normal(size=600)) + 0.01 * rng.normal(size=600)
        model = smoothed_noise([t], [x])
        kept += model.proportional > 0.0
        shares.append(model.proportional / 0.05**2)
        floors.append(model.measurement(np.array([4.4]))[0] / (0.01**2 + (0.05 * 4.4) ** 2))
    assert kept == 20
    assert 0.85 < np.mean(shares) < 1.15
    assert 0.8 < np.mean(floors) < 1.15


def test_constant_noise_seldom_passes_for_proportional():
    kept = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        t = times(rng, 300, uneven=False)
        x = np.exp(np.sin(0.1 * t)) + 0.05 * rng.normal(size=300)
        kept += smoothed_noise([t], [x]).proportional > 0.0
    assert kept <= 2


def test_peaks_that_the_samples_barely_follow_do_not_pass_for_proportional_noise():
    # Uneven times: some peaks are met by one sample, and left-out errors there are as large as it.
    kept = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        t = np.cumsum(np.maximum(rng.exponential(size=500), 0.05))
        x = np.exp(-18.0 * np.sin(0.125 * t) ** 2) + 0.01 * rng.normal(size=500)
        kept += smoothed_noise([t], [x]).proportional > 0.0
    assert kept <= 1


def test_noise_free_data_have_no_noise_beyond_the_discrepancy():
    t = np.arange(400) * 0.05
    for signal in (np.sin(t), 5.0 + 1e4 * np.cos(2.0 * t), 1e-6 * np.exp(0.1 * t)):
        model = smoothed_noise([t], [signal])
        amplitude = np.std(signal)
        assert np.sqrt(np.mean(model.measurement(signal))) < 2e-7 * amplitude
        assert model.discrepancy == pytest.approx((1e-4 * amplitude) ** 2, rel=1e-4)
        assert model.proportional == 0.0


def test_a_constant_state_has_a_positive_variance():
    t = np.arange(30.0)
    for level in (0.0, 5.0):
        variance = smoothed_noise([t], [np.full(30, level)]).variance(np.full(30, level))
        assert np.all(np.isfinite(variance))
        assert np.all(variance > 0.0)


def test_runs_are_pooled():
    ratios = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        t = [times(rng, n, uneven=True) for n in (60, 90, 150)]
        x = [np.sin(0.15 * part + i) + 0.1 * rng.normal(size=len(part)) for i, part in enumerate(t)]
        ratios.append(np.mean(smoothed_noise(t, x).measurement(x[0])) / 0.01)
    assert 0.85 < np.mean(ratios) < 1.1


def test_what_has_no_weight_is_not_read():
    rng = np.random.default_rng(5)
    t = times(rng, 120, uneven=True)
    x = np.sin(0.2 * t) + 0.1 * rng.normal(size=120)
    weight = (rng.random(120) < 0.7).astype(float)
    plain = smoothed_noise([t], [np.where(weight > 0, x, 0.0)], [weight])
    other = smoothed_noise([t], [np.where(weight > 0, x, 1e6)], [weight])
    assert plain == other


def test_a_signal_too_fast_for_differences_leaves_the_residuals():
    rng = np.random.default_rng(0)
    t = np.arange(300.0)
    signal, noise = np.sin(2.8 * t), 0.05 * rng.normal(size=300)
    model = estimate_noise([t], [signal + noise], [np.ones(300)], [signal], [np.zeros(300)])
    assert difference_variance(t, signal + noise, np.ones(len(t))) > 0.1
    assert model.constant == pytest.approx(np.mean(noise**2))


def leave_one_out_by_refitting(t, x, smoothness):
    """Errors at points left out one by one, the smoother's least squares refitted each time."""
    n, order = len(t), 3
    rows = []
    for i, s in enumerate(np.diff(t)):
        for r in range(order + 1):
            # The random walk of the highest derivative, see the tests of the smoother.
            weight = 1.0 / max(s ** (order - r + 0.5), 0.3 ** (order + 0.5))
            forward, backward = np.zeros((2, n, order + 1))
            forward[i + 1, r] = backward[i, r] = weight
            for q in range(r, order + 1):
                forward[i, q] -= weight * s ** (q - r) / factorial(q - r)
                backward[i + 1, q] -= weight * (-s) ** (q - r) / factorial(q - r)
            rows += [forward.ravel(), backward.ravel()]
    taylor = np.sqrt(smoothness) * np.array(rows)
    reading = np.zeros((n, n, order + 1))
    reading[np.arange(n), np.arange(n), 0] = 1.0
    reading = reading.reshape(n, -1)
    errors = []
    for left_out in range(n):
        others = np.arange(n) != left_out
        y = np.linalg.lstsq(
            np.concatenate([reading[others], taylor]),
            np.concatenate([x[others], np.zeros(len(taylor))]),
            rcond=None,
        )[0]
        errors.append(x[left_out] - reading[left_out] @ y)
    return np.array(errors)


@pytest.mark.parametrize("seed", range(4))
def test_the_level_is_the_smaller_of_leave_one_out_errors_and_differences(seed):
    rng = np.random.default_rng(seed)
    t = times(rng, 30, uneven=True)
    x = np.sin(0.5 * t) + 0.3 * rng.normal(size=30)
    (fit,) = smooth_channels([np.diff(t)], [x[:, None]], [np.ones((30, 1))])
    model = estimate_noise([t], [x], [np.ones(30)], fit.values, fit.leverage)
    errors = leave_one_out_by_refitting(t, x, fit.smoothness)
    expected = min(np.mean(errors**2), null_space_variance(t, x))
    got = np.mean(model.constant + model.proportional * fit.values[0] ** 2)
    assert got == pytest.approx(expected, rel=1e-4)
    assert model.least == pytest.approx(0.01 * expected, rel=1e-4)


def test_weights_are_relative_precisions():
    """Noise of standard deviation sigma / sqrt(w): the level is that of weight one."""
    ratios = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        t = times(rng, 400, uneven=False)
        weight = np.where(rng.random(400) < 0.5, 1.0, 9.0)
        x = np.sin(0.1 * t) + 0.1 / np.sqrt(weight) * rng.normal(size=400)
        ratios.append(smoothed_noise([t], [x], [weight]).measurement(x).mean() / 0.01)
    assert 0.85 < np.mean(ratios) < 1.15


def test_a_short_run_among_long_ones_does_not_switch_the_differences_off():
    """A coarse smoother is far off; the long run's differences still tell the noise."""
    rng = np.random.default_rng(0)
    t = [np.arange(200.0), np.arange(5.0)]
    x = [np.sin(0.02 * part) + 0.1 * rng.normal(size=len(part)) for part in t]
    flat = [np.zeros(len(part)) for part in t]
    model = estimate_noise(t, x, [np.ones(200), np.ones(5)], flat, flat)
    assert model.measurement(np.zeros(1))[0] < 2.0 * 0.01
