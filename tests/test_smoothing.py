"""The smoother against the paper's least-squares problem, written out row by row and dense."""

from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discoverers.slope_smoothing import GOVERNING_GRID, smooth_to_slopes
from discoverers.smoothing import (
    REFINED_STEPS,
    SMOOTHNESS_GRID,
    smooth_channels,
)


def taylor_rows(steps, order, decay=1.0, wander=False):
    """Eqs. 7 and 8 of the S-MNN paper for one variable; row r weighs (decay * s)**r.

    If the highest derivative may wander as much over a time however long the steps are, rows weigh
    by the inverse of the standard deviation that the random walk of it has after s; low rows of
    steps below 0.3 weigh as at 0.3.
    """
    size = order + 1
    n = len(steps) + 1
    rows = []
    for t, s in enumerate(steps):
        for r in range(size):
            weight = (decay * s) ** r
            if wander:
                spread = s ** (order - r) * np.sqrt(s)
                least = 0.3 ** (order + 0.5)
                weight = 1.0 / max(spread, least)
            forward, backward = np.zeros((2, n, size))
            forward[t + 1, r] = backward[t, r] = 1.0
            for q in range(r, size):
                forward[t, q] -= s ** (q - r) / factorial(q - r)
                backward[t + 1, q] -= (-s) ** (q - r) / factorial(q - r)
            rows += [weight * forward.ravel(), weight * backward.ravel()]
    return np.array(rows)


def derivative_rows(n, order, r):
    """Rows that read the r-th derivative at every time (r = 0: eq. 6 with T_init = T)."""
    out = np.zeros((n, n, order + 1))
    out[np.arange(n), np.arange(n), r] = 1.0
    return out.reshape(n, -1)


def dense_maps(steps, precision, order, smoothness):
    """Linear maps data -> values and data -> slopes, by lstsq."""
    n = len(precision)
    root = np.sqrt(precision)
    taylor = np.sqrt(smoothness) * taylor_rows(steps, order, wander=True)
    matrix = np.concatenate([root[:, None] * derivative_rows(n, order, 0), taylor])
    right = np.concatenate([np.diag(root), np.zeros((len(taylor), n))])
    y = np.linalg.lstsq(matrix, right, rcond=None)[0].reshape(n, order + 1, n)
    return y[:, 0], y[:, 1]


def dense_fit(steps, x, precision, smoothness, order=3):
    """Values, slopes, leverages and GCV score of one state over all runs."""
    known = np.concatenate(precision)
    unit = np.median(known[known > 0])
    values, slopes, leverage, loss, left, total = [], [], [], 0.0, 0.0, 0.0
    for step, data, p in zip(steps, x, precision, strict=True):
        to_value, to_slope = dense_maps(step, p / unit, order, smoothness)
        filled = np.where(p > 0, data, 0.0)
        values.append(to_value @ filled)
        slopes.append(to_slope @ filled)
        leverage.append(np.diagonal(to_value))
        loss += (p / unit * (filled - values[-1]) ** 2).sum()
        left += (p / unit * (1.0 - leverage[-1])).sum()
        total += (p / unit).sum()
    # Every datum counts by its weight; with equal weights this is the usual n loss / (n - df)**2.
    return values, slopes, leverage, total * loss / left**2


def make_runs(rng, lengths, n_states=1, *, noise=0.1, missing=0.0, shared=True, uneven=True):
    steps, X, precision = [], [], []
    for n in lengths:
        step = rng.uniform(0.2, 1.8, n - 1) if uneven else np.ones(n - 1)
        t = np.concatenate([[0.0], np.cumsum(step)])
        phase = rng.uniform(0.0, 6.0, n_states)
        x = np.sin(0.6 * t[:, None] + phase) + noise * rng.normal(size=(n, n_states))
        p = np.ones((n, n_states)) if shared else rng.uniform(0.3, 3.0, (n, n_states))
        gone = rng.random((n, n_states)) < missing
        gone[rng.permutation(n)[:6]] = False
        x[gone], p[gone] = np.nan, 0.0
        steps.append(step)
        X.append(x)
        precision.append(p)
    return steps, X, precision


