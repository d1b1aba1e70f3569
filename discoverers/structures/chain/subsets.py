"""Which sets of candidates a quadratic promises most of: exhaustively while they are few."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from discoverers.sparse import NormalEquations, search_subsets
from discoverers.sparse.criterion import deviance

from .judging import Charges, Support

__all__ = ["score_subsets"]

Array = NDArray[np.float64]

EXHAUSTIVE = 60_000
LARGEST_EXHAUSTIVE = 6
NEAREST = 40
"""Sets of each size that are kept."""


def score_subsets(
    normal: NormalEquations, charges: Array, required: NDArray[np.bool_], max_terms: int
) -> dict[Support, float]:
    """Scores of subsets: all of up to 6 terms while there are not too many, else a beam's.

    Parameters
    ----------
    normal : NormalEquations
        Over the candidates, K columns.
    charges : ndarray of shape (K,)
    required : ndarray of bool, shape (K,)
        Candidates that every subset holds.
    max_terms : int

    Returns
    -------
    dict
        Score, lower is better, by sorted columns.
    """
    always = tuple(np.flatnonzero(required).tolist())
    others = [k for k in range(normal.n_columns) if not required[k] and normal.gram[k, k] > 0.0]
    scores: dict[Support, float] = {}
    exhausted = 0
    largest = min(max_terms - len(always), len(others), LARGEST_EXHAUSTIVE)
    for size in range(1, largest + 1):
        if comb(len(others), size) > EXHAUSTIVE:
            break
        chosen = np.array(list(combinations(others, size)), dtype=np.intp)
        whole = np.sort(
            np.concatenate([np.tile(always, (len(chosen), 1)).astype(np.intp), chosen], axis=1)
        )
        values = deviance(normal.losses(whole), normal.n_rows) + charges[whole].sum(axis=1)
        near = np.argsort(values, kind="stable")[:NEAREST]
        scores.update(zip(map(tuple, whole[near].tolist()), values[near].tolist(), strict=True))
        exhausted = size
    if exhausted + len(always) < min(max_terms, normal.n_columns):
        found = search_subsets(
            normal, Charges(charges), [*always, *others], max_terms, starts=list(scores)[:5],
            required=always,
        )  # fmt: skip
        scores.update(found.scores)
    return scores
