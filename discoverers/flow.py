"""The flow of candidate equations from sample to sample, and its exact derivatives."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .constraints import Rules
from .libraries import BoundLibrary
from .polynomial_flow import PolynomialProgram

if TYPE_CHECKING:
    from .shooting import InputSignal

__all__ = ["Flow", "Record"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Record:
    """One run as the joint fit needs it.

    Attributes
    ----------
    steps : ndarray of shape (n - 1,)
        Time steps in the user's unit.
    x, precision : ndarray of shape (n, V)
        Data and their inverse variances, 0 where nothing was measured.
    u : ndarray of shape (n, m)
        Inputs at the nodes.
    t : ndarray of shape (n,) or None
        Times of the nodes; needed with `signal`.
    signal : InputSignal or None
        Inputs between the nodes; None takes straight lines.
    """

    steps: Array
    x: Array
    precision: Array
    u: Array
    t: Array | None = None
    signal: InputSignal | None = None
    _stages: dict[int, Array] = field(default_factory=dict, repr=False)

    def between(self, part: int, count: int) -> tuple[Array, Array, Array]:
        """Inputs at start, middle and end of one of the substeps of every interval, (n - 1, m)."""
        if self.signal is None or self.t is None:
            low, high = self.u[:-1], self.u[1:]
            weights = (part / count, (part + 0.5) / count, (part + 1.0) / count)
            a, b, c = (low + weight * (high - low) for weight in weights)
            return a, b, c
        if count not in self._stages:
            self._stages[count] = self.signal.stages(self.t, count)
        at = self._stages[count]
        return at[:, 2 * part], at[:, 2 * part + 1], at[:, 2 * part + 2]

    def stages(self, count: int) -> Array:
        """Inputs at start, middle and end of all substeps of intervals, (n - 1, 2 count + 1, m)."""
        n, n_inputs = len(self.steps), self.u.shape[1]
        out = np.empty((n, 2 * count + 1, n_inputs))
        for part in range(count if n_inputs else 0):
            for place, inputs in enumerate(self.between(part, count)):
                out[:, 2 * part + place] = inputs
        return out

    def rows(self, chosen: slice) -> Record:
        """Some neighbouring nodes."""
        steps = slice(chosen.start, chosen.stop - 1)
        return Record(
            self.steps[steps],
            self.x[chosen],
            self.precision[chosen],
            self.u[chosen],
            None if self.t is None else self.t[chosen],
            self.signal,
        )


@dataclass(frozen=True, eq=False)
class Flow:
    """Runge-Kutta integration of ``x' = coef @ terms`` from every node of a run at once.

    Polynomial terms run in compiled code, others through `BoundLibrary`, stage by stage.

    Attributes
    ----------
    library : BoundLibrary
    kept : ndarray of int, shape (K,)
        Candidate terms in play.
    rules : Rules or None
        Coefficients that follow others.
    """

    library: BoundLibrary
    kept: NDArray[np.intp]
    rules: Rules | None

    @cached_property
    def _program(self) -> PolynomialProgram | None:
        terms = [self.library.exponents[k] for k in self.kept]
        monomials = [powers for powers in terms if powers is not None]
        if len(monomials) < len(terms):
            return None
        return PolynomialProgram.of(monomials, len(self.library.state_names))

    def _features(self, y: Array, u: Array) -> Array:
        return self.library.evaluate(y, u)[..., self.kept]

    def _rate(self, coef: Array, y: Array, u: Array) -> Array:
        # Active terms only: an inactive one that is not finite here must not spoil the rest.
        active = coef.any(axis=0)
        return self._features(y, u)[..., active] @ coef[:, active].T

    def ends(self, coef: Array, y: Array, record: Record, count: int) -> Array:
        """Integrate every node over its interval in so many steps: (n - 1, V)."""
        if self._program is not None:
            return self._compiled_ends(self._program, coef, y, record, count)
        h = (record.steps / count)[:, None]
        out = y[:-1]
        for part in range(count):
            a, b, c = record.between(part, count)
            k1 = self._rate(coef, out, a)
            k2 = self._rate(coef, out + 0.5 * h * k1, b)
            k3 = self._rate(coef, out + 0.5 * h * k2, b)
            k4 = self._rate(coef, out + h * k3, c)
            out = out + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
        return out

    def sensitive_ends(
        self, coef: Array, y: Array, record: Record, columns: NDArray[np.intp], count: int
    ) -> tuple[Array, Array, Array]:
        """Flow, its derivative by the states (n-1, V, V), and by chosen coefficients (n-1, V, k).

        `columns` index the flattened coefficients (V, K).
        """
        if self._program is not None:
            return self._compiled_slopes(self._program, coef, y, record, columns, count)
        n, n_states = len(y) - 1, y.shape[1]
        equation, term = np.divmod(columns, len(self.kept))
        active = coef.any(axis=0)
        selector = np.zeros((n_states, len(columns)))
        selector[equation, np.arange(len(columns))] = 1.0
        followers = self._followers(columns)
        h = (record.steps / count)[:, None]
        wide = h[:, :, None]
        state = y[:-1]
        by_all = np.zeros((n, n_states, n_states + len(columns)))
        by_all[:, range(n_states), range(n_states)] = 1.0

        def slope(at: Array, by: Array, u: Array) -> tuple[Array, Array]:
            theta = self._features(at, u)
            slopes = self.library.jacobian(at, u)[..., self.kept, :]
            rate = (coef[:, active] @ slopes[..., active, :]) @ by
            border = theta[:, None, term]
            rate[..., n_states:] += selector * np.where(np.isfinite(border), border, 0.0)
            for column, state_of, term_of, factor in followers:
                rate[:, state_of, n_states + column] += factor * theta[:, term_of]
            return theta[..., active] @ coef[:, active].T, rate

        for part in range(count):
            a, b, c = record.between(part, count)
            k1, d1 = slope(state, by_all, a)
            k2, d2 = slope(state + 0.5 * h * k1, by_all + 0.5 * wide * d1, b)
            k3, d3 = slope(state + 0.5 * h * k2, by_all + 0.5 * wide * d2, b)
            k4, d4 = slope(state + h * k3, by_all + wide * d3, c)
            state = state + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
            by_all = by_all + wide / 6.0 * (d1 + 2.0 * d2 + 2.0 * d3 + d4)
        return state, by_all[..., :n_states], by_all[..., n_states:]

    @staticmethod
    def _compiled_ends(
        program: PolynomialProgram, coef: Array, y: Array, record: Record, count: int
    ) -> Array:
        from .flow_kernels import follow

        ends = np.empty((len(record.steps), y.shape[1]))
        follow(
            record.steps,
            y,
            record.stages(count),
            count,
            *program.table(),
            *program.rates(coef),
            ends,
        )
        return ends

    def _compiled_slopes(
        self,
        program: PolynomialProgram,
        coef: Array,
        y: Array,
        record: Record,
        columns: NDArray[np.intp],
        count: int,
    ) -> tuple[Array, Array, Array]:
        from .flow_kernels import follow_with_slopes

        n, n_states = len(record.steps), y.shape[1]
        equation, term = np.divmod(columns, len(self.kept))
        own = np.stack([equation, np.arange(len(columns)), term, np.ones(len(columns))], axis=1)
        entries = [
            (state, column, follower, factor)
            for column, state, follower, factor in self._followers(columns)
        ]
        ends, by_state = np.empty((n, n_states)), np.empty((n, n_states, n_states))
        by_column = np.empty((n, n_states, len(columns)))
        follow_with_slopes(
            record.steps,
            y,
            record.stages(count),
            count,
            *program.table(),
            *program.rates(coef),
            *program.rate_slopes(coef),
            *program.columns(np.concatenate([own, np.reshape(entries, (-1, 4))])),
            ends,
            by_state,
            by_column,
        )
        return ends, by_state, by_column

    def _followers(self, columns: NDArray[np.intp]) -> list[tuple[int, int, int, float]]:
        """Where else each column acts: its place, equation and term of the follower, factor."""
        if self.rules is None:
            return []
        place = {int(flat): i for i, flat in enumerate(columns)}
        return [
            (place[leader], *divmod(follower, len(self.kept)), factor)
            for leader, follower, factor in self.rules.ties
            if leader in place
        ]
