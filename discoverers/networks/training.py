"""Training: regression on guessed states, then windows that grow into whole records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from discoverers.shooting import Observation, Record

from .objective import Objective
from .structured_ode import StructuredODE
from .windows import cut

__all__ = ["Clock", "Schedule", "Trained", "count", "train"]

Array = NDArray[np.float64]
Iterations = Callable[[str, int], Iterable[int]]


def count(name: str, maximum: int) -> Iterable[int]:
    """Iterations that tell nobody."""
    return range(maximum)


@dataclass(frozen=True)
class Schedule:
    """How long each phase of a training is.

    Attributes
    ----------
    windows : tuple of int or None
        Intervals of the windows of one phase after the other; None is the whole record.
    adam, lbfgs : int
        Steps of Adam in the first windows, and iterations of L-BFGS in every window length; the
        last phase, on whole records, has three times as many.
    learning_rate : float
        Of Adam at its start; it falls to a hundredth along a cosine.
    substeps : int
        Runge-Kutta steps per sampling interval.
    gap_weight : float
        Weight of gaps between windows.
    smoothness : float
        Weight of the roughness of splines.
    """

    windows: tuple[int | None, ...] = (8, 32, None)
    adam: int = 200
    lbfgs: int = 100
    learning_rate: float = 5e-3
    substeps: int = 2
    gap_weight: float = 1.0
    smoothness: float = 1e-7

    def capped(self, max_epochs: int | None) -> Schedule:
        """With no phase longer than `max_epochs`."""
        if max_epochs is None:
            return self
        values = {**vars(self)}
        values["adam"] = min(self.adam, max_epochs)
        values["lbfgs"] = min(self.lbfgs, max_epochs)
        return Schedule(**values)


@dataclass
class Clock:
    """Time that is left, and the record of what happened."""

    budget: float | None = None
    started: float = field(default_factory=time.perf_counter)
    rows: list[tuple[str, int, int, float, float]] = field(default_factory=list)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    @property
    def over(self) -> bool:
        """Whether the budget is spent."""
        return self.budget is not None and self.elapsed > self.budget

    def note(self, phase: str, window: int, epoch: int, loss: float) -> None:
        """Keep one line of the history."""
        self.rows.append((phase, window, epoch, loss, self.elapsed))

    def history(self) -> pd.DataFrame:
        """One row per epoch."""
        return pd.DataFrame(self.rows, columns=["phase", "window", "epoch", "loss", "seconds"])


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training leaves besides the parameters: states of each run, and how it ended."""

    states: tuple[Array, ...]
    converged: bool
    history: pd.DataFrame


def train(
    ode: StructuredODE,
    records: Sequence[Record],
    observation: Observation,
    states: Sequence[Array],
    known_x0: Array,
    *,
    schedule: Schedule,
    targets: Sequence[Array] | None = None,
    iterations: Iterations = count,
    clock: Clock | None = None,
) -> Trained:
    """Train the network of `ode` on the records.

    Parameters
    ----------
    ode : StructuredODE
        Its network's parameters are changed.
    records : sequence of Record
    observation : Observation
    states : sequence of ndarray of shape (n, n_s)
        Guessed states of each run, to start from.
    known_x0 : ndarray of shape (runs, n_s)
        Initial states; NaN where they are to be estimated.
    schedule : Schedule
    targets : sequence of ndarray of shape (n, d) or None
        Guessed outputs of the network at `states`, for a start by regression.
    iterations : callable
        ``iterations(name, maximum)`` yields 0, 1, ... and may end early.
    clock : Clock or None
    """
    watch = clock if clock is not None else Clock()
    channel_scale = channel_scales(records)
    if targets is not None:
        _regress(ode, records, states, targets, schedule, iterations, watch)
    lengths = [len(record) for record in records]
    current = [np.array(run) for run in states]
    for run, known in zip(current, known_x0, strict=True):
        run[0] = np.where(np.isfinite(known), known, run[0])
    longest = max(lengths) - 1
    phases = [w for w in schedule.windows if w is not None and w < longest] + [None]
    converged = False
    for number, length in enumerate(phases):
        windows = cut(records, length, schedule.substeps)
        at_start = windows.first == 0
        free = ~(at_start[:, None] & np.isfinite(known_x0[windows.run]))
        objective = Objective(
            ode,
            observation,
            windows,
            windows.nodes(current),
            free,
            channel_scale,
            smoothness=schedule.smoothness,
            gap_weight=schedule.gap_weight * 10.0**number,
        )
        name = "whole records" if length is None else f"windows of {length}"
        if number == 0 and length is not None:
            _adam(objective, name, windows.n_steps, schedule, iterations, watch)
        patience = schedule.lbfgs * (3 if length is None else 1)
        converged = _lbfgs(objective, name, windows.n_steps, patience, iterations, watch)
        current = list(objective.gather(lengths))
    return Trained(tuple(current), converged, watch.history())


def channel_scales(records: Sequence[Record]) -> Array:
    """Standard deviation of each channel over all runs; 1 for one that does not move."""
    deviation = np.nanstd(np.concatenate([record.y for record in records]), axis=0)
    return np.where(deviation > 0, deviation, 1.0)


