"""Grow a modal model: a further mode or a nonlinear force, whichever pays more; then prune."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import f as f_distribution

from .forces import candidate_forces, refit, score_tests
from .model import HYSTERESIS, Force, ModalModel, Mode
from .projection import Fitted, evaluate
from .search import Search, mode_starts

__all__ = ["Growth", "grow", "prune", "swap"]

COMPARED = 3
"""Places for a further mode that are compared."""

PATIENCE = 4
"""Additions in vain before the search ends: some pay together where none does alone."""


HOPELESS = 10.0
"""A part is kept without a further look where leaving it out loses so many times its price."""

STIFFENING = ("q*|q|", "q**3")
DAMPING = ("v*|v|", "v**3", "q**2*v")
"""One of each does to frequency and damping, as the amplitude grows, what hysteresis does."""


@dataclass(frozen=True)
class Growth:
    """Limits of the growth.

    Attributes
    ----------
    most : int
        Largest number of modes.
    exactly : int or None
        Number of modes, if the user fixed it.
    significance : float
        Of the score tests of forces, all together; 0 tests none.
    kinds : tuple of str
        Forces that are candidates.
    gamma : float
        Weight of the price of having tried many candidates.
    complex : bool
        Whether channels may see modes out of phase.
    """

    most: int
    exactly: int | None
    significance: float
    kinds: tuple[str, ...]
    gamma: float = 1.0
    complex: bool = True


def grow(search: Search, fitted: Fitted, growth: Growth, rounds: Iterable[int]) -> Fitted:
    """Add modes and forces one at a time as long as one of the next few pays.

    Parameters
    ----------
    search : Search
    fitted : Fitted
        Where to start; may have no modes.
    growth : Growth
    rounds : iterable of int
        One per addition at most.
    """
    best, current, vain = fitted, fitted, 0
    for _ in rounds:
        trials = _longer(search, current, growth, slice(COMPARED))
        best_mode = min(trials, key=lambda trial: trial.objective, default=None)
        rival = 0.0 if best_mode is None else current.criterion - best_mode.criterion
        turned = _complex(search, current, growth, max(rival, 0.0))
        if turned is not None:
            best_mode, rival = turned, current.criterion - turned.criterion
        forced = _forced(search, current, growth, max(rival, 0.0))
        if forced is None and best_mode is None:
            # None of these leads to a mode of its own: others may.
            trials = _longer(search, current, growth, slice(COMPARED, None))
            best_mode = min(trials, key=lambda trial: trial.objective, default=None)
        if forced is not None:
            current = forced
        elif best_mode is not None:
            current = best_mode
        else:
            break
        if _better(current, best, growth):
            best, vain = current, 0
            continue
        vain += 1
        if vain >= PATIENCE:
            break
    return best


def _longer(search: Search, current: Fitted, growth: Growth, places: slice) -> list[Fitted]:
    """Models with a further mode, from some of the best places for it."""
    if len(current.model.modes) >= (growth.exactly or growth.most):
        return []
    # As many parameters as independent samples would fit anything.
    most = np.inf if growth.exactly else search.channels.n_independent - 2.0
    found: list[Fitted] = []
    for start in mode_starts(search, current)[places]:
        trial = search.fit(start, found)
        if trial is not None and trial.n_parameters < most:
            found.append(trial)
    return found


def _forced(search: Search, current: Fitted, growth: Growth, rival: float) -> Fitted | None:
    """The model with the best force, if that pays more than the rival addition gains."""
    if not current.model.modes or not growth.kinds:
        return None
    tests = score_tests(current, search.channels, growth.significance, growth.kinds)
    tests, trials = refit(search, current, tests, growth.gamma, rival)
    gains = [test.gain for test in tests if np.isfinite(test.gain)]
    return trials[int(np.argmax(gains))] if gains and max(gains) > rival else None


def _complex(search: Search, current: Fitted, growth: Growth, rival: float) -> Fitted | None:
    """The model with one or all of its modes seen out of phase too, if that pays the most.

    Non-proportional damping does this, and left out it passes for nonlinear damping. As forces do,
    it has to pass a test first that knows how few independent samples are left to the residuals.
    """
    modes = current.model.modes
    plain = [i for i, mode in enumerate(modes) if not mode.complex]
    if not growth.complex or not plain:
        return None
    candidates = [[i] for i in plain] + ([plain] if len(plain) > 1 else [])
    found = []
    for chosen in candidates:
        turned = [
            replace(mode, complex=True) if i in chosen else mode for i, mode in enumerate(modes)
        ]
        # Before anything else is fitted anew, this is the least that it gains.
        at_once = evaluate(current.model.with_modes(turned), search.channels, search.prior)
        if at_once is not None and _shown(search, current, at_once, growth, len(candidates)):
            found.append(at_once)
    best = min(found, key=lambda one: one.criterion, default=None)
    trial = None if best is None else search.fit(best.model)
    return trial if trial is not None and current.criterion - trial.criterion > rival else None


def _shown(search: Search, old: Fitted, new: Fitted, growth: Growth, candidates: int) -> bool:
    """Whether further columns explain more than chance would, all candidates considered."""
    total, added = search.channels.n_independent, new.n_parameters - old.n_parameters
    freedom = total - new.n_parameters - 1.0
    if freedom < 1.0 or added < 1:
        return False
    # The objective is the number of samples times the logarithm of what is left.
    gained = np.expm1(min((old.objective - new.objective) / total, 100.0))
    threshold = f_distribution.isf(growth.significance / candidates, added, freedom)
    return bool(gained * freedom / added > threshold)


def _better(new: Fitted, old: Fitted, growth: Growth) -> bool:
    missing = len(old.model.modes) < (growth.exactly or 1)
    return missing or new.criterion < old.criterion


def prune(search: Search, fitted: Fitted, growth: Growth) -> Fitted:
    """Leave out modes and forces that do not pay once all others are there."""
    while True:
        modes = fitted.model.modes
        shorter = [
            (*modes[:i], _without(mode, j), *modes[i + 1 :])
            for i, mode in enumerate(modes)
            for j in range(len(mode.forces))
        ]
        shorter += [
            (*modes[:i], replace(mode, complex=False), *modes[i + 1 :])
            for i, mode in enumerate(modes)
            if mode.complex
        ]
        if growth.exactly is None and len(modes) > 1:
            shorter += [(*modes[:i], *modes[i + 1 :]) for i in range(len(modes))]
        found = [
            search.fit(model)
            for model in (fitted.model.with_modes(list(kept)) for kept in shorter)
            if _may_pay(search, model, fitted)
        ]
        better = [
            trial for trial in found if trial is not None and trial.criterion < fitted.criterion
        ]
        if not better:
            return fitted
        fitted = min(better, key=lambda trial: trial.criterion)


def _may_pay(search: Search, model: ModalModel, fitted: Fitted) -> bool:
    """Whether the loss, before anything else is fitted anew, is not many times what is saved."""
    at_once = evaluate(model, search.channels, search.prior)
    if at_once is None:
        return True
    saved = (fitted.criterion - fitted.objective) - (at_once.criterion - at_once.objective)
    return at_once.objective - fitted.objective < HOPELESS * saved


def _without(mode: Mode, j: int) -> Mode:
    return replace(mode, forces=(*mode.forces[:j], *mode.forces[j + 1 :]))


def swap(search: Search, fitted: Fitted, growth: Growth) -> tuple[Fitted, list[Fitted]]:
    """Try every other kind of force in the place of each, for hysteresis also pairs.

    Returns
    -------
    Fitted, list of Fitted
        The best, and all others.
    """
    others = []
    for i, mode in enumerate(fitted.model.modes):
        for j, force in enumerate(mode.forces):
            bare = _without(mode, j)
            for forces in _instead(fitted, bare, force, growth.kinds):
                modes = list(fitted.model.modes)
                modes[i] = replace(bare, forces=(*bare.forces, *forces))
                trial = search.fit(fitted.model.with_modes(modes))
                if trial is not None:
                    others.append(trial)
    best = min([fitted, *others], key=lambda trial: trial.criterion)
    return best, [trial for trial in [fitted, *others] if trial is not best]


def _instead(
    fitted: Fitted, bare: Mode, force: Force, kinds: Sequence[str]
) -> Iterator[tuple[Force, ...]]:
    """What may stand in the place of a force: another, or two without memory for hysteresis."""
    singles = candidate_forces(fitted.model, bare, [kind for kind in kinds if kind != force.kind])
    for single in singles:
        yield (single,)
    if force.kind == HYSTERESIS:
        for first in singles:
            for second in singles:
                if first.kind in STIFFENING and second.kind in DAMPING:
                    yield (first, second)
