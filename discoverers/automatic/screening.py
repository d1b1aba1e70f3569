"""Which functions take part in the search for pairs: all, or with many states the best ones.

Columns grow with the square of the number of states and pairs with its fourth power. What a
function explains beside the best of the monomials alone tells cheaply which of them can be in a
law; monomials themselves always take part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from discoverers.sparse import NormalEquations
from discoverers.sparse.criterion import deviance

from .subsets import search_subsets

__all__ = ["MOST_PAIRS", "affordable", "screened"]

Array = NDArray[np.float64]
Support = tuple[int, ...]

MOST_PAIRS = 7e8
"""Pairs that are compared in all equations and beside all bases: some ten seconds of one core.

Up to four states that is every pair there is.
"""

STARTS = 10
"""Sets of monomials of each size beside which functions are compared."""

COLLINEAR = 1e-11


def affordable(n_equations: int, n_bases: int) -> int:
    """How many columns may be compared two by two, in each equation beside so many bases."""
    return int(np.sqrt(2.0 * MOST_PAIRS / max(n_equations * n_bases, 1)))


def screened(
    filtered: Array,
    target: Array,
    charges: Array,
    kind: NDArray[np.intp],
    simple: NDArray[np.bool_],
    bases: Sequence[Support],
    n_equations: int = 1,
) -> NDArray[np.intp]:
    """Columns among which pairs are looked for.

    Parameters
    ----------
    filtered : ndarray of shape (r, K)
        Integrated, whitened columns.
    target : ndarray of shape (r,)
    charges : ndarray of shape (K,)
        What each column costs in units of the deviance.
    kind : ndarray of int, shape (K,)
        Template of each column; all columns of a template are kept or none.
    simple : ndarray of bool, shape (K,)
        Monomials, which are kept always.
    bases : sequence of tuple of int
        Sets of columns beside which all pairs are looked at.
    n_equations : int, default=1
        How many equations share the work.

    Returns
    -------
    ndarray of int
        In ascending order: all columns if they are no more than `affordable`.
    """
    most = affordable(n_equations, len(bases))
    if len(kind) <= most:
        return np.arange(len(kind))
    energy = np.einsum("rk,rk->k", filtered, filtered)
    lengths = np.sqrt(np.where(energy > 0.0, energy, 1.0))
    places = np.flatnonzero(simple)
    # Inner products of columns of unit length.
    cross = filtered[:, places].T @ filtered / np.outer(lengths[places], lengths)
    moment = target @ filtered / lengths
    best = np.full(int(kind.max()) + 1, np.inf)
    for members in _starts(filtered[:, places], target, charges[places], bases, places):
        losses = _beside(members, places, cross, moment, float(target @ target))
        scores = deviance(losses, len(target)) + charges[places[list(members)]].sum() + charges
        np.minimum.at(best, kind, scores)
    sizes = np.bincount(kind)
    kept = np.zeros(len(best), dtype=bool)
    kept[kind[simple]] = True
    total = int(sizes[kept].sum())
    for place in np.argsort(best, kind="stable").tolist():
        if not kept[place] and total + sizes[place] <= most:
            kept[place] = True
            total += int(sizes[place])
    return np.flatnonzero(kept[kind])


def _starts(
    columns: Array,
    target: Array,
    charges: Array,
    bases: Sequence[Support],
    places: NDArray[np.intp],
) -> list[Support]:
    """None, and the best sets of monomials of each size, as places among the monomials."""
    inner = [tuple(np.searchsorted(places, base).tolist()) for base in bases if len(base) < 2]
    normal = NormalEquations.from_rows(columns, target)
    found = search_subsets(normal, charges, np.arange(len(places)), inner)
    sizes = sorted({len(key) for key in found.best})
    return [(), *(one for size in sizes for one in found.leading(STARTS, size))]


def _beside(
    members: Support, places: NDArray[np.intp], cross: Array, moment: Array, energy: float
) -> Array:
    """Losses of a set of monomials with each column added; infinite where the set is singular."""
    index = np.array(members, dtype=np.intp)
    rest, left = moment, np.ones(len(moment))
    if index.size:
        try:
            root = np.linalg.cholesky(cross[index][:, places[index]])
        except np.linalg.LinAlgError:
            return np.full(len(moment), np.inf)
        taken = np.linalg.solve(root, cross[index])
        share = np.linalg.solve(root, moment[places[index]])
        rest = moment - share @ taken
        left = left - (taken**2).sum(axis=0)
        energy -= float(share @ share)
    fresh = left > COLLINEAR
    gain = np.where(fresh, rest**2 / np.where(fresh, left, 1.0), 0.0)
    return np.maximum(energy - gain, 0.0)
