"""Discovered equations on their own: spectral on a ring, finite differences between ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sympy
from numpy.typing import NDArray
from scipy.integrate import LSODA

from .candidates import derivative_name
from .differences import stencil_weights
from .equations import PDEEquations
from .exponential import ExponentialStep

__all__ = ["BOUNDARIES", "FieldSimulation", "simulate_field"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

BOUNDARIES = ("zero_flux", "fixed")

TOLERANCE = 1e-6
"""Local error of a field, relative to its size."""

DOUBLING = 15.0
"""Half the step of a method of fourth order takes away this many times the error it leaves."""

MOST_STEPS = 20_000
STEPS_PER_TIME = 500
"""A simulation has failed that needs more steps than these, the second for every time asked for."""

ROUNDING = 36.0
"""Growth of a short wave, as a logarithm, that lifts rounding errors to the size of the field."""

EXPLODED = 1e4
"""A field this many times larger than at the start has blown up."""

EXPLOSION = "the field grew without bound"


@dataclass(frozen=True, eq=False)
class FieldSimulation:
    """Fields over time.

    Attributes
    ----------
    X : ndarray of shape (n_times, n_space, V)
        NaN from the time on at which the integration failed.
    message : str
        What went wrong, or empty.
    """

    X: Array
    message: str


def simulate_field(
    equations: PDEEquations,
    t: Array,
    start: Array,
    spacing: float,
    *,
    periodic: bool,
    boundary: str = "zero_flux",
) -> FieldSimulation:
    """Integrate from a field given at ``t[0]``.

    Parameters
    ----------
    equations : PDEEquations
    t : ndarray of shape (n_times,)
        Increasing times.
    start : ndarray of shape (n_space, V)
    spacing : float
        Distance between positions.
    periodic : bool
        On a ring: exponential time differencing of Fourier modes, on a grid twice as fine. Else
        differences of fourth order and an implicit method.
    boundary : {"zero_flux", "fixed"}, default="zero_flux"
        What happens at the ends: the field is mirrored, or its values there stay.

    Returns
    -------
    FieldSimulation
    """
    bound = EXPLODED * max(float(np.abs(start).max()), 1e-12)
    with np.errstate(over="ignore", invalid="ignore"):
        if periodic:
            return _spectral(equations, t, start, spacing, bound)
        return _finite_differences(equations, t, start, spacing, boundary, bound)


def _failed(X: Array, reached: int, t: Array, why: str) -> FieldSimulation:
    X[reached:] = np.nan
    return FieldSimulation(X, f"{why} after t = {t[reached - 1]:.6g}")


# --- on a ring


def _spectral(
    equations: PDEEquations, t: Array, start: Array, spacing: float, bound: float
) -> FieldSimulation:
    n, n_states = start.shape
    linear, nonlinear = _split(equations, 2 * n, 0.5 * spacing)
    X = np.empty((len(t), n, n_states))
    X[0] = start
    # The sine of the highest frequency is invisible on the coarse grid: padding leaves it out.
    v = np.zeros((n_states, n + 1), dtype=np.complex128)
    v[:, : (n + 1) // 2] = 2.0 * np.fft.rfft(start.T)[:, : (n + 1) // 2]
    halvings, steps, taken = 2, dict[float, ExponentialStep](), 0
    growth = float(linear[:, : 2 * n // 3 + 1].real.max())
    for i in range(1, len(t)):
        interval = float(t[i] - t[i - 1])
        if growth * float(t[i] - t[0]) > ROUNDING:
            return _failed(X, i, t, "short waves, and rounding errors with them, grow too fast")
        coarse: Complex | None = None
        while True:
            h = interval / 2**halvings
            if h not in steps:
                if len(steps) > 64:
                    steps.clear()
                steps[h] = ExponentialStep.make(linear, h)
            fine = v
            for _ in range(2**halvings):
                fine = steps[h](fine, nonlinear)
            taken += 2**halvings
            error = np.inf if coarse is None else float(np.linalg.norm(fine - coarse))
            size = float(np.linalg.norm(fine)) + 1e-300
            if error <= DOUBLING * TOLERANCE * size:
                break
            if halvings >= 10 and not size <= bound * v.size:
                return _failed(X, i, t, EXPLOSION)
            if taken > MOST_STEPS + STEPS_PER_TIME * i:
                return _failed(X, i, t, "no time step was short enough")
            coarse, halvings = fine, halvings + 1
        # The next interval begins one level above what sufficed here, or two if that was easy.
        halvings = max(halvings - (1 if error > 0.5 * TOLERANCE * size else 2), 0)
        v = fine
        X[i] = 0.5 * np.fft.irfft(v[:, : n // 2 + 1], n).T
        if not np.abs(X[i]).max() <= bound:
            return _failed(X, i, t, EXPLOSION)
    return FieldSimulation(X, "")


def _split(
    equations: PDEEquations, n: int, spacing: float
) -> tuple[Complex, Callable[[Complex], Complex]]:
    """Each state's own linear terms in Fourier space (V, modes), and a function for all others."""
    names = equations.state_names
    symbol = 2j * np.pi * np.fft.rfftfreq(n, spacing)
    linear = np.zeros((len(names), len(symbol)), dtype=np.complex128)
    rest: list[sympy.Expr] = []
    for v, (state, parts) in enumerate(equations.terms().items()):
        own = {
            sympy.Symbol(derivative_name(state, j, equations.space_name)): j
            for j in range(equations.order + 1)
        }
        for term, value in parts.items():
            if term in own:
                linear[v] += value * symbol ** own[term]
        rest.append(sympy.Add(*(value * term for term, value in parts.items() if term not in own)))
    others = PDEEquations(rest, names, equations.space_name)
    kept = np.arange(len(symbol)) <= n // 3
    rates = others.symbolic.lambdify()
    used = others.used_derivatives

    def nonlinear(v: Complex) -> Complex:
        fields = np.fft.irfft(v, n)
        jets = [
            np.fft.irfft(symbol**j * v[k], n) if (k, j) in used else np.zeros(n)
            for j in range(1, others.order + 1)
            for k in range(len(names))
        ]
        values = rates(fields.T, np.stack(jets, axis=-1))
        return np.where(kept, np.fft.rfft(values.T), 0.0)

    return linear, nonlinear


