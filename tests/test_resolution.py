"""Laws that no sample can tell are refused, and too few samples are said to be too few."""

import warnings

import numpy as np
import pytest
from scipy.linalg import expm

from discoverers import IdentifiabilityWarning, SMNNDiscoverer
from discoverers.flow import Record
from discoverers.libraries import resolve_library
from discoverers.resolution import Resolution, step_growth


def linear_record(step):
    t = step * np.arange(40)
    x = np.column_stack([np.cos(t), np.sin(t)])
    return Record(np.diff(t), x, np.ones_like(x), np.empty((40, 0)), t)


def exact_flow(coef, y, record):
    """Of x' = A x, with A the coefficients of the two states in the library 1, x, y."""
    return y[:-1] @ expm(record.steps[0] * coef[:, 1:]).T


@pytest.mark.parametrize("rate", [0.1, 3.0, 1000.0])
def test_growth_over_a_step_is_that_of_the_matrix_exponential(rate):
    record = linear_record(0.2)
    coef = np.array([[0.0, 0.0, rate], [0.0, -0.1, 0.0]])
    spread = np.array([1.0, 2.0])
    expected = np.abs(expm(0.2 * coef[:, 1:]) * spread / spread[:, None]).max()
    found = step_growth(exact_flow, coef, [record.x], [record], spread)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("rate", "exceeded"), [(3.0, False), (1000.0, True)])
def test_only_laws_that_no_sample_tells_exceed_the_resolution(rate, exceeded):
    record = linear_record(0.2)
    library = resolve_library("poly1").bind(("x", "y"))
    resolution = Resolution.of(library, np.arange(3), [record])
    coef = np.array([[0.0, 0.0, rate], [0.0, 0.0, 0.0]])
    assert resolution.exceeded(exact_flow, coef, [record.x], [record]) is exceeded


@pytest.mark.parametrize("seed", [1, 3])
def test_noise_alone_is_not_explained_by_a_wiggle(seed):
    t = np.linspace(0.0, 40.0, 300)
    noise = np.random.default_rng(seed).standard_normal((300, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)
        model = SMNNDiscoverer("poly2").fit(t, noise)
    assert (model.noise_std_ > 0.8).all()
    assert np.abs(model.coef_).max() < 1e3


def test_four_samples_settle_no_law():
    t = np.linspace(0.0, 0.4, 4)
    X = np.column_stack([10.0 * np.exp(-0.9 * t), 5.0 * np.exp(0.6 * t)])
    X += 0.02 * np.random.default_rng(0).standard_normal(X.shape)
    with pytest.warns(IdentifiabilityWarning):
        model = SMNNDiscoverer("poly2").fit(t, X)
    assert not model.identifiable_
