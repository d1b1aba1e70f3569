"""Corners: terms ``|q - b|`` whose knot b is a free parameter, as clearances and end stops have.

No finite dictionary holds them, so they are proposed where they pay. The tangent prices corners on
a grid of knots, beside the terms of the best law and the linear ones; sets that promise a better
score are calibrated with their knots as unknowns of the ODE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.shooting import Calibration, Column, StateSpaceModel, calibrate, tangent
from discoverers.sparse import NormalEquations, search_subsets
from discoverers.structures.base import Options

from .dictionary import CORNER_WEIGHT, Corner, Dictionary
from .judging import Candidate, Charges, Judge, contributions, shares
from .model import ChainTask
from .subsets import score_subsets

if TYPE_CHECKING:
    from .extraction import Extraction

__all__ = ["bend", "grid", "knotted", "price_corners"]

Array = NDArray[np.float64]

KNOTS = 24
"""Knots of the grid over a variable's range, its ends left out."""

MARGIN = 6.0
"""A set with corners has to promise a score lower than the best law's by this much."""

TRIED = 3
ITERATIONS = 15
SUBSTEPS = 4
"""Steps a sample, at least: steps across a corner are of low order, and terms make up for it."""

ROUNDS = 6
NEIGHBOURS = 4
"""Laws that are calibrated around one with corners, beside those with a corner less."""


@dataclass(frozen=True, eq=False)
class Bent:
    """A law with corners, calibrated with its knots.

    Attributes
    ----------
    plain : tuple of int
        Columns of the dictionary.
    corners : tuple of Corner
    law : Candidate
        Its support counts the corners after the dictionary's columns.
    score : float
    """

    plain: tuple[int, ...]
    corners: tuple[Corner, ...]
    law: Candidate
    score: float


def are_candidates(options: Options) -> bool:
    """Whether corners are tried: beside the default library, unless the law has to be odd."""
    return options.parity is None and isinstance(options.library, str) and options.library == "auto"


def bend(work: Extraction) -> None:
    """Try corners with free knots, where they promise a better law, and search among them.

    Knots stay free while terms are sought beside them: with a knot that is a little off, terms that
    make up for it pay, and would stay.
    """
    task, ranked = work.task, work.ranked
    if not ranked or not are_candidates(task.options):
        return
    best, K = ranked[0], len(work.dictionary)
    places = grid(work.dictionary, best.states)
    tops = work.dictionary.chain.tops
    extra = [Column(one.term, {tops[one.law]: 1.0}) for one in places]
    theta = np.zeros(K + len(extra))
    theta[list(best.support)] = best.coef
    work.noise_std = work.judge.noise(best.rss, len(best.coef))
    around = work.quadratic(extra, theta, best.x0)
    if around is None:
        return
    promising = price_corners(
        around, work.dictionary, work.judge.charges, places, best.support, work.max_terms
    )
    found = []
    for plain, corners in promising:
        near = [K + _nearest(places, corner) for corner in corners]
        found.append(_calibrated(work, plain, corners, around.solve([*plain, *near]), best.x0))
    bent = [one for one in found if one is not None]
    if not bent:
        return
    # Of laws that hold a negligible term none has a score yet: the closest one leads on.
    closest = min(bent, key=lambda one: (one.score, one.law.cost))
    bent.append(_relinearised(work, closest))
    different: dict[object, Bent] = {}
    for one in sorted(bent, key=lambda one: one.score):
        kinds = tuple((corner.law, corner.variable) for corner in one.corners)
        different.setdefault((one.plain, kinds), one)
    limit = work.judge.score(best)
    for one in different.values():
        if one.score < limit:
            first = len(work.dictionary)
            support = (*one.plain, *range(first, first + len(one.corners)))
            work.dictionary = work.dictionary.with_corners(one.corners)
            work.judge = Judge.of(task, work.dictionary)
            work.pool[support] = replace(one.law, support=support)


def _calibrated(
    work: Extraction, plain: Sequence[int], corners: Sequence[Corner], coef: Array, x0: Array
) -> Bent | None:
    """A law with its knots, or None if it blew up."""
    task, dictionary = work.task, work.dictionary
    fit, moved = knotted(
        task, [dictionary.columns[k] for k in plain], corners, coef, x0, task.free_x0,
        work.noise_std, _substeps(work, plain), ITERATIONS,
    )  # fmt: skip
    if not np.isfinite(fit.cost):
        return None
    n, k, own = len(dictionary), len(coef), len(dictionary.chain.state_names)
    dictionary = dictionary.with_corners(moved)
    support = (*plain, *range(n, n + len(moved)))
    model = dictionary.chain.model([dictionary.columns[i] for i in support])
    states = tuple(path.X[:, :own] for path in fit.paths)
    values = [
        model.term_values(X, record.u)[:, -k:]
        for X, record in zip(states, task.records, strict=True)
    ]
    theta, laws = fit.theta[-k:], np.array([dictionary.laws[i] for i in support])
    law = Candidate(
        support, theta, fit.x0[:, :own], fit.rss, fit.cost, fit.converged,
        *contributions(values, theta, laws), states,
    )  # fmt: skip
    return Bent(tuple(plain), moved, law, Judge.of(task, dictionary).score(law))


