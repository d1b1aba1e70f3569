"""Right-hand sides that the data suggest for one state: wide subset search on integrated columns.

Columns are the templates with their constants on a grid, integrated by the mechanistic solver as
in stage 2. All pairs are looked at, then larger sets from the best ones; of the best structures the
constants are refined before they are ranked, as a constant off its place hides its term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sympy
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from discoverers.denoising import Denoised
from discoverers.integration import Integral, integrate_stretches
from discoverers.shooting.program import Program, compile_terms
from discoverers.sparse import NormalEquations
from discoverers.sparse.criterion import deviance
from discoverers.trajectories import Trajectories
from discoverers.whitening import split_windows, whitened_rows

from .atoms import PARAMETER, Template
from .systems import Candidate, Law

__all__ = ["Proposal", "Proposals", "WeakForm"]

Array = NDArray[np.float64]

WIDTHS = {2: 1000, 3: 400, 4: 150, 5: 60}
"""Structures kept of each size; wide at pairs, where a constant off its place hides most."""

REFINED = 30
PER_SIZE = {1: 10, 2: 80, 3: 80, 4: 10, 5: 4}
"""Structures whose constants are refined: the best over all, and so many of each size."""

EVALUATIONS = 10


@dataclass(frozen=True)
class Proposal:
    """A right-hand side and its score in the weak form."""

    law: Law
    score: float


@dataclass(frozen=True, eq=False)
class WeakForm:
    """Integrated columns of the measured runs."""

    trajectories: Trajectories
    denoised: Denoised
    integral: Integral
    window: int
    names: tuple[str, ...]

    def features(self, program: Program, parameter: float) -> list[Array] | None:
        """One template at the denoised states of each run; None where it is not finite."""
        from discoverers.shooting.kernels import evaluate_terms_many

        out = []
        for run, states in zip(self.trajectories, self.denoised.states, strict=True):
            inputs = np.column_stack([run.u, np.full(len(states), parameter)])
            values = evaluate_terms_many(
                program.code,
                program.numbers,
                program.splines,
                1,
                np.ascontiguousarray(states),
                np.ascontiguousarray(inputs),
            )
            if not (np.isfinite(values).all() and np.abs(values).max() < 1e12):
                return None
            out.append(values)
        return out

    def compile(self, template: Template) -> Program:
        """The template as a program whose last input is its constant."""
        n_states = self.trajectories.n_states
        return compile_terms(
            [template.expr], self.names[:n_states], (*self.names[n_states:], PARAMETER.name)
        )

    def filter(self, state: int, drift: float) -> Filter:
        """Integration and whitening of one state's equation as a matrix for each run."""
        rows, targets = [], []
        precision = np.concatenate([part[:, state] for part in self.denoised.precision])
        unit = 1.0 / float(np.median(precision[precision > 0]))
        for i, steps in enumerate(self.denoised.steps):
            n = len(steps) + 1
            stretches = self.integral.segments(n)
            integrated = integrate_stretches(self.integral, stretches, steps, np.eye(n))
            columns = np.column_stack(
                [self.denoised.time_scale * integrated, self.denoised.data[i][:, state]]
            )
            white = whitened_rows(
                split_windows(stretches, self.window),
                columns,
                self.denoised.precision[i][:, state],
                np.concatenate([[0.0], np.cumsum(steps)]),
                drift * unit,
            )
            rows.append(np.ascontiguousarray(white[:, :-1]))
            targets.append(white[:, -1])
        return Filter(tuple(rows), np.concatenate(targets))


@dataclass(frozen=True, eq=False)
class Filter:
    """Whitened integrals are this matrix times a term's values, run by run.

    Attributes
    ----------
    rows : tuple of ndarray of shape (r, n), one per run
    target : ndarray of shape (total r,)
        The whitened data.
    """

    rows: tuple[Array, ...]
    target: Array

    def __call__(self, values: Sequence[Array]) -> Array:
        """Whitened integrals (total r, k) of terms (n, k) at the states of each run."""
        return np.concatenate([part @ one for part, one in zip(self.rows, values, strict=True)])


