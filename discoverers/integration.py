"""From the right-hand side to the state: the linear map theta -> y with y' = theta, y(0) = 0.

Stage 2 regresses raw data on integrals of candidate terms, so that the residual is the white
measurement noise. The map is one linear ODE problem with many right-hand sides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gpu_solver import BlockTridiagonal
from gpu_solver.assembly import LeastSquaresRows

__all__ = ["Integral", "MechanisticIntegral", "integrate_stretches"]

Array = NDArray[np.float64]

INTEGRAL_ORDER = 5
INTEGRAL_DECAY = 0.3
CHUNK = 4096
OVERLAP = 32


class Integral(Protocol):
    """Integrates columns over time. `segments` says where a new unknown initial value begins."""

    @property
    def reference(self) -> Integral:
        """A more accurate integral, by which the truncation error of this one is judged."""
        ...

    def segments(self, n: int) -> list[slice]:
        """Split a run of n samples into stretches that are integrated on their own."""
        ...

    def __call__(self, steps: Array, theta: Array) -> Array:
        """Integrate theta (n, K) over the steps (n - 1,) of one stretch; start at 0."""
        ...


def integrate_stretches(
    integral: Integral, stretches: list[slice], steps: Array, theta: Array
) -> Array:
    """Integrate theta (n, K) over a run, each stretch from 0."""
    out = np.empty_like(theta)
    for stretch in stretches:
        out[stretch] = integral(steps[stretch.start : stretch.stop - 1], theta[stretch])
    return out


@dataclass(frozen=True)
class MechanisticIntegral:
    """Integration by the S-MNN least-squares problem (paper eqs. 5-8) in O(T K).

    Parameters
    ----------
    order : int
        R, the highest derivative carried. Errors are of order s**(R+1) for odd R.
    decay : float
        Taylor rows of the r-th derivative weigh decay**r. Unit weights (decay 1) let the rows of
        high derivatives spoil the low ones: for the right-hand side of Lorenz' system sampled
        at steps of 0.02 the error over 30 steps falls from 1.2e-3 of the amplitude (order 6,
        unit weights) to 1.5e-6 (order 5, decay 0.3).
    weight_governing : float
        Weight of ``y' = theta`` against the Taylor rows.
    """

    order: int = INTEGRAL_ORDER
    decay: float = INTEGRAL_DECAY
    weight_governing: float = 10.0

    @property
    def reference(self) -> MechanisticIntegral:
        """The same with two derivatives more."""
        return replace(self, order=self.order + 2)

    def segments(self, n: int) -> list[slice]:
        """One stretch: the solver is linear in T."""
        return [slice(0, n)]

    def __call__(self, steps: Array, theta: Array) -> Array:
        """Integrate, in chunks that overlap by 32 steps so that memory stays bounded."""
        n = len(theta)
        if n <= CHUNK + 2 * OVERLAP:
            return self._solve(steps, theta)
        out = np.empty_like(theta)
        level = np.zeros(theta.shape[1])
        for start in range(0, n, CHUNK):
            stop = min(start + CHUNK + 1, n)
            low, high = max(start - OVERLAP, 0), min(stop + OVERLAP, n)
            part = self._solve(steps[low : high - 1], theta[low:high])[start - low : stop - low]
            out[start:stop] = level + (part - part[0])
            level = out[stop - 1].copy()
        return out

    def _solve(self, steps: Array, theta: Array) -> Array:
        # n slopes and a start determine a polynomial of degree n, no more.
        for order in range(min(self.order, len(theta) - 1), 0, -1):
            rows = self._rows(steps, order)
            factor = BlockTridiagonal(*rows.normal_blocks()).factorize()
            if not factor.failed.any():
                break  # else the steps are too uneven for so high a derivative in float64
        right = np.zeros((len(theta), order + 1, theta.shape[1]))
        right[:, 1, :] = self.weight_governing**2 * theta
        return factor.solve(right, columns=True)[:, 0, :]

    def _rows(self, steps: Array, order: int) -> LeastSquaresRows:
        c = np.zeros((1, 1, order + 1))
        c[..., 1] = 1.0
        return LeastSquaresRows(
            c=c,
            s=steps,
            governing=np.full((1, 1), self.weight_governing**2),
            initial=np.ones((1, 1, 1)),
            smooth=(self.decay ** (2.0 * np.arange(order + 1.0)))[None, None, :],
            n_steps=len(steps) + 1,
            n_variables=1,
            order=order,
        )
