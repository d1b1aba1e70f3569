"""Stage 1 by a network in PyTorch: its states, and with pykan the terms of its formula."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.equations import Equations
from discoverers.libraries import CustomLibrary
from discoverers.structures.base import Options

from .model import ChainTask
from .start import Start

__all__ = ["learn_start"]

Array = NDArray[np.float64]


def learn_start(
    task: ChainTask, start: Start, network: Literal["deep", "pykan"]
) -> tuple[Start, Options]:
    """Train a network, and go on from its states.

    Returns
    -------
    start : Start
        The states and rates that the network integrated.
    options : Options
        Of the task; with pykan the library is the terms that its symbolic mode came to.
    """
    from discoverers.networks import train_structured

    chain, options = task.chain, task.options
    learnt = train_structured(
        network,
        task.records,
        task.data.observation(chain.state_names),
        order=chain.order,
        state_names=chain.state_names,
        input_names=chain.input_names,
        x0=task.data.x0,
        start=start.states,
        random_state=options.seed,
        iterations=options.iterations,
    )
    if all(np.isfinite(part).all() for part in (*learnt.states, *learnt.rates)):
        start = Start(learnt.states, learnt.rates, np.maximum(learnt.noise_std, task.floor))
    if network == "pykan" and learnt.formula is not None:
        terms = formula_terms(learnt.formula, chain.tops, chain.state_names, chain.input_names)
        if terms:
            options = replace(options, library=CustomLibrary(tuple(terms)))
    return start, options


def formula_terms(
    formula: tuple[sympy.Expr, ...],
    tops: tuple[str, ...],
    state_names: tuple[str, ...],
    input_names: tuple[str, ...],
) -> list[sympy.Expr]:
    """The different terms, without coefficients, of expanded formulas, one for each law."""
    sides = dict.fromkeys(state_names, sympy.Integer(0)) | dict(
        zip(tops, map(sympy.expand, formula), strict=True)
    )
    parts = Equations([sides[name] for name in state_names], state_names, input_names).terms()
    return list(dict.fromkeys(term for top in tops for term in parts[top]))
