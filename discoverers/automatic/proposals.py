"""Right-hand sides that the data suggest for one state: wide subset search on integrated columns.

Columns are the templates with their constants on a grid, integrated by the mechanistic solver as
in stage 2. `search_subsets` finds structures among them; of the best ones the constants are refined
by variable projection before they are ranked, as a constant off its place hides its term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.denoising import Denoised
from discoverers.integration import Integral, integrate_stretches
from discoverers.shooting.program import Program, compile_terms
from discoverers.sparse import NormalEquations
from discoverers.sparse.criterion import deviance
from discoverers.stretches import integrated_stretches
from discoverers.trajectories import Trajectories
from discoverers.whitening import split_windows, whitened_rows

from .atoms import PARAMETER, Template
from .denominators import Denominator
from .ratios import Weak, best_ratios, may_pay
from .screening import screened
from .subsets import Subsets, search_subsets
from .systems import Candidate, Law, charge_of

__all__ = ["Proposal", "Proposals", "WeakForm"]

Array = NDArray[np.float64]

REFINED = 30
PER_SIZE = {1: 12, 2: 100, 3: 100, 4: 60, 5: 20}
"""Structures whose constants are refined: the best over all, and so many of each size."""

ITERATIONS = 12
LARGEST_BASE = 2


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

    def features(self, program: Program, parameters: Sequence[float]) -> list[Array]:
        """One template at the denoised states of all runs (n, 1), for each value of its constant.

        What is not finite is left out: its array is empty.
        """
        from discoverers.shooting.kernels import evaluate_terms_many

        out = []
        for parameter in parameters:
            states = np.column_stack([self.states, np.full(len(self.states), parameter)])
            values = evaluate_terms_many(
                program.code, program.numbers, program.splines, 1, states, self.inputs
            )
            fine = np.isfinite(values).all() and np.abs(values).max() < 1e12
            out.append(values if fine else np.empty((0, 1)))
        return out

    def compile(self, expr: sympy.Expr) -> Program:
        """A term as a program whose last state is its constant."""
        n_states = self.trajectories.n_states
        return compile_terms(
            [expr], (*self.names[:n_states], PARAMETER.name), self.names[n_states:]
        )

    @cached_property
    def states(self) -> Array:
        """Denoised states of all runs, one below the other."""
        return np.ascontiguousarray(np.concatenate(self.denoised.states))

    @cached_property
    def inputs(self) -> Array:
        """Inputs of all runs."""
        return np.ascontiguousarray(np.concatenate([run.u for run in self.trajectories]))

    def filter(self, state: int, drift: float) -> Filter:
        """Integration and whitening of one state's equation as a matrix for each run."""
        rows, targets = [], []
        precision = np.concatenate([part[:, state] for part in self.denoised.precision])
        unit = 1.0 / float(np.median(precision[precision > 0]))
        for i, steps in enumerate(self.denoised.steps):
            n = len(steps) + 1
            stretches = integrated_stretches(self.integral, steps)
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

    @property
    def samples(self) -> NDArray[np.int64]:
        """Where the runs begin among the samples, and the end."""
        return np.cumsum([0, *(part.shape[1] for part in self.rows)]).astype(np.int64)

    @property
    def whitened(self) -> NDArray[np.int64]:
        """Where the runs begin among the whitened rows, and the end."""
        return np.cumsum([0, *(part.shape[0] for part in self.rows)]).astype(np.int64)

    @cached_property
    def flat(self) -> Array:
        """All matrices in one array."""
        return np.concatenate([part.ravel() for part in self.rows])

    def __call__(self, values: Array) -> Array:
        """Whitened integrals (total r, k) of terms (total n, k) at the states of all runs."""
        at = self.samples
        return np.concatenate(
            [part @ values[a:b] for part, a, b in zip(self.rows, at[:-1], at[1:], strict=True)]
        )