@dataclass(frozen=True, eq=False)
class Proposals:
    """All columns of the dictionary, integrated once; asked for each state in turn."""

    form: WeakForm
    columns: tuple[Candidate, ...]
    programs: dict[sympy.Expr, Program]
    values: tuple[Array, ...]

    @classmethod
    def build(cls, form: WeakForm, templates: Sequence[Template]) -> Proposals:
        """Evaluate every template on its grid."""
        kept: list[Candidate] = []
        values: list[list[Array]] = []
        programs: dict[sympy.Expr, Program] = {}
        for template in templates:
            program = form.compile(template)
            programs[template.expr] = program
            for parameter in template.grid or (np.nan,):
                found = form.features(program, parameter)
                if found is not None:
                    kept.append(Candidate(template, 0.0, float(parameter)))
                    values.append(found)
        stacked = tuple(np.hstack(run) for run in zip(*values, strict=True))
        return cls(form, tuple(kept), programs, stacked)

    def ranked(self, state: int, drift: float) -> list[Proposal]:
        """Right-hand sides of one state, the best first, at most one per structure."""
        weigh = self.form.filter(state, drift)
        normal = NormalEquations.from_rows(weigh(self.values), weigh.target)
        n_states = self.form.trajectories.n_states
        charges = np.array([one.template.charge(normal.n_rows, n_states) for one in self.columns])
        alive = np.flatnonzero(np.diagonal(normal.gram) > 0.0)
        best: dict[frozenset[sympy.Expr], tuple[float, tuple[int, ...]]] = {}
        kinds = {template: i for i, template in enumerate(self.programs)}
        kind = np.array([kinds[one.template.expr] for one in self.columns])
        for supports in _grow(normal, alive, kind):
            scores = deviance(normal.losses(supports), normal.n_rows)
            scores = scores + charges[supports].sum(axis=1)
            for support, score in zip(supports.tolist(), scores.tolist(), strict=True):
                key = frozenset(self.columns[k].template.expr for k in support)
                if len(key) == len(support) and score < best.get(key, (np.inf, ()))[0]:
                    best[key] = (score, tuple(support))
        refined = [self._refined(support, weigh, charges) for support in self._leading(best)]
        return sorted(refined, key=lambda one: one.score)

    def score(self, law: Law, state: int, drift: float) -> float:
        """The score of a given right-hand side, its numbers fitted anew but for the constants."""
        weigh = self.form.filter(state, drift)
        n_states = self.form.trajectories.n_states
        n_rows = len(weigh.target)
        charge = sum(one.template.charge(n_rows, n_states) for one in law)
        if not law:
            return float(deviance(float(weigh.target @ weigh.target), n_rows))
        values = [self._values(one) for one in law]
        stacked = [np.hstack(run) for run in zip(*values, strict=True)]
        return float(deviance(_loss(weigh(stacked), weigh.target), n_rows)) + charge

    def _values(self, one: Candidate) -> list[Array]:
        program = self.programs.get(one.template.expr) or self.form.compile(one.template)
        found = self.form.features(program, one.parameter)
        # What is not finite on the denoised states explains nothing.
        return found or [np.zeros((len(run), 1)) for run in self.values]

    def _leading(
        self, best: dict[frozenset[sympy.Expr], tuple[float, tuple[int, ...]]]
    ) -> list[tuple[int, ...]]:
        """The best structures over all, and some of each size."""
        ordered = sorted(best.values())
        chosen = dict.fromkeys(support for _, support in ordered[:REFINED])
        sizes: dict[int, int] = {}
        for _, support in ordered:
            sizes[len(support)] = sizes.get(len(support), 0) + 1
            if sizes[len(support)] <= PER_SIZE[len(support)]:
                chosen[support] = None
        return list(chosen)

    def _refined(self, support: tuple[int, ...], weigh: Filter, charges: Array) -> Proposal:
        """Move the constants to where the loss is lowest, one after the other."""
        members = [self.columns[k] for k in support]
        filtered = weigh([run[:, list(support)] for run in self.values])
        loss = _loss(filtered, weigh.target)
        for place, one in enumerate(members):
            if not one.template.has_parameter:
                continue

            def cost(parameter: float, place: int = place, one: Candidate = one) -> float:
                moved = self.form.features(self.programs[one.template.expr], parameter)
                if moved is None:
                    return 1e300
                trial = filtered.copy()
                trial[:, [place]] = weigh(moved)
                return _loss(trial, weigh.target)

            found = minimize_scalar(
                cost, bounds=_around(one), method="bounded", options={"maxiter": EVALUATIONS}
            )
            moved = self.form.features(self.programs[one.template.expr], float(found.x))
            if found.fun < loss and moved is not None:
                loss = float(found.fun)
                members[place] = Candidate(one.template, 0.0, float(found.x))
                filtered[:, [place]] = weigh(moved)
        coef = np.linalg.lstsq(filtered, weigh.target, rcond=None)[0]
        law = tuple(
            Candidate(one.template, float(value), one.parameter)
            for one, value in zip(members, coef, strict=True)
        )
        score = float(deviance(loss, len(weigh.target))) + float(charges[list(support)].sum())
        return Proposal(law, score)


def _loss(columns: Array, target: Array) -> float:
    coef = np.linalg.lstsq(columns, target, rcond=None)[0]
    residual = target - columns @ coef
    return float(residual @ residual)


def _around(one: Candidate) -> tuple[float, float]:
    """From one neighbour on the grid to the other."""
    grid = np.array(one.template.grid)
    at = int(np.argmin(np.abs(grid - one.parameter)))
    low = grid[at - 1] if at > 0 else one.template.lower
    high = grid[at + 1] if at + 1 < len(grid) else one.template.upper
    return float(low), float(high)


def _grow(
    normal: NormalEquations, alive: NDArray[np.intp], kind: NDArray[np.intp]
) -> list[NDArray[np.intp]]:
    """Supports of one to five columns: all singles, the best pairs, and what grows from them.

    Of one structure, which differs in its constants alone, only the best is kept.
    """
    supports = alive[:, None]
    found = [supports]
    for size in range(2, max(WIDTHS) + 1):
        if normal.n_rows < 4 * size:
            break
        losses = normal.losses_with_one_more(supports)[:, alive]
        count = min(12 * WIDTHS[size], losses.size - 1)
        order = np.argpartition(losses, count, axis=None)[:count]
        order = order[np.argsort(losses.ravel()[order], kind="stable")]
        order = order[np.isfinite(losses.ravel()[order])]
        parents, added = np.unravel_index(order, losses.shape)
        grown = np.concatenate([supports[parents], alive[added][:, None]], axis=1)
        structures = np.sort(kind[grown], axis=1)
        different = (np.diff(structures, axis=1) > 0).all(axis=1)
        grown, structures = grown[different], structures[different]
        # The first of each structure is its best one.
        _, first = np.unique(structures, axis=0, return_index=True)
        supports = np.sort(grown[np.sort(first)[: WIDTHS[size]]], axis=1)
        found.append(supports)
        if not len(supports):
            break
    return found