def column(parts, v):
    return [part[:, v] for part in parts]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(7, 18), min_size=1, max_size=3),
    missing=st.sampled_from([0.0, 0.3]),
    shared=st.booleans(),
    uneven=st.booleans(),
)
def test_values_slopes_and_leverages_are_those_of_the_dense_least_squares_problem(
    seed, lengths, missing, shared, uneven
):
    rng = np.random.default_rng(seed)
    steps, X, precision = make_runs(rng, lengths, 2, missing=missing, shared=shared, uneven=uneven)
    fits = smooth_channels(steps, X, precision)
    assert len(fits) == 2
    for v, fit in enumerate(fits):
        values, slopes, leverage, _ = dense_fit(
            steps, column(X, v), column(precision, v), fit.smoothness
        )
        # Cholesky on the normal matrix loses what a heavy smoothness weight puts into it.
        tolerance = 1e-7 * max(1.0, fit.smoothness) ** 0.5
        for run in range(len(lengths)):
            np.testing.assert_allclose(fit.values[run], values[run], atol=tolerance)
            np.testing.assert_allclose(fit.slopes[run], slopes[run], atol=tolerance)
            np.testing.assert_allclose(fit.leverage[run], leverage[run], atol=tolerance)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    noise=st.sampled_from([0.03, 0.3, 2.0]),
    shared=st.booleans(),
    missing=st.sampled_from([0.0, 0.2]),
)
def test_the_weight_minimises_the_dense_cross_validation_score(seed, noise, shared, missing):
    rng = np.random.default_rng(seed)
    steps, X, precision = make_runs(rng, [14, 17], noise=noise, missing=missing, shared=shared)
    (fit,) = smooth_channels(steps, X, precision)
    x, p = column(X, 0), column(precision, 0)

    def score(weight):
        return dense_fit(steps, x, p, weight)[3]

    coarse = min(SMOOTHNESS_GRID, key=score)
    around = [] if coarse == SMOOTHNESS_GRID[0] else list(coarse * REFINED_STEPS)
    # Weights that lose nothing but rounding against the best are as good.
    assert score(fit.smoothness) <= min(map(score, [coarse, *around])) * (1.0 + 1e-4)
    tried = np.concatenate([SMOOTHNESS_GRID, np.outer(SMOOTHNESS_GRID, REFINED_STEPS).ravel()])
    assert np.isclose(tried, fit.smoothness, rtol=1e-9).any()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    exponent=st.integers(-9, 9),
    sign=st.sampled_from([-1.0, 1.0]),
    offset=st.floats(-30.0, 30.0),
)
def test_scaling_and_shifting_the_data_scales_and_shifts_the_fit(seed, exponent, sign, offset):
    rng = np.random.default_rng(seed)
    steps, X, precision = make_runs(rng, [25, 12], missing=0.2, shared=False)
    scale = sign * 10.0**exponent
    (plain,) = smooth_channels(steps, X, precision)
    (other,) = smooth_channels(steps, [scale * (x + offset) for x in X], precision)
    if other.smoothness != plain.smoothness:
        # Rounding may break a tie between two weights, not choose a worse one.
        scores = [
            dense_fit(steps, column(X, 0), column(precision, 0), weight)[3]
            for weight in (plain.smoothness, other.smoothness)
        ]
        assert scores[1] == pytest.approx(scores[0], rel=1e-4)
        return
    tolerance = 1e-8 * max(1.0, plain.smoothness) ** 0.5
    for run in range(2):
        np.testing.assert_allclose(
            other.values[run] / scale, plain.values[run] + offset, atol=tolerance
        )
        np.testing.assert_allclose(other.slopes[run] / scale, plain.slopes[run], atol=tolerance)
        np.testing.assert_allclose(other.leverage[run], plain.leverage[run], atol=tolerance)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_running_time_backwards_turns_the_slopes_around(seed):
    rng = np.random.default_rng(seed)
    steps, X, precision = make_runs(rng, [30], missing=0.2, shared=False)
    (plain,) = smooth_channels(steps, X, precision)
    (back,) = smooth_channels(
        [s[::-1] for s in steps], [x[::-1] for x in X], [p[::-1] for p in precision]
    )
    # Where the smoother interpolates, several strengths score alike to rounding, and either may be
    # chosen: values then differ by the strength, 1e-7 here.
    tolerance = 1e-8 * max(1.0, plain.smoothness) ** 0.5
    if plain.smoothness != back.smoothness:
        assert max(plain.smoothness, back.smoothness) <= 1e-6
        tolerance = 1e-6
    np.testing.assert_allclose(back.values[0][::-1], plain.values[0], atol=tolerance)
    np.testing.assert_allclose(back.slopes[0][::-1], -plain.slopes[0], atol=tolerance)


