"""The neural route from one or several starts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import torch
from numpy.typing import NDArray

from discoverers.denoising import Denoised
from discoverers.discovery import Discovery
from discoverers.integration import MechanisticIntegral
from discoverers.libraries import BoundLibrary
from discoverers.mechanistic.cycles import Cycle, Schedule, run_cycles
from discoverers.mechanistic.network import ConvolutionalEncoder, MechanisticNetwork
from discoverers.mechanistic.outer import OuterFunction
from discoverers.mechanistic.start import match_derivatives, random_start
from discoverers.mechanistic.states import fitted_states
from discoverers.mechanistic.training import Progress, count_of
from discoverers.mechanistic.windows import Minibatch, cut
from discoverers.regression import allow_for_truncation
from discoverers.sparse import GradedCriterion
from discoverers.trajectories import Trajectories

if TYPE_CHECKING:
    from discoverers.mechanistic.engine import SGDEngine

__all__ = ["Route", "Task", "run"]

Array = NDArray[np.float64]

PASSES = 2
"""Times that all cycles run, the second time at states that the first one's equations imply."""


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be learned, from what.

    Attributes
    ----------
    trajectories : Trajectories
    denoised : Denoised
    library : BoundLibrary
        Over all V states.
    outer : tuple of OuterFunction
        One per equation, C of them.
    order : int
    states : tuple of ndarray of shape (n, V)
        Where right-hand sides are evaluated, or what the encoder corrects.
    start : ndarray of shape (C, K) or None
        Coefficients to start from; None draws them.
    given : ndarray of shape (C, K)
        Known coefficients, 0 elsewhere.
    active, keep : ndarray of bool, shape (C, K)
        Terms in play, and those that are never dropped.
    criterion : GradedCriterion
    max_terms : int or None
    engine : SGDEngine
    from_closed_form : bool
        Whether `start` and `states` are the closed form's.
    """

    trajectories: Trajectories
    denoised: Denoised
    library: BoundLibrary
    outer: tuple[OuterFunction, ...]
    order: int
    states: tuple[Array, ...]
    start: Array | None
    given: Array
    active: NDArray[np.bool_]
    keep: NDArray[np.bool_]
    criterion: GradedCriterion
    max_terms: int | None
    engine: SGDEngine
    from_closed_form: bool

    @classmethod
    def make(
        cls,
        trajectories: Trajectories,
        denoised: Denoised,
        library: BoundLibrary,
        *,
        outer: tuple[OuterFunction, ...],
        allowed: NDArray[np.bool_],
        known: Array,
        required: NDArray[np.bool_],
        closed: Discovery | None,
        gamma: float,
        max_terms: int | None,
        engine: SGDEngine,
    ) -> Task:
        """Prepare a task; arguments are those of `SGDEngine.discover`, by reported equation."""
        denoised = allow_for_truncation(denoised, MechanisticIntegral(), engine.window)
        order = 1 if denoised.chains is None else 2
        fixed = ~np.isnan(known)
        given = np.where(fixed, known, 0.0)
        active = allowed & ~fixed
        states = denoised.states
        theta = [
            library.evaluate(part, part_of.u)
            for part, part_of in zip(states, trajectories, strict=True)
        ]
        library.check_finite(np.concatenate(theta))
        start: Array | None = None
        if closed is not None:
            states = tuple(fitted.full for fitted in closed.solution)
            start = np.where(fixed, given, closed.coef)
            active &= (closed.coef != 0.0) | required
        elif engine.start == "warm":
            # The last columns: of a second-order system these are the velocities' own slopes.
            rates = [part[:, -len(outer) :] / denoised.time_scale for part in denoised.slopes]
            start = match_derivatives(
                np.concatenate(theta), np.concatenate(rates), outer, active, given
            )
        return cls(
            trajectories=trajectories,
            denoised=denoised,
            library=library,
            outer=outer,
            order=order,
            states=states,
            start=start,
            given=given,
            active=active,
            keep=required & active,
            criterion=GradedCriterion.from_degrees(library.degrees, len(allowed), gamma),
            max_terms=max_terms,
            engine=engine,
            from_closed_form=closed is not None,
        )

    @property
    def targets(self) -> list[int]:
        """Columns of the data that solutions are compared with."""
        return list(range(len(self.outer)))

    def batches(self) -> tuple[Minibatch, ...]:
        """The windows."""
        return cut(
            self.trajectories,
            self.denoised,
            self.states,
            self.targets,
            self.order,
            self.engine.window,
            self.engine.batch_size,
        )

    def network(self, coef: Array) -> MechanisticNetwork:
        """The network at these coefficients, with an encoder that still corrects nothing."""
        values = np.concatenate(self.states)
        spread = values.std(axis=0)
        return MechanisticNetwork(
            self.library,
            self.outer,
            self.active,
            coef,
            self.denoised.time_scale**self.order,
            self._encoder(),
            values.mean(axis=0),
            np.where(spread > 0.0, spread, 1.0),
            self.denoised.noise_std,
        )

    def _encoder(self) -> Any:
        encoder = self.engine.encoder
        if encoder is None:
            return None
        if isinstance(encoder, str):
            return ConvolutionalEncoder(self.states[0].shape[1], len(self.outer))
        if not isinstance(encoder, torch.nn.Module):
            raise TypeError(
                f"encoder must be 'conv', a torch.nn.Module or None, got {type(encoder).__name__}."
            )
        return copy.deepcopy(encoder).double()


@dataclass(frozen=True, eq=False)
class Route:
    """The cycles of one start, and the network at the best of them.

    Attributes
    ----------
    task : Task
        With the states that the last pass read.
    batches : tuple of Minibatch
    cycles : list of Cycle
    best : Cycle
    network : MechanisticNetwork
    """

    task: Task
    batches: tuple[Minibatch, ...]
    cycles: list[Cycle]
    best: Cycle
    network: MechanisticNetwork

    @classmethod
    def of(cls, task: Task, cycles: list[Cycle]) -> Route:
        """Put the network where the best cycle left it."""
        best = min(cycles, key=lambda cycle: cycle.score)
        network = task.network(best.coef)
        network.recentre(best.coef, task.active & (best.coef != 0.0))
        if network.encoder is not None:
            network.encoder.load_state_dict(best.encoder)
        return cls(task, task.batches(), cycles, best, network)


def run(
    task: Task,
    seeds: Sequence[int],
    n_jobs: int | None,
    iterations: Callable[[str, int], Iterator[int]],
) -> Route:
    """Train from every seed and take the best score.

    Callbacks hear of epochs of a single start, and of starts where there are several.
    """
    epochs = PASSES * task.engine.cycles * task.engine.max_epochs
    if len(seeds) == 1:
        return _passes(task, seeds[0], Progress(iterations("epoch", epochs)))
    runs = []
    jobs = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(
        joblib.delayed(_quiet)(task, seed, epochs) for seed in seeds
    )
    for _, found in zip(iterations("start", len(seeds)), jobs, strict=False):
        runs.append(found)
    return Route.of(*min(runs, key=lambda one: min(cycle.score for cycle in one[1])))


def _quiet(task: Task, seed: int, epochs: int) -> tuple[Task, list[Cycle]]:
    torch.set_num_threads(1)
    route = _passes(task, seed, Progress(iter(range(epochs))))
    return route.task, route.cycles


def _passes(task: Task, seed: int, progress: Progress) -> Route:
    """All cycles; then those of the terms that are left, at the states that they imply.

    Denoised states err systematically, and terms that mimic their errors pay. States that also fit
    the equations found so far err much less. What the closed form or an encoder hands over needs
    no such pass, and of second-order systems there is none.
    """
    route = Route.of(task, _cycles(task, seed, progress))
    if task.from_closed_form or task.engine.encoder is not None or task.order > 1:
        return route
    for _ in range(PASSES - 1):
        if progress.stopped or not (route.best.coef[task.active] != 0.0).any():
            break
        best = route.best.coef
        again = replace(
            task,
            states=tuple(fitted.X for fitted in fitted_states(route)),
            start=best,
            active=task.active & (best != 0.0),
        )
        later = Route.of(again, _cycles(again, seed, progress))
        if later.best.score >= route.best.score:
            break
        route = replace(later, cycles=[*route.cycles, *later.cycles])
    return route


def _cycles(task: Task, seed: int, progress: Progress) -> list[Cycle]:
    engine = task.engine
    generator = np.random.default_rng(seed)
    start = task.start
    if start is None:
        theta = [
            task.library.evaluate(part, run.u)
            for part, run in zip(task.states, task.trajectories, strict=True)
        ]
        start = random_start(np.concatenate(theta), task.active, task.given, generator)
    batches = task.batches()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = task.network(start)
    schedule = Schedule(
        cycles=engine.cycles,
        max_epochs=engine.max_epochs,
        threshold=engine.threshold,
        learning_rate=engine.learning_rate,
        patience=engine.patience,
        charges=task.criterion.charges(count_of(batches)),
        keep=task.keep,
        max_terms=task.max_terms,
    )
    return run_cycles(network, batches, schedule, generator, progress)
