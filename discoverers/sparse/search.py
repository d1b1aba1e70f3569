"""Best-subset search on normal equations: exhaustive while small, beam and elimination beyond."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from .criterion import GradedCriterion
from .normal_equations import NormalEquations

__all__ = ["SubsetSearch", "forward_support", "search_subsets"]

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
    criterion: GradedCriterion,
    candidates: Sequence[int],
    max_terms: int | None = None,
) -> SubsetSearch:
    """Find the support with the lowest score.

    Supports of up to 4 terms are all tried while there are no more than 20,000 of a size; larger
    ones come from a beam of 40 and from backward elimination; at last terms of the best are
    added, dropped and swapped until nothing improves.

    Parameters
    ----------
    normal : NormalEquations
        Columns whitened to unit residual variance.
    criterion : GradedCriterion
    candidates : sequence of int
        Columns that may be used.
    max_terms : int, optional
        Largest size of a support. Always at most a third of the rows.

    Returns
    -------
    SubsetSearch
    """
    columns = np.array(sorted(candidates), dtype=np.intp)
    most = min(len(columns), max(normal.n_rows // 3, 1))
    if max_terms is not None:
        most = min(most, max_terms)
    losses: dict[Support, float] = {(): float(normal.energy)}
    for size, supports in _grow(normal, columns, min(most, BEAM_SIZE)):
        del size
        losses.update(supports)
    losses.update(_eliminate(normal, columns, most))

    def score(support: Support) -> float:
        return criterion.score(losses[support], support, normal.n_rows)

    best = min(losses, key=score)
    while True:
        around = _neighbours(best, columns, most)
        for support, loss in _evaluate(normal, around).items():
            losses.setdefault(support, loss)
        improved = min((best, *around), key=score)
        if score(improved) >= score(best):
            break
        best = improved
    by_size: dict[int, Support] = {}
    for support, loss in losses.items():
        held = by_size.get(len(support))
        if held is None or loss < losses[held]:
            by_size[len(support)] = support
    return SubsetSearch(best, losses, {support: score(support) for support in losses}, by_size)


def forward_support(normal: NormalEquations, candidates: Sequence[int], size: int) -> Support:
    """Support of at most ``size`` columns that a narrow beam finds best: a rich reference model."""
    columns = np.array(sorted(candidates), dtype=np.intp)
    best: Support = ()
    for _, supports in _grow(normal, columns, min(size, len(columns)), exhaustive=2, width=5):
        best = min(supports, key=lambda support: supports[support])
    return best


def _grow(
    normal: NormalEquations,
    columns: NDArray[np.intp],
    most: int,
    exhaustive: int = EXHAUSTIVE_SIZE,
    width: int = BEAM_WIDTH,
) -> Iterable[tuple[int, dict[Support, float]]]:
    """Best supports of sizes 1, 2, ... with their losses."""
    beam: list[Support] = [()]
    for size in range(1, most + 1):
        if size <= exhaustive and comb(len(columns), size) <= EXHAUSTIVE_COUNT:
            trial: list[Support] = list(combinations(columns.tolist(), size))
        else:
            grown = {
                tuple(sorted((*support, int(column))))
                for support in beam
                for column in columns
                if column not in support
            }
            trial = sorted(grown)
        found = _evaluate(normal, trial)
        beam = sorted(found, key=lambda support: found[support])[:width]
        yield size, {support: found[support] for support in beam}


def _eliminate(
    normal: NormalEquations, columns: NDArray[np.intp], most: int
) -> dict[Support, float]:
    """Drop the least useful column, from all of them to none."""
    if len(columns) > normal.n_rows // 2:
        return {}
    visited: dict[Support, float] = {}
    active = columns.tolist()
    while active:
        if len(active) <= most:
            visited[tuple(active)] = normal.loss(active)
        active.pop(int(np.argmin(normal.drop_costs(active))))
    return visited


def _neighbours(support: Support, columns: NDArray[np.intp], most: int) -> list[Support]:
    outside = [int(column) for column in columns if column not in support]
    dropped = [support[:i] + support[i + 1 :] for i in range(len(support))]
    bases = [*dropped, support] if len(support) < most else dropped
    added = {tuple(sorted((*base, column))) for base in bases for column in outside}
    return sorted({*dropped, *added} - {support})


def _evaluate(normal: NormalEquations, supports: Sequence[Support]) -> dict[Support, float]:
    by_size: dict[int, list[Support]] = {}
    for support in supports:
        by_size.setdefault(len(support), []).append(support)
    found: dict[Support, float] = {}
    for size, members in by_size.items():
        index = np.array(members, dtype=np.intp).reshape(len(members), size)
        found.update(zip(members, normal.losses(index).tolist(), strict=True))
    return found
