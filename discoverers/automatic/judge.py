"""The judge: every proposal is calibrated through its ODE on the raw data, constants included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.denoising import Denoised
from discoverers.reporting import MISFIT
from discoverers.sparse.criterion import deviance
from discoverers.trajectories import Trajectories

from .fitting import MOST_SUBSTEPS, Fit, Records, calibrate
from .guards import Box
from .systems import System

__all__ = ["Judge", "Verdict", "best_of"]

Array = NDArray[np.float64]
Structure = tuple[frozenset[sympy.Expr], ...]

RELATIVE_FLOOR = 1e-6
BEYOND_POLYNOMIALS = 8.0
"""What a system pays, once all are judged, for any function that is no monomial.

The dictionary holds hundreds of functions, and each bends into the shape of a few monomials with
its constant: the best of them comes close to any polynomial. The search itself is free of it, as
one equation alone may not yet gain so much.
"""

BETTER = 0.5
"""Steps are made finer for a law that misfits where they leave so much less."""

HOPELESS = 60.0
"""Calibrations that are going to stay this much behind the best score end early."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """A calibrated system.

    Attributes
    ----------
    system : System
        With the calibrated numbers.
    fit : Fit
    score : float
        Deviance, charges and penalties; infinite where it cannot be integrated through the records.
    """

    system: System
    fit: Fit
    score: float


@dataclass(frozen=True, eq=False)
class Judge:
    """Calibrates systems on the same records and remembers what it has seen.

    Attributes
    ----------
    records : Records
    names : (state names, input names)
    noise_std : ndarray of shape (V,)
    floor_std : ndarray of shape (V,)
        What integration and rounding may leave: data are never taken to be more exact.
    box : Box
        Where the data are.
    seen : dict
        Verdicts by structure.
    before : float
        Work of judges whose noise was less sharp.
    forgotten : list of float
        Work of verdicts that were not kept.
    """

    records: Records
    names: tuple[tuple[str, ...], tuple[str, ...]]
    noise_std: Array
    floor_std: Array
    box: Box
    seen: dict[Structure, Verdict] = field(default_factory=dict)
    before: float = 0.0
    forgotten: list[float] = field(default_factory=list)

    @classmethod
    def build(cls, trajectories: Trajectories, denoised: Denoised) -> Judge:
        """A judge of the raw data, gross errors left out."""
        states = np.concatenate(denoised.states)
        floor = RELATIVE_FLOOR * np.maximum(np.abs(states).max(axis=0), 1e-150)
        return cls(
            Records.make(trajectories, denoised),
            (trajectories.state_names, trajectories.input_names),
            np.maximum(denoised.noise_std, floor),
            floor,
            Box.around_data(states, np.concatenate([run.u for run in trajectories])),
        )

    @property
    def n_rows(self) -> int:
        """Number of measurements."""
        return self.records.n_rows

    @property
    def work(self) -> float:
        """Operations of the integrator so far."""
        done = sum(one.fit.work for one in self.seen.values())
        return self.before + done + sum(self.forgotten)

    def noise_left(self, best: Verdict) -> Array:
        """Standard deviation of the residuals of a system, average over the measurements.

        Of states that are measured nowhere it is the noise as it was.
        """
        observed = self.records.n_observed
        freedom = observed - best.system.n_terms / np.count_nonzero(observed)
        left = self.noise_std * np.sqrt(best.fit.rss / np.maximum(freedom, 1.0))
        return np.asarray(np.where(observed > 0, left, self.noise_std))

    def misfits(self, best: Verdict, limit: float = MISFIT) -> bool:
        """Whether a system leaves so many times the noise's variance of some state."""
        return bool(np.any((self.noise_left(best) / self.noise_std) ** 2 > limit))

    def sharpened(self, best: Verdict) -> Judge:
        """With the noise that the best system leaves; verdicts are asked anew."""
        lowest = np.minimum(self.floor_std, self.noise_std)
        left = np.clip(self.noise_left(best), lowest, self.noise_std)
        return replace(self, noise_std=left, seen={}, before=self.work, forgotten=[])

    def __call__(self, system: System, near: Verdict | None = None) -> Verdict:
        """Calibrate a system from its numbers; a structure seen before is not done again."""
        held = self.seen.get(system.structure)
        if held is not None:
            return held
        verdict = self._judge(system, near)
        self.seen[system.structure] = verdict
        return verdict

    def again(self, system: System, near: Verdict) -> Verdict:
        """Calibrate a structure from these numbers too, unless it was seen and has converged.

        The better verdict is kept, and a failure never: from other numbers it may be none.
        """
        held = self.seen.get(system.structure)
        if held is not None and held.fit.converged and np.isfinite(held.score):
            return held
        verdict = self._judge(system, near)
        if np.isfinite(verdict.score) and (held is None or verdict.score < held.score):
            self.forgotten.append(held.fit.work if held is not None else 0.0)
            self.seen[system.structure] = verdict
            return verdict
        self.forgotten.append(verdict.fit.work)
        return verdict if held is None else held

    def pool(self, within: float) -> list[Verdict]:
        """What was judged and comes within reach of the best, the best first."""
        ordered = sorted(self.seen.values(), key=lambda one: one.score)
        return [one for one in ordered if one.score <= ordered[0].score + within]

    def final(self) -> list[Verdict]:
        """What was judged, functions charged for being no polynomials, the best first."""
        charged = [
            one if one.system.is_polynomial else replace(one, score=one.score + BEYOND_POLYNOMIALS)
            for one in self.seen.values()
        ]
        return sorted(charged, key=lambda one: one.score)

    @property
    def _step_tolerance(self) -> float:
        """A hundredth of the noise, relative to the states: finer steps would cost time alone."""
        seen = self.records.n_observed > 0
        sizes = self.floor_std[seen] / RELATIVE_FLOOR
        return float(np.clip(0.01 * np.min(self.noise_std[seen] / sizes), 1e-7, 1e-3))

    def _judge(self, system: System, near: Verdict | None) -> Verdict:
        n = self.n_rows
        charge = system.charge(n)
        if near is not None and np.isfinite(near.score):
            fit = self._calibrated(
                system,
                near.fit.substeps,
                near.fit.x0,
                _cost_of(near.score + HOPELESS - charge, n),
            )
        else:
            fit = self._first(system)
        found = system.at(fit.theta, fit.constants)
        score = np.inf
        if np.isfinite(fit.cost) and _within(found):
            score = float(deviance(fit.cost, n)) + charge + self.box.penalty(found, self.names)
        return Verdict(found, fit, score)

    def _first(self, system: System) -> Fit:
        """Calibrated with nothing to start from: as many steps a sample as it takes to survive.

        Between coarse samples, and where some were dropped, a law that is right may leave its
        orbit with one step, or keep to a wrong one. What has a law nearby starts from its number
        of steps.
        """
        substeps = 1
        fit = self._calibrated(system, substeps)
        work = fit.work
        while self._poor(fit) and substeps < MOST_SUBSTEPS:
            substeps *= 4
            tried = self._calibrated(system, substeps)
            work += tried.work
            if not np.isfinite(fit.cost) or tried.cost < BETTER * fit.cost:
                fit = tried
        return replace(fit, work=work)

    def _poor(self, fit: Fit) -> bool:
        """Whether a fit fails, or leaves more than the noise of some state."""
        return not np.isfinite(fit.cost) or bool(np.any(fit.rss > MISFIT * self.records.n_observed))

    def _calibrated(
        self,
        system: System,
        substeps: int,
        starts: Array | None = None,
        give_up: float = np.inf,
    ) -> Fit:
        return calibrate(
            system,
            self.records,
            self.noise_std,
            self.names,
            starts=starts,
            substeps=substeps,
            tolerance=self._step_tolerance,
            give_up=give_up,
        )


def _cost_of(value: float, n_rows: int) -> float:
    """The cost whose deviance is the value."""
    if value <= n_rows:
        return max(value, 1e-3 * n_rows)
    return float(n_rows * np.exp(min(value / n_rows - 1.0, 60.0)))


def _within(system: System) -> bool:
    """Whether the constants stayed where their terms are what they are named for."""
    bounds, values = system.bounds, system.parameters
    margin = 1e-6 * (bounds[:, 1] - bounds[:, 0])
    return bool(np.all((values > bounds[:, 0] + margin) & (values < bounds[:, 1] - margin)))


def best_of(verdicts: Sequence[Verdict]) -> Verdict:
    """The lowest score."""
    return min(verdicts, key=lambda one: one.score)
