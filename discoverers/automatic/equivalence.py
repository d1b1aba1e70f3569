"""One law that is written in several ways is one law, and no rival of itself.

``0.6 - 1.5 x/(0.3 + x)`` is ``0.45/(0.3 + x) - 0.9``, and ``x**2.0`` is ``x**2``. Whether a form
can be another one is asked of the functions, not of their symbols: its numbers are fitted to the
other on a box three times as wide as the data, where whatever only comes close parts from it by far
more than rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from discoverers.shooting import StateSpaceModel

from .judge import Judge, Verdict

__all__ = ["Form", "distinct"]

Array = NDArray[np.float64]

EXACT = 1e-7
"""Largest difference, relative to the rates' size, between forms of one law."""

LIMIT = 1e-6
"""Terms more alike than this are one: (x**p - 1)/p with p = 1e-8 is no form of log(x)."""

SAMPLES = 100
FIRST_STEPS, STEPS = 6, 40
FALLEN = 0.1
"""What is left of the difference to a function that a form can be, after the first steps."""

BEYOND = 1.0
"""Ranges of the data by which the box goes beyond them, on either side."""

NEAREST = 0.2
"""Share of the value nearest to 0 that a state goes down to if it keeps its sign."""

WILD = 1e3
"""Rates that are so many times larger than among the data say nothing: a pole is near."""

WITHIN = 3.29
"""Standard errors in which two functions may differ: half a 99.9 % interval."""

AS_GOOD = 2.0
"""Scores within this are as good: the form with fewer numbers is taken."""

MOST = 12
"""Laws that are compared with each other, the best ones."""


