"""Laws of states that lie far from zero: searched from there and from nearby, and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .denoising import Denoised
from .joint import JointProblem
from .origin import Origin
from .refinement import Refined, refine
from .selection import Selection
from .trajectories import Trajectories

__all__ = ["seen_from_nearby"]

Array = NDArray[np.float64]
Found = tuple[Selection, Refined | None]
Joint = tuple[Selection, Refined]

DECISIVE = 0.1
"""Fits end within less of their minimum: what differs by less is the same law, around zero too."""


def seen_from_nearby(
    found: Found,
    select: Callable[[Trajectories, Denoised], Selection],
    max_terms: int | None,
    *,
    known_noise: bool,
) -> Found:
    """What was found, or what is found by counting the states from among the data, if better.

    Parameters
    ----------
    found : Selection and Refined or None
        The regression, and its joint fit if there is one.
    select : callable
        The regression of other data, or of the same ones counted otherwise.
    max_terms : int or None
    known_noise : bool
        See `refine`.

    Returns
    -------
    Selection and Refined or None
        Those given where no state lies far from zero; see `Origin`.
    """
    selection = found[0]
    origin = Origin.among(selection.denoised, selection.library)
    if origin is None:
        return found
    moved = replace(
        select(*origin.counted(selection.trajectories, selection.denoised)), origin=origin
    )
    refined = None if moved.explained else refine(moved, max_terms, known_noise=known_noise)
    nearby = moved, refined
    return nearby if _better(nearby, found) else found


def _better(one: Found, other: Found) -> bool:
    """Whether one of two searches, of the same data and as many candidates, is decidedly better."""
    (selection, refined), (others, elsewhere) = one, other
    if refined is None or elsewhere is None:
        if selection.explained != others.explained:
            return selection.explained
        if (refined is None) != (elsewhere is None):
            return elsewhere is None
        return _charges(selection) < _charges(others) - DECISIVE
    here, there = (selection, refined), (others, elsewhere)
    return _judged(here, there) < _judged(there, here) - DECISIVE


def _charges(selection: Selection) -> float:
    """Charges of the regression's choice: what counts where nothing is left to explain."""
    terms = sum(
        float(selection.criterion.charges(fit.normal.n_rows)[list(fit.search.best)].sum())
        for fit in selection.fits
    )
    n_rows = max(fit.normal.n_rows for fit in selection.fits)
    return terms + _charge_of_origin(selection, selection.coef, n_rows)


def _judged(one: Joint, other: Joint) -> float:
    """-2 log evidence of a system and its charges, at the lower noise that the two came to."""
    selection, refined = one
    problem, fit, charge = refined.searched
    sharper = min(problem, other[1].searched[0], key=lambda one: float(np.log(one.link_std).sum()))
    if sharper is not problem:
        problem = _as_precise(problem, sharper)
    fit, _ = problem.likeliest_level(fit.coef, fit.states)
    if not np.isfinite(fit.cost):
        return np.inf
    origin = _charge_of_origin(selection, fit.coef, problem.n_rows)
    return problem.evidence(fit) + charge + origin


def _charge_of_origin(selection: Selection, coef: Array, n_rows: int) -> float:
    """That of a constant for each state whose origin is a part of the law."""
    if selection.origin is None:
        return 0.0
    return selection.origin.matters_in(selection.expand(coef) != 0.0) * float(np.log(n_rows))


def _as_precise(problem: JointProblem, model: JointProblem) -> JointProblem:
    records = tuple(
        replace(record, precision=sharper.precision)
        for record, sharper in zip(problem.records, model.records, strict=True)
    )
    return replace(problem, records=records, link_std=model.link_std)
