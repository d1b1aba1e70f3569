"""`train_structured`: the first stage of a discovery by a network, and what it hands over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from discoverers.shooting import Observation, Record

from .edges import Edge, spline_edges
from .kan import SplineKAN
from .mlp import MLP
from .start import guess
from .structured_ode import Kinematics, StructuredODE
from .training import Clock, Iterations, Schedule, Trained, count, train

if TYPE_CHECKING:
    import sympy

__all__ = ["LearntDynamics", "Network", "free_run", "train_structured"]

Array = NDArray[np.float64]
Network = Literal["deep", "pykan", "mlp"]

KAN_RIDGE = 1e-5
PILOT = Schedule(windows=(8, 32), epochs=20)
"""Training of the perceptron whose states a KAN starts from."""


@dataclass(frozen=True, eq=False)
class LearntDynamics:
    """Dynamics that a network has learnt from the observed channels.

    Attributes
    ----------
    ode : StructuredODE
        The network inside its equation.
    state_names, input_names : tuple of str
    states, rates : tuple of ndarray of shape (n, n_s)
        At the sample times of each run, integrated by the network. Where it could not yet be
        integrated through a whole record, windows set side by side; then `converged` is False.
    x0 : ndarray of shape (runs, n_s)
    noise_std : ndarray of shape (C,)
        Root mean square residual of each channel.
    edges : tuple of Edge
        Functions of a Kolmogorov-Arnold network; empty for others.
    formula : tuple of sympy.Expr or None
        What pykan's symbolic mode made of it, one expression per degree of freedom.
    history : DataFrame
    converged : bool
    """

    ode: StructuredODE
    state_names: tuple[str, ...]
    input_names: tuple[str, ...]
    states: tuple[Array, ...]
    rates: tuple[Array, ...]
    x0: Array
    noise_std: Array
    edges: tuple[Edge, ...]
    formula: tuple[sympy.Expr, ...] | None
    history: pd.DataFrame
    converged: bool
    substeps: int = 2

    def acceleration(self, X: ArrayLike, u: ArrayLike | None = None) -> Array:
        """The learnt function at states (n, n_s) and inputs (n, m), shape (n, n_dof)."""
        states = np.ascontiguousarray(X, dtype=np.float64)
        inputs = np.zeros((len(states), 0)) if u is None else np.asarray(u, dtype=np.float64)
        inputs = np.ascontiguousarray(inputs.reshape(len(states), self.ode.n_inputs))
        with torch.no_grad():
            answer = self.ode.law(torch.from_numpy(states), torch.from_numpy(inputs))
        return np.asarray(answer.numpy())

    def simulate(self, record: Record, x0: ArrayLike) -> Array:
        """States of a free run at the record's times, (n, n_s); NaN after a blow-up."""
        return free_run(self.ode, record, x0, self.substeps)


