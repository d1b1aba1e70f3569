"""The search for terms step by step: first laws, then all that is done to better them."""

from __future__ import annotations

import numpy as np

from .corners import bend
from .dictionary import Dictionary
from .extraction import Extraction
from .judging import Judge
from .misfit_correlation import count_independent
from .model import ChainTask
from .modulation import modulate
from .spline_kan import SplineKAN
from .switches import sharpen

__all__ = ["complete", "extract"]

FIRST_BATCH = 12
"""Laws that are calibrated around a network or a regression."""


def extract(task: ChainTask, dictionary: Dictionary, kan: SplineKAN) -> Extraction:
    """Choose terms, from the trained network on; `complete` has yet to be asked for the rest.

    Returns
    -------
    Extraction
        Its `ranked` candidates, the best first; empty if no law could follow the runs.
    """
    judge = Judge.of(task, dictionary)
    noise = np.maximum(kan.guess.noise_std, task.floor)
    told = kan.converged and _tells(kan, task)
    if told:
        noise = judge.noise(kan.noise_std**2 * judge.n_observed, 0.0)
    work = Extraction(
        task, dictionary, judge, task.data.observation(task.chain.state_names), noise, kan.substeps
    )
    work.learnt_on = task.records

    if told:
        networks = [kan]
        if task.shiftable:
            # Laws read most simply when coordinates count from where the system can rest.
            networks.insert(0, kan.shifted(kan.equilibrium()))
        theta = np.concatenate([np.zeros(len(dictionary)), kan.coef])
        for network in networks:
            x0 = network.calibration.x0
            start = work.quadratic(network.columns, theta, x0)
            if start is not None:
                work.improve(start, x0, FIRST_BATCH)
            if work.ranked and not work.doubtful(kan):
                break
        work.search()
    return work


def _tells(kan: SplineKAN, task: ChainTask) -> bool:
    """Whether the network leaves less of every channel than a constant would.

    One that got stuck so far off leads to laws that are just as far off; the guesses lead closer.
    """
    y = np.concatenate([record.y for record in task.records])
    seen = ~np.isnan(y)
    spread = [np.std(y[seen[:, c], c]) if seen[:, c].any() else 0.0 for c in range(y.shape[1])]
    return bool(np.all(kan.noise_std <= np.maximum(spread, task.floor)))


def complete(work: Extraction, kan: SplineKAN) -> None:
    """Search on from the guesses where that was not enough; thin layers, corners, products."""
    if work.doubtful(kan):
        guess = kan.guess
        work.noise_std = np.maximum(guess.noise_std, work.task.floor)
        work.improve(work.regression(guess), np.array([X[0] for X in guess.states]), FIRST_BATCH)
        work.search()
    sharpen(work)
    straight = work.dictionary
    bend(work)
    modulate(work, straight, kan)
    if work.doubtful(kan):
        work.lift(kan.guess)
    count_independent(work)
