"""Stage 2: planted terms survive screening, and errors of coefficients are what they claim."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from discoverers.denoising import Denoised, denoise
from discoverers.integration import MechanisticIntegral, integrate_stretches
from discoverers.libraries import CustomLibrary, PolynomialLibrary
from discoverers.mnn_dense import MNNIntegral
from discoverers.regression import (
    MAX_CANDIDATES,
    Regression,
    allow_for_truncation,
    build_regression,
    fit_equation,
    screen_candidates,
)
from discoverers.sparse import GradedCriterion
from discoverers.trajectories import as_trajectories
from discoverers.whitening import split_windows

NAMES = tuple("abcdef")


def prescribed_states(seed, n, step, product):
    """Five prescribed wiggles b..f, and a state a whose rate is 2 times a product of them."""
    rng = np.random.default_rng(seed)
    fine = np.arange((n - 1) * 50 + 1) * step / 50
    others = np.stack(
        [
            rng.uniform(0.5, 1.5)
            + np.sin(rng.uniform(0.5, 1.5) * fine + rng.uniform(0, 6))
            + 0.5 * np.sin(rng.uniform(1.0, 2.0) * fine + rng.uniform(0, 6))
            for _ in range(5)
        ],
        axis=1,
    )
    rate = 2.0 * product(others)
    areas = 0.5 * (rate[1:] + rate[:-1]) * step / 50
    a = 1.0 + np.concatenate([[0.0], np.cumsum(areas)])
    return fine[::50], np.column_stack([a, others])[::50]


def test_screening_keeps_the_planted_term_and_the_linear_ones():
    library = PolynomialLibrary(degree=5).bind(NAMES)
    assert len(library) > MAX_CANDIDATES
    names = list(library.names)
    planted = names.index("b*c*d")
    kept_counts = []
    for seed in range(5):
        t, X = prescribed_states(seed, 300, 0.1, lambda x: x[:, 0] * x[:, 1] * x[:, 2])
        rng = np.random.default_rng(seed)
        noise = 0.02 * X.std(axis=0) * rng.normal(size=X.shape)
        trajectories = as_trajectories(t, X + noise)
        denoised = denoise(trajectories)
        kept = screen_candidates(trajectories, denoised, library, 30)
        assert planted in kept
        assert set(np.flatnonzero(library.degrees <= 1)) <= set(kept)
        assert np.all(np.diff(kept) > 0)
        kept_counts.append(len(kept))
    assert max(kept_counts) <= MAX_CANDIDATES + len(NAMES) + 1
    assert min(kept_counts) < len(library)


def test_screening_ranks_as_correlations_within_windows_do():
    """The first choice of a state is the term with the largest window-centred correlation."""
    library = PolynomialLibrary(degree=5).bind(NAMES)
    t, X = prescribed_states(1, 200, 0.1, lambda x: x[:, 1] * x[:, 3])
    trajectories = as_trajectories(t, X)
    denoised = denoise(trajectories)
    kept = screen_candidates(trajectories, denoised, library, 30)
    theta = library.evaluate(denoised.states[0])
    integrated = np.concatenate(
        [np.zeros((1, len(library))), np.cumsum(0.5 * (theta[1:] + theta[:-1]) * 0.1, axis=0)]
    )
    for v in range(6):
        top, bottom = np.zeros(len(library)), np.zeros(len(library))
        for rows in np.array_split(np.arange(200), 7):
            columns = integrated[rows] - integrated[rows].mean(axis=0)
            target = X[rows, v] - X[rows, v].mean()
            top += target @ columns
            bottom += np.sum(columns**2, axis=0)
        assert np.argmax(top**2 / np.maximum(bottom, 1e-300)) in kept


def test_a_library_that_is_small_enough_is_kept_whole():
    library = PolynomialLibrary(degree=3).bind(NAMES)
    t, X = prescribed_states(0, 60, 0.1, lambda x: x[:, 0])
    trajectories = as_trajectories(t, X)
    kept = screen_candidates(trajectories, denoise(trajectories), library, 30)
    np.testing.assert_array_equal(kept, np.arange(len(library)))


@pytest.mark.parametrize("degree", [1, 5])
def test_a_term_that_is_not_finite_is_named(degree):
    library = PolynomialLibrary(degree=degree) + CustomLibrary(["log(b)"])
    bound = library.bind(NAMES)
    t, X = prescribed_states(0, 60, 0.1, lambda x: x[:, 0])
    X[:, 1] -= 10.0
    trajectories = as_trajectories(t, X)
    with pytest.raises(ValueError, match=r"log\(b\)"):
        screen_candidates(trajectories, denoise(trajectories), bound, 30)


def test_features_and_their_integrals_are_in_the_users_units():
    t = np.arange(200) * 0.05
    X = np.stack([np.sin(t), np.cos(t)], axis=1)
    trajectories = as_trajectories([t, t[:90]], [X, X[:90]])
    library = PolynomialLibrary(degree=2).bind(("x", "y"))
    kept = np.array([0, 1, 2, 4])  # 1, x, y, x*y
    assert [library.names[i] for i in kept] == ["1", "x", "y", "x*y"]
    regression = build_regression(
        trajectories, denoise(trajectories), library, kept, MechanisticIntegral(), 30
    )
    for run, n in enumerate((200, 90)):
        s = t[:n]
        features = np.stack([np.ones(n), np.sin(s), np.cos(s), np.sin(s) * np.cos(s)], axis=1)
        integrals = np.stack([s, 1.0 - np.cos(s), np.sin(s), 0.5 * np.sin(s) ** 2], axis=1)
        np.testing.assert_allclose(regression.features[run], features, atol=1e-5)
        np.testing.assert_allclose(regression.integrals[run], integrals, atol=1e-5)
        np.testing.assert_allclose(regression.elapsed[run], np.arange(n), atol=1e-9)
        assert regression.windows[run].valid.sum() == n


def known_problem(
    seed, coef, *, lengths=(150, 120), noise=0.1, window=30, drift=0.0, hidden=0.0, known=True
):
    """Known features, their exact integrals, and data that are one equation's solution + noise.

    `hidden` adds a fast oscillation to the rate that no feature explains; `drift` a random walk.
    """
    rng = np.random.default_rng(seed)
    size = len(coef)
    features, integrals, windows, elapsed, data, steps = [], [], [], [], [], []
    for n in lengths:
        t = np.arange(n) * 0.1
        frequency = np.sort(rng.uniform(0.7, 5.0, size))
        phase = rng.uniform(0.0, 6.0, size)
        features.append(np.cos(t[:, None] * frequency + phase))
        area = (np.sin(t[:, None] * frequency + phase) - np.sin(phase)) / frequency
        integrals.append(area)
        windows.append(split_windows([slice(0, n)], window))
        elapsed.append(np.arange(float(n)))
        x = area @ coef + rng.normal() + noise * rng.normal(size=n)
        x += hidden * np.sin(6.0 * t + rng.uniform(0.0, 6.0)) / 6.0
        x += np.sqrt(drift) * noise * np.cumsum(rng.normal(size=n))
        data.append(x[:, None])
        steps.append(np.ones(n - 1))
    denoised = Denoised(
        data=tuple(data),
        precision=tuple(np.full_like(x, noise**-2) for x in data),
        states=tuple(data),
        slopes=tuple(np.zeros_like(x) for x in data),
        steps=tuple(steps),
        time_scale=0.1,
        noise_std=np.array([noise]),
        discrepancy=np.zeros(np.shape(np.array([noise]))),
        smoothness=np.ones(1),
        freedom=np.ones(1),
    )
    regression = Regression(tuple(features), tuple(integrals), tuple(windows), tuple(elapsed))
    return regression, denoised


def criterion_for(size):
    return GradedCriterion.from_degrees(np.ones(size, dtype=np.int64), 1)


def test_coefficients_of_a_known_equation_are_recovered_and_intervals_cover():
    coef = np.array([1.0, 0.0, -0.7, 0.0, 1.5, 0.0])
    true = np.flatnonzero(coef)
    covered, exact, errors, chi2 = [], 0, [], []
    for seed in range(50):
        regression, denoised = known_problem(seed, coef)
        fit = fit_equation(regression, denoised, 0, np.arange(6), criterion_for(6), None)
        chi2.append(fit.chi2)
        if fit.search.best == tuple(true.tolist()):
            exact += 1
            away = fit.coef[true] - coef[true]
            covered += (np.abs(away) <= 1.96 * fit.coef_std[true]).tolist()
            errors += (away / fit.coef_std[true]).tolist()
    assert exact >= 45
    assert 0.88 <= np.mean(covered) <= 0.99
    assert abs(np.mean(errors)) < 0.25  # unbiased
    assert np.mean(chi2) == pytest.approx(1.0, abs=0.1)
    assert max(chi2) < 1.5


def test_intervals_cover_when_features_err_by_a_random_walk():
    """The drift is found, and standard errors that ignored it would be far too small."""
    coef = np.array([1.0, -0.7])
    covered, drifts, naive = [], [], []
    for seed in range(40):
        regression, denoised = known_problem(seed, coef, drift=1.0, lengths=(200,))
        fit = fit_equation(regression, denoised, 0, np.arange(2), criterion_for(2), None)
        drifts.append(fit.drift)
        if fit.search.best == (0, 1):
            covered += (np.abs(fit.coef - coef) <= 1.96 * fit.coef_std).tolist()
            plain = regression.normal_equations(denoised, 0, 0.0)
            error = np.abs(plain.solve((0, 1)) - coef)
            std = 1.1 * np.sqrt(np.diagonal(plain.covariance((0, 1))))
            naive += (error <= 1.96 * std).tolist()
    assert len(covered) >= 60
    assert 0.88 <= np.mean(covered) <= 1.0
    assert np.mean(naive) < 0.8
    assert 0.3 <= np.median(drifts) <= 3.2


def test_without_drift_in_the_data_none_is_found():
    coef = np.array([1.0, 0.0, -0.7])
    drifts = [
        fit_equation(*known_problem(seed, coef), 0, np.arange(3), criterion_for(3), None).drift
        for seed in range(30)
    ]
    assert np.median(drifts) <= 1e-3
    assert max(drifts) <= 0.1


def test_the_fit_is_that_of_its_own_normal_equations_and_support():
    coef = np.array([1.0, 0.0, -0.7, 2.0])
    regression, denoised = known_problem(3, coef)
    fit = fit_equation(regression, denoised, 0, np.arange(4), criterion_for(4), None)
    support = list(fit.search.best)
    # Without drift: weighted least squares around the means of the windows.
    plain = regression.normal_equations(denoised, 0, 0.0)
    rows, targets = [], []
    for area, data, windows in zip(
        regression.integrals, denoised.data, regression.windows, strict=True
    ):
        for index, valid in zip(windows.index, windows.valid, strict=True):
            part = index[valid]
            rows.append(area[part] - area[part].mean(axis=0))
            targets.append(data[part, 0] - data[part, 0].mean())
    columns, target = np.concatenate(rows) / 0.1, np.concatenate(targets) / 0.1
    expected = np.linalg.lstsq(columns[:, support], target, rcond=None)[0]
    np.testing.assert_allclose(plain.solve(support), expected, rtol=1e-7)
    assert plain.energy == pytest.approx(target @ target)
    normal = fit.normal
    assert normal.n_rows == plain.n_rows == 270 - 9
    np.testing.assert_allclose(fit.coef[list(support)], normal.solve(support))
    assert np.count_nonzero(fit.coef) == len(support)
    chi2 = normal.loss(support) / (normal.n_rows - len(support))
    assert fit.chi2 == pytest.approx(chi2)
    variance = 1.21 * max(1.0, chi2) * np.diagonal(normal.covariance(support))
    np.testing.assert_allclose(fit.coef_std[list(support)] ** 2, variance)


@pytest.mark.parametrize("hidden", [0.0, 10.0])
def test_chi2_tells_a_library_that_lacks_a_term_from_one_that_holds_the_truth(hidden):
    """The missing term swings by 17 noise standard deviations, within six to eleven samples."""
    coef = np.array([1.0, 0.0, -0.7, 2.0])
    chi2 = [
        fit_equation(
            *known_problem(seed, coef, hidden=hidden), 0, np.arange(4), criterion_for(4), None
        ).chi2
        for seed in range(10)
    ]
    if hidden:
        assert min(chi2) > 1.5
    else:
        assert max(chi2) < 1.5
        assert np.mean(chi2) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("missing", range(4))
def test_chi2_is_high_whichever_term_is_missing(missing):
    coef = np.array([1.0, 1.0, -0.7, 2.0])
    candidates = np.delete(np.arange(4), missing)
    for seed in range(5):
        regression, denoised = known_problem(seed, coef, noise=0.05)
        fit = fit_equation(regression, denoised, 0, candidates, criterion_for(4), None)
        assert fit.chi2 > 2.0


def test_only_allowed_candidates_and_sizes_are_used_and_dead_columns_are_left_out():
    coef = np.array([1.0, 0.8, -0.7, 2.0])
    regression, denoised = known_problem(5, coef)
    for part in regression.integrals:
        part[:, 3] = 0.0
    candidates = np.array([0, 2, 3])
    fit = fit_equation(regression, denoised, 0, candidates, criterion_for(4), None)
    assert fit.search.best == (0, 2)
    assert not any(3 in support or 1 in support for support in fit.search.losses)
    one = fit_equation(regression, denoised, 0, candidates, criterion_for(4), 1)
    assert len(one.search.best) == 1
    none = fit_equation(regression, denoised, 0, candidates[:0], criterion_for(4), None)
    assert none.search.best == ()
    assert not none.coef.any()
    assert not none.coef_std.any()


def test_missing_data_and_weights_enter_the_normal_equations():
    coef = np.array([1.0, -0.7])
    regression, denoised = known_problem(6, coef, lengths=(90,))
    precision = denoised.precision[0]
    precision[::3] = 0.0
    denoised.data[0][::3] = 1e6  # never read
    precision[1::3] *= 4.0
    normal = regression.normal_equations(denoised, 0, 0.0)
    rows, targets = [], []
    for part in np.array_split(np.arange(90), 3):
        weight = precision[part, 0]
        root = np.sqrt(weight)[:, None]
        columns = np.column_stack([regression.integrals[0][part], denoised.data[0][part]])
        white = root * (columns - weight @ columns / weight.sum())
        rows.append(white[:, :2])
        targets.append(white[:, 2])
    expected = np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets), rcond=None)[0]
    np.testing.assert_allclose(normal.solve([0, 1]), expected, rtol=1e-7)
    np.testing.assert_allclose(expected, coef, atol=0.1)
    assert normal.n_rows == 60 - 3


def test_drift_counts_in_units_of_the_noise_variance():
    coef = np.array([1.0, -0.7])
    regression, denoised = known_problem(7, coef, noise=0.1)
    scaled, other = known_problem(7, 1e3 * coef, noise=100.0)
    shift = [1e3 * a - b for a, b in zip(denoised.data, other.data, strict=True)]
    for part in shift:  # the random start of a run is not scaled; windows remove it
        assert np.ptp(part) < 1e-6
    a = regression.normal_equations(denoised, 0, 0.3)
    b = scaled.normal_equations(other, 0, 0.3)
    np.testing.assert_allclose(b.energy, a.energy, rtol=1e-8)
    np.testing.assert_allclose(b.gram * 1e6, a.gram, rtol=1e-8)


def test_the_whole_stage_finds_the_lotka_volterra_equations():
    t = np.linspace(0.0, 20.0, 400)
    X = solve_ivp(
        lambda _, x: [1.1 * x[0] - 0.4 * x[0] * x[1], 0.1 * x[0] * x[1] - 0.4 * x[1]],
        (0.0, 20.0),
        [10.0, 5.0],
        t_eval=t,
        rtol=1e-10,
        atol=1e-10,
    ).y.T
    X = X * (1.0 + 0.01 * np.random.default_rng(0).normal(size=X.shape))
    trajectories = as_trajectories(t, X)
    integral = MechanisticIntegral()
    denoised = allow_for_truncation(denoise(trajectories), integral, 30)
    library = PolynomialLibrary(degree=3).bind(("x", "y"))
    kept = screen_candidates(trajectories, denoised, library, 30)
    regression = build_regression(trajectories, denoised, library, kept, integral, 30)
    criterion = GradedCriterion.from_degrees(library.degrees, 2)
    names = list(library.names)
    for state, truth in enumerate(({"x": 1.1, "x*y": -0.4}, {"x*y": 0.1, "y": -0.4})):
        fit = fit_equation(regression, denoised, state, kept, criterion, None)
        found = {names[i]: fit.coef[i] for i in fit.search.best}
        assert found == pytest.approx(truth, rel=0.03)
        assert fit.chi2 < 1.5


def test_an_integral_in_segments_has_windows_that_do_not_cross_them():
    t = np.arange(100) * 0.1
    X = np.stack([np.sin(t), np.cos(t)], axis=1)
    trajectories = as_trajectories(t, X)
    library = PolynomialLibrary(degree=1).bind(("x", "y"))
    integral = MNNIntegral("dense", 40, 1e-10, 100)
    regression = build_regression(
        trajectories, denoise(trajectories), library, np.arange(3), integral, 15
    )
    stretches = integral.segments(100)
    assert len(stretches) == 3
    windows = regression.windows[0]
    for index, valid in zip(windows.index, windows.valid, strict=True):
        rows = index[valid]
        assert any(part.start <= rows[0] and rows[-1] < part.stop for part in stretches)
    expected = integrate_stretches(integral, stretches, np.ones(99), regression.features[0])
    np.testing.assert_allclose(regression.integrals[0], 0.1 * expected, atol=1e-9)
    for part in stretches:
        np.testing.assert_allclose(
            regression.integrals[0][part, 1], np.cos(t[part][0]) - np.cos(t[part]), atol=0.02
        )
