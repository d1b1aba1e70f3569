"""Exponential time differencing: a stiff linear part exactly, the rest by Runge-Kutta."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ExponentialStep"]

Complex = NDArray[np.complex128]

CONTOUR_POINTS = 32


@dataclass(frozen=True, eq=False)
class ExponentialStep:
    """One step of ETDRK4 for ``v' = L v + N(v)`` with diagonal L (Cox & Matthews 2002).

    The coefficients are means over a circle around each ``h L``, which avoids cancellation where
    that is small (Kassam & Trefethen, SIAM J. Sci. Comput. 26, 1214, 2005).

    Attributes
    ----------
    whole, half : ndarray
        Exponentials of ``h L`` and ``h L / 2``.
    inner, first, middle, last : ndarray
        Weights of the nonlinear part.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.pde.exponential import ExponentialStep
    >>> step = ExponentialStep.make(np.array([-2.0]), 0.1)
    >>> bool(np.isclose(step(np.array([1.0]), lambda v: 0 * v)[0], np.exp(-0.2)))
    True
    """

    whole: Complex
    half: Complex
    inner: Complex
    first: Complex
    middle: Complex
    last: Complex

    @classmethod
    def make(cls, linear: Complex, step: float | NDArray[np.float64]) -> ExponentialStep:
        """Coefficients for a diagonal L of any shape and a step h, a number or broadcasting."""
        z = np.asarray(step * linear, dtype=np.complex128)
        angles = 2.0 * np.pi * (np.arange(CONTOUR_POINTS) + 0.5) / CONTOUR_POINTS
        r = z[..., None] + np.exp(1j * angles)
        e = np.exp(r)
        scale = np.broadcast_to(step, z.shape)

        def mean(values: Complex) -> Complex:
            return scale * values.mean(axis=-1)

        return cls(
            whole=np.exp(z),
            half=np.exp(z / 2.0),
            inner=mean((np.exp(r / 2.0) - 1.0) / r),
            first=mean((-4.0 - r + e * (4.0 - 3.0 * r + r**2)) / r**3),
            middle=mean((2.0 + r + e * (r - 2.0)) / r**3),
            last=mean((-4.0 - 3.0 * r - r**2 + e * (4.0 - r)) / r**3),
        )

    def __call__(self, v: Complex, nonlinear: Callable[[Complex], Complex]) -> Complex:
        """Advance v by one step."""
        at_v = nonlinear(v)
        a = self.half * v + self.inner * at_v
        at_a = nonlinear(a)
        b = self.half * v + self.inner * at_a
        at_b = nonlinear(b)
        c = self.half * a + self.inner * (2.0 * at_b - at_v)
        at_c = nonlinear(c)
        return (
            self.whole * v
            + self.first * at_v
            + 2.0 * self.middle * (at_a + at_b)
            + self.last * at_c
        )
