"""Whether equations can be integrated over the runs that they were found on, before they answer.

Paths of chaotic systems part from the record, as they may: what counts is whether there is a path
at all. Equations that blow up, leave where they are defined, or take more steps than can be paid
between the first sample and the last describe none of what was measured, however well their rates
agree with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeAlias

import numpy as np
import sympy

from .discovery import Discovery, FittedTrajectory
from .equation_checks import derivative_names
from .equations import Equations
from .exceptions import IntegrationWarning
from .inputs import interpolated_input
from .runs import Interpolation
from .simulation import simulate

__all__ = ["Other", "broken_runs", "first_that_integrates", "warn_of_broken_runs"]

Other: TypeAlias = tuple[Equations, Callable[[], Discovery | None]]

ADVICE = (
    "Denser or cleaner samples, a richer `library`, or a state that was not measured may be what "
    "is missing."
)

LONGEST = 20_000
"""Samples of a run that are followed: what breaks does so early, and time has to be bounded."""

MOST_TRIED = 50
"""Other laws that are tried in the place of one that does not integrate."""

TOLERANCE = 1e-6
"""Relative error per step: finer paths would end in the same place, or part all the same."""


def broken_runs(
    equations: Equations,
    solution: Sequence[FittedTrajectory],
    interpolation: Interpolation = "linear",
) -> dict[int, str]:
    """Runs whose span the equations cannot be integrated over from their first fitted state.

    Parameters
    ----------
    equations : Equations
    solution : sequence of FittedTrajectory
        One per run: times, inputs, and the state to start from.
    interpolation : {"linear", "cubic", "hold"}, default="linear"
        How inputs run between their samples.

    Returns
    -------
    dict of int to str
        What happened and when, by the run's place; empty if all can be integrated. Of a run with
        more than 20,000 samples the first 20,000 are followed.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.discovery import FittedTrajectory
    >>> from discoverers.equations import Equations
    >>> from discoverers.integrability import broken_runs
    >>> square = Equations(["x**2"], ["x"])
    >>> t, none = np.linspace(0.0, 2.0, 21), np.empty((21, 0))
    >>> runs = [FittedTrajectory.of(square, t, np.full((21, 1), x0), none) for x0 in (0.4, 1.0)]
    >>> list(broken_runs(square, runs))
    [1]
    """
    from .shooting.simulating import compile_equations

    chained = _of_first_order(equations)
    compiled = compile_equations(chained) is not None
    found = {}
    for place, fitted in enumerate(solution):
        t, u = fitted.t[:LONGEST], fitted.u[:LONGEST]
        if len(t) < 2:
            continue
        reached = simulate(
            chained,
            t[-1:],
            fitted.full[0],
            interpolated_input(t, u, interpolation) if u.shape[1] else None,
            t0=float(t[0]),
            method="compiled" if compiled else "auto",
            rtol=TOLERANCE,
            scale=np.abs(fitted.full).max(axis=0),
        )
        if not reached.success:
            found[place] = reached.message
    return found


def first_that_integrates(
    found: Discovery, others: Iterable[Other], interpolation: Interpolation
) -> Discovery:
    """The answer, or in its place the best of the others that can be integrated over all runs.

    Parameters
    ----------
    found : Discovery
    others : iterable of (Equations, callable)
        Other laws, the best first, and what makes each the answer (None if that fails). They are
        looked at only if the answer itself breaks, and at most 50 of them.
    interpolation : {"linear", "cubic", "hold"}
        How inputs run between their samples.

    Returns
    -------
    Discovery
        With `integrates_`, and `laws_passed_over` in its history: how many laws with better scores
        broke. If all break it is the answer as it was.
    """
    if not broken_runs(found.equations, found.solution, interpolation):
        return _marked(found, True, 0)
    for passed_over, (equations, answer) in enumerate(islice(others, MOST_TRIED), 1):
        if broken_runs(equations, found.solution, interpolation):
            continue
        other = answer()
        if other and not broken_runs(other.equations, other.solution, interpolation):
            other = replace(other, converged=found.converged and other.converged)
            return _marked(other, True, passed_over)
    return _marked(found, False, 0)


def _marked(found: Discovery, integrates: bool, passed_over: int) -> Discovery:
    return replace(
        found,
        history=found.history.assign(laws_passed_over=passed_over),
        extras={**found.extras, "integrates_": integrates},
    )


def warn_of_broken_runs(found: Discovery, ids: Sequence[object]) -> None:
    """Warn where the best laws cannot be integrated over the runs that they were found on."""
    passed_over = int(found.history["laws_passed_over"].iloc[0])
    if passed_over:
        warnings.warn(
            f"{passed_over} law(s) with better scores cannot be integrated over the measured span "
            "from their own initial state: the best one that can is reported, though it may fit "
            f"worse. {ADVICE}",
            IntegrationWarning,
            stacklevel=6,
        )
    if found.extras["integrates_"]:
        return
    broken = broken_runs(found.equations, found.solution, found.interpolation)
    listed = " ".join(
        f"Run {ids[place]!r}: {text}" if len(ids) > 1 else text for place, text in broken.items()
    )
    warnings.warn(
        "The equations cannot be integrated over the measured span from their own initial state, "
        f"and neither can any other law that was found. {listed} They describe the rates among "
        f"the data at best: do not simulate them. {ADVICE}",
        IntegrationWarning,
        stacklevel=6,
    )


def _of_first_order(equations: Equations) -> Equations:
    """Derivatives below the order as states of their own, which the compiled integrator takes."""
    if equations.order == 1:
        return equations
    names = derivative_names(equations.state_names, equations.orders)
    highest = {
        name + "'" * order: side
        for name, order, side in zip(
            equations.state_names, equations.orders, equations, strict=True
        )
    }
    sides = [highest.get(f"{name}'", sympy.Symbol(f"{name}'")) for name in names]
    return Equations(sides, names, equations.input_names, functions=equations.functions)
