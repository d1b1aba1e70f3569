"""Products of inputs with states: stiffness or damping that an input modulates.

Few systems have them, and among many candidates each costs all the others some power. So they are
proposed last, to data that no law without them explains, and stay only if they do explain them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import sympy

from .dictionary import Dictionary
from .judging import Judge
from .spline_kan import SplineKAN

if TYPE_CHECKING:
    from .extraction import Extraction

__all__ = ["modulate"]

UNEXPLAINED = 1.5
"""Residuals this many times the smoother's noise, not white, are more than noise."""

MARGIN = 6.0
"""A law with products has to have a score lower than the best law's by this much."""

BATCH = 12


def modulate(work: Extraction, straight: Dictionary, kan: SplineKAN) -> bool:
    """Search once more with products of inputs and states where nothing else explains the data.

    Parameters
    ----------
    work : Extraction
        Gets the found laws, and the dictionary that they are in.
    straight : Dictionary
        What `work` has without the corners that were found since.
    kan : SplineKAN

    Returns
    -------
    bool
        Whether such a law was found.
    """
    options, chain = work.task.options, work.dictionary.chain
    if not (isinstance(options.library, str) and options.library == "auto"):
        return False
    # One by one: `sympy.symbols` splits names at spaces.
    states, inputs = (
        [sympy.Symbol(name) for name in names] for names in (chain.state_names, chain.input_names)
    )
    held = set(straight.terms)
    terms = [u * q for u in inputs for q in states if u * q not in held and options.allows(u * q)]
    if not terms or not work.doubtful(kan, UNEXPLAINED):
        return False
    dictionary = straight.with_terms(terms)
    guess, n = kan.guess, len(straight)
    trial = replace(
        work,
        dictionary=dictionary,
        judge=Judge.of(work.task, dictionary, work.judge.each),
        noise_std=np.maximum(guess.noise_std, work.task.floor),
        pool={key: law for key, law in work.pool.items() if max(key, default=0) < n},
        settled=set(),
    )
    trial.improve(trial.regression(guess), np.array([X[0] for X in guess.states]), BATCH)
    trial.search()
    if not trial.ranked or trial.task is not work.task or trial.doubtful(kan, UNEXPLAINED):
        return False
    best = trial.judge.score(trial.ranked[0])
    if work.ranked and best > work.judge.score(work.ranked[0]) - MARGIN:
        return False
    work.dictionary, work.judge, work.pool = dictionary, trial.judge, trial.pool
    work.noise_std, work.settled = trial.noise_std, trial.settled
    return True