def _regress(
    ode: StructuredODE,
    records: Sequence[Record],
    states: Sequence[Array],
    targets: Sequence[Array],
    schedule: Schedule,
    iterations: Iterations,
    clock: Clock,
) -> None:
    """Fit the network to guessed outputs at guessed states: no integration yet."""
    X = np.concatenate(states)
    U = np.concatenate([record.u for record in records])
    wanted = np.concatenate(targets)
    seen = np.isfinite(wanted).all(axis=1)
    ode.scale_to(X[seen], U[seen], wanted[seen])
    network = ode.network
    inputs = ode.scaled(torch.from_numpy(X[seen]), torch.from_numpy(U[seen]))
    target = (torch.from_numpy(wanted[seen]) - ode.output_centre) / ode.output_scale
    adapt = getattr(network, "adapt", None)
    if adapt is not None:
        adapt(inputs)
    roughness = getattr(network, "roughness", None)

    def loss() -> Tensor:
        value = (network(inputs) - target).square().mean()
        if roughness is not None:
            value = value + schedule.smoothness * roughness()
        return value

    parameters = [p for p in network.parameters() if p.requires_grad]
    _minimise(loss, parameters, "regression", 0, 2 * schedule.lbfgs, iterations, clock)
    if adapt is not None:
        adapt(inputs)


def _adam(
    objective: Objective,
    name: str,
    window: int,
    schedule: Schedule,
    iterations: Iterations,
    clock: Clock,
) -> None:
    variables = objective.variables()
    optimizer = torch.optim.Adam(variables, lr=schedule.learning_rate)
    best = (np.inf, [v.detach().clone() for v in variables])
    for epoch in iterations(name, schedule.adam):
        phase = np.pi * epoch / max(schedule.adam, 1)
        rate = schedule.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + np.cos(phase)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = objective.loss()
        if loss is None or clock.over:
            break
        value = float(loss.detach())
        if value < best[0]:
            best = (value, [v.detach().clone() for v in variables])
        loss.backward()
        optimizer.step()
        clock.note(f"Adam, {name}", window, epoch, value)
    _restore(variables, best[1])


def _lbfgs(
    objective: Objective,
    name: str,
    window: int,
    maximum: int,
    iterations: Iterations,
    clock: Clock,
) -> bool:
    converged = _minimise(
        objective.loss, objective.variables(), name, window, maximum, iterations, clock
    )
    objective.loss()  # the states at the parameters that were kept
    return converged


def _minimise(
    loss: Callable[[], Tensor | None],
    variables: Sequence[Tensor],
    name: str,
    window: int,
    maximum: int,
    iterations: Iterations,
    clock: Clock,
) -> bool:
    """L-BFGS; parameters end at the best point met. True if it ended of itself."""
    sizes = [v.numel() for v in variables]
    best: tuple[float, Array] = (np.inf, _flat(variables))
    worst = 1.0

    def value_and_gradient(point: Array) -> tuple[float, Array]:
        nonlocal best, worst
        _assign(variables, sizes, point)
        value = loss()
        if value is None or not bool(torch.isfinite(value)):
            # A blow-up is no minimum: the line search steps back from a larger value.
            return 10.0 * worst, np.zeros_like(point)
        worst = max(worst, float(value.detach()))
        gradients = torch.autograd.grad(value, list(variables), allow_unused=True)
        if float(value.detach()) < best[0]:
            best = (float(value.detach()), point.copy())
        parts = [
            np.zeros(size) if g is None else g.detach().numpy().ravel()
            for g, size in zip(gradients, sizes, strict=True)
        ]
        return float(value.detach()), np.concatenate(parts).astype(np.float64)

    steps = iter(iterations(name, maximum))
    epoch = next(steps, None)

    def after(_: Array) -> None:
        nonlocal epoch
        if epoch is not None:
            clock.note(f"L-BFGS, {name}", window, epoch, best[0])
        epoch = next(steps, None)
        if epoch is None or clock.over:
            raise StopIteration

    if epoch is None or clock.over:
        return False
    result = minimize(
        value_and_gradient,
        best[1],
        jac=True,
        method="L-BFGS-B",
        callback=after,
        options={"maxiter": maximum, "maxcor": 30, "ftol": 1e-13, "gtol": 1e-9},
    )
    _assign(variables, sizes, best[1])
    return bool(result.success) and not clock.over


def _flat(variables: Sequence[Tensor]) -> Array:
    return np.concatenate([v.detach().numpy().ravel() for v in variables]).astype(np.float64)


@torch.no_grad()
def _assign(variables: Sequence[Tensor], sizes: Sequence[int], point: Array) -> None:
    offset = 0
    for variable, size in zip(variables, sizes, strict=True):
        values = torch.from_numpy(point[offset : offset + size].copy())
        variable.copy_(values.reshape(variable.shape))
        offset += size


@torch.no_grad()
def _restore(variables: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.copy_(value)
