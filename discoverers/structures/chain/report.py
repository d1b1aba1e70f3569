"""A chain's discovery written down as a `StructuralFit`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sympy
from numpy.typing import NDArray

from discoverers.equations import Equations
from discoverers.exceptions import ConvergenceWarning, IdentifiabilityWarning, MisfitWarning
from discoverers.formatting import term_name
from discoverers.structures.base import Note, StructuralFit
from discoverers.structures.edges import EdgeFunction

from .extraction import Extraction
from .finishing import Finished
from .judging import SWITCH_FLOOR, Candidate
from .learnt_edges import edge_functions
from .misfit import not_expressible
from .model import ChainTask
from .spline_kan import SplineKAN
from .start import Start

__all__ = ["Stages", "report"]

Array = NDArray[np.float64]

CLOSE = 6.0
"""Scores within this of the best are reported as alternatives."""

TIED = 2.0
"""Scores within this of the best are as good: the data do not tell which law is right."""

USELESS = 3.0
"""A network with residuals this many times the law's has no curves worth looking at."""

FRONT_GAIN = 1.0
"""What a larger law has to gain in deviance to be on the front."""


@dataclass(frozen=True, eq=False)
class Stages:
    """What the stages came to, and the seconds each took."""

    start: Start
    kan: SplineKAN
    extraction: Extraction
    finished: Finished
    seconds: tuple[float, float, float]


def report(task: ChainTask, stages: Stages) -> StructuralFit:
    """Fill in everything that a structure hands back."""
    writer = _Writer(task, stages)
    finished, fit = stages.finished, stages.finished.calibration
    usable = np.isfinite(fit.cost)
    paths = fit.paths if usable else None
    states = tuple(p.X for p in paths) if paths else writer.guessed(stages.start.states)
    rates = tuple(p.F for p in paths) if paths else writer.guessed(stages.start.rates)
    equations = finished.written.equations(fit.theta)
    kan = stages.kan
    edges: tuple[EdgeFunction, ...] = ()
    limit = USELESS * np.maximum(finished.noise_std, task.floor)
    if kan.converged and (not usable or np.all(kan.noise_std <= limit)):
        shift = np.zeros(len(task.chain.state_names))
        if task.shiftable and usable:
            lowest = list(task.chain.lowest)
            head = len(kan.calibration.paths[0].X)
            shift[lowest] = (states[0][:head] - kan.calibration.paths[0].X)[:, lowest].mean(axis=0)
        inputs = [record.u for record in stages.extraction.learnt_on]
        edges = edge_functions(kan, inputs, shift, equations)
    knots = writer.knots()
    names = [name for name, _ in writer.parameters]
    if np.isfinite(knots["std_error"]).any():
        names += [f"knot of {term}" for term in knots["term"]]
    noise = finished.noise_std if usable else stages.start.noise_std
    return StructuralFit(
        equations=equations,
        observation=task.data.observation(task.chain.state_names),
        terms=writer.terms,
        coef=writer.matrix(fit.theta),
        coef_std=writer.matrix(np.where(fit.free_theta, fit.theta_std, 0.0)),
        parameter_names=tuple(names),
        covariance=np.where(np.isfinite(fit.covariance), fit.covariance, 0.0),
        states=states,
        rates=rates,
        x0=fit.x0,
        x0_std=np.where(np.isfinite(fit.x0_std), fit.x0_std, 0.0),
        noise_std=noise,
        pareto_front=writer.front(noise),
        alternatives=writer.alternatives(),
        history=writer.history(),
        converged=bool(fit.converged and usable),
        edge_functions=edges,
        x_offset_identifiable=finished.offset_identifiable,
        notes=tuple(writer.notes()),
        extras={
            "knots_": knots,
            "residual_to_smoother_": noise / np.maximum(stages.start.noise_std, task.floor),
        },
    )


