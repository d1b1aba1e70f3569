"""Stage 3: states and coefficients fitted together, by Gauss-Newton on a bordered block system.

The objective is that of a smoother whose dynamics are the candidate equations,

    J = sum_i |x_i - y_i|^2 / sigma^2  +  sum_i |y_{i+1} - Phi_i(y_i; xi)|^2 / q^2 ,

with Phi_i one or more Runge-Kutta steps over the i-th interval. Every sample is a node, so chaotic
records of any length converge. Linearised, the states' normal matrix is block tridiagonal and the
coefficients are its border: one O(T) solve with as many right-hand sides as there are coefficients
gives the step, and the Schur complement is the normal matrix of the coefficients alone, on which
subsets compare as in any regression.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .constraints import Rules
from .flow import Flow, Record
from .joined_runs import JoinedRuns, Linearised, Reduced
from .libraries import BoundLibrary
from .resolution import Resolution
from .sparse import NormalEquations
from .sparse.bounded import bounded_step

__all__ = ["JointFit", "JointProblem", "Record"]

Array = NDArray[np.float64]

LINK_LEVELS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""Standard deviation q of the links in units of the noise; loose first: far starts converge."""

TIGHT = 0.1
"""Links up to this level leave the states no room to follow the noise."""

SUBSTEP_SHARE = 0.3
MAX_STEPS = 8
TOLERANCE = 1e-2
"""A step that lowers J by less than this ends a level: it is far below what a term costs."""


@dataclass(frozen=True, eq=False)
class JointFit:
    """States and coefficients at a minimum of J.

    Attributes
    ----------
    coef : ndarray of shape (V, K)
    states : tuple of ndarray of shape (n, V)
    costs : ndarray of shape (V,)
        J by state: its data and its links.
    level : float
        q in units of the noise.
    converged : bool
    """

    coef: Array
    states: tuple[Array, ...]
    costs: Array
    level: float
    converged: bool

    @property
    def cost(self) -> float:
        """J; infinite where the equations could not be fitted."""
        return float(self.costs.sum())


