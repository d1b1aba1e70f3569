"""From the polynomial stage's answer to the best system of the automatic library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from discoverers.denoising import Denoised
from discoverers.inputs import engine_interpolation
from discoverers.integration import MechanisticIntegral
from discoverers.libraries import AutoLibrary, BoundLibrary, Variables
from discoverers.regression import allow_for_truncation
from discoverers.selection import Selection
from discoverers.shooting import Record, integrate
from discoverers.trajectories import Trajectories

from .atoms import Template, atom_count, templates_for
from .denominators import denominators_for
from .judge import Judge
from .proposals import Proposals
from .search import Found, count, search
from .settling import settled
from .systems import Candidate, System
from .weak_form import WeakForm

__all__ = ["Growth", "grow", "worth_growing"]

Array = NDArray[np.float64]
Part = TypeVar("Part", Array, NDArray[np.bool_])
Piece = tuple[int, int, int]

LONGEST = 1200
"""Samples that terms are searched on; of more, blocks spread over the runs."""

BLOCK = 200
EXACT = 1e-4
"""Mean squared residual in units of the noise that clean data are taken to have at least."""

SHORTEST = 20
LARGEST_GROWTH = 100.0
"""A piece ends where a change of its start has grown so much."""


@dataclass(frozen=True, eq=False)
class Growth:
    """What the automatic library came to.

    Attributes
    ----------
    found : Found
    start : System
        The polynomial stage's system.
    whole : bool
        Whether the records were searched as they are, not in pieces.
    n_tried : int
        Terms of the dictionary, constants on their grids counted apart.
    comparable : bool
        Whether following the polynomial stage's system through the records tells of it: not if
        that failed, nor where states agree with it and neither it nor any other comes close.
    """

    found: Found
    start: System
    whole: bool
    n_tried: int
    comparable: bool = True

    @property
    def better(self) -> bool:
        """Whether another system than the polynomial one was found."""
        return self.found.best.system.structure != self.start.structure


def worth_growing(chi2: Array) -> bool:
    """Whether polynomials leave something to explain, shape (V,) in units of the noise.

    Not where clean data are explained to a millionth of their size. A fit within the noise may
    still be a polynomial in the place of a simpler function, and is looked at.
    """
    return not bool(np.all(chi2 < EXACT))


def grow(
    selection: Selection,
    coef: Array,
    library: AutoLibrary,
    window: int,
    iterations: Callable[[str, int], Iterable[int]] = count,
    states: Sequence[Array] | None = None,
) -> Growth | None:
    """Search the textbook's terms for a better system.

    Parameters
    ----------
    selection : Selection
        The polynomial stage: runs, denoised states, candidates, and which coefficients are known.
        An equation that has a known one has no other terms.
    coef : ndarray of shape (V', K')
        What was chosen among the kept candidates, derivatives' equations among them.
    library : AutoLibrary
    window : int
        Samples between free initial values of the weak form.
    iterations : callable, optional
        Counts the sweeps of the search and may end them early: name and largest number to an
        iterator.
    states : sequence of ndarray of shape (n, V'), optional
        States of the runs that agree with the data and with the polynomial stage's system, if
        there are such: paths start there. Between coarse samples of a chaotic system the denoised
        states are too far off for any path to keep to the record. The denoised ones by default.

    Returns
    -------
    Growth or None
        None if no system could be followed through the records.
    """
    trajectories, denoised = selection.trajectories, selection.denoised
    if states is not None:
        denoised = replace(denoised, states=tuple(states))
    n_runs = len(trajectories)
    whole = sum(len(run.t) for run in trajectories) <= LONGEST
    if not whole:
        trajectories, denoised = _cut(trajectories, denoised, _blocks(trajectories))
    names = (*trajectories.state_names, *trajectories.input_names)
    values = np.concatenate(
        [
            np.column_stack([states, run.u])
            for run, states in zip(trajectories, denoised.states, strict=True)
        ]
    )
    templates = templates_for(
        names,
        values,
        trajectories.n_states,
        own=library.own(_variables(selection.library)),
        without=library.without,
        degree=library.degree,
    )
    integral = MechanisticIntegral()
    form = WeakForm(
        trajectories, allow_for_truncation(denoised, integral, window), integral, window, names
    )
    denominators = (
        ()
        if "rational" in library.without
        else denominators_for(names, values, atom_count(trajectories.n_states))
    )
    proposals = Proposals.build(form, templates, denominators)
    start = _system(selection, coef, templates)
    pieces = _segments(trajectories, denoised, start)
    judge = Judge.build(*_cut(trajectories, denoised, pieces))
    own = judge(start)
    found = search(judge, proposals, start, iterations)
    if found is None:
        return None
    # States that agree with a law which misfits here say that the following failed, not the law;
    # unless another law is followed as closely as the noise.
    doubtful = states is not None and judge.misfits(own) and found.judge.misfits(found.best)
    comparable = bool(np.isfinite(own.score)) and not doubtful
    uncut = whole and len(pieces) == n_runs
    return Growth(settled(found), start, uncut, len(proposals.columns), comparable)


def _variables(bound: BoundLibrary) -> Variables:
    n = len(bound.state_names)
    return Variables(bound.variables[:n], bound.variables[n:])


def _system(selection: Selection, coef: Array, templates: Sequence[Template]) -> System:
    """The polynomial stage's system; known coefficients have their values, whatever it says."""
    held = {template.expr: template for template in templates}
    terms = [selection.library.terms[k] for k in selection.kept]
    rules = selection.rules
    dearest = max(template.competitors for template in templates if not template.factors)
    return System(
        tuple(
            tuple(
                Candidate(
                    held.get(term.expr, Template(term.expr, competitors=dearest)),
                    float(value),
                    known=bool(fixed),
                )
                for term, value, fixed in zip(terms, row, row_fixed, strict=True)
                if value != 0.0
            )
            for row, row_fixed in zip(rules.complete(coef), rules.fixed, strict=True)
        )
    )


def _blocks(trajectories: Trajectories) -> list[Piece]:
    """Blocks of contiguous samples, spread evenly over the runs."""
    starts = [
        (i, first)
        for i, run in enumerate(trajectories)
        for first in range(0, max(len(run.t) - BLOCK, 0) + 1, BLOCK)
    ]
    count = max(1, LONGEST // BLOCK)
    picked = np.unique(np.linspace(0, len(starts) - 1, count).round().astype(int))
    return [(*starts[k], BLOCK) for k in picked]


def _segments(trajectories: Trajectories, denoised: Denoised, system: System) -> list[Piece]:
    """Pieces of the runs over which a small change of the start stays small.

    Where trajectories diverge, a long record calibrated from one start is a rugged problem; short
    pieces with starts of their own are not.
    """
    model = system.model(trajectories.state_names, trajectories.input_names)
    n, constants = trajectories.n_states, system.parameters
    free = np.arange(model.n_states) < n
    pieces: list[Piece] = []
    for i, (run, states) in enumerate(zip(trajectories, denoised.states, strict=True)):
        first, total = 0, len(run.t)
        while total - first > SHORTEST:
            record = Record.make(
                run.t[first:],
                run.X[first:],
                run.u[first:],
                interpolation=engine_interpolation(run),
            )
            path = integrate(
                model,
                system.coefficients,
                np.concatenate([states[first], constants]),
                record,
                free_x0=free,
                substeps=4,
            )
            size = np.abs(path.dX[: path.n_valid, :n]).max(axis=(1, 2), initial=0.0)
            grown = np.flatnonzero(size > LARGEST_GROWTH)
            length = int(grown[0]) if len(grown) else path.n_valid
            length = max(length, SHORTEST)
            if total - first - length < SHORTEST:
                break
            pieces.append((i, first, length))
            first += length
        pieces.append((i, first, total - first))
    return pieces


def _cut(
    trajectories: Trajectories, denoised: Denoised, pieces: Sequence[Piece]
) -> tuple[Trajectories, Denoised]:
    """Pieces of the runs as runs of their own."""

    def cut(parts: Sequence[Part], extra: int = 0) -> tuple[Part, ...]:
        return tuple(parts[i][first : first + length + extra] for i, first, length in pieces)

    runs = []
    for i, first, length in pieces:
        run, rows = trajectories[i], slice(first, first + length)
        x0 = run.x0 if first == 0 else np.full_like(run.x0, np.nan)
        runs.append(
            replace(
                run, t=run.t[rows], X=run.X[rows], u=run.u[rows], weight=run.weight[rows], x0=x0
            )
        )
    return (
        replace(trajectories, runs=tuple(runs), ids=tuple(range(len(runs)))),
        replace(
            denoised,
            data=cut(denoised.data),
            precision=cut(denoised.precision),
            states=cut(denoised.states),
            slopes=cut(denoised.slopes),
            steps=cut(denoised.steps, -1),
            fits=(),
            outliers=cut(denoised.outliers),
            measured=tuple(
                (values[first : first + length], precision[first : first + length])
                for i, first, length in pieces
                for values, precision in [denoised.measurements[i]]
            ),
        ),
    )