def test_only_the_ratios_of_the_precisions_matter():
    steps, X, precision = make_runs(np.random.default_rng(0), [30, 20], shared=False)
    (plain,) = smooth_channels(steps, X, precision)
    (heavy,) = smooth_channels(steps, X, [1e7 * p for p in precision])
    assert heavy.smoothness == pytest.approx(plain.smoothness)
    np.testing.assert_allclose(heavy.values[0], plain.values[0], atol=1e-9)
    np.testing.assert_allclose(heavy.leverage[1], plain.leverage[1], atol=1e-9)


def test_what_has_no_precision_is_not_read():
    steps, X, precision = make_runs(np.random.default_rng(1), [40], 2, missing=0.4)
    fits = smooth_channels(steps, X, precision)
    for filler in (1e30, -5.0):
        again = smooth_channels(steps, [np.where(np.isnan(x), filler, x) for x in X], precision)
        for fit, other in zip(fits, again, strict=True):
            np.testing.assert_array_equal(fit.values[0], other.values[0])
    for v, fit in enumerate(fits):
        np.testing.assert_array_equal(fit.leverage[0] > 0.0, precision[0][:, v] > 0.0)


def test_states_do_not_influence_each_other():
    steps, X, precision = make_runs(np.random.default_rng(2), [30, 25], 3, shared=False)
    together = smooth_channels(steps, X, precision)
    for v in range(3):
        (alone,) = smooth_channels(steps, [x[:, [v]] for x in X], [p[:, [v]] for p in precision])
        assert alone.smoothness == together[v].smoothness
        for run in range(2):
            np.testing.assert_allclose(alone.values[run], together[v].values[run], atol=1e-12)


def test_a_noise_free_cubic_is_reproduced_with_its_slope_through_gaps():
    rng = np.random.default_rng(3)
    step = rng.uniform(0.5, 1.5, 39)
    t = np.concatenate([[0.0], np.cumsum(step)]) / 10.0
    x = 1.0 - 2.0 * t + 0.5 * t**2 + 0.3 * t**3
    slope = (-2.0 + t + 0.9 * t**2) / 10.0
    precision = np.ones((40, 1))
    precision[[5, 6, 20]] = 0.0
    (fit,) = smooth_channels([step], [np.where(precision > 0, x[:, None], np.nan)], [precision])
    np.testing.assert_allclose(fit.values[0], x, atol=1e-6 * np.ptp(x))
    np.testing.assert_allclose(fit.slopes[0], slope, atol=1e-6 * np.ptp(x))


def test_pure_noise_is_smoothed_to_few_degrees_of_freedom_and_clean_data_are_interpolated():
    rng = np.random.default_rng(4)
    n = 200
    ones = [np.ones((n, 1))]
    noisy = smooth_channels([np.ones(n - 1)], [rng.normal(size=(n, 1))], ones)[0]
    assert 3.9 < noisy.leverage[0].sum() < 12.0
    t = np.arange(n) * 0.1
    clean = smooth_channels([np.ones(n - 1)], [np.sin(t)[:, None]], ones)[0]
    np.testing.assert_allclose(clean.values[0], np.sin(t), atol=1e-6)
    np.testing.assert_allclose(clean.slopes[0][3:-3], 0.1 * np.cos(t)[3:-3], atol=1e-5)