@dataclass(frozen=True, eq=False)
class JointProblem:
    """The objective J for a library and measured runs.

    Parameters
    ----------
    library : BoundLibrary
    kept : ndarray of int, shape (K,)
        Candidate terms in play.
    records : tuple of Record
    substeps : int
        Runge-Kutta steps per interval.
    link_std : ndarray of shape (V,)
        Typical standard deviation of the noise, the unit of q.
    floor_std : ndarray of shape (V,)
        Discrepancy that a right model may have: data are never taken to be more exact.
    rules : Rules, optional
        What the user knows about the coefficients (V, K); nothing by default.
    """

    library: BoundLibrary
    kept: NDArray[np.intp]
    records: tuple[Record, ...]
    substeps: int
    link_std: Array
    floor_std: Array
    rules: Rules | None = None

    def parameters(self, coef: Array) -> NDArray[np.intp]:
        """Nonzero coefficients that are fitted: those that are neither known nor followers."""
        if self.rules is None:
            return np.flatnonzero(coef)
        return np.flatnonzero((coef != 0.0) & ~self.rules.dependent)

    @property
    def n_nodes(self) -> int:
        """Number of samples."""
        return sum(len(record.x) for record in self.records)

    @property
    def n_rows(self) -> int:
        """Number of measurements."""
        return sum(int((record.precision > 0).sum()) for record in self.records)

    @property
    def _measured(self) -> NDArray[np.bool_]:
        """States with any data, (V,)."""
        return np.any([(record.precision > 0).any(axis=0) for record in self.records], axis=0)

    @cached_property
    def _flow(self) -> Flow:
        return Flow(self.library, self.kept, self.rules)

    @cached_property
    def _resolution(self) -> Resolution:
        return Resolution.of(self.library, self.kept, self.records)

    @cached_property
    def _groups(self) -> list[JoinedRuns]:
        return JoinedRuns.grouped(self.records)

    def _changed(self, **changes: Any) -> JointProblem:
        """The problem with something else in it; what it has worked out and still holds is kept."""
        changed = replace(self, **changes)
        kept = {"_flow", "_resolution", *(() if "records" in changes else ("_groups",))}
        changed.__dict__.update({one: self.__dict__[one] for one in kept & self.__dict__.keys()})
        return changed

    def _by_group(self, nodes: Array) -> Iterator[tuple[JoinedRuns, Array]]:
        """Groups of runs with their share of the nodes of all."""
        first = 0
        for runs in self._groups:
            yield runs, nodes[first : first + len(runs.x)]
            first += len(runs.x)

    def _gaps(self, coef: Array, nodes: Array, substeps: int | None = None) -> list[Array]:
        """How far the flow from the start of every interval is from its end, by group of runs."""
        gaps = []
        for runs, own in self._by_group(nodes):
            starts, ends = runs.intervals(own)
            reached = self._flow.ends(
                coef, np.concatenate([starts, own[-1:]]), runs, substeps or self.substeps
            )
            gaps.append(ends - reached)
        return gaps

    def flow(self, coef: Array, y: Array, record: Record, substeps: int | None = None) -> Array:
        """Integrate every node over its interval: (n - 1, V)."""
        return self._flow.ends(coef, y, record, substeps or self.substeps)

    def with_substeps(
        self,
        choices: Sequence[int],
        coef: Array,
        states: Sequence[Array],
        level: float = LINK_LEVELS[-1],
    ) -> JointProblem:
        """Take the fewest substeps whose error, by doubling them, is small against the links."""
        tight = level * self.link_std
        for count in choices[:-1]:
            nodes = np.concatenate(states)
            with np.errstate(all="ignore"):
                pairs = zip(
                    self._gaps(coef, nodes, count), self._gaps(coef, nodes, 2 * count), strict=True
                )
                squared = sum(((one - other) ** 2).sum(axis=0) for one, other in pairs)
            if (squared / self.n_nodes < (SUBSTEP_SHARE * tight) ** 2).all():
                return self._changed(substeps=count)
        return self._changed(substeps=choices[-1])

    def _residuals(self, fit: JointFit) -> tuple[Array, Array, Array]:
        """Per state: weighted and plain sums of squared residuals, and degrees of freedom left."""
        link = fit.level * self.link_std
        weighted, plain, count = np.zeros((3, len(fit.coef)))
        for local, nodes in self._local(fit.coef, fit.states, link, np.empty(0, dtype=np.intp)):
            runs = local.runs
            measured = runs.precision > 0
            squared = (runs.x - nodes) ** 2
            weighted += (runs.precision * squared).sum(axis=0)
            plain += np.where(measured, squared, 0.0).sum(axis=0)
            count += (measured - runs.precision * local.eliminated().variances()).sum(axis=0)
        equations = self.parameters(fit.coef) // fit.coef.shape[1]
        freedom = count - np.bincount(equations, minlength=len(fit.coef))
        return weighted, plain, np.maximum(freedom, 1.0)

    def noise_std(self, fit: JointFit) -> Array:
        """Root mean square residual of each state, corrected for what was fitted."""
        _, plain, freedom = self._residuals(fit)
        return np.sqrt(plain / freedom)

    def chi2(self, fit: JointFit) -> Array:
        """J per degree of freedom, by state; links of unmeasured states count for all others."""
        weighted, _, freedom = self._residuals(fit)
        link = fit.level * self.link_std
        for gaps in self._gaps(fit.coef, np.concatenate(fit.states)):
            weighted += ((gaps / link) ** 2).sum(axis=0)
        measured = self._measured
        shared = weighted[~measured].sum() / max(int(measured.sum()), 1)
        return np.where(measured, weighted + shared, 0.0) / freedom

    def sharpened(self, fit: JointFit) -> JointProblem:
        """Raise the precision of states whose residuals are smaller than the noise was thought.

        Only by a fit with tight links: loose ones follow the noise.
        """
        if fit.level > TIGHT:
            return self
        weighted, _, freedom = self._residuals(fit)
        ratio = np.minimum(weighted / freedom, 1.0)
        measured = self._measured
        # Nothing tells the noise of what was not measured: it goes with the rest.
        ratio[~measured] = np.exp(np.log(np.maximum(ratio[measured], 1e-300)).mean())
        ratio = np.maximum(ratio, np.minimum((self.floor_std / self.link_std) ** 2, 1.0))
        records = tuple(
            replace(record, precision=record.precision / ratio) for record in self.records
        )
        return self._changed(records=records, link_std=self.link_std * np.sqrt(ratio))

    def costs(self, coef: Array, states: Sequence[Array], link: Array) -> Array:
        """J by state, shape (V,); infinite where the flow is not finite."""
        return self._costs(coef, np.concatenate(states), link)

    def _costs(self, coef: Array, nodes: Array, link: Array) -> Array:
        total = np.zeros(len(coef))
        with np.errstate(all="ignore"):
            for runs, own in self._by_group(nodes):
                total += (runs.precision * (runs.x - own) ** 2).sum(axis=0)
            for gaps in self._gaps(coef, nodes):
                total += ((gaps / link) ** 2).sum(axis=0)
        return total if np.isfinite(total).all() else np.full(len(coef), np.inf)

    def _local(
        self, coef: Array, states: Sequence[Array], link: Array, columns: NDArray[np.intp]
    ) -> Iterator[tuple[Linearised, Array]]:
        """J linearised, and the nodes, by group of runs: never all of it at once."""
        for runs, own in self._by_group(np.concatenate(states)):
            starts, _ = runs.intervals(own)
            with np.errstate(all="ignore"):
                reached, a, b = self._flow.sensitive_ends(
                    coef, np.concatenate([starts, own[-1:]]), runs, columns, self.substeps
                )
            yield Linearised.of(runs, own, link, reached, a, b), own

    def linearise(
        self, coef: Array, states: Sequence[Array], link: Array, columns: NDArray[np.intp]
    ) -> Reduced:
        """Eliminate the states' steps; raises `FloatingPointError` where that is not possible."""
        k = len(columns)
        both = np.zeros((k, k + 1))
        solved = np.empty((self.n_nodes, len(coef), k + 1))
        first = 0
        for local, nodes in self._local(coef, states, link, columns):
            part = local.eliminated().solve(local.right)
            both += local.schur(part)
            solved[first : first + len(nodes)] = part
            first += len(nodes)
        schur = both[:, :k]
        return Reduced(0.5 * (schur + schur.T), both[:, k], solved)

    def fit(self, coef: Array, states: Sequence[Array], levels: Sequence[float]) -> JointFit:
        """Minimise J over the states and the nonzero coefficients of ``coef``.

        Parameters
        ----------
        coef : ndarray of shape (V, K)
            Start; zeros stay zero.
        states : sequence of ndarray of shape (n, V)
            Start.
        levels : sequence of float
            Values of q in units of the noise, one after the other; the last is the objective's.
        """
        found = JointFit(coef, tuple(states), np.full(len(coef), np.inf), levels[0], False)
        for level in levels:
            found = self._minimise(found, level)
            if not np.isfinite(found.cost):
                return found
        if self._resolution.exceeded(self.flow, found.coef, found.states, self.records):
            return replace(found, costs=np.full(len(coef), np.inf), converged=False)
        return found

    def _minimise(self, start: JointFit, level: float) -> JointFit:
        link = level * self.link_std
        coef, states = start.coef, start.states
        cuts = np.cumsum([len(record.x) for record in self.records])[:-1]
        columns = self.parameters(coef)
        bounds = self._bounds(columns)
        if bounds is not None and self.rules is not None:  # from outside all inside looks uphill
            coef = coef.copy()
            coef.flat[columns] = np.clip(coef.ravel()[columns], *bounds)
            coef = self.rules.complete(coef)
        costs = self.costs(coef, states, link)
        damping, converged = 0.0, False
        for _ in range(MAX_STEPS):
            try:
                local = self.linearise(coef, states, link, columns)
            except FloatingPointError:
                return JointFit(coef, states, np.full(len(coef), np.inf), level, False)
            scale, nodes = np.diagonal(local.schur), np.concatenate(states)
            while True:
                step = _solve_damped(local.schur, scale, local.gradient, damping)
                if bounds is not None:
                    now = coef.ravel()[columns]
                    step = bounded_step(
                        local.schur, local.gradient, damping, bounds[0] - now, bounds[1] - now, step
                    )
                trial_coef = coef.copy()
                trial_coef.flat[columns] += step
                if self.rules is not None:
                    trial_coef = self.rules.complete(trial_coef)
                trial = local.moved(nodes, step)
                trial_costs = self._costs(trial_coef, trial, link)
                if trial_costs.sum() <= costs.sum() or damping > 1e4:
                    break
                damping = max(10.0 * damping, 1e-3)
            if trial_costs.sum() > costs.sum():
                break
            gain = float(costs.sum() - trial_costs.sum())
            coef, states, costs = trial_coef, tuple(np.split(trial, cuts)), trial_costs
            damping = 0.1 * damping if damping > 1e-6 else 0.0
            if gain < TOLERANCE + 1e-6 * costs.sum():
                converged = True
                break
        return JointFit(coef, states, costs, level, converged)

    def _bounds(self, columns: NDArray[np.intp]) -> Array | None:
        """Lower and upper bounds of fitted coefficients, (2, k); None if there are none."""
        if self.rules is None or not self.rules.has_bounds:
            return None
        return np.stack([self.rules.lower.ravel()[columns], self.rules.upper.ravel()[columns]])

    def likeliest_level(
        self, coef: Array, states: Sequence[Array]
    ) -> tuple[JointFit, dict[float, float]]:
        """Fit at every level and take that of the greatest evidence.

        The evidence of q is the likelihood of the data with the states integrated out (Laplace):
        J + log det M + log det of the links' covariance. Laws that hold exactly have tight links;
        records of something that the equations only roughly describe have loose ones, and their
        selection then asks for more.

        Returns
        -------
        fit : JointFit
            At the best level; infinite cost if none could be fitted.
        evidence : dict
            -2 log evidence by level.
        """
        found = JointFit(coef, tuple(states), np.full(len(coef), np.inf), LINK_LEVELS[0], False)
        best, evidence = found, dict[float, float]()
        for level in LINK_LEVELS:
            found = self._minimise(found, level)
            if not np.isfinite(found.cost):
                break
            evidence[level] = self.evidence(found)
            if evidence[level] <= min(evidence.values()):
                best = found
        return best, evidence

    def evidence(self, fit: JointFit) -> float:
        """-2 log evidence of the fit's link level, see `likeliest_level`; infinite if none."""
        link = fit.level * self.link_std
        total = 0.0
        try:
            for local, _ in self._local(fit.coef, fit.states, link, np.empty(0, dtype=np.intp)):
                total += local.eliminated().log_determinant()
        except FloatingPointError:
            return np.inf
        links = sum(len(record.steps) for record in self.records)
        return fit.cost + total + 2.0 * links * float(np.log(link).sum())

    def normal_equations(self, fit: JointFit, columns: NDArray[np.intp]) -> NormalEquations:
        """J as a quadratic in chosen coefficients (flattened (V, K)), states eliminated.

        Exact to second order at ``fit``: losses of supports that contain or nearly contain the
        fitted one are those of a full fit, others are estimates.
        """
        local = self.linearise(fit.coef, fit.states, fit.level * self.link_std, columns)
        now = fit.coef.ravel()[columns]
        moment = local.gradient + local.schur @ now
        energy = fit.cost + float(now @ (2.0 * local.gradient + local.schur @ now))
        return NormalEquations(local.schur, moment, energy, self.n_rows)


def _solve_damped(schur: Array, scale: Array, gradient: Array, damping: float) -> Array:
    norms = np.sqrt(np.where(scale > 0, scale, 1.0))
    matrix = schur / np.outer(norms, norms) + (damping + 1e-13) * np.eye(len(norms))
    return np.linalg.solve(matrix, gradient / norms) / norms
