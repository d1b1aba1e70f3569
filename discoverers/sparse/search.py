"""Best-subset search on normal equations: exhaustive while small, beam and elimination beyond."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from .criterion import Criterion, deviance
from .normal_equations import NormalEquations

__all__ = ["SubsetSearch", "Support", "forward_support", "search_subsets"]

Support = tuple[int, ...]

EXHAUSTIVE_SIZE = 4
EXHAUSTIVE_COUNT = 20_000
BEAM_WIDTH = 40
BEAM_SIZE = 12


@dataclass(frozen=True)
class SubsetSearch:
    """Supports visited, with their losses and scores.

    Attributes
    ----------
    best : tuple of int
        Support with the lowest score, columns in increasing order.
    losses, scores : dict from support to float
        Everything that was kept.
    by_size : dict from int to support
        Support with the lowest loss of each size.
    """

    best: Support
    losses: dict[Support, float]
    scores: dict[Support, float]
    by_size: dict[int, Support]


def search_subsets(
    normal: NormalEquations,
    criterion: Criterion,
    candidates: Sequence[int],
    max_terms: int | None = None,
    starts: Sequence[Support] = (),
    required: Sequence[int] = (),
) -> SubsetSearch:
    """Find the support with the lowest score.

    Supports of up to 4 terms are all tried while there are no more than 20,000 of a size; larger
    ones come from a beam of 40 and from backward elimination; at last terms of the best are
    added, dropped and swapped until nothing improves.

    Parameters
    ----------
    normal : NormalEquations
        Columns whitened to unit residual variance.
    criterion : Criterion
    candidates : sequence of int
        Columns that may be used.
    max_terms : int, optional
        Largest size of a support. Always at most a third of the rows.
    starts : sequence of supports, optional
        Supports to consider besides those that the search comes upon.
    required : sequence of int
        Columns that are in every support.

    Returns
    -------
    SubsetSearch
    """
    if len(required):
        return _search_with(normal, criterion, candidates, max_terms, starts, required)
    columns = np.array(sorted(candidates), dtype=np.intp)
    most = min(len(columns), max(normal.n_rows // 3, 1))
    if max_terms is not None:
        most = min(most, max_terms)
    charges = criterion.charges(normal.n_rows)

    def scored(losses: dict[Support, float]) -> dict[Support, float]:
        deviances = deviance(list(losses.values()), normal.n_rows)
        return {
            support: float(value + charges[list(support)].sum())
            for support, value in zip(losses, deviances, strict=True)
        }

    losses: dict[Support, float] = {(): float(normal.energy)}
    for start in starts:
        losses[tuple(sorted(start))] = normal.loss(start)
    for supports in _grow(normal, columns, min(most, BEAM_SIZE)):
        losses.update(supports)
    losses.update(_eliminate(normal, columns, most))
    scores = scored(losses)
    best = min(scores, key=lambda support: scores[support])
    while True:
        around = _neighbours(normal, best, columns, most)
        near = scored(around)
        losses.update(around)
        scores.update(near)
        improved = min(near, key=lambda support: near[support], default=best)
        # Said so that scores which are no numbers end the search too.
        if not scores[improved] < scores[best]:
            break
        best = improved
    by_size: dict[int, Support] = {}
    for support, loss in losses.items():
        held = by_size.get(len(support))
        if held is None or loss < losses[held]:
            by_size[len(support)] = support
    return SubsetSearch(best, losses, scores, by_size)


def _search_with(
    normal: NormalEquations,
    criterion: Criterion,
    candidates: Sequence[int],
    max_terms: int | None,
    starts: Sequence[Support],
    required: Sequence[int],
) -> SubsetSearch:
    """Search what the required columns leave over, then put them into every support."""
    always = tuple(sorted(required))
    most = None if max_terms is None else max(max_terms - len(always), 0)
    found = search_subsets(
        normal.eliminate(always),
        criterion,
        [one for one in candidates if one not in always],
        most,
        [tuple(one for one in start if one not in always) for start in starts],
    )
    charge = float(criterion.charges(normal.n_rows)[list(always)].sum())

    def whole(support: Support) -> Support:
        return tuple(sorted((*support, *always)))

    return SubsetSearch(
        best=whole(found.best),
        losses={whole(one): loss for one, loss in found.losses.items()},
        scores={whole(one): score + charge for one, score in found.scores.items()},
        by_size={size + len(always): whole(one) for size, one in found.by_size.items()},
    )


def forward_support(normal: NormalEquations, candidates: Sequence[int], size: int) -> Support:
    """Support of at most ``size`` columns that a narrow beam finds best: a rich reference model."""
    columns = np.array(sorted(candidates), dtype=np.intp)
    best: Support = ()
    for supports in _grow(normal, columns, min(size, len(columns)), exhaustive=1, width=5):
        best = min(supports, key=lambda support: supports[support])
    return best


def _grow(
    normal: NormalEquations,
    columns: NDArray[np.intp],
    most: int,
    exhaustive: int = EXHAUSTIVE_SIZE,
    width: int = BEAM_WIDTH,
) -> Iterator[dict[Support, float]]:
    """Best supports of sizes 1, 2, ... with their losses."""
    beam = np.empty((1, 0), dtype=np.intp)
    for size in range(1, most + 1):
        if size <= exhaustive and comb(len(columns), size) <= EXHAUSTIVE_COUNT:
            beam = _lowest(normal, np.array(list(combinations(columns, size))), width)
        else:
            beam = _lowest(normal, _extended(normal, beam, columns, 4 * width), width)
        if not len(beam):
            return
        yield _with_losses(normal, beam)


def _extended(
    normal: NormalEquations, beam: NDArray[np.intp], columns: NDArray[np.intp], count: int
) -> NDArray[np.intp]:
    """Supports of the beam with one more column: the ``count`` of lowest loss."""
    losses = normal.losses_with_one_more(beam)[:, columns]
    order = np.argsort(losses, axis=None, kind="stable")[:count]
    order = order[np.isfinite(losses.ravel()[order])]
    parents, added = np.unravel_index(order, losses.shape)
    grown = np.concatenate([beam[parents], columns[added][:, None]], axis=1)
    return np.unique(np.sort(grown, axis=1), axis=0)


def _lowest(normal: NormalEquations, supports: NDArray[np.intp], width: int) -> NDArray[np.intp]:
    if not len(supports):
        return supports
    return supports[np.argsort(normal.losses(supports), kind="stable")[:width]]


def _with_losses(normal: NormalEquations, supports: NDArray[np.intp]) -> dict[Support, float]:
    return dict(zip(map(tuple, supports.tolist()), normal.losses(supports).tolist(), strict=True))


def _eliminate(
    normal: NormalEquations, columns: NDArray[np.intp], most: int
) -> dict[Support, float]:
    """Drop the least useful columns, a tenth of them at a time, from all columns to none."""
    if len(columns) > normal.n_rows // 2:
        return {}
    visited: dict[Support, float] = {}
    active = columns
    while len(active):
        if len(active) <= most:
            visited.update(_with_losses(normal, active[None, :]))
        costs = normal.drop_costs(active.tolist())
        active = np.sort(active[np.argsort(costs, kind="stable")[max(1, len(active) // 10) :]])
    return visited


def _neighbours(
    normal: NormalEquations, support: Support, columns: NDArray[np.intp], most: int
) -> dict[Support, float]:
    """Supports with one term dropped, swapped or added: the best of each kind."""
    found: dict[Support, float] = {}
    for i in range(len(support)):
        base = np.array([support[:i] + support[i + 1 :]], dtype=np.intp).reshape(1, -1)
        found.update(_with_losses(normal, base))
        found.update(_with_losses(normal, _extended(normal, base, columns, BEAM_WIDTH)))
    if len(support) < most:
        base = np.array([support], dtype=np.intp).reshape(1, -1)
        found.update(_with_losses(normal, _extended(normal, base, columns, BEAM_WIDTH)))
    found.pop(support, None)
    return found
