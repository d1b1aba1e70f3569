"""Stage 1 as a whole: what each datum is worth, and how that moves with the user's knowledge."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from discoverers.denoising import denoise
from discoverers.smoothing import smooth_channels
from discoverers.trajectories import as_trajectories

SIGMA = np.array([0.1, 0.02])


def signal(t):
    return np.stack([2.0 + np.sin(t), np.cos(0.7 * t) - 0.5], axis=1)


def measured(seed=0, n=150, step=0.1, missing=0.0, uneven=False):
    rng = np.random.default_rng(seed)
    steps = step * (rng.uniform(0.5, 1.5, n - 1) if uneven else np.ones(n - 1))
    t = np.concatenate([[0.0], np.cumsum(steps)])
    X = signal(t) + SIGMA * rng.normal(size=(n, 2))
    gone = rng.random(X.shape) < missing
    gone[[0, -1]] = False
    return t, np.where(gone, np.nan, X)


def test_known_noise_gives_every_datum_that_precision():
    t, X = measured(missing=0.2)
    denoised = denoise(as_trajectories(t, X), SIGMA)
    np.testing.assert_allclose(denoised.noise_std, SIGMA)
    spread = np.nanstd(X, axis=0)
    for v in range(2):
        seen = ~np.isnan(X[:, v])
        # The discrepancy, 1e-4 of the amplitude, is all that is added.
        expected = 1.0 / (SIGMA[v] ** 2 + (1e-4 * spread[v]) ** 2)
        np.testing.assert_allclose(denoised.precision[0][seen, v], expected, rtol=1e-4)
        np.testing.assert_array_equal(denoised.precision[0][~seen, v], 0.0)


def test_noise_known_to_be_nil_leaves_the_discrepancy():
    t = np.arange(200) * 0.1
    denoised = denoise(as_trajectories(t, signal(t)), np.zeros(2))
    np.testing.assert_array_equal(denoised.noise_std, 0.0)
    expected = 1.0 / (1e-4 * signal(t).std(axis=0)) ** 2
    np.testing.assert_allclose(denoised.precision[0], np.tile(expected, (200, 1)), rtol=1e-4)
    np.testing.assert_allclose(denoised.states[0], signal(t), atol=1e-5)


def test_noise_is_recovered_when_it_is_not_known():
    found = np.array(
        [denoise(as_trajectories(*measured(seed, n=300))).noise_std for seed in range(12)]
    )
    np.testing.assert_allclose(found.mean(axis=0), SIGMA, rtol=0.06)
    np.testing.assert_allclose(found, np.tile(SIGMA, (12, 1)), rtol=0.25)


def test_states_and_slopes_are_nearer_to_the_truth_than_the_data():
    errors = []
    for seed in range(8):
        t, X = measured(seed, n=300)
        denoised = denoise(as_trajectories(t, X))
        errors.append(np.sqrt(np.mean((denoised.states[0] - signal(t)) ** 2, axis=0)) / SIGMA)
        slopes = denoised.slopes[0][5:-5] / denoised.time_scale
        truth = np.stack([np.cos(t), -0.7 * np.sin(0.7 * t)], axis=1)[5:-5]
        assert np.sqrt(np.mean((slopes - truth) ** 2)) < 0.1
    assert np.mean(errors) < 0.4


def test_missing_data_are_finite_weightless_and_filled_in():
    t, X = measured(3, n=250, missing=0.4)
    denoised = denoise(as_trajectories(t, X))
    gone = np.isnan(X)
    assert np.all(np.isfinite(denoised.data[0]))
    np.testing.assert_array_equal(denoised.precision[0] == 0.0, gone)
    np.testing.assert_array_equal(denoised.data[0][~gone], X[~gone])
    error = (denoised.states[0] - signal(t))[gone] / np.tile(SIGMA, (250, 1))[gone]
    assert np.sqrt(np.mean(error**2)) < 1.0


def test_a_known_start_replaces_the_first_datum_and_is_met():
    t, X = measured(4)
    x0 = np.array([signal(t)[0, 0], np.nan])
    denoised = denoise(as_trajectories(t, X, x0=x0))
    free = denoise(as_trajectories(t, X))
    assert denoised.data[0][0, 0] == x0[0]
    assert denoised.data[0][0, 1] == X[0, 1]
    assert denoised.states[0][0, 0] == pytest.approx(x0[0], abs=1e-3)
    # Exact but for the discrepancy of 1e-4 of the amplitude.
    assert denoised.precision[0][0, 0] == pytest.approx(
        1.0 / (1e-4 * np.std(denoised.states[0][:, 0])) ** 2, rel=0.05
    )
    np.testing.assert_allclose(denoised.states[0][:, 1], free.states[0][:, 1], atol=1e-12)
    assert denoised.noise_std[0] == pytest.approx(free.noise_std[0], rel=0.2)


def test_a_known_start_serves_where_the_first_datum_is_missing():
    t, X = measured(5)
    X[0, 0] = np.nan
    denoised = denoise(as_trajectories(t, X, x0=[signal(t)[0, 0], np.nan]))
    assert denoised.states[0][0, 0] == pytest.approx(signal(t)[0, 0], abs=1e-3)
    assert denoised.precision[0][0, 0] > 100.0 * denoised.precision[0][1, 0]


def test_a_wrong_start_is_obeyed_and_does_not_pass_for_noise():
    t, X = measured(6)
    denoised = denoise(as_trajectories(t, X, x0=signal(t)[0] + 5.0 * SIGMA))
    np.testing.assert_allclose(denoised.states[0][0], signal(t)[0] + 5.0 * SIGMA, atol=2e-3)
    assert np.all(denoised.noise_std < 1.5 * SIGMA)


def test_with_known_noise_sample_weights_multiply_the_precision():
    t, X = measured(7)
    weight = np.random.default_rng(0).uniform(0.2, 5.0, len(t))
    plain = denoise(as_trajectories(t, X), SIGMA)
    weighted = denoise(as_trajectories(t, X, sample_weight=weight), SIGMA)
    np.testing.assert_allclose(
        weighted.precision[0] / plain.precision[0], np.tile(weight[:, None], (1, 2)), rtol=1e-4
    )


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_uniform_sample_weights_change_nothing_about_estimated_precision(factor):
    ratios = []
    for seed in range(6):
        t, X = measured(seed)
        plain = denoise(as_trajectories(t, X))
        weighted = denoise(as_trajectories(t, X, sample_weight=np.full(len(t), factor)))
        np.testing.assert_allclose(weighted.states[0], plain.states[0], atol=1e-9)
        ratios.append(weighted.precision[0][5] / plain.precision[0][5])
    np.testing.assert_allclose(ratios, 1.0, rtol=1e-6)


def test_an_outlier_with_less_weight_has_less_influence():
    t, X = measured(8)
    spoiled, weight = X.copy(), np.ones(len(t))
    spoiled[40] += 20.0 * SIGMA
    weight[40] = 0.03
    plain = denoise(as_trajectories(t, X), SIGMA)
    downweighted = denoise(as_trajectories(t, spoiled, sample_weight=weight), SIGMA)
    trusted = denoise(as_trajectories(t, spoiled), SIGMA, keep_outliers=True)
    near = slice(35, 46)
    moved = np.abs(downweighted.states[0] - plain.states[0])[near] / SIGMA
    moved_more = np.abs(trusted.states[0] - plain.states[0])[near] / SIGMA
    assert moved.max() < 0.5
    assert moved_more.max() > 3.0 * moved.max()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), exponent=st.integers(-8, 8), origin=st.floats(-50.0, 50.0))
def test_the_unit_and_origin_of_time_do_not_matter(seed, exponent, origin):
    t, X = measured(seed, n=60, missing=0.1, uneven=True)
    plain = denoise(as_trajectories(t, X))
    scale = 10.0**exponent
    other = denoise(as_trajectories(scale * (t + origin), X))
    assert other.time_scale == pytest.approx(scale * plain.time_scale)
    np.testing.assert_allclose(other.steps[0], plain.steps[0], rtol=1e-9)
    np.testing.assert_allclose(other.states[0], plain.states[0], atol=1e-6)
    np.testing.assert_allclose(other.slopes[0], plain.slopes[0], atol=1e-6)
    np.testing.assert_allclose(other.noise_std, plain.noise_std, rtol=1e-5)
    np.testing.assert_allclose(other.precision[0], plain.precision[0], rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), exponent=st.integers(-8, 8))
def test_the_unit_of_a_state_scales_its_noise(seed, exponent):
    t, X = measured(seed, n=60, missing=0.1)
    scale = np.array([10.0**exponent, 1.0])
    plain, other = denoise(as_trajectories(t, X)), denoise(as_trajectories(t, X * scale))
    np.testing.assert_allclose(other.noise_std / scale, plain.noise_std, rtol=1e-6)
    np.testing.assert_allclose(other.states[0] / scale, plain.states[0], atol=1e-7)
    np.testing.assert_allclose(other.precision[0] * scale**2, plain.precision[0], rtol=1e-6)


def test_runs_share_noise_and_smoothness_and_keep_their_order():
    runs = [measured(seed, n=n, uneven=True) for seed, n in ((0, 80), (1, 50), (2, 120))]
    denoised = denoise(as_trajectories([t for t, _ in runs], [X for _, X in runs]))
    assert [len(part) for part in denoised.states] == [80, 50, 120]
    assert denoised.noise_std.shape == denoised.smoothness.shape == denoised.freedom.shape == (2,)
    np.testing.assert_allclose(denoised.noise_std, SIGMA, rtol=0.25)
    for i, (t, X) in enumerate(runs):
        np.testing.assert_array_equal(denoised.data[i], X)
        np.testing.assert_allclose(denoised.steps[i] * denoised.time_scale, np.diff(t))
    assert denoised.time_scale == pytest.approx(
        np.median(np.concatenate([np.diff(t) for t, _ in runs]))
    )


def test_constant_noise_needs_one_pass_and_proportional_noise_smooths_with_its_precisions():
    rng = np.random.default_rng(1)
    t = np.arange(500) * 0.05
    clean = np.exp(1.5 * np.sin(t))
    denoised = denoise(as_trajectories(t, clean * (1.0 + 0.05 * rng.normal(size=500))))
    ratio = denoised.precision[0].max() / denoised.precision[0].min()
    assert ratio > 20.0  # standard deviations differ twentyfold, at most tenfold is believed
    (again,) = smooth_channels(denoised.steps, denoised.data, denoised.precision)
    np.testing.assert_allclose(denoised.states[0][:, 0], again.values[0], rtol=1e-12)
    assert denoised.freedom[0] == pytest.approx(again.leverage[0].sum())


def predator_and_prey():
    t = np.linspace(0.0, 20.0, 400)
    solution = solve_ivp(
        lambda _, x: [1.1 * x[0] - 0.4 * x[0] * x[1], 0.1 * x[0] * x[1] - 0.4 * x[1]],
        (0.0, 20.0),
        [10.0, 5.0],
        t_eval=t,
        rtol=1e-9,
        atol=1e-9,
    )
    return t, solution.y.T


@pytest.mark.parametrize(
    "proportional",
    [
        False,
        True,
    ],
)
def test_errors_in_units_of_the_precision_have_unit_variance(proportional):
    t, clean = predator_and_prey()
    squares = []
    for seed in range(12):
        noise = 0.03 * np.random.default_rng(seed).normal(size=clean.shape)
        noise *= clean if proportional else clean.std(axis=0)
        denoised = denoise(as_trajectories(t, clean + noise))
        squares.append(np.mean(noise**2 * denoised.precision[0], axis=0))
    np.testing.assert_allclose(np.mean(squares, axis=0), 1.0, atol=0.06)


def test_the_same_data_give_the_same_answer_and_are_not_changed():
    t, X = measured(9, missing=0.1)
    kept = X.copy()
    trajectories = as_trajectories(t, X, x0=[2.0, -0.5])
    first, second = denoise(trajectories), denoise(trajectories)
    np.testing.assert_array_equal(X, kept)
    np.testing.assert_array_equal(trajectories[0].X, kept)
    np.testing.assert_array_equal(first.states[0], second.states[0])
    np.testing.assert_array_equal(first.precision[0], second.precision[0])


@pytest.mark.parametrize("every", [3, 7, 12])
def test_the_noise_of_a_state_that_is_measured_seldom_is_not_taken_for_signal(every):
    t = np.linspace(0.0, 20.0, 60 * every)
    ratios = []
    for seed in range(5):
        noise = 0.02 * np.random.default_rng(seed).normal(size=(len(t), 2))
        X = np.stack([np.sin(t), np.cos(t)], axis=1) + noise
        X[np.arange(len(t)) % every != 0, 1] = np.nan
        ratios.append(denoise(as_trajectories(t, X)).noise_std[1] / 0.02)
    assert 0.6 < np.median(ratios) < 1.5
    assert min(ratios) > 0.3
