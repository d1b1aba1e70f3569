"""What a search for elements found, in the words of the common contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import sympy
from numpy.typing import NDArray

from discoverers.equations import Equations
from discoverers.exceptions import ConvergenceWarning, IdentifiabilityWarning, MisfitWarning
from discoverers.sparse.criterion import deviance
from discoverers.structures.base import Data, Note, StructuralFit

from .driving import BASE
from .model import ELONGATION, RATE, Element
from .prepare import Task
from .problem import Measured, Point
from .search import FITS, Found, Ranked

__all__ = ["report"]

Array = NDArray[np.float64]

CLOSE = 10.0
"""Scores within this of the best are reported as alternatives."""

TIED = 2.0

LOOSE = 0.3
"""A mass whose relative standard error is above this is called undetermined."""

KINDS = {
    "d": "spring",
    "w": "damper",
    "d**2": "quadratic spring",
    "d**3": "cubic spring",
    "d*Abs(d)": "odd quadratic spring",
    "w*Abs(w)": "quadratic damper",
    "sign(w)": "dry friction",
}


def report(task: Task, found: Found, data: Data, names: tuple[str, ...]) -> StructuralFit:
    """Put the best structure into a `StructuralFit`."""
    writer = _Writer(found.measured, data, names)
    best = found.ranked[0]
    point = best.point
    covariance, shown = writer.covariance(point)
    coef, coef_std = writer.coefficients(point, covariance)
    states, rates = writer.motion(point)
    alternatives = writer.alternatives(found.ranked)
    return StructuralFit(
        equations=writer.equations(point),
        observation=data.observation(names),
        terms=tuple(map(str, writer.terms)),
        coef=coef,
        coef_std=coef_std,
        parameter_names=tuple(shown),
        covariance=covariance,
        states=states,
        rates=rates,
        x0=point.start,
        x0_std=writer.start_std(point, covariance),
        noise_std=np.asarray(found.measured.noise_std),
        pareto_front=writer.front(found.ranked),
        alternatives=alternatives,
        history=pd.DataFrame(list(found.history)),
        converged=bool(best.converged and found.complete),
        x_offset_identifiable=writer.offset_identifiable(point, covariance, states),
        notes=writer.notes(found, alternatives, covariance),
        extras={
            "elements_": writer.elements(point, covariance),
            "masses_": writer.masses(point, covariance),
        },
    )


class _Writer:
    """Turns points into the user's coordinates."""

    def __init__(self, measured: Measured, data: Data, names: tuple[str, ...]) -> None:
        self.measured, self.data, self.names = measured, data, names
        self.d = measured.n_dof
        symbols = [sympy.Symbol(name) for name in names]
        self.x, self.v = symbols[: self.d], symbols[self.d :]
        self.inputs = [sympy.Symbol(name) for name in data.input_names]
        self.candidates = measured.elements.elements
        summands = [part for element in self.candidates for part in self.summands(element)]
        self.terms = list(dict.fromkeys([*self.v, *self.inputs, *summands]))

    @property
    def _open(self) -> bool:
        """Whether initial states were to be estimated."""
        return bool(np.isnan(self.data.x0).any())

    def summands(self, element: Element) -> Mapping[sympy.Expr, float]:
        """Terms of an element's force: linear ones mass by mass, others in one piece."""
        force = element.force(self.x, self.v)
        if element.law in (ELONGATION, RATE):
            expanded = sympy.expand(force).as_coefficients_dict()
            return {term: float(value) for term, value in expanded.items()}
        factor, rest = force.as_coeff_Mul()
        return {rest: float(factor)}

    def equations(self, point: Point) -> Equations:
        """Rates of positions and velocities."""
        sides: list[sympy.Expr] = list(self.v)
        inverse = np.exp(-point.log_masses)
        forces: list[sympy.Expr] = [sympy.Integer(0)] * self.d
        for symbol, mass in zip(self.inputs, self.measured.elements.driven, strict=True):
            if mass == BASE:
                forces = [force - symbol for force in forces]
            else:
                forces[mass - 1] += self._number(inverse[mass - 1]) * symbol
        for k, strength in zip(point.support, point.strengths, strict=True):
            element = self.candidates[k]
            for mass, sign in element.signs().items():
                for term, factor in self.summands(element).items():
                    value = sign * strength * factor * inverse[mass - 1]
                    forces[mass - 1] += self._number(value) * term
        return Equations([*sides, *forces], self.names, self.data.input_names)

    @staticmethod
    def _number(value: float) -> sympy.Expr:
        return sympy.Integer(1) if value == 1.0 else sympy.Float(float(value))

    def covariance(self, point: Point) -> tuple[Array, list[str]]:
        """Of strengths, unknown masses and unknown initial states; and their names."""
        normal = self.measured.normal(point)
        masses = [int(i) for i in np.flatnonzero(self.measured.free_masses)]
        several = len(self.data.records) > 1
        shown = [self.candidates[k].name for k in point.support]
        shown += [f"mass {i + 1}" for i in masses]
        shown += [
            f"{self.names[place]}(0)" + (f" of run {run}" if several else "")
            for run, place in np.argwhere(self.measured.free_start)
        ]
        if normal is None or not shown:
            return np.zeros((len(shown), len(shown))), shown
        size = np.sqrt(np.diagonal(normal.matrix))
        size = np.where(size > 0.0, size, 1.0)
        values, vectors = np.linalg.eigh(normal.matrix / np.outer(size, size))
        inverse = (vectors / np.maximum(values, 1e-15)) @ vectors.T / np.outer(size, size)
        units = np.ones(len(shown))
        k = len(point.support)
        units[k : k + len(masses)] = np.exp(point.log_masses[masses])
        return inverse * np.outer(units, units), shown

    def coefficients(self, point: Point, covariance: Array) -> tuple[Array, Array]:
        """Coefficients and standard errors of all terms in all equations, (2 d, K)."""
        place = {term: column for column, term in enumerate(self.terms)}
        coef = np.zeros((2 * self.d, len(self.terms)))
        slopes = np.zeros((2 * self.d, len(self.terms), len(covariance)))
        mass = np.exp(point.log_masses)
        k = len(point.support)
        column_of = {int(i): k + c for c, i in enumerate(np.flatnonzero(self.measured.free_masses))}

        def add(i: int, term: sympy.Expr, value: float) -> None:
            row, column = self.d + i, place[term]
            coef[row, column] += value
            if i in column_of:
                slopes[row, column, column_of[i]] -= value / mass[i]

        for i, velocity in enumerate(self.v):
            coef[i, place[velocity]] = 1.0
        for symbol, number in zip(self.inputs, self.measured.elements.driven, strict=True):
            if number == BASE:
                coef[self.d :, place[symbol]] -= 1.0
            else:
                add(number - 1, symbol, 1.0 / mass[number - 1])
        for position, (element, strength) in enumerate(
            zip((self.candidates[j] for j in point.support), point.strengths, strict=True)
        ):
            for number, sign in element.signs().items():
                for term, factor in self.summands(element).items():
                    unit = sign * factor / mass[number - 1]
                    add(number - 1, term, unit * strength)
                    slopes[self.d + number - 1, place[term], position] += unit
        variance = np.einsum("vkp,pq,vkq->vk", slopes, covariance, slopes)
        return coef, np.where(coef != 0.0, np.sqrt(np.maximum(variance, 0.0)), 0.0)

    def motion(self, point: Point) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """States and rates of each run; the last finite ones go on where a run blew up."""
        states, rates = [], []
        d, elements = self.d, self.measured.elements
        for path in self.measured.paths(point):
            X, F = path.X.copy(), path.F.copy()
            X[path.n_valid :], F[path.n_valid :] = X[path.n_valid - 1], 0.0
            states.append(elements.external(X))
            rates.append(np.hstack([F[:, :d], F[:, d : 2 * d] * X[:, 2 * d :]]))
        return tuple(states), tuple(rates)

    def start_std(self, point: Point, covariance: Array) -> Array:
        """Standard errors of the initial states, (runs, 2 d)."""
        out = np.zeros(point.start.shape)
        count = int(self.measured.free_start.sum())
        if count:
            out[self.measured.free_start] = np.sqrt(np.diagonal(covariance)[-count:])
        return out

    def offset_identifiable(
        self, point: Point, covariance: Array, states: tuple[Array, ...]
    ) -> bool | None:
        """Whether the initial positions come out with an error below the size of the motion."""
        unknown = self.measured.free_start[:, : self.d]
        if not unknown.any():
            return None
        error = self.start_std(point, covariance)[:, : self.d]
        size = np.array([np.sqrt((X[:, : self.d] ** 2).mean(axis=0)) for X in states])
        return bool((error <= size)[unknown].all())

    def elements(self, point: Point, covariance: Array) -> pd.DataFrame:
        """One row per element."""
        found = [self.candidates[k] for k in point.support]
        laws = [str(element.law) for element in found]
        return pd.DataFrame(
            {
                "ends": [element.ends for element in found],
                "kind": [KINDS.get(law, law) for law in laws],
                "law": laws,
                "strength": point.strengths,
                "std_error": np.sqrt(np.diagonal(covariance)[: len(found)]),
                "force": [str(element.force(self.x, self.v)) for element in found],
            }
        )

    def masses(self, point: Point, covariance: Array) -> pd.DataFrame:
        """One row per mass."""
        error = np.zeros(self.d)
        free = self.measured.free_masses
        k = len(point.support)
        error[free] = np.sqrt(np.diagonal(covariance)[k : k + int(free.sum())])
        return pd.DataFrame(
            {"mass": np.exp(point.log_masses), "std_error": error, "known": ~free},
            index=pd.RangeIndex(1, self.d + 1, name="number"),
        )

    def alternatives(self, ranked: tuple[Ranked, ...]) -> pd.DataFrame:
        """Structures within `CLOSE` of the best; how far behind leaves the prior on masses out."""
        near = [each for each in ranked if each.score <= ranked[0].score + CLOSE] or [ranked[0]]
        score = np.array([each.score for each in near])
        data = np.array([self._data_score(each) for each in near])
        with np.errstate(invalid="ignore"):
            behind = np.maximum(np.nan_to_num(data - data[0]), 0.0)
            weights = np.exp(-0.5 * np.nan_to_num(score - score[0]))
        systems = [self.equations(each.point) for each in near]
        return pd.DataFrame(
            {
                "equation": [str(system) for system in systems],
                "equations": systems,
                "score_behind": behind,
                "weight": weights / weights.sum(),
                "elements": [
                    ", ".join(self.candidates[k].name for k in each.point.support) for each in near
                ],
            }
        )

    def _data_score(self, ranked: Ranked) -> float:
        rows = max(self.measured.n_observed, 1)
        without = ranked.cost - self.measured.prior_cost(ranked.point)
        return ranked.score - float(deviance(ranked.cost, rows)) + float(deviance(without, rows))

    def front(self, ranked: tuple[Ranked, ...]) -> pd.DataFrame:
        """The best structure of each number of elements, as far as larger ones gain."""
        chosen = ranked[0]
        best: dict[int, Ranked] = {len(chosen.point.support): chosen}
        for each in sorted(ranked, key=lambda item: item.cost):
            best.setdefault(len(each.point.support), each)
        rows: list[Ranked] = []
        count = max(self.measured.n_observed, 1)
        lowest = np.inf
        for size in sorted(best):
            value = float(deviance(best[size].cost, count))
            if best[size] is chosen or value < lowest - 1.0:
                rows.append(best[size])
                lowest = min(lowest, value)
        losses = np.array([each.cost / count for each in rows])
        sizes = np.array([len(each.point.support) for each in rows])
        gain = np.zeros(len(rows))
        with np.errstate(all="ignore"):
            gain[1:] = np.nan_to_num(-np.diff(np.log(np.maximum(losses, 1e-300))) / np.diff(sizes))
        systems = [self.equations(each.point) for each in rows]
        return pd.DataFrame(
            {
                "complexity": sizes,
                "loss": losses,
                "score": gain,
                "equation": [str(system) for system in systems],
                "sympy_format": [tuple(system) for system in systems],
                "lambda_format": [system.lambdify() for system in systems],
                "criterion": [each.score for each in rows],
                "selected": [each is chosen for each in rows],
            }
        )

    def notes(
        self, found: Found, alternatives: pd.DataFrame, covariance: Array
    ) -> tuple[Note, ...]:
        """What the user has to know."""
        best = found.ranked[0]
        notes: list[tuple[str, Any]] = []
        if not (best.converged and found.complete):
            notes.append(
                (
                    "The calibration of the elements did not come to its end; a longer or less "
                    "noisy record, fewer candidate laws or known masses help"
                    + (", and so does x0, or initial_state='rest'." if self._open else "."),
                    ConvergenceWarning,
                )
            )
        misfit = best.cost / max(self.measured.n_observed, 1)
        if misfit > FITS:
            notes.append(
                (
                    f"The elements leave {misfit:.3g} times the noise's variance unexplained: the "
                    f"laws may not be among the candidates, or the known force acts elsewhere "
                    f"(force_on)"
                    + (
                        ", or the initial states are not found: pass x0, or initial_state='rest' "
                        "where it began so."
                        if self._open
                        else "."
                    ),
                    MisfitWarning,
                )
            )
        tied = int((alternatives["score_behind"] <= TIED).sum()) - 1
        if tied > 0:
            notes.append(
                (
                    f"The data do not settle the elements: {tied} other set(s) in alternatives_ "
                    f"explain them as well. The one whose masses are most alike was taken; pass "
                    f"masses that you know, or measure more of them.",
                    IdentifiabilityWarning,
                )
            )
        masses = self.masses(best.point, covariance)
        loose = masses.index[masses["std_error"] > LOOSE * masses["mass"]].tolist()
        if loose:
            notes.append(
                (
                    f"The data do not determine the mass(es) {loose}; pass what you know of them "
                    f"as masses=.",
                    IdentifiabilityWarning,
                )
            )
        return tuple(Note(text, category) for text, category in notes)