class _Writer:
    def __init__(self, task: ChainTask, stages: Stages) -> None:
        self.task, self.stages = task, stages
        self.chain = task.chain
        self.dictionary = stages.extraction.dictionary
        names = (*self.chain.state_names, *self.chain.input_names)
        self.variables = tuple(map(sympy.Symbol, names))

    @property
    def terms(self) -> tuple[str, ...]:
        """Kinematic terms, then the dictionary's."""
        kinematic = [str(column.term) for column in self.chain.kinematics()]
        return tuple(dict.fromkeys([*kinematic, *self.dictionary.names]))

    def matrix(self, values: Array) -> Array:
        """Values of the final model's columns as (V, K)."""
        out = np.zeros((len(self.chain.state_names), len(self.terms)))
        place = {name: k for k, name in enumerate(self.terms)}
        for column, value in zip(self.stages.finished.written.columns, values, strict=True):
            name = column.term if isinstance(column.term, str) else self.name(column.term)
            for state in column.drives:
                out[self.chain.state_names.index(state), place[name]] = value
        return out

    def name(self, term: Any) -> str:
        return term_name(term, self.variables)

    @property
    def parameters(self) -> list[tuple[str, int]]:
        """Names of what the covariance is about."""
        fit, out = self.stages.finished.calibration, []
        for k in np.flatnonzero(fit.free_theta).tolist():
            column = self.stages.finished.written.columns[k]
            out.append((f"{next(iter(column.drives))}': {self.name(column.term)}", int(k)))
        several = len(fit.x0) > 1
        for run, place in np.argwhere(fit.free_x0):
            text = f"{self.chain.state_names[place]}(0)"
            out.append((f"{text} of run {run}" if several else text, int(place)))
        return out

    def knots(self) -> pd.DataFrame:
        """Corners of the law: term, variable, where its knot is, and how well that is known."""
        finished = self.stages.finished
        bent = [
            self.dictionary.corners[k] for k in finished.support if k in self.dictionary.corners
        ]
        known = len(finished.knots_std) == len(bent)
        return pd.DataFrame(
            {
                "term": [self.name(corner.term) for corner in bent],
                "variable": [corner.variable for corner in bent],
                "knot": np.array([corner.knot for corner in bent], dtype=np.float64),
                "std_error": finished.knots_std if known else np.full(len(bent), np.nan),
            }
        )

    def guessed(self, parts: Sequence[Array]) -> tuple[Array, ...]:
        """Guessed states, padded with their last values where the guess had only the heads."""
        out = []
        for part, record in zip(parts, self.task.records, strict=True):
            rows = np.minimum(np.arange(len(record)), len(part) - 1)
            out.append(part[rows])
        return tuple(out)

    def equations(self, candidate: Candidate) -> Equations:
        columns = [self.dictionary.exact_columns[k] for k in candidate.support]
        model = self.chain.model(columns)
        skip = model.n_columns - len(columns)
        return model.equations(np.concatenate([np.ones(skip), candidate.coef]))

    def alternatives(self) -> pd.DataFrame:
        """Laws within `CLOSE` of the best, the chosen one first."""
        work, chosen = self.stages.extraction, self.stages.finished
        best = chosen.written.equations(chosen.calibration.theta)
        systems, behind = [best], [0.0]
        held = work.pool.get(chosen.support)
        reference = work.judge.score(held) if held is not None else np.inf
        for one in work.ranked:
            away = work.judge.score(one) - reference
            # Laws ahead of the chosen one lost a term that the last calibration showed to be idle.
            if one.support != chosen.support and 0.0 <= away <= CLOSE:
                systems.append(self.equations(one))
                behind.append(away)
        weights = np.exp(-0.5 * np.array(behind))
        return pd.DataFrame(
            {
                "equation": [str(system) for system in systems],
                "equations": systems,
                "score_behind": behind,
                "weight": weights / weights.sum(),
            }
        )

    def front(self, noise: Array) -> pd.DataFrame:
        """Best law of each size, as far as larger ones gain; the chosen one always."""
        work, chosen = self.stages.extraction, self.stages.finished
        best: dict[int, Candidate] = {}
        for one in work.ranked:
            held = best.get(len(one.support))
            if (
                one.support == chosen.support
                or held is None
                or (
                    held.support != chosen.support
                    and work.judge.deviance(one) < work.judge.deviance(held)
                )
            ):
                best[len(one.support)] = one
        rows, lowest = [], np.inf
        for size in sorted(best):
            one = best[size]
            value = work.judge.deviance(one)
            if value < lowest - FRONT_GAIN or one.support == chosen.support:
                rows.append(one)
                lowest = min(lowest, value)
        if not rows:
            rows = [work.pool[chosen.support]]
        count = np.maximum(work.judge.n_observed, 1)
        sigma = np.maximum(noise, 1e-300)
        losses = [float(np.mean(one.rss / count / sigma**2)) for one in rows]
        systems = [
            chosen.written.equations(chosen.calibration.theta)
            if one.support == chosen.support
            else self.equations(one)
            for one in rows
        ]
        sizes = [len(one.support) for one in rows]
        gain = np.zeros(len(rows))
        logs = np.log(np.maximum(losses, 1e-300))
        gain[1:] = -np.diff(logs) / np.diff(sizes)
        return pd.DataFrame(
            {
                "complexity": sizes,
                "loss": losses,
                "score": gain,
                "equation": [str(system) for system in systems],
                "sympy_format": [tuple(system) for system in systems],
                "lambda_format": [system.lambdify() for system in systems],
                "criterion": [work.judge.score(one) for one in rows],
                "selected": [one.support == chosen.support for one in rows],
            }
        )

    def history(self) -> pd.DataFrame:
        """One row per stage."""
        stages = self.stages
        kan, fit = stages.kan, stages.finished.calibration
        network = float(np.sqrt(np.mean(kan.noise_std**2))) if kan.converged else np.nan
        return pd.DataFrame(
            {
                "stage": ["network", "extraction", "calibration"],
                "seconds": stages.seconds,
                "parameters": [
                    kan.freedom, float(len(stages.finished.support)), float(len(fit.normal))
                ],
                "models": [1, len(stages.extraction.pool), 1],
                "residual": [
                    network,
                    network,
                    float(np.sqrt(np.mean(fit.rss / np.maximum(fit.n_observed, 1)))),
                ],
                "converged": [kan.converged, bool(stages.extraction.ranked), fit.converged],
            }
        )  # fmt: skip

    def notes(self) -> list[Note]:
        stages, out = self.stages, []
        finished, fit = stages.finished, stages.finished.calibration
        if not np.isfinite(fit.cost) or not fit.converged:
            out.append(
                Note(
                    "No law of the library could be calibrated through the runs; the equations are "
                    "a rough regression. Pass a richer `library`, more or denser samples, or known "
                    "initial states."
                    if not np.isfinite(fit.cost)
                    else "The final calibration did not converge; treat coefficients and errors "
                    "with care.",
                    ConvergenceWarning,
                )
            )
        else:
            same = stages.extraction.learnt_on is self.task.records
            jumps = self.dictionary.switching[list(finished.support)].any()
            reason = not_expressible(
                fit,
                self.task.records,
                self.task.data.observation(self.chain.state_names),
                stages.kan.noise_std if stages.kan.converged and same else None,
                self.task.floor * (SWITCH_FLOOR if jumps else 1.0),
            )
            if reason is not None:
                out.append(
                    Note(
                        f"The law is not expressible in the library. Of the best one: {reason}. "
                        "Read the curves in `edge_functions_`, or pass a richer `library`.",
                        MisfitWarning,
                    )
                )
        tied = int((self.alternatives()["score_behind"] <= TIED).sum()) - 1
        if tied > 0 and np.isfinite(fit.cost):
            out.append(
                Note(
                    f"The data do not settle the law: {tied} other(s) in `alternatives_` explain "
                    "them as well. More amplitudes of excitation would tell.",
                    IdentifiabilityWarning,
                )
            )
        if finished.offset_identifiable is False:
            out.append(
                Note(
                    "The channels fix the coordinates only up to a constant, and the library holds "
                    "the law for any; the level with the simplest law was taken. Pass x0 to fix "
                    "it.",
                    IdentifiabilityWarning,
                )
            )
        return out
