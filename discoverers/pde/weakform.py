"""The regression's rows: candidate terms and rates under test functions, with their noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidates
from .denoising import ORDER, Denoised
from .differences import spatial_derivative
from .testfunctions import fourier_tests, spline_tests

__all__ = ["WeakRows", "weak_rows"]

Array = NDArray[np.float64]

PASS = 0.1
"""A test function is used if the smoother (as cross-validated) takes at most this share, roughly,
of a wave of its frequencies: beyond lies more noise than signal."""

REPLICAS = 4
FEW_REPLICAS = 2
MANY_ROWS = 20_000


@dataclass(frozen=True, eq=False)
class WeakRows:
    """One run under its test functions.

    Attributes
    ----------
    features : ndarray of shape (n, K)
        Candidate terms.
    rates : ndarray of shape (n, V)
        Time derivative of each state.
    feature_noise : ndarray of shape (replicas, n, K)
        What simulated measurement noise adds to the features.
    rate_noise : ndarray of shape (replicas, n, V)
        What the same noise adds to the rates.
    frequency, wavenumber : ndarray of shape (n,)
        Of the test functions, in radians per unit of time and space.
    uncertainty : ndarray of shape (V,)
        Standard deviation of a cell of each state.
    n_cells : int
        Measured cells of one state.
    """

    features: Array
    rates: Array
    feature_noise: Array
    rate_noise: Array
    frequency: Array
    wavenumber: Array
    uncertainty: Array
    n_cells: int


def weak_rows(denoised: Denoised, candidates: Candidates, random: np.random.Generator) -> WeakRows:
    """Integrate one run's terms and rates against test functions in time and space.

    Noise of the size found in the data is drawn and sent the same way: what it does to the rows is
    what the measurement noise did, in distribution, through smoothing, products and integration.

    Parameters
    ----------
    denoised : Denoised
    candidates : Candidates
    random : numpy.random.Generator

    Returns
    -------
    WeakRows
    """
    field, periodic = denoised.field, denoised.periodic
    spacing, n_space = field.spacing, len(field.x)
    step = float(denoised.t[1] - denoised.t[0])
    strengths = np.array([smoother.strengths for smoother in denoised.smoothers])
    highest = (PASS / strengths.min(axis=0)) ** (1.0 / (2 * ORDER))
    in_time = spline_tests(len(denoised.t), step, 1, min(float(highest[0]), np.pi / 2.0))
    family = fourier_tests if periodic else spline_tests
    in_space = family(n_space, spacing, max(candidates.order, 1), float(highest[1]))

    frequency, wavenumber = np.meshgrid(in_time.frequency, in_space.frequency, indexing="ij")
    taken = np.max(
        [a * frequency ** (2 * ORDER) + b * wavenumber ** (2 * ORDER) for a, b in strengths], axis=0
    )
    # At least a handful of the smoothest, for data that hold next to nothing.
    kept = taken <= max(PASS, float(np.sort(taken, axis=None)[min(7, taken.size - 1)]))

    def project(values: Array, order: int) -> Array:
        return (in_time.values[0] @ values @ in_space.values[order].T)[kept]

    def differentiate(values: Array, order: int) -> Array:
        return spatial_derivative(values, spacing, order, periodic)

    def rates(data: Array) -> Array:
        return np.stack(
            [
                (in_time.values[1] @ data[:, :, v] @ in_space.values[0].T)[kept]
                for v in range(data.shape[2])
            ],
            axis=1,
        )

    features = candidates.weak(denoised.data, denoised.states, differentiate, project)
    replicas = REPLICAS if len(features) < MANY_ROWS else FEW_REPLICAS
    feature_noise = np.empty((replicas, *features.shape))
    rate_noise = np.empty((replicas, len(features), field.X.shape[2]))
    for i in range(replicas):
        drawn = random.standard_normal(field.X.shape) * denoised.uncertainty
        data, states = denoised.prepare(drawn)
        feature_noise[i] = (
            candidates.weak(denoised.data + data, denoised.states + states, differentiate, project)
            - features
        )
        rate_noise[i] = rates(data)
    return WeakRows(
        features=features,
        rates=rates(denoised.data),
        feature_noise=feature_noise,
        rate_noise=rate_noise,
        frequency=frequency[kept] / step,
        wavenumber=wavenumber[kept] / spacing,
        uncertainty=denoised.uncertainty,
        n_cells=int(np.isfinite(field.X).all(axis=2).sum()),
    )