def test_uneven_times_cost_little_accuracy():
    # Times drawn at random, at steps from 0.05 to 7 times the mean; the same number of samples.
    errors = {"even": [], "uneven": []}
    for seed in range(6):
        rng = np.random.default_rng(seed)
        drawn = np.maximum(rng.exponential(size=399), 0.05)
        for name, steps in (("even", np.ones(399)), ("uneven", drawn * 399 / drawn.sum())):
            t = np.concatenate([[0.0], np.cumsum(steps)])
            x = np.sin(0.1 * t) + 0.05 * rng.normal(size=400)
            (fit,) = smooth_channels([steps], [x[:, None]], [np.ones((400, 1))])
            errors[name].append(np.mean((fit.slopes[0] - 0.1 * np.cos(0.1 * t)) ** 2))
    assert np.mean(errors["uneven"]) < 2.0 * np.mean(errors["even"])


def test_smoothing_reduces_the_error_of_noisy_data():
    ratios = []
    t = np.arange(300) * 0.1
    for seed in range(10):
        noise = 0.1 * np.random.default_rng(seed).normal(size=300)
        data = [(np.sin(t) + noise)[:, None]]
        (fit,) = smooth_channels([np.ones(299)], data, [np.ones((300, 1))])
        ratios.append(np.std(fit.values[0] - np.sin(t)) / 0.1)
    assert np.mean(ratios) < 0.4
    assert max(ratios) < 0.6


@pytest.mark.parametrize("n", [3, 4, 5])
def test_a_run_of_few_points_is_fitted_with_fewer_derivatives(n):
    rng = np.random.default_rng(n)
    steps, x = [rng.uniform(0.5, 1.5, n - 1)], [rng.normal(size=n)]
    (fit,) = smooth_channels(steps, [x[0][:, None]], [np.ones((n, 1))])
    values, slopes, leverage, _ = dense_fit(
        steps, x, [np.ones(n)], fit.smoothness, order=min(3, n - 2)
    )
    tolerance = 1e-7 * max(1.0, fit.smoothness) ** 0.5
    np.testing.assert_allclose(fit.values[0], values[0], atol=tolerance)
    np.testing.assert_allclose(fit.slopes[0], slopes[0], atol=tolerance)
    np.testing.assert_allclose(fit.leverage[0], leverage[0], atol=tolerance)


@pytest.mark.parametrize("weight", [0.1, 1e-3, 1e-6])
def test_one_datum_of_little_weight_does_not_end_the_smoothing_of_the_others(weight):
    rng = np.random.default_rng(0)
    t = np.arange(150) * 0.1
    data = [(np.sin(t) + 0.1 * rng.normal(size=150))[:, None]]
    precision = np.ones((150, 1))
    precision[40] = 0.0
    (without,) = smooth_channels([np.ones(149)], data, [precision])
    precision[40] = weight
    (little,) = smooth_channels([np.ones(149)], data, [precision])
    assert without.leverage[0].sum() < 20.0
    assert little.leverage[0].sum() == pytest.approx(without.leverage[0].sum(), rel=0.2)


def test_steps_too_uneven_for_float64_are_an_error_or_still_give_every_run():
    steps = np.ones(30)
    steps[10], steps[20] = 1e8, 1e-8
    X, precision = [np.sin(np.arange(31.0))[:, None]], [np.ones((31, 1))]
    message = ""
    try:
        (fit,) = smooth_channels([steps], X, precision)
    except ValueError as error:
        message = str(error)
    assert "step" in message or [len(part) for part in fit.values] == [31]


def test_a_constant_state_stays_constant():
    for level in (0.0, 7.5, -1e6):
        (fit,) = smooth_channels([np.ones(19)], [np.full((20, 1), level)], [np.ones((20, 1))])
        np.testing.assert_allclose(fit.values[0], level, atol=1e-9 * max(1.0, abs(level)))
        np.testing.assert_allclose(fit.slopes[0], 0.0, atol=1e-9 * max(1.0, abs(level)))


