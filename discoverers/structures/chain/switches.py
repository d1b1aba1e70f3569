"""Samples next to a switch of a law that jumps, dry friction above all.

There the measured rate hangs on the moment of the switch, and while a body sticks its rate is
nothing whatever the law says: such samples miss by hundreds of noises, which any further term that
shifts them a little seems to be worth. They say nothing of which terms the law has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.shooting import Column, Record

from .dictionary import THIN_LAYER, Dictionary
from .judging import Candidate
from .model import ChainTask

if TYPE_CHECKING:
    from .extraction import Extraction

__all__ = ["clear_of_switches", "leave_out_switches", "sharpen"]

Array = NDArray[np.float64]

SATURATED = 3.0
"""Layers away from the switch at which a jump is over."""

MOST = 0.5
"""Share of a channel's samples that may be left out; more would be the law itself."""

THIN_SUBSTEPS = 16
"""Steps a sample through thin layers."""


def leave_out_switches(work: Extraction) -> bool:
    """Where the best law jumps, go on without the samples next to its switches.

    With them the cost is rugged, and calibrations get stuck in it; without them it is smooth.

    Returns
    -------
    bool
        Whether samples were left out that had not been before.
    """
    if work.whole is not None or work.nodes is not None or not work.jumps:
        return False
    cleared = clear_of_switches(work.task, work.dictionary, work.ranked[0])
    if cleared is work.task:
        return False
    work.whole = work.task
    work.restart(cleared, work.ranked)
    # Terms that those samples bought are worth nothing now: look around the closest law anew.
    _around_closest(work)
    return True


def sharpen(work: Extraction) -> None:
    """Thin layers where the best law jumps; if none does after all, all samples again."""
    if work.nodes is not None:
        return
    if work.jumps:
        work.dictionary = work.dictionary.softened(work.ranked[0].states, THIN_LAYER)
        work.switch_substeps = THIN_SUBSTEPS
        whole = work.task if work.whole is None else work.whole
        task = clear_of_switches(whole, work.dictionary, work.ranked[0])
    elif work.whole is not None:
        task, work.whole = work.whole, None
    else:
        return
    work.restart(task, work.leaders)
    if not work.ranked:
        _around_closest(work)
    work.relinearise()
    _without_constants(work)


def _without_constants(work: Extraction) -> None:
    """Try the best law without constants, from the same motion counted from another level.

    Where channels leave the level open and springs are linear this is the same law with fewer
    terms. Its own calibration may have got stuck, for thin layers make the cost rugged.
    """
    ranked, dictionary = work.ranked, work.dictionary
    if not (work.task.shiftable and ranked):
        return
    best, chain = ranked[0], dictionary.chain
    coordinates = [sympy.Symbol(chain.state_names[place]) for place in chain.lowest]
    constant, springs = np.zeros(chain.n_dof), np.zeros((chain.n_dof, chain.n_dof))
    kept = []
    for i, (k, value) in enumerate(zip(best.support, best.coef.tolist(), strict=True)):
        term, law = dictionary.terms[k], dictionary.laws[k]
        if term in coordinates:
            springs[law, coordinates.index(term)] = value
        elif term.free_symbols & set(coordinates):
            return
        elif not term.free_symbols and not dictionary.required[k]:
            constant[law] += value * float(term)
            continue
        kept.append(i)
    if not constant.any() or np.linalg.matrix_rank(springs) < chain.n_dof:
        return
    x0 = best.x0.copy()
    x0[:, list(chain.lowest)] += np.linalg.solve(springs, constant)
    work.try_support(tuple(best.support[i] for i in kept), best.coef[kept], x0, longer=True)


def _around_closest(work: Extraction) -> None:
    """Calibrate what the tangent at the closest law promises, whether or not it may stay."""
    closest = min(work.pool.values(), key=lambda one: one.cost)
    if np.isfinite(closest.cost):
        work.around(closest)


def clear_of_switches(task: ChainTask, dictionary: Dictionary, law: Candidate) -> ChainTask:
    """The task without the samples next to a switch of a law.

    Parameters
    ----------
    task : ChainTask
    dictionary : Dictionary
    law : Candidate
        Its states are those of the task's records.

    Returns
    -------
    ChainTask
        The same one if the law does not jump, or if too little would be left.
    """
    jumps = [dictionary.terms[k] for k in law.support if dictionary.switching[k]]
    arguments = list(dict.fromkeys(s.args[0] for term in jumps for s in term.atoms(sympy.sign)))
    if not arguments:
        return task
    chain = dictionary.chain
    model = chain.model([Column(argument, {chain.tops[0]: 1.0}) for argument in arguments])
    layers = np.array([_layer(argument, dictionary) for argument in arguments])
    records = []
    for X, record in zip(law.states, task.records, strict=True):
        values = model.term_values(X, record.u)[:, -len(arguments) :]
        records.append(_without(record, _next_to_switch(values, layers)))
    before = task.n_observed
    cleared = replace(task, records=tuple(records))
    return cleared if np.all(cleared.n_observed >= MOST * before) else task


def _layer(argument: sympy.Expr, dictionary: Dictionary) -> float:
    """Width in which the sign of an argument is smooth when it is integrated."""
    known = [dictionary.widths.get(symbol.name, 0.0) for symbol in argument.free_symbols]
    return max(known, default=0.0)


def _next_to_switch(values: Array, layers: Array) -> NDArray[np.bool_]:
    """Rows whose argument is in the layer, or changes sign on the way to a neighbour."""
    near = np.abs(values) <= SATURATED * layers
    crossed = values[:-1] * values[1:] <= 0.0
    near[:-1] |= crossed
    near[1:] |= crossed
    return np.asarray(near.any(axis=1))


def _without(record: Record, rows: NDArray[np.bool_]) -> Record:
    return replace(record, y=np.where(rows[:, None], np.nan, record.y))
