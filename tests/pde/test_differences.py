"""Derivatives and test functions against closed forms."""

import numpy as np
import pytest

from discoverers.pde.differences import derivative_matrix, spatial_derivative, stencil_weights
from discoverers.pde.testfunctions import fourier_tests, spline_tests


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_stencils_differentiate_polynomials_exactly(order):
    offsets = np.arange(-3.0, 5.0)
    for power in range(len(offsets)):
        exact = float(np.prod(np.arange(power, power - order, -1))) if power == order else 0.0
        assert stencil_weights(offsets, order) @ offsets**power == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_ring_derivatives_of_a_wave_are_exact(order):
    x = 2.0 * np.pi * np.arange(40) / 40
    exact = 3.0**order * np.sin(3.0 * x + order * np.pi / 2)
    found = spatial_derivative(np.sin(3.0 * x), x[1], order, periodic=True)
    np.testing.assert_allclose(found, exact, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_interval_derivatives_hold_up_to_the_ends(order):
    x = np.linspace(0.0, 2.0, 60)
    found = spatial_derivative(np.exp(x), x[1], order, periodic=False)
    np.testing.assert_allclose(found, np.exp(x), rtol=1e-5)


def test_difference_matrix_rows_of_constants_vanish():
    assert np.abs(derivative_matrix(30, 0.1, 2) @ np.ones(30)).max() < 1e-9


@pytest.mark.parametrize("family", [fourier_tests, spline_tests])
def test_noise_stays_white_under_test_functions(family):
    tests = family(80, 0.1, 3, 1.0)
    gram = tests.values[0] @ tests.values[0].T
    np.testing.assert_allclose(gram, np.eye(len(tests)), atol=1e-9)
    slopes = tests.values[1] @ tests.values[1].T
    np.testing.assert_allclose(slopes, np.diag((tests.frequency / 0.1) ** 2), atol=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_spline_test_functions_take_over_derivatives(order):
    n = 101
    x = np.linspace(0.0, 3.0, n)
    tests = spline_tests(n, x[1], 4, 0.5)
    # d/dx of exp is exp: no boundary terms, as the functions vanish there with their derivatives.
    moved = tests.values[order] @ np.exp(x)
    np.testing.assert_allclose(moved, tests.values[0] @ np.exp(x), rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_fourier_test_functions_take_over_derivatives(order):
    x = 2.0 * np.pi * np.arange(64) / 64
    wave = np.exp(np.sin(x))
    tests = fourier_tests(64, x[1], 3, 1.5)
    slope = spatial_derivative(wave, x[1], order, periodic=True)
    np.testing.assert_allclose(tests.values[order] @ wave, tests.values[0] @ slope, atol=1e-9)
