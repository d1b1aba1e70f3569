"""Stage 2: which terms make up the laws, every serious candidate calibrated through the ODE.

Around an incumbent, the sensitivities of its trajectory to all candidate coefficients price every
subset of terms by a small linear solve. The most promising subsets are calibrated, the best becomes
the incumbent, and so on until nothing improves. The first incumbent is the trained network itself:
its columns stand beside the dictionary's, and subsets are asked to take their place.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from discoverers.shooting import (
    Calibration,
    Column,
    Observation,
    Record,
    StateSpaceModel,
    calibrate,
    lifted,
    lifted_tangent,
    tangent,
)
from discoverers.sparse import NormalEquations

from .dictionary import Dictionary
from .judging import Candidate, Judge, Support, contributions
from .misfit import is_white
from .model import ChainTask
from .spline_kan import SplineKAN
from .start import Start
from .subsets import score_subsets
from .switches import leave_out_switches

__all__ = ["Extraction"]

Array = NDArray[np.float64]

NEXT_BATCH = 8
ROUNDS = 8
FIRST_WINDOW = 40
DEFAULT_MAX_TERMS = 8

LIFTED_BATCH = 5
LIFTED_GAIN = 0.5
"""Share of the squared residuals that multiple shooting may leave, to be gone on with."""

SWITCH_SUBSTEPS = 8
"""Steps a sample of laws that jump, while their layers are wide."""

ITERATIONS = 15
"""Of a candidate's calibration."""

LEADERS = 6
WITHIN = 100.0
"""So many best candidates are judged only settled, as far as their scores are as close."""

DOUBTFUL = 3.0
"""Residuals this many times the smoother's noise send the search back to the guessed states."""


