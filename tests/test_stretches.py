"""Long records: hyperparameters from stretches, everything else from all samples."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discoverers import SMNNDiscoverer, refinement, stretches
from discoverers.datasets import generate, lotka_volterra
from discoverers.denoising import denoise
from discoverers.integration import MechanisticIntegral
from discoverers.libraries import PolynomialLibrary
from discoverers.refinement import refine
from discoverers.regression import allow_for_truncation
from discoverers.selection import select_terms
from discoverers.slope_smoothing import smooth_to_slopes
from discoverers.smoothing import smooth_channels
from discoverers.stretches import (
    between_gaps,
    spread_stretches,
    trial_share,
    trial_stretches,
)
from discoverers.trajectories import as_trajectories


@pytest.fixture
def short_trials(monkeypatch):
    """Records of a thousand samples count as long."""
    monkeypatch.setattr(stretches, "TRIAL_SAMPLES", 450)
    monkeypatch.setattr(stretches, "TRIAL_STRETCH", 150)


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=6),
    length=st.integers(1, 50),
    most=st.integers(1, 2000),
)
def test_stretches_are_contiguous_apart_and_no_more_than_asked_for(lengths, length, most):
    found = spread_stretches(lengths, length, most)
    read = [(run, row) for run, rows in found for row in range(*rows.indices(lengths[run]))]
    assert len(set(read)) == len(read)
    assert read == sorted(read)
    for run, rows in found:
        assert rows.stop - rows.start == min(length, lengths[run])
    assert len(found) == 1 or len(read) <= most + length * len(found) * 0.5
    if len(found) > 1:
        assert found[0] == (0, slice(0, min(length, lengths[0])))
        assert found[-1][0] == len(lengths) - 1


@pytest.mark.usefixtures("short_trials")
def test_trials_are_for_long_records_and_must_see_every_state():
    assert trial_share(900) == 1.0
    assert trial_share(1800) == pytest.approx(0.25)
    everywhere = np.ones((2000, 2))
    assert trial_stretches([everywhere[:900]]) == []
    found = trial_stretches([everywhere])
    assert [rows.stop - rows.start for _, rows in found] == [150, 150, 150]
    # A state that was measured only where no stretch lies is not settled by them.
    seldom = everywhere.copy()
    for _, rows in found:
        seldom[rows, 1] = 0.0
    assert trial_stretches([seldom]) == []


def noisy_waves(n=1500):
    rng = np.random.default_rng(0)
    t = np.arange(n)
    X = np.column_stack([np.sin(0.2 * t), np.cos(0.05 * t)])
    return np.ones(n - 1), X + [0.03, 0.2] * rng.standard_normal(X.shape)


def test_a_long_record_is_smoothed_as_a_whole_with_a_weight_from_stretches(monkeypatch):
    steps, X = noisy_waves()
    precision = np.ones(X.shape)
    whole = smooth_channels([steps], [X], [precision])
    monkeypatch.setattr(stretches, "TRIAL_SAMPLES", 450)
    monkeypatch.setattr(stretches, "TRIAL_STRETCH", 150)
    tried = smooth_channels([steps], [X], [precision])
    for one, other in zip(tried, whole, strict=True):
        assert one.values[0].shape == (1500,)
        assert abs(np.log10(one.smoothness / other.smoothness)) < 0.8
        np.testing.assert_allclose(one.leverage[0].sum(), other.leverage[0].sum(), rtol=0.35)
        if one.smoothness == other.smoothness:
            np.testing.assert_array_equal(one.values[0], other.values[0])


def test_a_long_fit_to_slopes_reads_all_samples(monkeypatch):
    steps, X = noisy_waves()
    slopes = 0.2 * np.cos(0.2 * np.arange(1500))
    problem = [steps], [X[:, 0]], [np.ones(1500)], [slopes]
    (whole,), (rates,) = smooth_to_slopes(*problem)
    monkeypatch.setattr(stretches, "TRIAL_SAMPLES", 450)
    monkeypatch.setattr(stretches, "TRIAL_STRETCH", 150)
    (tried,), (tried_rates,) = smooth_to_slopes(*problem)
    clean = np.sin(0.2 * np.arange(1500))
    assert np.abs(tried - clean).max() < 0.03
    np.testing.assert_allclose(tried, whole, atol=0.01)
    np.testing.assert_allclose(tried_rates, rates, atol=0.01)


@pytest.fixture(scope="module")
def measured():
    record = generate(lotka_volterra(), 1500, noise=0.02, seed=3)
    trajectories = as_trajectories(record.t, record.X)
    library = PolynomialLibrary(2).bind(trajectories.state_names, ())
    return trajectories, denoise(trajectories), library


def selected(measured):
    trajectories, denoised, library = measured
    return select_terms(
        trajectories,
        denoised,
        library,
        MechanisticIntegral(),
        window=30,
        gamma=1.0,
        max_terms=None,
    )


def test_regression_reads_all_samples_once_its_drift_is_chosen(measured, monkeypatch):
    whole = selected(measured)
    monkeypatch.setattr(stretches, "TRIAL_SAMPLES", 450)
    monkeypatch.setattr(stretches, "TRIAL_STRETCH", 150)
    tried = selected(measured)
    assert tried.regression.thinned().windows[0].index.shape[0] == 15
    for one, other in zip(tried.fits, whole.fits, strict=True):
        assert one.normal.n_rows == other.normal.n_rows
        assert one.search.best == other.search.best
        np.testing.assert_allclose(one.coef, other.coef, atol=3.0 * other.coef_std.max())
        assert one.chi2 == pytest.approx(other.chi2, rel=0.01)


def test_truncation_is_judged_alike_on_stretches(measured, monkeypatch):
    _, denoised, _ = measured
    exact = replace(denoised, precision=tuple(1e24 * part for part in denoised.precision))
    whole = allow_for_truncation(exact, MechanisticIntegral(), 30).precision[0]
    monkeypatch.setattr(stretches, "TRIAL_SAMPLES", 450)
    monkeypatch.setattr(stretches, "TRIAL_STRETCH", 150)
    tried = allow_for_truncation(exact, MechanisticIntegral(), 30).precision[0]
    assert (tried < 0.1 * exact.precision[0]).all()
    # Ends of the run, where the integral is worst, count for more among few stretches.
    assert (np.abs(np.log10(tried / whole)) < 0.6).all()


def test_a_long_record_is_fitted_alike_from_near_and_from_afar(measured, monkeypatch):
    selection = selected(measured)
    monkeypatch.setattr(refinement, "SEARCH_NODES", 400)
    monkeypatch.setattr(refinement, "BLOCK", 100)
    near = refine(selection, None, known_noise=False)
    levels = []
    fit = refinement.JointProblem.fit

    def followed(problem, coef, states, asked):
        levels.append((problem.n_nodes, tuple(asked)))
        return fit(problem, coef, states, asked)

    monkeypatch.setattr(refinement.JointProblem, "fit", followed)
    monkeypatch.setattr(refinement, "NO_WORSE", 0.0)
    afar = refine(selection, None, known_noise=False)
    assert any(n == 1500 and len(asked) > 2 for n, asked in levels)
    np.testing.assert_allclose(near.coef, afar.coef, atol=0.02 * near.coef_std.max())
    np.testing.assert_allclose(near.coef_std, afar.coef_std, rtol=1e-2)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    gap=st.floats(11.0, 1e6),
)
def test_pieces_between_gaps_are_all_rows_in_order(lengths, gap):
    parts = [np.ones(length - 1) for length in lengths]
    steps = np.concatenate([[gap, *part] for part in parts])[1:]
    pieces = between_gaps(steps)
    assert np.concatenate([np.r_[piece] for piece in pieces]).tolist() == list(range(sum(lengths)))
    if min(lengths) >= 8:
        assert [piece.stop - piece.start for piece in pieces] == lengths
    assert len(pieces) == 1 or min(piece.stop - piece.start for piece in pieces) >= 8


def test_rows_left_out_lead_to_the_same_law_as_rows_without_values():
    record = generate(lotka_volterra(), 300, noise=0.01, seed=0).to_frame()
    gap = np.s_[80:180]
    t, X = record["t"].to_numpy(), record[["x", "y"]].to_numpy()
    empty = X.copy()
    empty[gap] = np.nan
    out = SMNNDiscoverer("poly2").fit(np.delete(t, gap), np.delete(X, gap, axis=0))
    missing = SMNNDiscoverer("poly2").fit(t, empty)
    assert ((out.coef_ != 0) == (missing.coef_ != 0)).all()
    np.testing.assert_allclose(out.coef_, missing.coef_, rtol=0.02)
    assert (np.abs(out.chi2_ - 1.0) < 0.4).all()
