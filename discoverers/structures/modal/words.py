"""What a record says of hysteresis and other nonlinear forces, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .forces import ScoreTest
from .model import HYSTERESIS, ModalModel
from .projection import Fitted
from .search import Search

__all__ = ["DECISIVE", "forces_of", "forces_text", "is_hysteretic", "said_of_hysteresis"]

DECISIVE = 10.0
"""Difference of criteria that decides between two laws (Kass & Raftery 1995)."""


def forces_of(fitted: Fitted) -> list[tuple[int, str]]:
    """Mode and kind of every force."""
    modes = fitted.model.modes
    return [(i, force.kind) for i, mode in enumerate(modes) for force in mode.forces]


def is_hysteretic(fitted: Fitted) -> bool:
    """Whether a mode has a hysteretic force."""
    return any(kind == HYSTERESIS for _, kind in forces_of(fitted))


def forces_text(model: ModalModel) -> str:
    """All forces with the frequency of their mode."""
    found = [
        f"{force.kind} at {mode.frequency / (2.0 * np.pi):.3g}"
        for mode in sorted(model.modes, key=lambda mode: mode.log_frequency)
        for force in mode.forces
    ]
    return ", ".join(found) or "none"


def said_of_hysteresis(
    fitted: Fitted,
    tests: Sequence[ScoreTest],
    rivals: Sequence[tuple[Fitted, float]],
    search: Search,
) -> str:
    """What the record says of hysteresis, in words."""
    chosen = forces_text(fitted.model)
    count = f"{search.channels.n_independent:.0f} independent samples"
    if is_hysteretic(fitted):
        without = min(
            ((behind, trial) for trial, behind in rivals if not is_hysteretic(trial)),
            key=lambda pair: pair[0],
            default=None,
        )
        best = "" if without is None else f": {forces_text(without[1].model)}"
        if without is not None and without[0] < DECISIVE:
            return (
                f"A hysteretic force pays ({chosen}), but the record does not decide its form"
                f"{best}, without memory, is only {without[0]:.1f} behind."
            )
        return (
            f"The record asks for hysteresis ({chosen}): on {count}, the best that was tried in "
            f"its place without memory{best} is at least {DECISIVE:.0f} behind. It does not tell "
            f"this law of hysteresis from others that dissipate alike."
        )
    mine = [test for test in tests if test.force.kind == HYSTERESIS]
    if not mine:
        return "Hysteresis was not a candidate; the record was not asked."
    said = ""
    if forces_of(fitted):
        said = f"Nonlinear forces without memory pay ({chosen}). "
        behind = [distance for trial, distance in rivals if is_hysteretic(trial)]
        if behind and min(behind) < DECISIVE:
            said += (
                f"The record does not decide whether there is hysteresis as well or instead: that "
                f"is only {max(min(behind), 0.0):.1f} behind. "
            )
        elif behind:
            said += f"Hysteresis in the place of one of them is {min(behind):.0f} behind. "
    return said + _untold(mine, count)


def _untold(mine: Sequence[ScoreTest], count: str) -> str:
    """The strongest score test of hysteresis, and what it would have taken to pass one."""
    best = mine[0]
    outcome = (
        "passes the score test but does not pay for its parameters"
        if best.passed
        else "is not called for"
    )
    said = (
        f"Hysteresis on a mode {outcome}: the largest score statistic is {best.statistic:.1f} "
        f"(mode at {best.frequency:.3g}), {best.threshold:.1f} is needed on {count}."
    )
    detectable = min(test.detectable for test in mine)
    if not np.isfinite(detectable):
        return f"{said} With so many parameters on so few samples nothing could have passed."
    return (
        f"{said} That excludes none: a hysteretic force below {100.0 * detectable:.2g} % of "
        f"its mode's spring force would have stayed unseen, on other modes a larger one."
    )
