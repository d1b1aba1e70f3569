"""Wide subset search: every pair of columns beside a few simple ones, then larger sets from those.

A constant off its place hides its term, and which place is right shows only beside the other
terms: so pairs are looked at exhaustively on a fine grid, with the constant and the variables
themselves in or out of the equation, and of every structure only its best constants are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from discoverers.sparse import NormalEquations
from discoverers.sparse.criterion import deviance

__all__ = ["Subsets", "search_subsets"]

Array = NDArray[np.float64]
Support = tuple[int, ...]
Key = tuple[int, ...]

LARGEST = 5
"""Terms of a right-hand side."""

KEPT_PAIRS = 600
"""Structures kept beside each base."""

PARENTS = {3: 150, 4: 100, 5: 60}
"""Structures that sets of each size grow from."""

GROWN = 3000
"""Sets of each size whose scores are compared."""


@dataclass(eq=False)
class Subsets:
    """The best support of every structure that was seen.

    Attributes
    ----------
    kind : ndarray of int, shape (K,)
        Template of each column; a structure is a set of templates.
    best : dict of structure to (score, support)
        With constants on their grid.
    hoped : dict of structure to (score, support)
        With the loss as a parabola through neighbours on the grid has it between them: good for
        laws that need an exact constant, too good where the loss is no parabola.
    """

    kind: NDArray[np.intp]
    best: dict[Key, tuple[float, Support]] = field(default_factory=dict)
    hoped: dict[Key, tuple[float, Support]] = field(default_factory=dict)

    def add(self, supports: Iterable[Sequence[int]], scores: Array, *, hope: bool = False) -> None:
        """Keep what is better than the same structure before."""
        held = self.hoped if hope else self.best
        for support, score in zip(supports, scores.tolist(), strict=True):
            key = tuple(sorted(self.kind[list(support)].tolist()))
            if len(set(key)) == len(key) and score < held.get(key, (np.inf, ()))[0]:
                held[key] = (score, tuple(support))

    def leading(self, count: int, size: int | None = None) -> list[Support]:
        """So many supports by score and as many by hope, of one size or all."""
        chosen: dict[Support, None] = {}
        for held in (self.best, self.hoped):
            ranked = sorted(one for key, one in held.items() if size in (None, len(key)))
            chosen |= dict.fromkeys(support for _, support in ranked[:count])
        return list(chosen)


def search_subsets(
    normal: NormalEquations,
    charges: Array,
    kind: NDArray[np.intp],
    bases: Sequence[Support],
) -> Subsets:
    """Search supports of up to five columns.

    Parameters
    ----------
    normal : NormalEquations
    charges : ndarray of shape (K,)
        What each column costs in units of the deviance.
    kind : ndarray of int, shape (K,)
    bases : sequence of tuple of int
        Sets of columns beside which all pairs are looked at.

    Returns
    -------
    Subsets
    """
    alive = np.flatnonzero(np.diagonal(normal.gram) > 0.0)
    found = Subsets(kind)
    singles = alive[:, None]
    found.add(singles.tolist(), deviance(normal.losses(singles), normal.n_rows) + charges[alive])
    norms = normal.column_norms
    gram = normal.gram / np.outer(norms, norms)
    moment = normal.moment / norms
    for base in bases:
        if len(base) + 2 <= LARGEST and normal.n_rows >= 4 * (len(base) + 2):
            _pairs_beside(found, normal, gram, moment, charges, kind, base)
    for size in range(3, LARGEST + 1):
        if normal.n_rows < 4 * size:
            break
        parents = np.array(found.leading(PARENTS[size], size - 1), dtype=np.intp)
        if not len(parents):
            break
        losses = normal.losses_with_one_more(parents)[:, alive]
        scores = deviance(losses, normal.n_rows) + charges[parents].sum(axis=1)[:, None]
        scores = scores + charges[alive]
        scores[~np.isfinite(losses)] = np.inf
        count = min(GROWN, scores.size - 1)
        order = np.argpartition(scores, count, axis=None)[:count]
        order = order[np.isfinite(scores.ravel()[order])]
        rows, added = np.unravel_index(order, scores.shape)
        grown = np.concatenate([parents[rows], alive[added][:, None]], axis=1)
        found.add(grown.tolist(), scores.ravel()[order])
    return found


def _pairs_beside(
    found: Subsets,
    normal: NormalEquations,
    gram: Array,
    moment: Array,
    charges: Array,
    kind: NDArray[np.intp],
    base: Support,
) -> None:
    from .kernels import best_pairs

    index = list(base)
    norm = np.diagonal(gram).copy()
    left, energy = moment.copy(), normal.energy
    taken = np.zeros((len(base), len(moment)))
    if index:
        try:
            triangle = np.linalg.cholesky(gram[np.ix_(index, index)])
        except np.linalg.LinAlgError:
            return
        taken = np.linalg.solve(triangle, gram[index])
        share = np.linalg.solve(triangle, moment[index])
        norm -= (taken**2).sum(axis=0)
        left -= share @ taken
        energy -= float(share @ share)
    # A column of a kind that the base holds is no other term.
    norm[np.isin(kind, kind[index])] = 0.0
    plain, losses, places = best_pairs(
        gram,
        np.ascontiguousarray(taken),
        norm,
        left,
        max(energy, 0.0),
        kind.astype(np.int64),
        np.bincount(kind)[kind] == 1,
        int(kind.max()) + 1,
    )
    first, second = np.nonzero(np.isfinite(losses))
    if not len(first):
        return
    columns = places[first, second]
    charge = charges[columns].sum(axis=1) + charges[index].sum()
    for part, hope in ((plain, False), (losses, True)):
        scores = deviance(part[first, second], normal.n_rows) + charge
        order = _lowest(scores, KEPT_PAIRS)
        supports = [(*base, *pair) for pair in columns[order].tolist()]
        found.add(supports, scores[order], hope=hope)


def _lowest(scores: Array, count: int) -> NDArray[np.intp]:
    """Places of the lowest scores in their order; all are not sorted for the sake of a few."""
    if len(scores) <= count:
        return np.argsort(scores, kind="stable")
    places = np.flatnonzero(scores <= np.partition(scores, count)[count])
    return places[np.argsort(scores[places], kind="stable")[:count]]
