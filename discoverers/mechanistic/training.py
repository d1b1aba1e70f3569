"""Gradient descent on a mechanistic network, in rounds that look ever closer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from discoverers.mechanistic.network import MechanisticNetwork
from discoverers.mechanistic.windows import Minibatch

__all__ = ["Progress", "Training", "loss_of", "train"]

Array = NDArray[np.float64]

DECAY = 0.3
"""Factor on the learning rate where the loss stalls."""

LOWEST = 1e-3
"""Share of the first learning rate at which a round ends."""

FLAT = 1e-4
"""Relative gain below which an epoch counts as stalled."""

ROUNDS = 4
WORTH = 1e-3
"""Relative gain that makes another round worth its time."""


class Progress:
    """Epochs that are left, over all rounds and cycles; tells the callbacks."""

    def __init__(self, ticks: Iterator[int]) -> None:
        self.ticks = ticks
        self.done = 0
        self.stopped = False

    def tick(self) -> bool:
        """Count one epoch; False if there are none left."""
        if self.stopped or next(self.ticks, None) is None:
            self.stopped = True
            return False
        self.done += 1
        return True


@dataclass(frozen=True)
class Training:
    """How one training went.

    Attributes
    ----------
    loss : float
        Misfit of data (and encoder) per measurement, at the end.
    epochs : int
    settled : bool
        Whether it ended by itself.
    """

    loss: float
    epochs: int
    settled: bool


def loss_of(network: MechanisticNetwork, batches: Sequence[Minibatch]) -> float:
    """Misfit of the data per measurement, in units of the noise: about 1 for a right law."""
    with torch.no_grad():
        total = sum(float(network.misfit(batch)[0]) for batch in batches)
    return total / count_of(batches)


def count_of(batches: Sequence[Minibatch]) -> int:
    """Measurements in the windows."""
    return sum(int((batch.precision > 0).sum()) for batch in batches)


def train(
    network: MechanisticNetwork,
    batches: Sequence[Minibatch],
    *,
    learning_rate: float,
    max_epochs: int,
    patience: int,
    generator: np.random.Generator,
    progress: Progress,
) -> Training:
    """Minimise the misfit over the active coefficients, and the encoder's weights if there is one.

    Parameters
    ----------
    network : MechanisticNetwork
        Changed in place; it ends at the best epoch.
    batches : sequence of Minibatch
    learning_rate : float
        Of Adam, in coordinates where the distance to the optimum is about 1.
    max_epochs : int
        Of all rounds together.
    patience : int
        Epochs without gain after which the learning rate falls.
    generator : Generator
        Shuffles the minibatches.
    progress : Progress
    """
    if not len(network.point) and network.encoder is None:
        # No term is left, as of data at rest: there is nothing to learn.
        return Training(loss_of(network, batches), 0, True)
    began, left = progress.done, max_epochs
    loss, settled = np.inf, False
    for _ in range(ROUNDS):
        before = progress.done
        found, settled = _round(
            network, batches, learning_rate, left, patience, generator, progress
        )
        left -= progress.done - before
        done = loss - found < WORTH * found
        loss = min(loss, found)
        if done or left <= 0 or progress.stopped:
            break
    return Training(loss, progress.done - began, settled and not progress.stopped)


def _round(
    network: MechanisticNetwork,
    batches: Sequence[Minibatch],
    learning_rate: float,
    max_epochs: int,
    patience: int,
    generator: np.random.Generator,
    progress: Progress,
) -> tuple[float, bool]:
    """Adam from the present point; returns the best loss, and whether it stalled by itself."""
    unit = _zoom(network, batches)
    groups = [{"params": [network.point], "lr": learning_rate}]
    if network.encoder is not None:
        groups.append({"params": list(network.encoder.parameters()), "lr": 0.1 * learning_rate})
    optimizer = torch.optim.Adam(groups)
    n = count_of(batches)
    best, kept, stalled, share = np.inf, _snapshot(network), 0, 1.0
    for _ in range(max_epochs):
        if not progress.tick():
            break
        total = 0.0
        # Seen before the step: of one minibatch it is the loss of the snapshot itself.
        here = _snapshot(network)
        for index in generator.permutation(len(batches)):
            optimizer.zero_grad()
            data, gap = network.misfit(batches[index])
            objective = data + gap
            if not bool(torch.isfinite(objective)):
                total = np.inf
                break
            (objective / unit).backward()
            optimizer.step()
            total += float(objective.detach())
        if np.isfinite(total) and total / n < best * (1.0 - FLAT):
            best, kept, stalled = total / n, here, 0
        else:
            stalled += 1
        if not np.isfinite(total):
            network.load_state_dict(kept, strict=False)
            stalled = patience
        if stalled >= patience:
            share *= DECAY
            stalled = 0
            network.load_state_dict(kept, strict=False)
            for group in optimizer.param_groups:
                group["lr"] *= DECAY
        if share < LOWEST:
            network.load_state_dict(kept, strict=False)
            return best, True
    network.load_state_dict(kept, strict=False)
    return best, False


def _zoom(network: MechanisticNetwork, batches: Sequence[Minibatch]) -> float:
    """Move the coordinates so that the optimum is about one unit away; returns the loss's unit."""
    matrix, gradient = network.curvature(batches)
    scale = np.sqrt(np.maximum(np.diagonal(matrix), 1e-300))
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    values = np.maximum(values, 1e-10 * max(float(values[-1]), 1e-300)) if len(values) else values
    half = (vectors / np.sqrt(values)) / scale[:, None]
    # What the linearised problem still has to gain, plus the data's own noise.
    gain = float(((half.T @ gradient) ** 2).sum())
    unit = max(gain, float(len(gradient)), 1e-300)
    network.recentre(network.coef(), network.active, half * np.sqrt(unit))
    return unit


def _snapshot(network: MechanisticNetwork) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