def train_structured(
    network: Network | nn.Module,
    records: Sequence[Record],
    observation: Observation,
    *,
    order: int,
    state_names: Sequence[str],
    input_names: Sequence[str] = (),
    x0: ArrayLike | None = None,
    start: Sequence[Array] | None = None,
    pilot: bool = True,
    random_state: int = 0,
    max_epochs: int | None = None,
    time_budget: float | None = None,
    iterations: Iterations | None = None,
) -> LearntDynamics:
    """Learn ``q^(order) = h(q, ..., q^(order - 1), u)`` from observed channels by a network.

    Parameters
    ----------
    network : {"deep", "pykan", "mlp"} or torch.nn.Module
        "deep" is a `SplineKAN` of two layers with sums and products, "pykan" the MultKAN of that
        package, "mlp" the 5 x 32 perceptron; a module of one's own maps (n, n_s + m), scaled to
        [-1, 1], to (n, n_dof) in double precision.
    records : sequence of Record
    observation : Observation
        Channels as functions of the states, in the order of `state_names`.
    order : int
        Length of each chain; 2 for displacement and velocity.
    state_names : sequence of str
        Degree of freedom by degree of freedom.
    input_names : sequence of str
    x0 : array-like of shape (runs, n_s), default=None
        Known initial states; NaN, and None, where they are to be estimated.
    start : sequence of ndarray of shape (n, n_s), default=None
        Guessed states of each run; integrated or differentiated channels by default.
    pilot : bool, default=True
        Whether a KAN begins at the states that a perceptron has learnt from the guessed ones: a
        KAN takes their drift for a law. False saves its time where `start` is good.
    random_state : int, default=0
        Seed of the initial parameters.
    max_epochs : int or None, default=None
        Most iterations of one phase.
    time_budget : float or None, default=None
        Seconds after which training stops where it is.
    iterations : callable, default=None
        ``iterations(name, maximum)`` yields 0, 1, ... and may end early.

    Raises
    ------
    ValueError
        If names, records and `order` do not fit together.
    """
    runs, names, inputs = tuple(records), tuple(state_names), tuple(input_names)
    _check(network, runs, order, names, inputs)
    known = np.full((len(runs), len(names)), np.nan)
    if x0 is not None:
        known[:] = np.asarray(x0, dtype=np.float64)
    steps = iterations if iterations is not None else count
    clock = Clock(time_budget)
    kinematics = Kinematics.chain(order, len(names) // order)
    setup = _Setup(runs, observation, kinematics, known, clock, steps, max_epochs)
    guesses = [guess(run, observation, order, kinematics.n_outputs) for run in runs]
    states = [g.states for g in guesses] if start is None else [np.array(s) for s in start]
    targets = [g.outputs for g in guesses]
    if pilot and network in ("deep", "pykan"):
        teacher = StructuredODE(
            _mlp(names, inputs, kinematics, random_state), kinematics, len(inputs)
        )
        states = list(setup.train(teacher, states, targets, PILOT).states)
        targets = [law(teacher, X, run.u) for X, run in zip(states, runs, strict=True)]
    if network == "pykan":
        from .pykan import SCHEDULE, multkan

        module: nn.Module = multkan(len(names) + len(inputs), kinematics.n_outputs, random_state)
        schedule = SCHEDULE
    elif network == "deep":
        outputs = kinematics.n_outputs
        module = SplineKAN(
            [len(names) + len(inputs), (2 * outputs, 2 * outputs), outputs],
            noise=0.5,
            random_state=random_state,
        )
        schedule = Schedule(ridge=KAN_RIDGE, relaxation=30.0)
    elif network == "mlp":
        module = _mlp(names, inputs, kinematics, random_state)
        schedule = Schedule()
    else:
        module = network
        schedule = Schedule(optimizer="adam+lbfgs", epochs=100)
    ode = StructuredODE(module, kinematics, len(inputs))
    trained = setup.train(ode, states, targets, schedule)
    return _learnt(ode, setup, trained, names, inputs, schedule.substeps)


def free_run(ode: StructuredODE, record: Record, x0: ArrayLike, substeps: int) -> Array:
    """States of a free run at the record's times, (n, n_s)."""
    return ode.free_run(x0, np.ascontiguousarray(record.stages(substeps)), np.diff(record.t))


def law(ode: StructuredODE, X: Array, U: Array) -> Array:
    """The learnt function on NumPy arrays."""
    with torch.no_grad():
        answer = ode.law(torch.from_numpy(X), torch.from_numpy(np.ascontiguousarray(U)))
    return np.asarray(answer.numpy())


@dataclass(frozen=True, eq=False)
class _Setup:
    """What all trainings of one call share."""

    records: tuple[Record, ...]
    observation: Observation
    kinematics: Kinematics
    known_x0: Array
    clock: Clock
    iterations: Iterations
    max_epochs: int | None

    def train(
        self,
        ode: StructuredODE,
        states: Sequence[Array],
        targets: Sequence[Array],
        schedule: Schedule,
    ) -> Trained:
        return train(
            ode,
            self.records,
            self.observation,
            states,
            self.known_x0,
            schedule=schedule.capped(self.max_epochs),
            targets=targets,
            iterations=self.iterations,
            clock=self.clock,
        )


def _mlp(names: Sequence[str], inputs: Sequence[str], kinematics: Kinematics, seed: int) -> MLP:
    return MLP(len(names) + len(inputs), kinematics.n_outputs, random_state=seed)


def _learnt(
    ode: StructuredODE,
    setup: _Setup,
    trained: Trained,
    names: tuple[str, ...],
    inputs: tuple[str, ...],
    substeps: int,
) -> LearntDynamics:
    rates, residuals = [], []
    for X, run in zip(trained.states, setup.records, strict=True):
        with torch.no_grad():
            F = ode.rates(torch.from_numpy(X), torch.from_numpy(run.u)).numpy()
        rates.append(F)
        residuals.append(run.y - setup.observation.values(X, F, run.u))
    table = np.column_stack(
        [np.concatenate(trained.states), np.concatenate([run.u for run in setup.records])]
    )
    edges: tuple[Edge, ...] = ()
    formula = None
    centre, scale = ode.centre.numpy(), ode.scale.numpy()
    if isinstance(ode.network, SplineKAN):
        edges = spline_edges(ode.network, table, centre, scale, (*names, *inputs))
    elif hasattr(ode.network, "symbolic"):
        from .pykan import extract

        outputs = np.concatenate(rates) @ setup.kinematics.drive
        found = extract(table, outputs, (*names, *inputs))
        edges, formula = found.edges, found.formula
    return LearntDynamics(
        ode,
        names,
        inputs,
        trained.states,
        tuple(rates),
        np.array([X[0] for X in trained.states]),
        np.sqrt(np.nanmean(np.concatenate(residuals) ** 2, axis=0)),
        edges,
        formula,
        trained.history,
        trained.converged,
        substeps,
    )


def _check(
    network: Network | nn.Module,
    records: Sequence[Record],
    order: int,
    names: Sequence[str],
    inputs: Sequence[str],
) -> None:
    if isinstance(network, str) and network not in ("deep", "pykan", "mlp"):
        raise ValueError(
            f'network must be "deep", "pykan", "mlp" or a torch.nn.Module, got {network!r}.'
        )
    if not records:
        raise ValueError("records is empty: pass at least one run.")
    if order < 1 or len(names) % order or not names:
        raise ValueError(
            f"state_names must hold `order` names for every degree of freedom, got {len(names)} "
            f"name(s) and order={order}."
        )
    for index, record in enumerate(records):
        if len(record) < 3:
            raise ValueError(
                f"records[{index}] has {len(record)} row(s); a run needs at least 3 to learn from."
            )
        if record.u.shape[1] != len(inputs):
            raise ValueError(
                f"records[{index}] has {record.u.shape[1]} input(s), but input_names has "
                f"{len(inputs)}. Name every column of u."
            )
