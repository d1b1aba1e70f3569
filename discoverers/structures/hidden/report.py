"""A law with a hidden force written down as a `StructuralFit`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import sympy
from numpy.typing import NDArray

from discoverers.equations import Equations
from discoverers.exceptions import ConvergenceWarning, IdentifiabilityWarning
from discoverers.formatting import term_name
from discoverers.shooting import Calibration, Column, StateSpaceModel, calibrate
from discoverers.sparse.criterion import deviance
from discoverers.structures.base import Note, StructuralFit

from .search import Candidate, Search
from .static import SplineLaw
from .task import HiddenTask

__all__ = ["HiddenStages", "report_hidden"]

Array = NDArray[np.float64]

CLOSE = 6.0
TIED = 2.0
FINAL_ITERATIONS = 60


@dataclass(frozen=True, eq=False)
class HiddenStages:
    """What was found: with a hidden force, and without."""

    search: Search
    chosen: Candidate
    static: Candidate
    extended: Candidate
    splines: SplineLaw
    seconds: float


def report_hidden(task: HiddenTask, stages: HiddenStages) -> StructuralFit:
    """Calibrate the chosen law on all data, and fill in everything a structure hands back."""
    search, chosen = stages.search, stages.chosen
    columns = _columns(search, chosen)
    model = StateSpaceModel(task.names, task.data.input_names, [column for column, _ in columns])
    theta = np.array([value for _, value in columns])
    fit, noise = _final(task, search, model, theta, chosen.x0)
    writer = _Writer(task, stages, model, fit)
    equations = model.equations(fit.theta)
    return StructuralFit(
        equations=equations,
        observation=task.data.observation(task.names),
        terms=writer.terms,
        coef=writer.matrix(fit.theta),
        coef_std=writer.matrix(np.where(fit.free_theta, fit.theta_std, 0.0)),
        parameter_names=writer.parameters,
        covariance=np.where(np.isfinite(fit.covariance), fit.covariance, 0.0),
        states=tuple(path.X for path in fit.paths),
        rates=tuple(path.F for path in fit.paths),
        x0=fit.x0,
        x0_std=np.where(np.isfinite(fit.x0_std), fit.x0_std, 0.0),
        noise_std=noise,
        pareto_front=writer.front(equations),
        alternatives=writer.alternatives(equations),
        history=writer.history(),
        converged=bool(fit.converged and np.isfinite(fit.cost)),
        x_offset_identifiable=False if task.shiftable else None,
        notes=tuple(writer.notes()),
        extras={"hidden_names_": (task.names[2],)},
    )


def _columns(search: Search, candidate: Candidate) -> list[tuple[Column, float]]:
    """Columns of a candidate with their values, fixed ones included."""
    place, out = 0, []
    for column in search.model.columns:
        if column.value is not None:
            out.append((column, float(column.value)))
            continue
        if place in candidate.support:
            out.append((column, float(candidate.theta[place])))
        place += 1
    return out


def _final(
    task: HiddenTask, search: Search, model: StateSpaceModel, theta: Array, x0: Array
) -> tuple[Calibration, Array]:
    """The last calibration, on whole records, and the noise that its residuals show."""
    setting = search.setting

    def calibrated(theta: Array, x0: Array, noise: Array) -> Calibration:
        with np.errstate(all="ignore"):
            return calibrate(
                model, theta, x0, task.data.records, setting.observation, noise,
                free_x0=setting.free_x0, max_iterations=FINAL_ITERATIONS,
                substeps=search.substeps,
            )  # fmt: skip

    fit = calibrated(theta, x0, setting.noise_std)
    left = np.maximum(fit.n_observed - len(fit.normal) / len(fit.rss), 0.2 * fit.n_observed)
    shown = np.sqrt(np.maximum(fit.rss / np.maximum(left, 1.0), 1e-24 * setting.noise_std**2))
    noise = shown if task.data.noise_std is None else np.asarray(task.data.noise_std, dtype=float)
    if np.isfinite(fit.cost):
        fit = calibrated(fit.theta, fit.x0, noise)
    return fit, noise


@dataclass(frozen=True, eq=False)
class _Writer:
    task: HiddenTask
    stages: HiddenStages
    model: StateSpaceModel
    fit: Calibration

    @property
    def variables(self) -> tuple[sympy.Symbol, ...]:
        return (*self.task.symbols, *map(sympy.Symbol, self.task.data.input_names))

    def name(self, column: Column) -> str:
        return term_name(column.expr, self.variables)

    @property
    def terms(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.name(c) for c in self.stages.search.model.columns))

    def matrix(self, values: Array) -> Array:
        out = np.zeros((3, len(self.terms)))
        place = {name: k for k, name in enumerate(self.terms)}
        for column, value in zip(self.model.columns, values, strict=True):
            for state, factor in column.drives.items():
                out[self.task.names.index(state), place[self.name(column)]] = value * factor + 0.0
        return out

    @property
    def parameters(self) -> tuple[str, ...]:
        out = []
        for k in np.flatnonzero(self.fit.free_theta):
            column = self.model.columns[int(k)]
            out.append(f"{next(iter(column.drives))}': {self.name(column)}")
        several = len(self.fit.x0) > 1
        for run, place in np.argwhere(self.fit.free_x0):
            text = f"{self.task.names[place]}(0)"
            out.append(f"{text} of run {run}" if several else text)
        return tuple(out)

    def equations(self, candidate: Candidate) -> Equations:
        columns = _columns(self.stages.search, candidate)
        model = StateSpaceModel(
            self.task.names, self.task.data.input_names, [column for column, _ in columns]
        )
        return model.equations(np.array([value for _, value in columns]))

    @property
    def ranked(self) -> list[Candidate]:
        found = [c for c in self.stages.search.found.values() if np.isfinite(c.score)]
        chosen = self.stages.chosen
        # Another gauge of the same law is not another law.
        others = [
            c
            for c in found
            if c.support != chosen.support
            and not (len(c.support) == len(chosen.support) and abs(c.cost - chosen.cost) < 0.1)
        ]
        return [chosen, *sorted(others, key=lambda c: c.score)]

    def alternatives(self, equations: Equations) -> pd.DataFrame:
        ranked = self.ranked
        lowest = ranked[0].score
        close = [c for c in ranked if c.score - lowest <= CLOSE]
        systems = [equations, *map(self.equations, close[1:])]
        behind = np.array([c.score - lowest for c in close])
        weights = np.exp(-0.5 * (behind - behind.min()))
        return pd.DataFrame(
            {
                "equation": [str(system) for system in systems],
                "equations": systems,
                "score_behind": behind,
                "weight": weights / weights.sum(),
            }
        )

    def front(self, equations: Equations) -> pd.DataFrame:
        """Best law with a hidden force of each size, as far as larger ones gain."""
        n, chosen = self.task.n_rows, self.stages.chosen
        best: dict[int, Candidate] = {}
        for one in sorted(self.ranked, key=lambda c: c.cost):
            best.setdefault(len(one.support), one)
        best[len(chosen.support)] = chosen
        rows: list[Candidate] = []
        lowest = np.inf
        for size in sorted(best):
            value = float(deviance(best[size].cost, n))
            if value < lowest - 1.0 or best[size] is chosen:
                rows.append(best[size])
                lowest = min(lowest, value)
        sizes = [len(one.support) for one in rows]
        losses = [one.cost / max(n, 1) for one in rows]
        gain = np.zeros(len(rows))
        gain[1:] = -np.diff(np.log(np.maximum(losses, 1e-300))) / np.diff(sizes)
        systems = [equations if one is chosen else self.equations(one) for one in rows]
        return pd.DataFrame(
            {
                "complexity": sizes,
                "loss": losses,
                "score": gain,
                "equation": [str(system) for system in systems],
                "sympy_format": [tuple(system) for system in systems],
                "lambda_format": [system.lambdify() for system in systems],
                "criterion": [one.score for one in rows],
                "selected": [one is chosen for one in rows],
            }
        )

    def history(self) -> pd.DataFrame:
        """What laws without and with hidden force leave, in units of the noise."""
        stages, n = self.stages, max(self.task.n_rows, 1)
        laws = [stages.static, stages.extended]
        return pd.DataFrame(
            {
                "stage": ["static library", "longer static library", "static splines", "hidden"],
                "parameters": [
                    *(float(len(law.support)) for law in laws),
                    float(stages.splines.n_parameters),
                    float(len(self.fit.normal)),
                ],
                "models": [1, 1, 1, len(stages.search.found)],
                "residual": np.sqrt(
                    [*(law.cost / n for law in laws), stages.splines.cost / n,
                     stages.chosen.cost / n]
                ),
                "seconds": [np.nan, np.nan, np.nan, stages.seconds],
                "converged": [*(law.converged for law in laws), True, self.fit.converged],
            }
        )  # fmt: skip

    def notes(self) -> list[Note]:
        out = []
        if not (self.fit.converged and np.isfinite(self.fit.cost)):
            out.append(
                Note(
                    "The final calibration of the law with a hidden force did not converge; treat "
                    "coefficients and errors with care.",
                    ConvergenceWarning,
                )
            )
        behind = self.alternatives(self.model.equations(self.fit.theta))["score_behind"]
        tied = int((behind <= TIED).sum()) - 1
        if tied > 0:
            out.append(
                Note(
                    f"The data do not settle the law: {tied} other(s) in `alternatives_` explain "
                    "them as well. More amplitudes of excitation would tell.",
                    IdentifiabilityWarning,
                )
            )
        if self.task.shiftable:
            out.append(
                Note(
                    "Nothing fixes the level from which the position counts; beside the hidden "
                    "force only terms were tried that change their sign with the motion, which "
                    "sets it. Pass x0 to try the others.",
                    IdentifiabilityWarning,
                )
            )
        return out
