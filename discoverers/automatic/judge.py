"""The judge: every proposal is calibrated through its ODE on the raw data, constants included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.denoising import Denoised
from discoverers.inputs import engine_interpolation
from discoverers.shooting import Calibration, Observation, Record, calibrate
from discoverers.sparse.criterion import deviance
from discoverers.trajectories import Trajectories

from .systems import System

__all__ = ["Judge", "Verdict"]

Array = NDArray[np.float64]
Structure = tuple[frozenset[sympy.Expr], ...]

RELATIVE_FLOOR = 1e-6
FIRST_WINDOW = 40
ITERATIONS = 15


@dataclass(frozen=True, eq=False)
class Verdict:
    """A calibrated system.

    Attributes
    ----------
    system : System
        With the calibrated numbers.
    fit : Calibration
    score : float
        Deviance and charges; infinite where it cannot be integrated through the records.
    """

    system: System
    fit: Calibration
    score: float


@dataclass(frozen=True, eq=False)
class Judge:
    """Calibrates systems on the same records and remembers what it has seen.

    Attributes
    ----------
    records : tuple of Record
    state_names, input_names : tuple of str
    noise_std : ndarray of shape (V,)
    floor_std : ndarray of shape (V,)
        What integration and rounding may leave: data are never taken to be more exact.
    starts : ndarray of shape (runs, V)
        Denoised initial states.
    known : ndarray of bool, shape (runs, V)
        Initial states that the user gave.
    seen : dict
        Verdicts by structure.
    """

    records: tuple[Record, ...]
    state_names: tuple[str, ...]
    input_names: tuple[str, ...]
    noise_std: Array
    floor_std: Array
    starts: Array
    known: NDArray[np.bool_]
    seen: dict[Structure, Verdict] = field(default_factory=dict)

    @classmethod
    def build(cls, trajectories: Trajectories, denoised: Denoised) -> Judge:
        """A judge of the raw data, gross errors left out."""
        states = np.concatenate(denoised.states)
        floor = RELATIVE_FLOOR * np.maximum(np.abs(states).max(axis=0), 1e-150)
        records = tuple(
            Record.make(
                run.t,
                np.where(mask, np.nan, run.X),
                run.u,
                interpolation=engine_interpolation(run),
                weight=run.weight,
            )
            for run, mask in zip(trajectories, denoised.outliers, strict=True)
        )
        given = np.stack([run.x0 for run in trajectories])
        starts = np.stack([part[0] for part in denoised.states])
        return cls(
            records,
            trajectories.state_names,
            trajectories.input_names,
            np.maximum(denoised.noise_std, floor),
            floor,
            np.where(np.isnan(given), starts, given),
            ~np.isnan(given),
        )

    @property
    def n_rows(self) -> int:
        """Number of measurements."""
        return sum(int((~np.isnan(record.y)).sum()) for record in self.records)

    def sharpened(self, best: Verdict) -> Judge:
        """With the noise that the best system leaves; verdicts are asked anew."""
        freedom = np.maximum(best.fit.n_observed - best.system.n_terms / len(self.noise_std), 1.0)
        left = np.sqrt(best.fit.rss / freedom)
        lowest = np.minimum(self.floor_std, self.noise_std)
        return replace(self, noise_std=np.clip(left, lowest, self.noise_std), seen={})

    def __call__(self, system: System, starts: Array | None = None) -> Verdict:
        """Calibrate a system from its numbers; a structure seen before is not done again."""
        held = self.seen.get(system.structure)
        if held is not None:
            return held
        verdict = self._judge(system, self.starts if starts is None else starts)
        self.seen[system.structure] = verdict
        return verdict

    def pool(self, within: float) -> list[Verdict]:
        """What was judged and comes within reach of the best, the best first."""
        ordered = sorted(self.seen.values(), key=lambda one: one.score)
        return [one for one in ordered if one.score <= ordered[0].score + within]

    @property
    def _step_tolerance(self) -> float:
        """A hundredth of the noise, relative to the states: finer steps would cost time alone."""
        sizes = self.floor_std / RELATIVE_FLOOR
        return float(np.clip(0.01 * np.min(self.noise_std / sizes), 1e-7, 1e-3))

    def _judge(self, system: System, starts: Array) -> Verdict:
        model = system.model(self.state_names, self.input_names)
        constants = system.parameters
        x0 = np.hstack([starts, np.broadcast_to(constants, (len(starts), len(constants)))])
        free = np.hstack([~self.known, np.ones((len(starts), len(constants)), dtype=bool)])
        n = len(self.state_names)
        observed = Observation.linear(self.state_names, states=np.eye(n, model.n_states))
        fit = calibrate(
            model,
            system.coefficients,
            x0,
            self.records,
            observed,
            self.noise_std,
            free_x0=free,
            windows=FIRST_WINDOW,
            max_iterations=ITERATIONS,
            step_tolerance=self._step_tolerance,
        )
        found = system.at(fit.theta, fit.x0[0, n:])
        score = np.inf
        if np.isfinite(fit.cost) and _within(found):
            score = float(deviance(fit.cost, self.n_rows)) + found.charge(self.n_rows)
        return Verdict(found, fit, score)


def _within(system: System) -> bool:
    """Whether the constants stayed where their terms are what they are named for."""
    bounds, values = system.bounds, system.parameters
    return bool(np.all((values >= bounds[:, 0]) & (values <= bounds[:, 1])))


def best_of(verdicts: Sequence[Verdict]) -> Verdict:
    """The lowest score."""
    return min(verdicts, key=lambda one: one.score)
