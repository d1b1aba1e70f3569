"""Which elements there are: a beam of structures on windows that grow.

A structure that is only right for the first instants would send the integration astray on the
whole record. So elements are chosen anew on every window: the sensitivities to all candidates at
once say which sets of them to try, and each of those is calibrated before it is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from discoverers.sparse import SubsetSearch, search_subsets
from discoverers.sparse.criterion import deviance

from .mirror import backwards, mirrored
from .problem import Measured, Point, tangent_of

__all__ = ["Charges", "Found", "Ranked", "search_elements"]

Array = NDArray[np.float64]
Support = tuple[int, ...]

FIRST_WINDOW = 12
GROWTH = 1.4
"""Windows grow by this factor, and by its square while the structure stays the same."""

BEAM = 5
TRIED = 4
ROUNDS = 5
MOST_CALIBRATIONS = 60
FEWEST_CALIBRATIONS = 20
MOST_WORK = 6000
"""A window's calibrations stop at 60, at 6000 samples altogether, but not before 20."""

CLOSE = 30.0
"""Structures whose score is further behind than this are not taken along to the next window."""

PROMISING = 12.0
"""Where the model fits, sets predicted further behind than this are not calibrated."""

HOPELESS = 100.0
"""How far behind the best a structure's score has to be for its calibration to be given up."""

FITS = 1.7
"""A misfit per datum, in units of the noise's variance, that counts as a fit."""

BALANCING = 1e4
"""How much stronger the prior that masses are alike is made to find such masses."""

MOVED = 0.1
"""Change of a log mass that makes it worth while to choose the elements anew."""

EARLY_WEIGHT = 2.0
"""Weight of nonlinear elements before the last window: near the start any law is linear."""


@dataclass(frozen=True, eq=False)
class Charges:
    """Extended BIC: ``weight (log n + 2 gamma log K)`` for each of K candidates.

    Attributes
    ----------
    weights : ndarray of shape (K,)
        Complexity of each, 1 for linear ones.
    gamma : float
    required : tuple of int
        Candidates that are in every structure, free of charge.
    """

    weights: Array
    gamma: float
    required: Support = ()

    def charges(self, n_rows: int) -> Array:
        """Charge of each candidate, shape (K,)."""
        scepticism = 2.0 * self.gamma * np.log(max(len(self.weights), 1))
        charged = self.weights * (np.log(max(n_rows, 2)) + scepticism)
        charged[list(self.required)] = 0.0
        return np.asarray(charged)

    def complete(self, support: Sequence[int]) -> Support:
        """A structure with the required elements in it."""
        return tuple(sorted({*support, *self.required}))

    def early(self) -> Charges:
        """With nonlinear elements at a higher price."""
        return replace(self, weights=np.where(self.weights > 1.0, EARLY_WEIGHT, self.weights))


@dataclass(frozen=True, eq=False)
class Ranked:
    """A calibrated structure and its score; lower is better."""

    score: float
    cost: float
    point: Point
    converged: bool


@dataclass(frozen=True, eq=False)
class Found:
    """What the search hands back.

    Attributes
    ----------
    ranked : tuple of Ranked
        Structures that were calibrated on the whole records, the best first.
    measured : Measured
        With the noise as the best of them leaves it.
    history : tuple of dict
        One row per window.
    complete : bool
        Whether the search came to its end; False if it was asked to stop.
    """

    ranked: tuple[Ranked, ...]
    measured: Measured
    history: tuple[dict[str, object], ...]
    complete: bool


