"""Stage 2 in order: integrate the candidates, choose terms state by state.

One way for every estimator whose engine integrates a linear ODE: they differ in the `Integral`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .chains import Chains
from .constraints import Rules
from .denoising import Denoised
from .equations import Equations
from .integration import Integral
from .libraries import BoundLibrary
from .origin import Origin
from .regression import (
    EquationFit,
    Regression,
    allow_for_truncation,
    build_regression,
    fit_equation,
    screen_candidates,
)
from .slope_smoothing import smooth_to_slopes
from .sparse import GradedCriterion
from .stretches import between_gaps
from .trajectories import Trajectories

__all__ = ["Selection", "select_terms"]

Array = NDArray[np.float64]

EXPLAINED = 0.01
"""Mean squared residual, in units of noise and discrepancy, below which nothing is left to gain."""


@dataclass(frozen=True, eq=False)
class Selection:
    """What regression made of the data.

    Attributes
    ----------
    trajectories : Trajectories
    library : BoundLibrary
    kept : ndarray of int, shape (K',)
        Candidates that were in play, of the K in the library.
    criterion : GradedCriterion
        For the kept candidates.
    denoised : Denoised
    regression : Regression
    fits : tuple of EquationFit
        One per state.
    states : tuple of ndarray of shape (n, V)
        States that fit the data and the equations at once.
    seconds : float
        Spent on stage 2.
    rules : Rules
        What the user knows about the kept candidates' coefficients.
    origin : Origin or None
        Where the states are counted from, in all of this; None is zero.
    """

    trajectories: Trajectories
    library: BoundLibrary
    kept: NDArray[np.intp]
    criterion: GradedCriterion
    denoised: Denoised
    regression: Regression
    fits: tuple[EquationFit, ...]
    states: tuple[Array, ...]
    seconds: float
    rules: Rules
    origin: Origin | None = None

    @property
    def candidates(self) -> BoundLibrary:
        """The library in the user's states, wherever these are counted from here."""
        return self.library if self.origin is None else self.origin.written

    def placed(self, states: Sequence[Array]) -> tuple[Array, ...]:
        """States of each run in the user's numbers."""
        return tuple(states) if self.origin is None else self.origin.placed(states)

    @property
    def coef(self) -> Array:
        """Coefficients of the kept candidates, shape (V, K')."""
        return np.stack([fit.coef for fit in self.fits])

    @property
    def coef_std(self) -> Array:
        """Standard errors of the coefficients, shape (V, K')."""
        return np.stack([fit.coef_std for fit in self.fits])

    @property
    def chi2(self) -> Array:
        """Mean squared residuals in units of the noise, shape (V,)."""
        return np.array([fit.chi2 for fit in self.fits])

    @property
    def explained(self) -> bool:
        """Whether the equations leave less than the noise and the discrepancy could hide."""
        if self.rules.ties or self.chains is not None:
            # Ties over equations, and chains of derivatives, are for the joint fit.
            return False
        return bool((self.chi2 < EXPLAINED).all())

    @property
    def chains(self) -> Chains | None:
        """Which states are derivatives of which; None where all equations are of first order."""
        return self.denoised.chains

    def reported(self, values: Array) -> Array:
        """Of values by state, those of the equations that the user asked for: (V, ...)."""
        return values if self.chains is None else values[self.chains.highest]

    def by_column(self, values: Array) -> Array:
        """Of values by state, those of the columns of `X`: (C, ...)."""
        return values if self.chains is None else values[list(self.chains.columns)]

    def by_state(self, values: Array) -> Array:
        """Of values by state, those of the user's states, derivatives left out: (V, ...)."""
        return values if self.chains is None else values[: len(self.chains.names)]

    def worst(self, values: Array) -> Array:
        """Largest of the values of each state and its measured derivatives, (V,)."""
        if self.chains is None:
            return values
        told = np.where(self.denoised.inferred, -np.inf, values)
        groups = [self.chains.levels_of(v) for v in range(len(self.chains.names))]
        return np.array([told[levels].max() for levels in groups])

    def expand(self, coef: Array) -> Array:
        """Coefficients (V', K') of the kept candidates among all, for the user's states (V, K)."""
        out = np.zeros((len(coef), len(self.library)))
        out[:, self.kept] = coef
        return self.reported(out)

    def equations(self, coef: Array) -> Equations:
        """Governing equations from coefficients (V', K') of the kept candidates."""
        full = np.zeros((len(coef), len(self.library)))
        full[:, self.kept] = coef
        found = self.candidates.equations(full)
        if self.chains is None:
            return found
        return Equations(
            [found[int(place)] for place in self.chains.highest],
            self.chains.names,
            found.input_names,
            functions=self.library.functions,
            order=self.chains.orders,
        )


def select_terms(
    trajectories: Trajectories,
    denoised: Denoised,
    library: BoundLibrary,
    integral: Integral,
    *,
    window: int,
    gamma: float,
    max_terms: int | None,
    rules: Rules | None = None,
) -> Selection:
    """Choose the terms of each equation by regression.

    Parameters
    ----------
    trajectories : Trajectories
    denoised : Denoised
        The same runs after stage 1.
    library : BoundLibrary
        Candidate terms.
    integral : Integral
        How right-hand sides become states.
    window : int
        Samples between free initial values.
    gamma, max_terms
        See `GradedCriterion` and `search_subsets`.
    rules : Rules, optional
        What the user knows about the coefficients; nothing by default.

    Returns
    -------
    Selection
    """
    began = time.perf_counter()
    weighed = allow_for_truncation(denoised, integral, window)
    regressed = _fully_told(weighed)
    kept = screen_candidates(trajectories, regressed, library, window)
    rules = rules or Rules.none(trajectories.n_states, len(library))
    kept = np.union1d(kept, np.flatnonzero(rules.needed))
    rules = rules.restrict(kept)
    regression = build_regression(trajectories, weighed, library, kept, integral, window)
    criterion = GradedCriterion.from_degrees(library.degrees, trajectories.n_states, gamma)
    fits = tuple(
        fit_equation(
            regression,
            regressed,
            v,
            np.flatnonzero(library.allowed[v, kept]),
            criterion.restrict(kept),
            max_terms,
            rules,
        )
        for v in range(trajectories.n_states)
    )
    return Selection(
        trajectories=trajectories,
        library=library,
        kept=kept,
        criterion=criterion.restrict(kept),
        denoised=denoised,
        regression=regression,
        fits=fits,
        states=_states(weighed, regression, fits),
        seconds=time.perf_counter() - began,
        rules=rules,
    )


def _fully_told(denoised: Denoised) -> Denoised:
    """Without the data of runs that never measure one of the states, if there are others.

    Terms in that state are unknown there. The joint fit, which solves for it, reads such runs too.
    """
    told = [bool((part > 0).any(axis=0).all()) for part in denoised.precision]
    if all(told) or not any(told):
        return denoised
    precision = tuple(
        part if whole else np.zeros_like(part)
        for part, whole in zip(denoised.precision, told, strict=True)
    )
    return replace(denoised, precision=precision)


def _states(
    denoised: Denoised, regression: Regression, fits: tuple[EquationFit, ...]
) -> tuple[Array, ...]:
    """States that fit the data and the discovered equations at once."""
    pieces = [
        (run, piece) for run, steps in enumerate(denoised.steps) for piece in between_gaps(steps)
    ]
    columns = []
    for v, fit in enumerate(fits):
        best = np.flatnonzero(fit.coef)
        rates = [
            denoised.time_scale * theta[:, best] @ fit.coef[best] for theta in regression.features
        ]
        values, _ = smooth_to_slopes(
            [denoised.steps[run][piece.start : piece.stop - 1] for run, piece in pieces],
            [denoised.data[run][piece, v] for run, piece in pieces],
            [denoised.precision[run][piece, v] for run, piece in pieces],
            [rates[run][piece] for run, piece in pieces],
        )
        # Nothing came of it where steps are too uneven for float64: the smoother's states stand.
        columns.append(np.concatenate(values or [part[:, v] for part in denoised.states]))
    ends = np.cumsum([len(part) for part in denoised.states])[:-1]
    return tuple(np.split(np.stack(columns, axis=1), ends))