@dataclass(frozen=True, eq=False)
class Form:
    """A calibrated law as a function that may be written in other ways.

    Attributes
    ----------
    judge : Judge
    verdict : Verdict
    """

    judge: Judge
    verdict: Verdict

    @property
    def n_numbers(self) -> int:
        """Coefficients and constants that were fitted."""
        return self.verdict.fit.n_free + len(self.verdict.fit.constants)

    @cached_property
    def _model(self) -> StateSpaceModel:
        return self.verdict.system.model(*self.judge.names)

    def _columns(self, constants: Array, states: Array, inputs: Array) -> Array:
        """Terms without their coefficients, (n, K)."""
        held = np.broadcast_to(constants, (len(states), len(constants)))
        with np.errstate(all="ignore"):
            return self._model.term_values(np.hstack([states, held]), inputs)

    def rates(self, states: Array, inputs: Array) -> Array:
        """Rates (n, V) at states (n, V) and inputs (n, m)."""
        return self._rates(self.verdict.system.parameters, states, inputs)

    def _rates(self, constants: Array, states: Array, inputs: Array) -> Array:
        columns = self._columns(constants, states, inputs)
        with np.errstate(all="ignore"):
            rates = (columns * self.verdict.system.coefficients) @ self._model.direction
        return np.asarray(rates[:, : states.shape[1]])

    def errors(self, states: Array, inputs: Array) -> Array:
        """Standard errors of the rates (n, V), from those of all numbers together."""
        fit, constants = self.verdict.fit, self.verdict.system.parameters
        n_states = states.shape[1]
        columns = self._columns(constants, states, inputs)[:, self._model.free]
        by_coefficient = columns[:, None] * self._model.direction[self._model.free, :n_states].T
        by_constant = np.empty((len(states), n_states, len(constants)))
        for place, value in enumerate(constants):
            step = 1e-6 * max(abs(value), 1e-6)
            ends = []
            for sign in (1.0, -1.0):
                moved = constants.copy()
                moved[place] += sign * step
                ends.append(self._rates(moved, states, inputs))
            by_constant[:, :, place] = (ends[0] - ends[1]) / (2.0 * step)
        slopes = np.concatenate([by_coefficient, by_constant], axis=2)
        covariance = fit.covariance
        return np.sqrt(np.maximum(np.einsum("nvi,ij,nvj->nv", slopes, covariance, slopes), 0.0))

    def can_be(self, other: Form) -> bool:
        """Whether some numbers make this form the other one's function."""
        states, inputs = _around(self.judge)
        target = other.rates(states, inputs)
        inside = np.abs(other.rates(self.judge.box.states, self.judge.box.inputs)).max(axis=0)
        tame = np.isfinite(target).all(axis=1) & (np.abs(target) <= WILD * inside).all(axis=1)
        states, inputs, target = states[tame], inputs[tame], target[tame]
        if len(states) < SAMPLES // 4:
            return False
        sizes = np.sqrt(np.mean(target**2, axis=0))
        driven = [self._model.direction[:, v] != 0.0 for v in range(states.shape[1])]
        start = self.verdict.system.parameters

        def away(scaled: Array) -> Array:
            columns = self._columns(scaled * unit, states, inputs)
            if not np.isfinite(columns).all():
                return np.full(target.size, 1e6)
            parts = []
            for v, own in enumerate(driven):
                terms = columns[:, own]
                norms = np.sqrt(np.mean(terms**2, axis=0))
                terms = terms / np.where(norms > 0.0, norms, 1.0)
                fitted = np.linalg.lstsq(terms, target[:, v], rcond=LIMIT)[0]
                left = target[:, v] - terms @ fitted
                parts.append(left / (sizes[v] or 1.0))
            return np.concatenate(parts)

        unit = np.where(start == 0.0, 1.0, np.abs(start))
        scaled = start / unit
        left = away(scaled)
        if len(start) and np.abs(left).max() > EXACT:
            low, high = (self.verdict.system.bounds / unit[:, None]).T
            options = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
            # Towards a function that it can be, a form converges at once.
            for steps in (FIRST_STEPS, STEPS):
                if np.abs(left).max() <= EXACT:
                    break
                found = least_squares(away, scaled, bounds=(low, high), max_nfev=steps, **options)
                if np.abs(found.fun).max() > FALLEN * np.abs(left).max():
                    return False
                scaled, left = found.x, found.fun
        return bool(np.abs(left).max() <= EXACT)

    def agrees(self, other: Form) -> bool:
        """Whether the other function is within this one's error wherever there are data."""
        states, inputs = self.judge.box.states, self.judge.box.inputs
        ours, theirs = self.rates(states, inputs), other.rates(states, inputs)
        rounding = EXACT * np.abs(theirs).max(axis=0)
        within = np.abs(ours - theirs) <= WITHIN * self.errors(states, inputs) + rounding
        return bool(within.all())

    def is_another_form_of(self, other: Form) -> bool:
        """Whether this is the other law, written in another way or with numbers to spare."""
        return self.agrees(other) and self.can_be(other)


def distinct(judge: Judge, verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Verdicts, the best first, without those that are other forms of better ones.

    A form with numbers to spare gives way to the one without them where its score is as good.

    Parameters
    ----------
    judge : Judge
    verdicts : iterable of Verdict
        The lowest score first; beyond the first 12 they are left as they are.

    Returns
    -------
    list of Verdict
    """
    every = list(verdicts)
    kept: list[Form] = []
    for verdict in every[:MOST]:
        one = Form(judge, verdict)
        if any(one.is_another_form_of(held) for held in kept):
            continue
        kept = [
            held
            for held in kept
            if not (
                one.n_numbers < held.n_numbers
                and verdict.score <= held.verdict.score + AS_GOOD
                and held.is_another_form_of(one)
            )
        ]
        kept.append(one)
    return [*(one.verdict for one in kept), *every[MOST:]]


def _around(judge: Judge) -> tuple[Array, Array]:
    """Points in a box far wider than the data, and inputs; states that keep their sign keep it."""
    box = judge.box
    low, high = box.states.min(axis=0), box.states.max(axis=0)
    reach = BEYOND * (high - low)
    bottom = np.where(low > 0.0, NEAREST * low, low - reach)
    top = np.where(high < 0.0, NEAREST * high, high + reach)
    random = np.random.default_rng(1)
    points = bottom + (top - bottom) * random.random((SAMPLES, len(low)))
    return points, np.ascontiguousarray(box.inputs[random.integers(len(box.inputs), size=SAMPLES)])
