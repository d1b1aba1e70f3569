"""Weights that mean the same in every unit of time.

A smoothness row of the r-th derivative is worth ``s**r``, so it falls with the step where a
governing row does not: which of the two gives way, and how many digits M keeps, would depend on
the unit in which time is written. Weights in powers of the step undo that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_solver.arrays import is_torch, to_numpy

__all__ = ["REFERENCE_STEP", "weights_in_steps"]

#: The step at which the weights are 1.
REFERENCE_STEP = 0.01
#: Squares of larger powers of two are no float64.
LARGEST_EXPONENT = 500

Array = NDArray[np.float64]


def weights_in_steps(
    c: Any, u: Any, s: Any, weight_governing: Any, weight_initial: Any
) -> tuple[Any, Any]:
    """Scale weights by ``h**r``, where h is the mean step over `REFERENCE_STEP`.

    Parameters
    ----------
    c : array or Tensor (..., T or 1, Q, V, p+1)
        Coefficients: r of a governing row is the highest derivative that occurs in it.
    u : array or Tensor (..., T_init, V, R_init+1)
        Initial values: r is the derivative that is given.
    s : array or Tensor (..., T-1 or 1)
        Steps. Their geometric mean counts, which a few gaps move little, to the nearest power of
        two: then weights round nothing, and a small change of s does not change them, so that the
        gradient in s is whole without theirs.
    weight_governing, weight_initial : float or array
        What the powers multiply.

    Returns
    -------
    weight_governing, weight_initial
        As given where h is 1, and where they, or s, are not what `LinearODEProblem` accepts: the
        complaint is left to it.
    """
    exponent = _exponent(s)
    if u.ndim < 3 or not exponent.any():
        return weight_governing, weight_initial
    top = c.shape[-1] - 1
    limit = LARGEST_EXPONENT // max(top, u.shape[-1] - 1, 1)
    exponent = np.clip(exponent, -limit, limit)
    if exponent.ndim:
        exponent = exponent[..., None, None]
    of_rows = 2.0 ** (exponent * _orders(c))
    of_values = 2.0 ** (np.expand_dims(exponent, -1) * np.arange(u.shape[-1]))
    return _product(weight_governing, of_rows), _product(weight_initial, of_values)


def _exponent(s: Any) -> Array:
    """Power of two nearest to the mean step over the reference, shape (...); 0 for bad steps."""
    if 0 in s.shape or not s.ndim:
        return np.zeros(())
    steps = to_numpy(s)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.log2(steps, dtype=np.float64).mean(axis=-1) - np.log2(REFERENCE_STEP)
    found = np.rint(np.where(np.isfinite(found), found, 0.0))
    # One step size for the whole batch, as a rule: then there is one weight.
    alike: Array = found.reshape(-1)[0] if (found == found.reshape(-1)[0]).all() else found
    return np.asarray(alike)


def _orders(c: Any) -> Array:
    """Highest derivative in each governing row, shape (Q,)."""
    orders = np.zeros(c.shape[-3])
    for r in range(1, c.shape[-1]):
        used = to_numpy((c[..., r] != 0).swapaxes(-1, -2).reshape(-1, c.shape[-3]).any(0))
        orders[used] = r
    return orders


def _product(weight: Any, factor: Array) -> Any:
    if is_torch(weight) and weight.requires_grad:
        return weight
    value = to_numpy(weight)
    if value.dtype.kind not in "fiub":
        return weight
    try:
        np.broadcast_shapes(value.shape, factor.shape)
    except ValueError:
        return weight
    return value * factor
