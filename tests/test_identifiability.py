"""Terms that the data do not tell apart, and those that they do."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import chdtri

from discoverers import SMNNDiscoverer
from discoverers.constraints import Required
from discoverers.exceptions import IdentifiabilityWarning
from discoverers.identifiability import entangled_terms


def problem(correlation, size, seed=0):
    """Regression on two columns, correlated, and one of its own; true coefficients 1, 1 and 1."""
    rng = np.random.default_rng(seed)
    shared, own, third = rng.normal(size=(3, 400))
    columns = np.stack(
        [shared, correlation * shared + np.sqrt(1 - correlation**2) * own, third], axis=1
    )
    information = columns.T @ columns / size**2
    y = columns.sum(axis=1) + size * rng.normal(size=400)
    coef = np.linalg.lstsq(columns, y, rcond=None)[0]
    return coef, information


def test_the_verdict_is_the_wald_test_of_textbooks():
    for seed in range(20):
        coef, information = problem(0.9999, 1.0, seed)
        covariance = np.linalg.inv(information)
        std = np.sqrt(np.diagonal(covariance))
        unknown = np.abs(coef) < 3.29 * std
        correlation = covariance / np.outer(std, std) - np.eye(3)
        unknown &= (np.abs(correlation[:, unknown]) > 0.9).any(axis=1)
        part = covariance[np.ix_(unknown, unknown)]
        together = coef[unknown] @ np.linalg.solve(part, coef[unknown]) if unknown.any() else 0.0
        entangled = unknown.sum() > 1 and together > chdtri(unknown.sum(), 0.001)
        expected = unknown if entangled else np.zeros(3, dtype=bool)
        assert entangled_terms(coef, information).tolist() == expected.tolist()


def test_collinear_terms_are_entangled_and_only_they():
    coef, information = problem(1.0 - 1e-9, 1.0)
    assert entangled_terms(coef, information).tolist() == [True, True, False]
    exactly, singular = problem(1.0, 1.0)
    assert entangled_terms(exactly, singular).tolist() == [True, True, False]
    assert not entangled_terms(*problem(0.9, 1.0)).any()


def test_terms_that_are_merely_not_needed_are_not_entangled():
    assert not entangled_terms(np.array([0.5, -0.7, 9.0]), np.eye(3)).any()
    assert not entangled_terms(np.array([0.5]), np.eye(1)).any()
    weak = np.array([3.0, -3.0, 3.0])  # each for itself, and certain only all together
    assert not entangled_terms(weak, np.eye(3)).any()


def shaken(frequencies, seed=0):
    """A sprung mass under a force, its free motion over and gone, 1 % noise."""
    t = np.linspace(0.0, 30.0, 400)
    force = sum(np.cos(w * t) for w in frequencies)
    position = sum((np.exp(1j * w * t) / (4.0 - w**2 + 0.3j * w)).real for w in frequencies)
    noise = 0.01 * position.std() * np.random.default_rng(seed).normal(size=len(t))
    return t, pd.DataFrame({"x": position + noise}), pd.DataFrame({"F": force})


LAW = [Required("x'", term) for term in ("x", "x'", "F")]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_record_at_one_frequency_does_not_tell_stiffness_from_force(seed):
    t, X, u = shaken([1.2], seed)
    model = SMNNDiscoverer("poly1", order=2, constraints=LAW, input_interpolation="cubic")
    with pytest.warns(IdentifiabilityWarning, match="combination of .*another initial state, for"):
        model.fit(t, X, u=u)
    assert not model.identifiable_
    assert ("x", "x") in model.entangled_
    assert ("x", "F") in model.entangled_


def test_a_record_at_two_frequencies_does():
    t, X, u = shaken([1.2, 2.3])
    model = SMNNDiscoverer("poly1", order=2, constraints=LAW, input_interpolation="cubic")
    with warnings.catch_warnings():
        warnings.simplefilter("error", IdentifiabilityWarning)
        model.fit(t, X, u=u)
    assert model.identifiable_
    assert model.entangled_ == ()
    x, v, F = model.coef_[0, [model.terms_.index(name) for name in ("x", "x'", "F")]]
    assert (x, v, F) == pytest.approx((-4.0, -0.3, 1.0), rel=0.05)