@dataclass(eq=False)
class _Window:
    """Structures calibrated on one window."""

    measured: Measured
    charges: Charges
    max_terms: int | None
    last: bool
    pool: dict[Support, Ranked] = field(default_factory=dict)
    calibrations: int = 0

    def evaluate(self, start: Point, support: Sequence[int]) -> None:
        """Calibrate a structure from given numbers, and keep the better of this and before."""
        self.calibrations += 1
        support = self.charges.complete(support)
        effort = (40, 1e-7) if self.last else (25, 1e-4)
        rows = self.measured.n_observed
        best = min((each.cost for each in self.pool.values()), default=np.inf)
        hopeless = best * np.exp(HOPELESS / rows)
        point, cost, converged = self.measured.minimise(start.moved_to(support), *effort, hopeless)
        score = np.inf
        if np.isfinite(cost):
            charged = self.charges.charges(rows)[list(support)].sum()
            score = float(deviance(cost, rows)) + float(charged)
        held = self.pool.get(point.support)
        if held is None or score < held.score:
            self.pool[point.support] = Ranked(score, cost, point, converged)

    @property
    def order(self) -> list[Ranked]:
        return sorted(self.pool.values(), key=lambda ranked: ranked.score)

    @property
    def fits(self) -> bool:
        return self.order[0].cost <= FITS * self.measured.n_observed

    @property
    def _most(self) -> int:
        rows = max(len(record) for record in self.measured.records)
        return min(MOST_CALIBRATIONS, max(MOST_WORK // rows, FEWEST_CALIBRATIONS))

    @property
    def exhausted(self) -> bool:
        return self.calibrations >= self._most

    def explore(self) -> None:
        """Try what the tangents of the best structures suggest, until nothing is new."""
        expanded: set[Support] = set()
        for _ in range(ROUNDS):
            best = self.order[0]
            todo = [each for each in self._worth() if each.point.support not in expanded]
            if not todo or self.exhausted:
                break
            self.measured = self.measured.with_substeps_for(best.point)
            for ranked in todo:
                expanded.add(ranked.point.support)
                self._expand(ranked)
        if self.fits:
            best = self.order[0]
            for mass in backwards(best.point, self.measured.elements):
                self._balance(best, mirrored(best.point, self.measured.elements, mass))
            # On every window: far along the curve a wrong structure can look right for long.
            self._balance(self.order[0], self.order[0].point)

    def _balance(self, best: Ranked, start: Point) -> None:
        """Look among structures that explain the same with masses more alike.

        Stretching the motion of a mass that is not measured leads, along a curve, to other masses
        with other linear elements. With all of these allowed, a strong prior pulls the point along
        that curve to where the masses are most alike, and the elements are chosen anew there. A
        mass that went the wrong way is on the curve's other branch, which begins at its mirror
        image.
        """
        strict = replace(self.measured, likeness=BALANCING)
        rich = self._richer(start.support)[-1]
        point, cost, _ = strict.minimise(start.moved_to(rich), 80, 1e-6)
        moved = np.abs(point.log_masses - best.point.log_masses).max()
        if np.isfinite(cost) and (moved > MOVED or start is not best.point):
            self.calibrations = min(self.calibrations, self._most // 2)
            self._expand(replace(best, point=point))

    def prune(self) -> None:
        """Leave out elements as long as the structure gets better by it."""
        while True:
            best = self.order[0]
            support = best.point.support
            normal = tangent_of(self.measured, best.point) if support else None
            if normal is None:
                return
            charged = self.charges.charges(self.measured.n_observed)[list(support)]
            for i in np.argsort(normal.drop_costs(support) - charged)[:2].tolist():
                fewer = support[:i] + support[i + 1 :]
                if self.charges.complete(fewer) not in self.pool:
                    self.evaluate(best.point, fewer)
            if self.order[0] is best:
                return

    def _worth(self) -> list[Ranked]:
        """Structures to start from: those close to the best, and while none fits the closest fit.

        A rich structure that fits shows the way to the sparse one, which by itself is hard to find
        from another sparse one that does not fit.
        """
        order = self.order
        if self.fits:
            return [each for each in order[:2] if each.score < order[0].score + CLOSE]
        richest = min(order, key=lambda each: each.cost)
        return [*(each for each in order[:BEAM] if np.isfinite(each.score)), richest]

    def _expand(self, ranked: Ranked) -> None:
        normal = tangent_of(self.measured, ranked.point)
        if normal is None:
            return
        candidates = range(normal.n_columns)
        search = search_subsets(normal, self.charges, candidates, self.max_terms)
        reach = self.order[0].score + PROMISING if self.fits else np.inf
        for support in self._suggested(search, ranked):
            if self.exhausted:
                return
            predicted = search.scores.get(support, reach)
            held = self.pool.get(self.charges.complete(support))
            if predicted > reach or (held is not None and predicted > held.score - 10.0):
                continue
            self.evaluate(ranked.point, support)

    def _suggested(self, search: SubsetSearch, ranked: Ranked) -> list[Support]:
        """Lowest predicted scores; lowest losses near the size; and each element left out.

        Masses and strengths can make up for each other far beyond the tangent, so leaving one
        out is tried whatever the tangent says, while the model does not fit.
        """
        support = ranked.point.support
        size = len(support)
        scores = search.scores
        sets = sorted(scores, key=lambda each: scores[each])[:TRIED]
        sizes = range(max(size - 1, 0), size + 3)
        sets += [search.by_size[each] for each in sizes if each in search.by_size]
        if support == self.order[0].point.support:
            sets += [support[:i] + support[i + 1 :] for i in range(size)]
            if not self.fits:
                sets += self._richer(support)
        return list(dict.fromkeys(sets))

    def _richer(self, support: Support) -> list[Support]:
        """With springs and dampers on all joints that it has, and on all there are."""
        linear = np.flatnonzero(self.charges.weights <= 1.0).tolist()
        elements = self.measured.elements.elements
        joints = {elements[k].ends for k in support}
        own = [k for k in linear if elements[k].ends in joints]
        return [tuple(sorted({*support, *more})) for more in (own, linear)]


def search_elements(
    free: Measured,
    pinned: Measured,
    pinned_rows: int,
    starts: Sequence[Point],
    charges: Charges,
    max_terms: int | None,
    noise_floor: Array,
    noise_known: bool,
    iterations: Callable[[str, int], Iterator[int]],
) -> Found:
    """Find the elements.

    Parameters
    ----------
    free : Measured
        Whole records; all masses move as the model says.
    pinned : Measured
        The same, where accelerations that were measured, integrated, give the motion of their
        masses. That is close to linear, and good for as long as the noise has not added up.
    pinned_rows : int
        How many samples that is.
    starts : sequence of Point
    charges : Charges
    max_terms : int or None
        Most elements.
    noise_floor : ndarray of shape (C,)
    noise_known : bool
        Whether the noise is not to be estimated anew at the end.
    iterations : callable
        As in `Options`.

    Returns
    -------
    Found
    """
    rows = max(len(record) for record in free.records)
    held, history = list(starts), []
    nothing = starts[0].moved_to(())
    current: Measured = pinned
    window, before = min(FIRST_WINDOW, rows), None
    found = _Window(free, charges, max_terms, True)
    complete = False
    for _ in iterations("windows", 60):
        if current is pinned and window > pinned_rows:
            current, window = free, max(FIRST_WINDOW, int(window / GROWTH))
        last = current is free and window >= rows
        found = _Window(current.head(window), charges if last else charges.early(), max_terms, last)
        for point in (*held, nothing):
            if charges.complete(point.support) not in found.pool or point is not nothing:
                found.evaluate(point, point.support)
        found.explore()
        best = found.order[0]
        history.append(_row(found, window, current is pinned))
        kept = 2 if found.fits else BEAM
        held = [ranked.point for ranked in found.order[:kept] if ranked.score < best.score + CLOSE]
        stable, before = before == best.point.support and found.fits, best.point.support
        if last:
            complete = True
            break
        window = min(int(np.ceil(window * GROWTH ** (2 if stable else 1))), rows)
        # A last step of a few samples would cost as much as the whole record and tell nothing.
        window = rows if window * GROWTH**0.5 > rows else window
        current = replace(current, substeps=found.measured.substeps)
        free = current if current.elements.pinned == free.elements.pinned else free
        pinned = current if current.elements.pinned == pinned.elements.pinned else pinned
    return _finish(free, found, charges, max_terms, noise_floor, noise_known, history, complete)


def _row(found: _Window, window: int, pinned: bool) -> dict[str, object]:
    best = found.order[0]
    return {
        "stage": "measured motion" if pinned else "simulated",
        "window": window,
        "n_elements": len(best.point.support),
        "score": best.score,
        "misfit": best.cost / max(found.measured.n_observed, 1),
        "calibrations": found.calibrations,
    }


def _finish(
    free: Measured,
    found: _Window,
    charges: Charges,
    max_terms: int | None,
    noise_floor: Array,
    noise_known: bool,
    history: list[dict[str, object]],
    complete: bool,
) -> Found:
    """Judge once more on the whole records, with the noise that the best structure leaves."""
    measured = replace(free, substeps=found.measured.substeps)
    points = [ranked.point for ranked in found.order[:BEAM] if np.isfinite(ranked.cost)]
    if complete and not noise_known:
        left = _noise(measured, points[0], noise_floor)
        if found.fits:
            measured = replace(measured, noise_std=left)
    measured = measured.with_substeps_for(points[0], tolerance=0.003)
    final = _Window(measured, charges, max_terms, True)
    nothing = points[0].moved_to(())
    for point in (*points, nothing) if complete else points[:1]:
        final.evaluate(point, point.support)
    if complete:
        final.explore()
        final.prune()
    history.append(_row(final, max(len(record) for record in measured.records), False))
    ranked = tuple(each for each in final.order if np.isfinite(each.score))
    if not ranked:
        final.evaluate(nothing, ())
        ranked = tuple(final.order[:1])
    return Found(ranked, final.measured, tuple(history), complete)


def _noise(measured: Measured, point: Point, floor: Array) -> Array:
    """Standard deviation of each channel's residuals, never below the floor."""
    residuals = measured.residuals(point)
    rss = sum((each**2).sum(axis=0) for each in residuals) * measured.noise_std**2
    counts = sum((~np.isnan(record.y)).sum(axis=0) for record in measured.records)
    unknowns = len(point.strengths) + int(measured.free_masses.sum() + measured.free_start.sum())
    freedom = np.maximum(counts - unknowns / len(floor), 1.0)
    return np.asarray(np.maximum(np.sqrt(rss / freedom), floor))