# --- between ends


def _finite_differences(
    equations: PDEEquations, t: Array, start: Array, spacing: float, boundary: str, bound: float
) -> FieldSimulation:
    n, n_states = start.shape
    reach = max(3, (equations.order + 1) // 2 + 1)
    offsets = np.arange(-reach, reach + 1.0)
    used = equations.used_derivatives
    stencils = {j: stencil_weights(offsets, j) / spacing**j for j in {j for _, j in used}}
    rates = equations.symbolic.lambdify()

    def slope(_: float, y: Array) -> Array:
        u = y.reshape(n, n_states)
        below, above = u[1 : reach + 1][::-1], u[-reach - 1 : -1][::-1]
        if boundary == "fixed":
            below, above = 2.0 * u[0] - below, 2.0 * u[-1] - above
        wide = np.concatenate([below, u, above])
        jets = np.zeros((n, equations.order * n_states))
        for state, j in used:
            jets[:, (j - 1) * n_states + state] = np.correlate(wide[:, state], stencils[j], "valid")
        out = rates(u, jets)
        if boundary == "fixed":
            out[[0, -1]] = 0.0
        return out.ravel()

    X = np.empty((len(t), n, n_states))
    X[0] = start
    band = (reach + 1) * n_states - 1
    amplitude = max(float(np.abs(start).max()), 1e-12)
    solver = LSODA(
        slope, t[0], start.ravel(), t[-1],
        rtol=0.1 * TOLERANCE, atol=0.1 * TOLERANCE * amplitude, lband=band, uband=band,
    )  # fmt: skip
    done = 1
    for _ in range(MOST_STEPS + STEPS_PER_TIME * len(t)):
        if done == len(t):
            return FieldSimulation(X, "")
        complaint = solver.step()
        if solver.status == "failed" or not np.abs(solver.y).max() <= bound:
            return _failed(X, done, t, complaint or EXPLOSION)
        until = int(np.searchsorted(t, solver.t, side="right"))
        if until > done:
            X[done:until] = solver.dense_output()(t[done:until]).T.reshape(-1, n, n_states)
            done = until
    return _failed(X, done, t, "the integration took too many steps")
