"""What rough inputs do to a chain at once, so that only the smooth rest has to be guessed.

Under a random force that jumps from sample to sample the highest rates jump with it, and a smoother
takes them for noise. But what a force adds to the rates is a multiple of the force itself, and what
that adds to the states is known by integration, up to the multiples.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial

import numpy as np
from numpy.typing import NDArray

from discoverers.shooting import LinearObservation, Record

from .model import Chain

__all__ = ["input_gains", "input_responses", "seen_responses"]

Array = NDArray[np.float64]

BOOLE = np.array([7.0, 32.0, 12.0, 32.0, 7.0]) / 90.0
"""Weights of values at the quarters of a step in its integral."""


def input_responses(chain: Chain, record: Record) -> tuple[Array, Array]:
    """States and rates, from rest, of chains whose highest rate is one of the inputs.

    Parameters
    ----------
    chain : Chain
    record : Record

    Returns
    -------
    X, F : ndarray of shape (n, n_s, n_dof m)
        One case for each chain and each input.
    """
    n, m, order = len(record), record.u.shape[1], chain.order
    h, stages = np.diff(record.t)[:, None], record.stages(2)
    left = h[:, :, None] * (1.0 - np.linspace(0.0, 1.0, 5))[None, :, None]
    states = np.zeros((n, order, m))
    for k in range(order - 1, -1, -1):
        power = order - 1 - k
        kernel = left**power / factorial(power) * BOOLE[None, :, None]
        gained = h * (kernel * stages).sum(axis=1)
        for above in range(k + 1, order):
            gained += h ** (above - k) / factorial(above - k) * states[:-1, above]
        states[1:, k] = np.cumsum(gained, axis=0)
    rates = np.concatenate([states[:, 1:], record.u[:, None]], axis=1)
    X = np.zeros((n, order * chain.n_dof, m * chain.n_dof))
    F = np.zeros_like(X)
    for dof in range(chain.n_dof):
        own, cases = slice(dof * order, (dof + 1) * order), slice(dof * m, (dof + 1) * m)
        X[:, own, cases], F[:, own, cases] = states, rates
    return X, F


def seen_responses(observation: LinearObservation, X: Array, F: Array) -> Array:
    """What channels see of `input_responses`, (n, C, cases)."""
    return np.einsum("cs,nsk->nck", observation.states, X) + np.einsum(
        "cs,nsk->nck", observation.rates, F
    )


def input_gains(channels: Sequence[Array], seen: Sequence[Array]) -> Array:
    """How much of each response the channels hold: least squares of steps between samples.

    The rest is smooth and hardly steps.

    Parameters
    ----------
    channels : sequence of ndarray of shape (n, C)
        One for each run, NaN where not measured.
    seen : sequence of ndarray of shape (n, C, cases)

    Returns
    -------
    ndarray of shape (cases,)
    """
    steps = np.concatenate([np.diff(part, axis=0) for part in channels])
    columns = np.concatenate([np.diff(part, axis=0) for part in seen])
    rows, right = [], []
    for channel in range(steps.shape[1]):
        known = np.isfinite(steps[:, channel])
        size = float(np.sqrt(np.mean(steps[known, channel] ** 2))) if known.any() else 0.0
        if size > 0.0:
            rows.append(columns[known, channel] / size)
            right.append(steps[known, channel] / size)
    if not rows:
        return np.zeros(columns.shape[2])
    return np.asarray(np.linalg.lstsq(np.concatenate(rows), np.concatenate(right), rcond=1e-8)[0])
