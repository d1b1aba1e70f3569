"""Training: regression on guessed states, then windows that grow into whole records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from discoverers.shooting import Observation, Record

from .first_order import minimise_adam, minimise_lbfgs
from .levenberg_marquardt import levenberg_marquardt
from .objective import Objective
from .regression import Regression
from .structured_ode import StructuredODE
from .windows import cut

__all__ = ["Clock", "Iterations", "Optimizer", "Schedule", "Trained", "count", "train"]

Array = NDArray[np.float64]
Iterations = Callable[[str, int], Iterable[int]]
Optimizer = Literal["gauss-newton", "adam+lbfgs"]


def count(name: str, maximum: int) -> Iterable[int]:
    """Iterations that tell nobody."""
    return range(maximum)


@dataclass(frozen=True)
class Schedule:
    """How a training goes.

    Attributes
    ----------
    optimizer : {"gauss-newton", "adam+lbfgs"}
        Levenberg-Marquardt, or Adam in the first windows and L-BFGS after it.
    windows : tuple of int
        Sampling intervals of the windows of one phase after the other; the last phase, on whole
        records, comes by itself.
    epochs : int
        Iterations of each phase.
    regression : int
        Iterations of L-BFGS on the guessed states, each a small part of one in windows.
    adam : int
        Steps of Adam, with that optimizer.
    learning_rate : float
        Of Adam at its start; it falls to a hundredth along a cosine.
    substeps : int
        Runge-Kutta steps per sampling interval.
    gap_weight : float
        Weight of gaps between windows in the first phase; ten times as much in each further one.
    smoothness : float
        Weight of the roughness of splines, in the last phase.
    ridge : float
        Weight of the squared parameters.
    relaxation : float
        How much heavier `smoothness` is in each phase before: guessed states are off by a drift,
        which a stiff network cannot take for a law.
    """

    optimizer: Optimizer = "gauss-newton"
    windows: tuple[int, ...] = (8, 32)
    epochs: int = 30
    regression: int = 200
    adam: int = 200
    learning_rate: float = 5e-3
    substeps: int = 2
    gap_weight: float = 1.0
    smoothness: float = 1e-6
    ridge: float = 1e-6
    relaxation: float = 10.0

    def capped(self, max_epochs: int | None) -> Schedule:
        """With no phase longer than `max_epochs`, ten times that for the regression."""
        if max_epochs is None:
            return self
        return replace(
            self,
            epochs=min(self.epochs, max_epochs),
            adam=min(self.adam, max_epochs),
            regression=min(self.regression, 10 * max_epochs),
        )


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

    def noting(self, phase: str, window: int) -> Callable[[int, float], bool]:
        """A function that keeps a line of the history and says whether the time is up."""

        def note(epoch: int, loss: float) -> bool:
            self.rows.append((phase, window, epoch, loss, self.elapsed))
            return self.over

        return note

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
    targets: Sequence[Array],
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
    targets : sequence of ndarray of shape (n, d)
        Guessed outputs of the network at `states`, for a start by regression.
    iterations : callable
        ``iterations(name, maximum)`` yields 0, 1, ... and may end early.
    clock : Clock or None
    """
    watch = clock if clock is not None else Clock()
    scales = channel_scales(records)
    regress(ode, records, states, targets, schedule, iterations, watch)
    lengths = [len(record) for record in records]
    current = [np.array(run) for run in states]
    for run, known in zip(current, known_x0, strict=True):
        run[0] = np.where(np.isfinite(known), known, run[0])
    longest = max(lengths) - 1
    phases = [w for w in schedule.windows if w < longest] + [longest]
    converged = False
    for number, length in enumerate(phases):
        stiffness = schedule.relaxation ** (len(phases) - 1 - number)
        objective = _start_phase(
            ode,
            records,
            observation,
            current,
            known_x0,
            scales,
            schedule,
            number,
            length,
            stiffness,
        )
        if objective is None:
            # The law learnt so far blows up within a single interval: nothing to go on from.
            return Trained(tuple(current), False, watch.history())
        whole = objective.windows.n_steps == longest
        name = "whole records" if whole else f"windows of {objective.windows.n_steps}"
        converged = _minimise(objective, name, schedule, iterations, watch, first=number == 0)
        current = list(objective.gather(lengths))
        converged = converged and whole
    return Trained(tuple(current), converged, watch.history())


def channel_scales(records: Sequence[Record]) -> Array:
    """Standard deviation of each channel over all runs; 1 for one that does not move."""
    deviation = np.nanstd(np.concatenate([record.y for record in records]), axis=0)
    return np.where(deviation > 0, deviation, 1.0)


def _start_phase(
    ode: StructuredODE,
    records: Sequence[Record],
    observation: Observation,
    states: Sequence[Array],
    known_x0: Array,
    scales: Array,
    schedule: Schedule,
    number: int,
    length: int,
    stiffness: float,
) -> Objective | None:
    """The objective on windows of `length` intervals, or of fewer if those blow up."""
    while True:
        windows = cut(records, length, schedule.substeps)
        at_start = windows.first == 0
        objective = Objective(
            ode,
            observation,
            windows,
            windows.nodes(states),
            ~(at_start[:, None] & np.isfinite(known_x0[windows.run])),
            scales,
            smoothness=schedule.smoothness * stiffness,
            ridge=schedule.ridge,
            gap_weight=schedule.gap_weight * 10.0**number,
        )
        if objective.settle() is not None:
            return objective
        if length == 1:
            return None
        length = max(length // 2, 1)


def _minimise(
    objective: Objective,
    name: str,
    schedule: Schedule,
    iterations: Iterations,
    clock: Clock,
    *,
    first: bool,
) -> bool:
    if clock.over:
        return False
    note = clock.noting(name, objective.windows.n_steps)
    if schedule.optimizer == "gauss-newton":
        steps = iterations(name, schedule.epochs)
        return levenberg_marquardt(objective, steps, note).converged
    if first:
        minimise_adam(
            objective.loss,
            objective.variables(),
            iterations(f"Adam, {name}", schedule.adam),
            note,
            schedule.adam,
            schedule.learning_rate,
        )
    converged = minimise_lbfgs(
        objective.loss, objective.variables(), iterations(name, schedule.epochs), note
    )
    objective.settle()  # the states at the parameters that were kept
    return converged


def regress(
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
    inputs = ode.scaled(torch.from_numpy(X[seen]), torch.from_numpy(U[seen]))
    outputs = (torch.from_numpy(wanted[seen]) - ode.output_centre) / ode.output_scale
    stiffness = schedule.relaxation ** (len(schedule.windows) + 1)
    adapt = getattr(ode.network, "adapt", None)
    if adapt is not None:
        adapt(inputs)
    smoothness = schedule.smoothness * stiffness
    problem = Regression(ode.network, inputs, outputs, smoothness, schedule.ridge)
    note = clock.noting("regression", 0)
    if schedule.optimizer == "gauss-newton" and hasattr(ode.network, "roughness"):
        levenberg_marquardt(problem, iterations("regression", 2 * schedule.epochs), note)
    else:
        # Without a measure of roughness it is the slow optimiser, stopped early, that keeps the
        # network from learning the guessed states' drift as if it were part of the law.
        minimise_lbfgs(
            problem.loss, problem.parameters, iterations("regression", schedule.regression), note
        )
    if adapt is not None:
        adapt(inputs)
