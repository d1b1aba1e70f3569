"""Integrated columns of the measured runs, and the whitening that makes their noise white."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.denoising import Denoised
from discoverers.integration import Integral, integrate_stretches
from discoverers.shooting.program import Program, compile_terms
from discoverers.stretches import integrated_stretches
from discoverers.trajectories import Trajectories
from discoverers.whitening import split_windows, whitened_rows

from .atoms import PARAMETER

__all__ = ["Filter", "WeakForm"]

Array = NDArray[np.float64]

LARGEST = 1e100
"""Values of a term beyond which squares of them may overflow; in small units they may be large."""


@dataclass(frozen=True, eq=False)
class WeakForm:
    """Integrated columns of the measured runs.

    Attributes
    ----------
    trajectories : Trajectories
    denoised : Denoised
        States at which terms are evaluated, and the data, whose precision allows for the
        integral's error.
    integral : Integral
    window : int
        Samples between free initial values.
    names : tuple of str
        States, then inputs.
    """

    trajectories: Trajectories
    denoised: Denoised
    integral: Integral
    window: int
    names: tuple[str, ...]

    def features(self, program: Program, parameters: Sequence[float]) -> list[Array]:
        """One template at the denoised states of all runs (n, 1), for each value of its constant.

        What is not finite is left out: its array is empty.
        """
        from discoverers.shooting.kernels import evaluate_terms_many

        out = []
        for parameter in parameters:
            states = np.column_stack([self.states, np.full(len(self.states), parameter)])
            values = evaluate_terms_many(
                program.code, program.numbers, program.splines, 1, states, self.inputs
            )
            fine = np.isfinite(values).all() and np.abs(values).max() < LARGEST
            out.append(values if fine else np.empty((0, 1)))
        return out

    def compile(self, expr: sympy.Expr) -> Program:
        """A term as a program whose last state is its constant."""
        n_states = self.trajectories.n_states
        return compile_terms(
            [expr], (*self.names[:n_states], PARAMETER.name), self.names[n_states:]
        )

    @cached_property
    def states(self) -> Array:
        """Denoised states of all runs, one below the other."""
        return np.ascontiguousarray(np.concatenate(self.denoised.states))

    @cached_property
    def inputs(self) -> Array:
        """Inputs of all runs."""
        return np.ascontiguousarray(np.concatenate([run.u for run in self.trajectories]))

    def filter(self, state: int, drift: float) -> Filter:
        """Integration and whitening of one state's equation as a matrix for each run."""
        rows, targets = [], []
        precision = np.concatenate([part[:, state] for part in self.denoised.precision])
        unit = 1.0 / float(np.median(precision[precision > 0]))
        for i, steps in enumerate(self.denoised.steps):
            n = len(steps) + 1
            stretches = integrated_stretches(self.integral, steps)
            integrated = integrate_stretches(self.integral, stretches, steps, np.eye(n))
            columns = np.column_stack(
                [self.denoised.time_scale * integrated, self.denoised.data[i][:, state]]
            )
            white = whitened_rows(
                split_windows(stretches, self.window),
                columns,
                self.denoised.precision[i][:, state],
                np.concatenate([[0.0], np.cumsum(steps)]),
                drift * unit,
            )
            rows.append(np.ascontiguousarray(white[:, :-1]))
            targets.append(white[:, -1])
        return Filter(tuple(rows), np.concatenate(targets))


@dataclass(frozen=True, eq=False)
class Filter:
    """Whitened integrals are this matrix times a term's values, run by run.

    Attributes
    ----------
    rows : tuple of ndarray of shape (r, n), one per run
    target : ndarray of shape (total r,)
        The whitened data.
    """

    rows: tuple[Array, ...]
    target: Array

    @property
    def samples(self) -> NDArray[np.int64]:
        """Where the runs begin among the samples, and the end."""
        return np.cumsum([0, *(part.shape[1] for part in self.rows)]).astype(np.int64)

    @property
    def whitened(self) -> NDArray[np.int64]:
        """Where the runs begin among the whitened rows, and the end."""
        return np.cumsum([0, *(part.shape[0] for part in self.rows)]).astype(np.int64)

    @cached_property
    def flat(self) -> Array:
        """All matrices in one array."""
        return np.concatenate([part.ravel() for part in self.rows])

    def __call__(self, values: Array) -> Array:
        """Whitened integrals (total r, k) of terms (total n, k) at the states of all runs."""
        at = self.samples
        return np.concatenate(
            [part @ values[a:b] for part, a, b in zip(self.rows, at[:-1], at[1:], strict=True)]
        )
