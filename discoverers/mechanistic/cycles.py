"""Thresholding cycles: train, prune what contributes or says nothing, and train again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from discoverers.mechanistic.network import MechanisticNetwork
from discoverers.mechanistic.training import Progress, count_of, loss_of, train
from discoverers.mechanistic.windows import Minibatch
from discoverers.sparse.criterion import deviance

__all__ = ["STILL", "Cycle", "Schedule", "run_cycles"]

Array = NDArray[np.float64]

STILL = 1e-250
"""Curvature below which a coefficient changes nothing that could be measured."""


@dataclass(frozen=True, eq=False)
class Cycle:
    """One training and what it led to.

    Attributes
    ----------
    coef : ndarray of shape (C, K)
    n_terms : int
    loss : float
        Misfit of the data per measurement, in units of the noise.
    score : float
        Deviance and charges of the terms: lower is better.
    pruned : int
        Terms dropped before this training.
    epochs : int
    seconds : float
    settled : bool
        Whether the training ended by itself.
    encoder : mapping of str to Tensor
        The encoder's weights; empty without one.
    """

    coef: Array
    n_terms: int
    loss: float
    score: float
    pruned: int
    epochs: int
    seconds: float
    settled: bool
    encoder: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Schedule:
    """How cycles go.

    Attributes
    ----------
    cycles : int
        Most trainings.
    max_epochs : int
        Of each.
    threshold : float
        Share of an equation's rate below which a term is dropped.
    learning_rate : float
    patience : int
    charges : ndarray of shape (K,)
        What a term has to lower the deviance by to stay.
    keep : ndarray of bool, shape (C, K)
        Terms that are never dropped.
    max_terms : int or None
        Most terms in an equation at the end.
    """

    cycles: int
    max_epochs: int
    threshold: float
    learning_rate: float
    patience: int
    charges: Array
    keep: NDArray[np.bool_]
    max_terms: int | None


def run_cycles(
    network: MechanisticNetwork,
    batches: Sequence[Minibatch],
    schedule: Schedule,
    generator: np.random.Generator,
    progress: Progress,
) -> list[Cycle]:
    """Train and prune until every term that is left pays; the network ends at the last cycle."""
    found: list[Cycle] = []
    pruned = 0
    n = count_of(batches)
    for _ in range(schedule.cycles):
        began = time.perf_counter()
        training = train(
            network,
            batches,
            learning_rate=schedule.learning_rate,
            max_epochs=schedule.max_epochs,
            patience=schedule.patience,
            generator=generator,
            progress=progress,
        )
        loss = loss_of(network, batches)
        paid = float((network.active * schedule.charges).sum())
        found.append(
            Cycle(
                coef=network.coef(),
                n_terms=int(np.count_nonzero(network.coef())),
                loss=loss,
                score=float(deviance(loss * n, n)) + paid,
                pruned=pruned,
                epochs=training.epochs,
                seconds=time.perf_counter() - began,
                settled=training.settled,
                encoder=_weights(network),
            )
        )
        drop = _weak(network, batches, schedule, n, loss)
        pruned = int(drop.sum())
        if progress.stopped or not pruned:
            break
        network.recentre(np.where(drop, 0.0, network.coef()), network.active & ~drop)
    return found


def _weights(network: MechanisticNetwork) -> dict[str, Any]:
    if network.encoder is None:
        return {}
    return {name: value.clone() for name, value in network.encoder.state_dict().items()}


def _weak(
    network: MechanisticNetwork,
    batches: Sequence[Minibatch],
    schedule: Schedule,
    n: int,
    loss: float,
) -> NDArray[np.bool_]:
    """Terms to drop next, (C, K): those below the threshold, else the least needed of each."""
    coef = network.coef()
    share = np.abs(coef) * _sizes(network, batches) / _rate_sizes(network, batches)[:, None]
    movable = network.active & ~schedule.keep
    drop = movable & (share < schedule.threshold)
    needless = _saliency(network, batches) / max(1.0, loss * n / max(n - coef.size, 1))
    crowded = np.zeros(len(coef), dtype=bool)
    if schedule.max_terms is not None:
        crowded = np.count_nonzero(coef, axis=1) > schedule.max_terms
    for v in range(len(coef)):
        if drop[v].any() or not movable[v].any():
            continue
        # The optimal brain surgeon's saliency: how much the loss rises without the term.
        excess = np.where(movable[v], needless[v] - schedule.charges, np.inf)
        least = int(np.argmin(excess))
        drop[v, least] = excess[least] < 0.0 or crowded[v]
    return drop


def _saliency(network: MechanisticNetwork, batches: Sequence[Minibatch]) -> Array:
    """Rise of the misfit without a term, all others refitted; second order. (C, K).

    A term that moves nothing, as behind a function that is flat there, raises nothing.
    """
    matrix, _ = network.curvature(batches)
    moves = np.diagonal(matrix) > STILL
    scale = np.sqrt(np.where(moves, np.diagonal(matrix), 1.0))
    inverse = np.linalg.pinv(matrix / np.outer(scale, scale), rcond=1e-14, hermitian=True)
    variance = np.maximum(np.diagonal(inverse), 1e-300) / scale**2
    variance[~moves] = np.inf
    out = np.zeros(network.active.shape)
    out[network.active] = network.coef()[network.active] ** 2 / variance
    return out


def _sizes(network: MechanisticNetwork, batches: Sequence[Minibatch]) -> Array:
    """Root mean square of every term over the windows, (K,)."""
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            theta = network.features(batch, network.states(batch))
            total = total + (theta**2).sum(dim=(0, 1)).numpy()
            count += theta.shape[0] * theta.shape[1]
    return np.sqrt(np.asarray(total) / count)


def _rate_sizes(network: MechanisticNetwork, batches: Sequence[Minibatch]) -> Array:
    """Root mean square of the sum of terms of every equation, (C,)."""
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            inner = network.features(batch, network.states(batch)) @ network.coefficients().T
            total = total + (inner**2).sum(dim=(0, 1)).numpy()
            count += inner.shape[0] * inner.shape[1]
    return np.sqrt(np.maximum(np.asarray(total) / count, 1e-300))