def dense_slope_fit(steps, x, precision, slopes):
    """Best of the grid by GCV of: data rows, y' = slope rows, Taylor rows of order 5."""
    known = np.concatenate(precision)
    unit = np.median(known[known > 0])
    best = (np.inf, [], [])
    for governing in GOVERNING_GRID:
        values, derivatives, loss, freedom = [], [], 0.0, (known > 0).sum()
        for step, data, p, slope in zip(steps, x, precision, slopes, strict=True):
            n, root = len(data), np.sqrt(p / unit)
            taylor = np.sqrt(100.0 * governing) * taylor_rows(step, 5, decay=0.3)
            matrix = np.concatenate(
                [
                    root[:, None] * derivative_rows(n, 5, 0),
                    np.sqrt(governing) * derivative_rows(n, 5, 1),
                    taylor,
                ]
            )
            filled = np.where(p > 0, data, 0.0)
            target = np.concatenate([root * filled, np.sqrt(governing) * slope])
            right = np.zeros((len(matrix), n + 1))
            right[: 2 * n, 0] = target
            right[np.arange(n), 1 + np.arange(n)] = root
            y = np.linalg.lstsq(matrix, right, rcond=None)[0].reshape(n, 6, n + 1)
            values.append(y[:, 0, 0])
            derivatives.append(y[:, 1, 0])
            freedom = freedom - np.trace(y[:, 0, 1:])
            loss += (p / unit * (filled - values[-1]) ** 2).sum()
        score = (known > 0).sum() * loss / freedom**2
        if score < best[0]:
            best = (score, values, derivatives)
    return best


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("wrong", [0.0, 0.5])
def test_a_fit_to_given_slopes_is_that_of_the_dense_problem(seed, wrong):
    rng = np.random.default_rng(seed)
    steps, x, precision, slopes = [], [], [], []
    for n in (14, 11):
        step = rng.uniform(0.5, 1.5, n - 1)
        t = np.concatenate([[0.0], np.cumsum(step)])
        p = rng.uniform(0.5, 2.0, n)
        p[[2, 7]] = 0.0
        data = 5.0 + 3.0 * np.sin(0.4 * t) + 0.2 * rng.normal(size=n)
        steps.append(step)
        x.append(np.where(p > 0, data, np.nan))
        precision.append(p)
        slopes.append(1.2 * np.cos(0.4 * t) + wrong * rng.normal(size=n))
    values, derivatives = smooth_to_slopes(steps, x, precision, slopes)
    _, expected, expected_derivatives = dense_slope_fit(steps, x, precision, slopes)
    for run in range(2):
        np.testing.assert_allclose(values[run], expected[run], atol=2e-5)
        np.testing.assert_allclose(derivatives[run], expected_derivatives[run], atol=2e-5)


def test_right_slopes_leave_only_the_error_of_the_level():
    t = np.arange(200) * 0.1
    errors = []
    for seed in range(10):
        noise = 0.1 * np.random.default_rng(seed).normal(size=200)
        values, derivatives = smooth_to_slopes(
            [np.ones(199)], [np.sin(t) + noise], [np.ones(200)], [0.1 * np.cos(t)]
        )
        errors.append(np.sqrt(np.mean((values[0] - np.sin(t)) ** 2)))
        np.testing.assert_allclose(derivatives[0], 0.1 * np.cos(t), atol=0.01)
    # One free number from 200 data: 0.1 / sqrt(200) = 0.007.
    assert np.mean(errors) < 0.02


