"""The smoother, its noise estimate, gaps, and rings told from intervals."""

import numpy as np
import pytest

from discoverers import PDEDiscoverer
from discoverers.pde.denoising import (
    bounded_basis,
    denoise_field,
    fit_smoother,
    periodic_basis,
)
from discoverers.pde.fields import Field


@pytest.mark.parametrize("n", [31, 32])
def test_bases_are_orthonormal(n):
    for basis in (periodic_basis(n), bounded_basis(np.linspace(0.0, 1.0, n))):
        np.testing.assert_allclose(basis.functions.T @ basis.functions, np.eye(n), atol=1e-9)


def test_cubics_are_not_rough_at_uneven_times():
    points = np.sort(np.random.default_rng(0).uniform(0.0, 1.0, 40))
    basis = bounded_basis(points)
    power = (basis.functions.T @ np.vander(points, 4)) ** 2
    assert (basis.roughness @ power).max() < 1e-6


def test_noise_is_known_to_a_few_percent_and_mostly_removed(ring, closed):
    t, x, exact = ring
    X = closed.noisy(exact, 0.05)
    smoother = fit_smoother(X, bounded_basis(t), periodic_basis(len(x)))
    assert smoother.noise_std == pytest.approx(0.05 * exact.std(), rel=0.05)
    assert (smoother.smooth(X) - exact).std() < 0.3 * smoother.noise_std


def test_missing_cells_are_filled(ring, closed):
    t, x, exact = ring
    X = closed.noisy(exact, 0.02)
    X[np.random.default_rng(1).random(X.shape) < 0.3] = np.nan
    X[20] = np.nan
    smoother = fit_smoother(X, bounded_basis(t), periodic_basis(len(x)))
    assert smoother.noise_std == pytest.approx(0.02 * exact.std(), rel=0.1)
    filled = smoother.fill(X)
    gaps = np.isnan(X)
    assert np.abs(filled - exact)[gaps].mean() < 0.02 * exact.std()
    np.testing.assert_array_equal(filled[~gaps], X[~gaps])


def test_uneven_times_come_out_even(ring):
    t, x, exact = ring
    kept = np.sort(np.random.default_rng(0).choice(len(t), 45, replace=False))
    kept[[0, -1]] = 0, len(t) - 1
    found = denoise_field(Field(t[kept], x, exact[kept][:, :, None]), True)
    np.testing.assert_allclose(np.diff(found.t), found.t[1] - found.t[0])
    inside = np.abs(found.states[:, 30, 0] - np.interp(found.t, t, exact[:, 30]))
    assert inside.max() < 0.01 * np.ptp(exact)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
def test_rings_are_told_from_intervals(ring, closed, share):
    t, x, exact = ring
    X = closed.noisy(exact, share)[:, :, None]
    assert denoise_field(Field(t, x, X), None).periodic
    assert not denoise_field(Field(t, x[10:70], X[:, 10:70]), None).periodic


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_noise_does_not_hide_that_a_field_between_walls_is_no_ring(noise):
    """Where it is zero at both walls the field closes, and only its slope does not."""
    x, t = np.linspace(0.0, 1.0, 80), np.linspace(0.0, 2.0, 120)
    modes = ((1, 1.0), (2, 0.7), (3, 0.5))
    X = sum(
        a * np.exp(-0.1 * (k * np.pi) ** 2 * t[:, None]) * np.sin(k * np.pi * x) for k, a in modes
    )
    X = X + noise * X.std() * np.random.default_rng(0).normal(size=X.shape)
    model = PDEDiscoverer().fit(t, X, x=x)
    assert not model.periodic_
    comparison = model.equations_.compare(["0.1*u_xx"])
    assert comparison.exact, model.equations_
    assert comparison.max_coefficient_error < 0.002
