"""Equations ``x'' = f(x, x', u)`` of which only positions are measured, as a first-order system.

The velocities join the states. Their rows ``x' = v`` are known; of the velocities themselves there
are no data, only what the smoother of the positions says, which stage 2 uses in place of data and
the joint fit of stage 3 does without.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import sympy
from numpy.typing import NDArray

from .constraints import Constraint, Known
from .denoising import Denoised
from .equation_checks import derivative_names
from .libraries import BoundLibrary, Term
from .noise import RELATIVE_FLOOR
from .trajectories import Trajectories

__all__ = ["kinematics", "with_smoothed_velocities", "with_velocities", "with_velocity_terms"]

Array = NDArray[np.float64]


def with_velocities(trajectories: Trajectories) -> Trajectories:
    """The same runs with velocities as further states, measured nowhere."""
    runs = tuple(
        replace(
            run,
            X=np.hstack([run.X, np.full(run.X.shape, np.nan)]),
            x0=np.concatenate([run.x0, np.full(run.x0.shape, np.nan)]),
        )
        for run in trajectories
    )
    return replace(
        trajectories, runs=runs, state_names=derivative_names(trajectories.state_names, 2)
    )


def kinematics(state_names: tuple[str, ...]) -> list[Constraint]:
    """``x' = v`` for every position, as constraints; names are those of `with_velocities`."""
    half = len(state_names) // 2
    return [
        Known(position, velocity, only=True)
        for position, velocity in zip(state_names[:half], state_names[half:], strict=True)
    ]


def with_velocity_terms(library: BoundLibrary) -> BoundLibrary:
    """The library with every velocity as a term: ``x' = v`` needs it, also where laws may not."""
    velocities = library.state_names[len(library.state_names) // 2 :]
    present = {term.expr for term in library.terms}
    missing = [name for name in velocities if sympy.Symbol(name) not in present]
    if not missing:
        return library
    added = tuple(Term(sympy.Symbol(name), name, 1) for name in missing)
    barred = np.zeros((len(library.state_names), len(added)), dtype=bool)
    return replace(
        library,
        terms=(*library.terms, *added),
        allowed=np.hstack([library.allowed, barred]),
    )


def with_smoothed_velocities(denoised: Denoised) -> Denoised:
    """Denoised positions and velocities: the smoother's slopes stand where data would be."""
    scale = denoised.time_scale
    velocities = [part / scale for part in denoised.slopes]
    amplitude = np.concatenate(velocities).std(axis=0)
    discrepancy = RELATIVE_FLOOR * np.where(amplitude > 0.0, amplitude, 1.0)
    precision = [1.0 / (part / scale**2 + discrepancy**2) for part in denoised.slope_variance]
    noise_std = np.sqrt(1.0 / np.mean(np.concatenate(precision), axis=0))
    return replace(
        denoised,
        data=_beside(denoised.data, velocities),
        precision=_beside(denoised.precision, precision),
        states=_beside(denoised.states, velocities),
        slopes=_beside(denoised.slopes, [part / scale for part in denoised.curvatures]),
        noise_std=np.concatenate([denoised.noise_std, noise_std]),
        discrepancy=np.concatenate([denoised.discrepancy, discrepancy]),
        smoothness=np.tile(denoised.smoothness, 2),
        freedom=np.tile(denoised.freedom, 2),
        n_inferred=len(noise_std),
    )


def _beside(left: tuple[Array, ...], right: list[Array]) -> tuple[Array, ...]:
    return tuple(np.hstack(pair) for pair in zip(left, right, strict=True))