def _relinearised(work: Extraction, best: Bent) -> Bent:
    """Go on to what the tangent promises, its knots eliminated, until nothing is better."""
    K, seen = len(work.dictionary), {best.law.support}
    for _ in range(ROUNDS):
        around = _priced(work, best)
        if around is None:
            break
        # A corner may be one too many: its neighbour's knot then takes its place.
        fewer = [
            tuple(k for k in best.law.support if k != corner)
            for corner in best.law.support
            if corner >= K and len(best.corners) > 1
        ]
        tried = []
        for support in [*_promising(work, best, around, seen), *fewer]:
            plain = tuple(k for k in support if k < K)
            corners = tuple(best.corners[k - K] for k in support if k >= K)
            one = _calibrated(work, plain, corners, around.solve(list(support)), best.law.x0)
            if one is not None and one.score < best.score:
                tried.append(one)
        if not tried:
            break
        better = min(tried, key=lambda one: one.score)
        if len(better.corners) != len(best.corners):
            seen = {better.law.support}
        best = better
    return best


def _promising(
    work: Extraction, best: Bent, around: NormalEquations, seen: set[tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """Laws with the same corners of lowest score on the quadratic, without negligible terms."""
    dictionary = work.dictionary.with_corners(best.corners)
    judge, laws = Judge.of(work.task, dictionary), np.array(dictionary.laws)
    required = dictionary.required.copy()
    required[len(work.dictionary) :] = True
    scores = score_subsets(around, judge.charges, required, work.max_terms)
    model = dictionary.chain.model(dictionary.columns)
    values = [
        model.term_values(X, record.u)[:, -len(dictionary) :]
        for X, record in zip(best.law.states, work.task.records, strict=True)
    ]
    out: list[tuple[int, ...]] = []
    for support in sorted(scores, key=scores.__getitem__):
        if len(out) == NEIGHBOURS:
            break
        chosen = list(support)
        ratios = shares([part[:, chosen] for part in values], around.solve(chosen), laws[chosen])
        if support not in seen and ratios.min() >= judge.least(support):
            out.append(support)
    seen.update(out)
    return out


def _substeps(work: Extraction, plain: Sequence[int]) -> int:
    return max(work.substeps_of(plain) or 1, SUBSTEPS)


def _priced(work: Extraction, bent: Bent) -> NormalEquations | None:
    """Quadratic over the dictionary's columns, then the law's corners; their knots are free."""
    task = work.task
    model, knots = _with_knots(task, work.dictionary.columns, bent.corners)
    theta = np.zeros(len(work.dictionary) + len(bent.corners))
    theta[list(bent.law.support)] = bent.law.coef
    skip = model.n_columns - len(theta)
    runs = len(task.records)
    return tangent(
        model, np.concatenate([np.ones(skip), theta]),
        np.hstack([bent.law.x0, np.tile(knots, (runs, 1))]), task.records,
        task.data.observation(model.state_names), work.judge.noise(bent.law.rss, len(theta)),
        free_x0=np.hstack([task.free_x0, np.ones((runs, len(knots)), dtype=bool)]),
        substeps=_substeps(work, bent.plain), free_theta=np.arange(model.n_columns) >= skip,
    )  # fmt: skip


def _nearest(places: Sequence[Corner], corner: Corner) -> int:
    """Which corner of the grid is the nearest one in the same law and variable."""
    apart = [
        abs(one.knot - corner.knot)
        if (one.law, one.variable) == (corner.law, corner.variable)
        else np.inf
        for one in places
    ]
    return int(np.argmin(apart))


def grid(dictionary: Dictionary, states: Sequence[Array]) -> list[Corner]:
    """Corners of all coordinates and velocities on a grid over where they went."""
    chain, X = dictionary.chain, np.concatenate(list(states))
    out = []
    for law in range(chain.n_dof):
        for place, name in enumerate(chain.state_names):
            low, high = X[:, place].min(), X[:, place].max()
            if low < high:
                knots = np.linspace(low, high, KNOTS + 2)[1:-1]
                out += [Corner(law, name, float(knot)) for knot in knots]
    return out


def price_corners(
    quadratic: NormalEquations,
    dictionary: Dictionary,
    charges: Array,
    corners: Sequence[Corner],
    support: Sequence[int],
    max_terms: int,
) -> list[tuple[tuple[int, ...], tuple[Corner, ...]]]:
    """Sets of dictionary columns and corners that promise more than a law without them.

    Parameters
    ----------
    quadratic : NormalEquations
        Over the dictionary's columns, then the corners.
    dictionary : Dictionary
    charges : ndarray of shape (K,)
        Of the dictionary's columns.
    corners : sequence of Corner
    support : sequence of int
        The best law so far.
    max_terms : int

    Returns
    -------
    list of (columns, corners)
        The most promising first; neighbours on the grid are one corner between them.
    """
    K = len(dictionary)
    unit = float(charges.max(initial=0.0) / max(dictionary.weights.max(), 1.0))
    priced = Charges(np.concatenate([charges, np.full(len(corners), CORNER_WEIGHT * unit)]))
    linear = [k for k in range(K) if dictionary.weights[k] == 1.0 or dictionary.required[k]]
    plain = sorted({*support, *linear})
    always = {k for k in range(K) if dictionary.required[k]}
    every = [*plain, *range(K, K + len(corners))]
    search = search_subsets(
        quadratic, priced, every, max_terms, starts=[tuple(sorted(support)), tuple(linear)],
        required=sorted(always),
    )  # fmt: skip
    without = [s for one, s in search.scores.items() if max(one, default=0) < K]
    limit = min(without, default=np.inf) - MARGIN
    found: dict[tuple[tuple[int, ...], tuple[Corner, ...]], float] = {}
    for one, score in sorted(search.scores.items(), key=lambda item: item[1]):
        if score >= limit or len(found) == TRIED:
            break
        if max(one, default=0) < K:
            continue
        coef = quadratic.solve(list(one))
        chosen = [(corners[k - K], coef[i]) for i, k in enumerate(one) if k >= K]
        found.setdefault((tuple(k for k in one if k < K), _merged(chosen)), score)
    return list(found)


def _merged(chosen: Sequence[tuple[Corner, float]]) -> tuple[Corner, ...]:
    """Corners next to each other on the grid, with the same sign, as one between them."""
    out: list[tuple[Corner, float]] = []
    for corner, value in sorted(chosen, key=lambda item: item[0]):
        if out:
            last, weight = out[-1]
            alike = (last.law, last.variable) == (corner.law, corner.variable)
            if alike and weight * value > 0.0 and corner.knot - last.knot < _reach(chosen, corner):
                share = abs(value) / (abs(value) + abs(weight))
                knot = last.knot + share * (corner.knot - last.knot)
                out[-1] = (replace(corner, knot=float(knot)), weight + value)
                continue
        out.append((corner, value))
    return tuple(corner for corner, _ in out)


def _reach(chosen: Sequence[tuple[Corner, float]], corner: Corner) -> float:
    knots = [one.knot for one, _ in chosen if one.variable == corner.variable]
    return 0.25 * (max(knots) - min(knots)) if len(knots) > 2 else 0.0


def knotted(
    task: ChainTask,
    columns: Sequence[Column],
    corners: Sequence[Corner],
    coef: Array,
    x0: Array,
    free_x0: NDArray[np.bool_],
    noise_std: Array,
    substeps: int | None,
    iterations: int,
) -> tuple[Calibration, tuple[Corner, ...]]:
    """Calibrate a law together with the knots of its corners.

    Parameters
    ----------
    task : ChainTask
    columns : sequence of Column
        Of the law, corners not included.
    corners : sequence of Corner
        With their knots to start from.
    coef : ndarray of shape (k + corners,)
    x0 : ndarray of shape (runs, n_s)
    free_x0 : ndarray of bool, shape (runs, n_s)
    noise_std, substeps, iterations
        As in `calibrate`.

    Returns
    -------
    Calibration
        Its states end with the knots, which all runs share.
    tuple of Corner
        With the knots that it found.
    """
    chain, runs = task.chain, len(task.records)
    model, at = _with_knots(task, columns, corners)
    knots = np.tile(at, (runs, 1))
    skip = model.n_columns - len(coef)
    fit = calibrate(
        model, np.concatenate([np.ones(skip), coef]), np.hstack([x0, knots]), task.records,
        task.data.observation(model.state_names), noise_std,
        free_x0=np.hstack([free_x0, np.ones_like(knots, dtype=bool)]), max_iterations=iterations,
        substeps=substeps,
    )  # fmt: skip
    at = fit.x0[0, len(chain.state_names) :]
    moved = (replace(one, knot=float(knot)) for one, knot in zip(corners, at, strict=True))
    return fit, tuple(moved)


def _with_knots(
    task: ChainTask, columns: Sequence[Column], corners: Sequence[Corner]
) -> tuple[StateSpaceModel, Array]:
    """Model of columns and corners whose knots are further, constant states; the knots."""
    chain = task.chain
    names = [f"knot_{i}" for i in range(len(corners))]
    bent = [
        Column(
            sympy.Abs(sympy.Symbol(corner.variable) - sympy.Symbol(name)),
            {chain.tops[corner.law]: 1.0},
        )
        for corner, name in zip(corners, names, strict=True)
    ]
    model = StateSpaceModel(
        (*chain.state_names, *names), chain.input_names, [*chain.kinematics(), *columns, *bent]
    )
    return model, np.array([corner.knot for corner in corners])