@dataclass(eq=False)
class Extraction:
    """The candidates calibrated so far."""

    task: ChainTask
    dictionary: Dictionary
    judge: Judge
    observation: Observation
    noise_std: Array
    substeps: int | None = None
    pool: dict[Support, Candidate] = field(default_factory=dict)
    learnt_on: tuple[Record, ...] = ()
    settled: set[Support] = field(default_factory=set)
    nodes: tuple[Array, ...] | None = None
    switch_substeps: int = SWITCH_SUBSTEPS
    whole: ChainTask | None = None
    """The task before samples next to switches were left out of it."""

    @property
    def max_terms(self) -> int:
        """Most terms of all laws together."""
        per_law = self.task.options.max_terms or DEFAULT_MAX_TERMS
        return per_law * self.dictionary.chain.n_dof

    @property
    def ranked(self) -> list[Candidate]:
        """Candidates that got through, the best first."""
        scored = [(self.judge.score(one), one) for one in self.pool.values()]
        scored = [pair for pair in scored if np.isfinite(pair[0])]
        return [one for _, one in sorted(scored, key=lambda pair: pair[0])]

    def try_support(
        self, support: Support, coef: Array, x0: Array, *, longer: bool = False
    ) -> Candidate:
        """Calibrate the laws of a support from a start; kept if better than before."""
        dictionary = self.dictionary
        columns = [dictionary.columns[k] for k in support]
        model = dictionary.chain.model(columns)
        skip = model.n_columns - len(columns)
        theta = np.concatenate([np.ones(skip), coef])
        steps = self.substeps_of(support)
        iterations = 3 * ITERATIONS if longer else ITERATIONS
        best = self._calibrate(model, theta, x0, None, steps, iterations)
        if self.nodes is None and best.cost > 2.0 * float(self.judge.n_observed.sum()):
            again = self._calibrate(model, theta, x0, FIRST_WINDOW, steps, iterations)
            best = again if again.cost < best.cost else best
        found = self._candidate(support, model, best)
        held = self.pool.get(support)
        if held is None or self.judge.score(found) < self.judge.score(held):
            self.pool[support] = found
        return self.pool[support]

    @property
    def leaders(self) -> list[Candidate]:
        """The best candidates, as far as their scores are close to the best."""
        ranked = self.ranked[:LEADERS]
        scores = [self.judge.score(one) for one in ranked]
        return [one for one, s in zip(ranked, scores, strict=True) if s <= scores[0] + WITHIN]

    @property
    def jumps(self) -> bool:
        """Whether the best law jumps."""
        return any(self.dictionary.switching[list(one.support)].any() for one in self.ranked[:1])

    def settle(self) -> None:
        """Go on with the leaders that did not converge."""
        for one in self.leaders:
            if not one.converged and one.support not in self.settled:
                self.settled.add(one.support)
                self.try_support(one.support, one.coef, one.x0, longer=True)

    def adopt(self, support: Support, model: StateSpaceModel, fit: Calibration) -> None:
        """Keep a law that was calibrated elsewhere, if it got through."""
        if np.isfinite(fit.cost):
            self.pool[support] = self._candidate(support, model, fit)

    def substeps_of(self, support: Sequence[int]) -> int | None:
        """Steps a sample: steep layers need several."""
        if self.substeps is None or not self.dictionary.switching[list(support)].any():
            return self.substeps
        return max(self.substeps, self.switch_substeps)

    def _calibrate(
        self,
        model: StateSpaceModel,
        theta: Array,
        x0: Array,
        windows: int | None,
        steps: int | None,
        iterations: int,
    ) -> Calibration:
        if self.nodes is not None:
            known = np.where(self.task.free_x0, np.nan, x0)
            return lifted(
                model, theta, self.nodes, self.task.records, self.observation, self.noise_std,
                x0=known, substeps=steps,
            )  # fmt: skip
        return calibrate(
            model, theta, x0, self.task.records, self.observation, self.noise_std,
            free_x0=self.task.free_x0, windows=windows, max_iterations=iterations,
            substeps=steps,
        )  # fmt: skip

    def _candidate(self, support: Support, model: StateSpaceModel, best: Calibration) -> Candidate:
        dictionary, skip = self.dictionary, model.n_columns - len(support)
        values = [
            model.term_values(path.X, record.u)[:, skip:]
            for path, record in zip(best.paths, self.task.records, strict=True)
        ]
        laws = np.array([dictionary.laws[k] for k in support])
        share, cancellation = (
            contributions(values, best.theta[skip:], laws) if np.isfinite(best.cost) else (0.0, 0.0)
        )
        return Candidate(
            support, best.theta[skip:], best.x0, best.rss, best.cost, best.converged, share,
            cancellation, tuple(path.X for path in best.paths), self.nodes is not None,
        )  # fmt: skip

    def on(self, whole: ChainTask, candidates: Sequence[Candidate]) -> Candidate:
        """The best of some candidates when all of the data have their say."""
        judge = Judge.of(whole, self.dictionary, self.judge.each)
        again = Extraction(
            whole, self.dictionary, judge, self.observation, self.noise_std, self.substeps,
            switch_substeps=self.switch_substeps,
        )  # fmt: skip
        for one in candidates:
            again.try_support(one.support, one.coef, one.x0)
        self.judge, self.pool, self.task = judge, again.pool, whole
        ranked = again.ranked
        return ranked[0] if ranked else candidates[0]

    def restart(self, task: ChainTask, candidates: Sequence[Candidate]) -> None:
        """Go on with another task, from the best of some candidates."""
        self.settled.clear()
        self.on(task, candidates[:LEADERS])

    def fallback(self, states: Sequence[Array], rates: Sequence[Array]) -> Candidate:
        """A law by regression on guessed states, for when none follows the runs."""
        dictionary, task = self.dictionary, self.task
        chain = dictionary.chain
        model = chain.model(dictionary.columns)
        K = len(dictionary)
        values = [
            model.term_values(X, record.u)[:, -K:]
            for X, record in zip(states, task.records, strict=True)
        ]
        columns, target = np.concatenate(values), np.concatenate(rates)
        laws = np.array(dictionary.laws)
        linear = [k for k in range(K) if dictionary.weights[k] == 1.0 or dictionary.required[k]]
        support = tuple(linear or range(min(K, 4)))
        coef = np.zeros(len(support))
        for law, top in enumerate(chain.highest):
            mine = [i for i, k in enumerate(support) if laws[k] == law]
            chosen = columns[:, [support[i] for i in mine]]
            coef[mine] = np.linalg.lstsq(chosen, target[:, top], rcond=1e-10)[0]
        x0 = np.array([X[0] for X in states])
        rss = np.full(len(self.judge.floor), np.inf)
        made = Candidate(support, coef, x0, rss, np.inf, False, 1.0, 0.0, tuple(states))
        self.pool.setdefault(support, made)
        return made

    def quadratic(self, extra: Sequence[Column], theta: Array, x0: Array) -> NormalEquations | None:
        """Quadratic over dictionary columns, then extra ones, around coefficients of all."""
        model = self.dictionary.chain.model([*self.dictionary.columns, *extra])
        skip = model.n_columns - len(theta)
        if self.nodes is not None:
            return lifted_tangent(
                model, np.concatenate([np.ones(skip), theta]), self.nodes, self.task.records,
                self.observation, self.noise_std, x0=np.where(self.task.free_x0, np.nan, x0),
                free_theta=np.arange(model.n_columns) >= skip,
                substeps=self.substeps_of(np.flatnonzero(theta[: len(self.dictionary)]).tolist()),
            )  # fmt: skip
        return tangent(
            model, np.concatenate([np.ones(skip), theta]), x0, self.task.records,
            self.observation, self.noise_std, free_x0=self.task.free_x0,
            substeps=self.substeps_of(np.flatnonzero(theta[: len(self.dictionary)]).tolist()),
            free_theta=np.arange(model.n_columns) >= skip,
        )  # fmt: skip

    def promising(self, quadratic: NormalEquations, count: int) -> list[Support]:
        """Supports of lowest score on the quadratic that were not calibrated yet."""
        K = len(self.dictionary)
        rows = round(quadratic.n_rows * self.judge.independent)
        part = NormalEquations(quadratic.gram[:K, :K], quadratic.moment[:K], quadratic.energy, rows)
        scores = score_subsets(part, self.judge.charges, self.dictionary.required, self.max_terms)
        ordered = sorted(scores, key=scores.__getitem__)
        fresh = [support for support in ordered if support not in self.pool]
        # Far from the incumbent the quadratic flatters large supports: some of each size get in.
        sizes = sorted({len(support) for support in fresh})
        first = [next(one for one in fresh if len(one) == size) for size in sizes]
        lead = max(count - len(first), 2 * count // 3)
        return list(dict.fromkeys([*fresh[:lead], *first, *fresh]))[:count]

    def regression(self, guess: Start) -> NormalEquations:
        """The dictionary against guessed rates, in units in which a good fit is the noise's."""
        chain = self.dictionary.chain
        model = chain.model(self.dictionary.columns)
        K, laws = len(self.dictionary), np.array(self.dictionary.laws)
        values = np.concatenate(
            [
                model.term_values(X, record.u)[:, -K:]
                for X, record in zip(guess.states, self.task.records, strict=True)
            ]
        )
        # Of large coordinates an exponential is beyond numbers: no candidate there.
        with np.errstate(invalid="ignore"):
            values = np.where((np.abs(values) < 1e100).all(axis=0), values, 0.0)
        target = np.concatenate(guess.rates)
        parts = []
        for law, top in enumerate(chain.highest):
            mine = np.where(laws == law, values, 0.0)
            left = target[:, top] - mine @ np.linalg.lstsq(mine, target[:, top], rcond=1e-8)[0]
            spread = max(float(np.std(left)), 1e-3 * float(np.std(target[:, top])), 1e-300)
            parts.append(NormalEquations.from_rows(mine / spread, target[:, top] / spread))
        return reduce(operator.add, parts)

    def doubtful(self, kan: SplineKAN, times: float = DOUBTFUL) -> bool:
        """Whether even the best candidate leaves so many times what the smoother took for noise.

        Not if it is white: a smoother of coarse samples follows some of the noise.
        """
        ranked = self.ranked
        most = times * np.maximum(kan.guess.noise_std, self.task.floor)
        if not ranked or np.all(ranked[0].rss <= most**2 * self.judge.n_observed):
            return not ranked
        return not self.leaves_white(ranked[0])

    def leaves_white(self, law: Candidate) -> bool:
        """Whether what a law leaves is not correlated from sample to sample."""
        return all(is_white(run) for run in self.residuals(law))

    def residuals(self, law: Candidate) -> list[Array]:
        """What a law leaves of the channels, (n, C) of each run."""
        model = self.dictionary.chain.model([self.dictionary.columns[k] for k in law.support])
        theta = np.concatenate([np.ones(model.n_columns - len(law.coef)), law.coef])
        return [
            record.y - self.observation.values(X, model.rates(X, record.u, theta), record.u)
            for X, record in zip(law.states, self.task.records, strict=True)
        ]

    def lift(self, guess: Start) -> None:
        """Search with every sample a node: for unstable and chaotic laws, on which starts are lost.

        Kept only if it explains the channels clearly better than the best single trajectories.
        """
        least = float(self.ranked[0].rss.sum()) if self.ranked else np.inf
        before, noise, nodes = self.pool, self.noise_std, guess.states
        self.pool, self.nodes, self.settled = {}, nodes, set()
        self.noise_std = np.maximum(guess.noise_std, self.task.floor)
        self.improve(self.regression(guess), np.array([X[0] for X in nodes]), LIFTED_BATCH)
        # With an idle term too many a law may not stay, but from its states the right one is seen.
        closest = min(self.pool.values(), key=lambda one: one.cost, default=None)
        if closest and np.isfinite(closest.cost) and closest not in self.ranked:
            self.nodes = closest.states
            self.around(closest)
        if self.ranked and float(self.ranked[0].rss.sum()) < LIFTED_GAIN * least:
            self.search()
        else:
            self.pool, self.noise_std, self.nodes = before, noise, None

    def search(self) -> None:
        """Relinearise until the best stays the best, jumps judged without their switches."""
        leave_out_switches(self)
        self.relinearise()
        if leave_out_switches(self):
            self.relinearise()

    def relinearise(self) -> None:
        """Calibrate what the tangent at the best candidate promises until it stays the best."""
        best: Candidate | None = None
        for _ in self.task.options.iterations("extraction", ROUNDS):
            self.settle()
            ranked = self.ranked
            if not ranked or (best is not None and ranked[0].support == best.support):
                break
            best = ranked[0]
            if self.nodes is not None:
                self.nodes = best.states
            self.around(best)

    def around(self, law: Candidate) -> None:
        """Calibrate what the tangent at a law promises."""
        self.noise_std = self.judge.noise(law.rss, len(law.coef))
        theta = np.zeros(len(self.dictionary))
        theta[list(law.support)] = law.coef
        quadratic = self.quadratic([], theta, law.x0)
        if quadratic is not None:
            self.improve(quadratic, law.x0, NEXT_BATCH)

    def improve(self, quadratic: NormalEquations, x0: Array, count: int) -> None:
        """Calibrate the most promising supports of a quadratic."""
        for support in self.promising(quadratic, count):
            self.try_support(support, quadratic.solve(list(support)), x0)
