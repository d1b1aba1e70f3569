"""The trade-off between size and loss over all equations at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .criterion import deviance
from .search import SubsetSearch, Support

__all__ = ["ParetoFront", "combine"]


@dataclass(frozen=True)
class ParetoFront:
    """Systems of equations, one per total number of terms, best first by size.

    Attributes
    ----------
    supports : tuple of tuple of supports
        One support per equation in each entry.
    losses : tuple of float
        Mean squared residual in units of the noise variance.
    scores : tuple of float
        The criterion, summed over equations.
    selected : int
        Index of the chosen system.
    """

    supports: tuple[tuple[Support, ...], ...]
    losses: tuple[float, ...]
    scores: tuple[float, ...]
    selected: int


def combine(searches: Sequence[SubsetSearch], n_rows: Sequence[int]) -> ParetoFront:
    """Join the equations' best supports of each size into best systems of each total size.

    Total deviance is minimised exactly by dynamic programming over equations. Only systems whose
    deviance is at least 1 below that of every smaller one are kept (a useless term gains about as
    much by chance), and the selected one always.

    Parameters
    ----------
    searches : sequence of SubsetSearch, one per equation
    n_rows : sequence of int
        Rows of each equation's regression.

    Returns
    -------
    ParetoFront
    """
    chosen = tuple(search.best for search in searches)
    systems: dict[int, tuple[float, tuple[Support, ...]]] = {0: (0.0, ())}
    for search, rows in zip(searches, n_rows, strict=True):
        grown: dict[int, tuple[float, tuple[Support, ...]]] = {}
        for total, (cost, supports) in systems.items():
            for size, support in search.by_size.items():
                key = total + size
                value = cost + float(deviance(search.losses[support], rows))
                if key not in grown or value < grown[key][0]:
                    grown[key] = (value, (*supports, support))
        systems = grown
    size = sum(map(len, chosen))
    lowest, kept = float("inf"), {}
    for n_terms in sorted(systems):
        reached, supports = systems[n_terms]
        if n_terms == size:
            kept[n_terms] = chosen
            lowest = min(lowest, reached)
        elif reached < lowest - 1.0:
            kept[n_terms] = supports
            lowest = reached
    ordered = [kept[n_terms] for n_terms in sorted(kept)]
    count = max(sum(n_rows), 1)
    return ParetoFront(
        supports=tuple(ordered),
        losses=tuple(
            sum(search.losses[part] for search, part in zip(searches, supports, strict=True))
            / count
            for supports in ordered
        ),
        scores=tuple(
            sum(search.scores[part] for search, part in zip(searches, supports, strict=True))
            for supports in ordered
        ),
        selected=ordered.index(chosen),
    )