@dataclass(frozen=True, eq=False)
class Proposals:
    """All columns of the dictionary, integrated once; asked for each state in turn.

    Attributes
    ----------
    form : WeakForm
    columns : tuple of Candidate
    programs : dict of expression to Program
    values : ndarray of shape (n, K)
        The columns at the denoised states.
    """

    form: WeakForm
    columns: tuple[Candidate, ...]
    programs: dict[sympy.Expr, Program]
    values: Array
    denominators: tuple[Denominator, ...] = ()

    @classmethod
    def build(
        cls,
        form: WeakForm,
        templates: Sequence[Template],
        denominators: tuple[Denominator, ...] = (),
    ) -> Proposals:
        """Evaluate every template on its grid."""
        kept: list[Candidate] = []
        values: list[Array] = []
        programs: dict[sympy.Expr, Program] = {}
        for template in templates:
            program = form.compile(template.expr)
            programs[template.expr] = program
            grid = template.grid or (np.nan,)
            for parameter, found in zip(grid, form.features(program, grid), strict=True):
                if len(found):
                    kept.append(Candidate(template, 0.0, float(parameter)))
                    values.append(found)
        return cls(form, tuple(kept), programs, np.hstack(values), denominators)

    def ranked(self, state: int, drift: float) -> list[Proposal]:
        """Right-hand sides of one state, the best first, at most one per structure."""
        weigh = self.form.filter(state, drift)
        filtered = weigh(self.values)
        n_rows, n_states = len(weigh.target), self.form.trajectories.n_states
        charges = np.array([one.template.charge(n_rows, n_states) for one in self.columns])
        kinds = {expr: i for i, expr in enumerate(self.programs)}
        kind = np.array([kinds[one.template.expr] for one in self.columns], dtype=np.intp)
        simple = np.array([not one.template.factors for one in self.columns])
        kept = screened(filtered, weigh.target, charges, kind, simple, self._bases, n_states)
        found = search_subsets(
            NormalEquations.from_rows(filtered[:, kept], weigh.target),
            charges[kept],
            np.unique(kind[kept], return_inverse=True)[1],
            [tuple(np.searchsorted(kept, base).tolist()) for base in self._bases],
        )
        refined = [
            self._refined(tuple(kept[list(support)].tolist()), weigh, filtered, charges)
            for support in _leading(found)
        ]
        return sorted(refined, key=lambda one: one.score)

    def ratios(self, state: int, drift: float, ranked: Sequence[Proposal]) -> list[Proposal]:
        """Terms over denominators of several monomials, the best first.

        None where the data are explained as well by what was ranked, at less cost.
        """
        weigh = self.form.filter(state, drift)
        weak = Weak(weigh, weigh.target, *self._numerators, self.form.trajectories.n_states)
        held = [(one.score, one.law) for one in ranked]
        if not may_pay(held, weak, [one for one, _ in self._below]):
            return []
        return [Proposal(law, score) for score, law in best_ratios(weak, self._below)]

    @cached_property
    def _numerators(self) -> tuple[tuple[Template, ...], Array]:
        """Monomials up to the second degree and their values."""
        places = [
            place
            for place, one in enumerate(self.columns)
            if not one.template.factors and _degree(one.template.expr) <= 2
        ]
        return tuple(self.columns[k].template for k in places), self.values[:, places]

    @cached_property
    def _below(self) -> list[tuple[Denominator, Array]]:
        """Denominators with the values of their monomials."""
        return [
            (one, np.hstack([self._values(Candidate(Template(m))) for m in one.monomials]))
            for one in self.denominators
        ]

    @cached_property
    def templates(self) -> dict[sympy.Expr, Template]:
        """The dictionary by its expressions."""
        return {one.template.expr: one.template for one in self.columns}

    @cached_property
    def _bases(self) -> list[tuple[int, ...]]:
        """Sets of the constant and the variables themselves."""
        simple = [
            place
            for place, one in enumerate(self.columns)
            if one.template.expr == 1 or one.template.expr.is_Symbol
        ]
        return [base for size in range(LARGEST_BASE + 1) for base in combinations(simple, size)]

    def score(self, law: Law, state: int, drift: float) -> float:
        """The score of a given right-hand side, its numbers fitted anew but for the constants."""
        weigh = self.form.filter(state, drift)
        n_states = self.form.trajectories.n_states
        n_rows = len(weigh.target)
        charge = charge_of(law, n_rows, n_states)
        if not law:
            return float(deviance(float(weigh.target @ weigh.target), n_rows))
        stacked = np.hstack([self._values(one) for one in law])
        return float(deviance(_loss(weigh(stacked), weigh.target), n_rows)) + charge

    def alike(self, law: Law, other: Law) -> Law:
        """A law with the coefficients that bring its rates closest to those of another one."""
        columns = np.hstack([self._values(one) for one in law])
        rates = sum(one.coefficient * self._values(one)[:, 0] for one in other)
        lengths = np.linalg.norm(columns, axis=0)
        scale = np.where(lengths > 0.0, lengths, 1.0)
        coefficients = np.linalg.lstsq(columns / scale, rates, rcond=1e-10)[0] / scale
        return tuple(
            replace(one, coefficient=value)
            for one, value in zip(law, coefficients.tolist(), strict=True)
        )

    def _values(self, one: Candidate) -> Array:
        program = self.programs.get(one.template.expr)
        if one.over is not None or program is None:
            program = self.form.compile(one.expr())
        (found,) = self.form.features(program, (one.parameter,))
        # What is not finite on the denoised states explains nothing.
        return found if len(found) else np.zeros((len(self.values), 1))

    def _refined(
        self, support: tuple[int, ...], weigh: Filter, filtered: Array, charges: Array
    ) -> Proposal:
        """Move the constants to where the loss is lowest."""
        from .kernels import refine_constants

        members = [self.columns[k] for k in support]
        programs = [self.programs[one.template.expr] for one in members]
        numbers = [program.numbers for program in programs]
        codes = [program.code for program in programs]
        parameters = np.array([one.parameter for one in members])
        coef, loss = refine_constants(
            np.concatenate(codes),
            np.cumsum([0, *map(len, codes)]).astype(np.int64),
            np.concatenate(numbers),
            np.cumsum([0, *map(len, numbers)]).astype(np.int64),
            programs[0].splines,
            self.form.states,
            self.form.inputs,
            weigh.flat,
            weigh.whitened,
            weigh.samples,
            weigh.target,
            np.ascontiguousarray(filtered[:, list(support)].T),
            parameters,
            np.array([(one.template.lower, one.template.upper) for one in members]),
            ITERATIONS,
        )
        law = tuple(
            Candidate(one.template, value, parameter)
            for one, value, parameter in zip(
                members, coef.tolist(), parameters.tolist(), strict=True
            )
        )
        score = float(deviance(loss, len(weigh.target))) + float(charges[list(support)].sum())
        return Proposal(law, score)


def _leading(found: Subsets) -> list[tuple[int, ...]]:
    """The best structures over all, and some of each size."""
    chosen = dict.fromkeys(found.leading(REFINED))
    for size, count in PER_SIZE.items():
        chosen |= dict.fromkeys(found.leading(count, size))
    return list(chosen)


def _degree(expr: sympy.Expr) -> int:
    return int(sympy.total_degree(expr))


def _loss(columns: Array, target: Array) -> float:
    coef = np.linalg.lstsq(columns, target, rcond=None)[0]
    residual = target - columns @ coef
    return float(residual @ residual)