def test_wrong_slopes_do_not_pull_the_states_off_the_data():
    t = np.arange(200) * 0.1
    noise = 0.02 * np.random.default_rng(0).normal(size=200)
    values, _ = smooth_to_slopes(
        [np.ones(199)], [np.sin(t) + noise], [np.ones(200)], [np.zeros(200)]
    )
    assert np.sqrt(np.mean((values[0] - np.sin(t)) ** 2)) < 0.05


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), exponent=st.integers(-6, 6), offset=st.floats(-20.0, 20.0))
def test_the_fit_to_slopes_scales_and_shifts_with_the_data(seed, exponent, offset):
    rng = np.random.default_rng(seed)
    t, scale = np.arange(40) * 0.2, 10.0**exponent
    data, slope = np.sin(t) + 0.1 * rng.normal(size=40), 0.2 * np.cos(t)
    ones, steps = [np.ones(40)], [np.ones(39)]
    values, derivatives = smooth_to_slopes(steps, [data], ones, [slope])
    moved, steeper = smooth_to_slopes(steps, [scale * (data + offset)], ones, [scale * slope])
    np.testing.assert_allclose(moved[0] / scale, values[0] + offset, atol=1e-6)
    np.testing.assert_allclose(steeper[0] / scale, derivatives[0], atol=1e-6)


@pytest.mark.parametrize("samples", [60, 900])
def test_a_run_without_any_measurement_says_so_and_leaves_the_others_alone(samples):
    t = np.linspace(0.0, 6.0, samples)
    steps = np.full(samples - 1, 1.0)
    x = np.sin(t)[:, None] + 0.01 * np.random.default_rng(0).normal(size=(samples, 1))
    one = np.ones((samples, 1))
    (both,) = smooth_channels([steps, steps], [x, np.zeros_like(x)], [one, 0.0 * one])
    np.testing.assert_allclose(both.values[0], np.sin(t), atol=0.03)
    assert not both.leverage[1].any()
    assert np.isinf(both.variances[1]).all()
    assert np.isfinite(both.values[1]).all()
    slopes = np.cos(t) * 6.0 / (samples - 1)
    values, _ = smooth_to_slopes(
        [steps, steps], [x[:, 0], 0.0 * t], [one[:, 0], 0.0 * t], [slopes, slopes]
    )
    np.testing.assert_allclose(np.diff(values[1]), np.diff(np.sin(t)), atol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_a_short_or_absent_channel_lowers_no_order_but_its_own(count):
    rng = np.random.default_rng(5)
    lengths = 60, 40
    steps = [np.ones(n - 1) for n in lengths]
    times = [0.15 * np.arange(n) for n in lengths]
    X = [np.stack([np.sin(t), np.cos(t)], axis=1) for t in times]
    X = [x + 0.01 * rng.normal(size=x.shape) for x in X]
    precision = [np.ones_like(x) for x in X]
    precision[1][:, 1] = 0.0
    precision[1][7 : 7 + count, 1] = 1.0
    whole, part = smooth_channels(steps, X, precision)
    (alone,) = smooth_channels(steps, [x[:, :1] for x in X], [p[:, :1] for p in precision])
    (first,) = smooth_channels(steps[:1], [X[0][:, 1:]], [precision[0][:, 1:]])
    for run in range(2):
        np.testing.assert_allclose(whole.values[run], alone.values[run], atol=1e-12)
    # The channel's own long run is smoothed as it is without the short one.
    np.testing.assert_allclose(part.values[0], np.cos(times[0]), atol=0.02)
    assert abs(np.log10(part.smoothness / first.smoothness)) <= 1.0
    assert np.isfinite(part.values[1]).all()
    told = np.isfinite(part.variances[1]).all(axis=0)
    assert told.tolist() == [count > 0, count > 1, count > 3, False]
    if count == 1:
        np.testing.assert_allclose(part.values[1], X[1][7, 1], atol=1e-9)


def test_more_derivatives_are_told_where_a_higher_order_is_asked_for():
    t = np.arange(300) * 0.05
    data = [np.stack([np.sin(t), np.sin(t)], axis=1)]
    data[0] += 1e-3 * np.random.default_rng(0).normal(size=(300, 1))
    common, high = smooth_channels([np.ones(299)], data, [np.ones((300, 2))], [3, 5])
    assert [fit.derivatives[0].shape for fit in (common, high)] == [(300, 4), (300, 6)]
    inner = slice(30, -30)
    truth = -np.cos(t)[inner]
    errors = [
        np.abs(fit.derivatives[0][inner, 3] / 0.05**3 - truth).mean() for fit in (common, high)
    ]
    assert errors[1] < errors[0]
    assert errors[1] < 0.05
