"""Trajectories of systems whose laws are known, more exact than any method compared on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import sympy
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

__all__ = ["exact_path"]

Array = NDArray[np.float64]


def exact_path(
    name: str,
    state_names: Sequence[str],
    laws: Iterable[sympy.Expr],
    start: Sequence[float],
    t: Array,
) -> Array:
    """States (n, V) at times t from an initial state at time 0, converged to 1e-9.

    Parameters
    ----------
    name : str
        Of the system, for the error.
    state_names : sequence of str
    laws : iterable of sympy.Expr
        Right-hand sides, in the order of the states.
    start : sequence of float
    t : ndarray of shape (n,)

    Raises
    ------
    RuntimeError
        If the integration fails.
    """
    rate = sympy.lambdify([sympy.Symbol(state) for state in state_names], list(laws))
    found = solve_ivp(
        lambda _, s: np.asarray(rate(*s), dtype=np.float64), (0.0, float(t[-1])), start,
        method="DOP853", t_eval=t, rtol=1e-11, atol=1e-12,
    )  # fmt: skip
    if not found.success:
        raise RuntimeError(f"{name} cannot be integrated from {start}: {found.message}")
    return np.asarray(found.y.T)
