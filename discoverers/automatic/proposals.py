"""Right-hand sides that the data suggest for one state: wide subset search on integrated columns.

Columns are the templates with their constants on a grid, integrated by the mechanistic solver as
in stage 2. `search_subsets` finds structures among them; of the best ones the constants are refined
by variable projection before they are ranked, as a constant off its place hides its term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.shooting.program import Program
from discoverers.sparse import NormalEquations
from discoverers.sparse.criterion import deviance

from .atoms import Template
from .denominators import Denominator
from .ratios import Weak, best_ratios, may_pay
from .screening import screened
from .subsets import Subsets, search_subsets
from .systems import Candidate, Law, charge_of
from .weak_form import Filter, WeakForm

__all__ = ["Proposal", "Proposals"]

Array = NDArray[np.float64]
Support = tuple[int, ...]

REFINED = 30
PER_SIZE = {1: 12, 2: 100, 3: 100, 4: 60, 5: 20}
"""Structures whose constants are refined: the best over all, and so many of each size."""

ITERATIONS = 12
FEW_ITERATIONS = 3
LARGEST_WORK = 600_000
"""Rows of all structures, taken together, whose constants a wide search moves."""

LARGEST_BASE = 2


@dataclass(frozen=True)
class Proposal:
    """A right-hand side and its score in the weak form."""

    law: Law
    score: float


@dataclass(frozen=True, eq=False)
class _Searched:
    """What the subset search of one state saw, among the columns that were kept."""

    weigh: Filter
    filtered: Array
    charges: Array
    kept: NDArray[np.intp]
    found: Subsets


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
    _seen: dict[tuple[int, float], _Searched] = field(default_factory=dict, repr=False)

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
        seen = self._searched(state, drift)
        ranked = [self._refined(one, seen) for one in _leading(seen.found)]
        return sorted(ranked, key=lambda one: one.score)

    def wider(self, state: int, drift: float) -> list[Proposal]:
        """Those among thousands more that are good once their constants have moved.

        Of exact data a law is worse than many others while a constant is off the grid.
        """
        seen = self._searched(state, drift)
        count = LARGEST_WORK // max(len(seen.weigh.target), 1)
        moved = [
            (self._refined(one, seen, FEW_ITERATIONS).score, one)
            for one in _wider(seen.found, count)
        ]
        return [self._refined(one, seen) for _, one in sorted(moved)[: 2 * REFINED]]

    def _searched(self, state: int, drift: float) -> _Searched:
        """The subset search of one state; done once."""
        if (state, drift) in self._seen:
            return self._seen[state, drift]
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
        seen = _Searched(weigh, filtered[:, kept], charges[kept], kept, found)
        self._seen[state, drift] = seen
        return seen

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

    def _refined(self, support: Support, seen: _Searched, iterations: int = ITERATIONS) -> Proposal:
        """Move the constants to where the loss is lowest."""
        from .kernels import refine_constants

        members = [self.columns[k] for k in seen.kept[list(support)].tolist()]
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
            seen.weigh.flat,
            seen.weigh.whitened,
            seen.weigh.samples,
            seen.weigh.target,
            np.ascontiguousarray(seen.filtered[:, list(support)].T),
            parameters,
            np.array([(one.template.lower, one.template.upper) for one in members]),
            iterations,
        )
        law = tuple(
            Candidate(one.template, value, parameter)
            for one, value, parameter in zip(
                members, coef.tolist(), parameters.tolist(), strict=True
            )
        )
        score = float(deviance(loss, len(seen.weigh.target)))
        score += float(seen.charges[list(support)].sum())
        return Proposal(law, score)


def _leading(found: Subsets) -> list[tuple[int, ...]]:
    """The best structures over all, and some of each size."""
    chosen = dict.fromkeys(found.leading(REFINED))
    for size, count in PER_SIZE.items():
        chosen |= dict.fromkeys(found.leading(count, size))
    return list(chosen)


def _wider(found: Subsets, count: int) -> list[Support]:
    """The structures of two and three terms that come after the leading ones."""
    held = set(_leading(found))
    return [one for size in (2, 3) for one in found.leading(count // 4, size) if one not in held]


def _degree(expr: sympy.Expr) -> int:
    return int(sympy.total_degree(expr))


def _loss(columns: Array, target: Array) -> float:
    coef = np.linalg.lstsq(columns, target, rcond=None)[0]
    residual = target - columns @ coef
    return float(residual @ residual)
