"""Where gradient descent starts: coefficients that match the denoised data's derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares

from discoverers.mechanistic.outer import OuterFunction

__all__ = ["match_derivatives", "random_start"]

Array = NDArray[np.float64]

MOST_ROWS = 4000


def match_derivatives(
    theta: Array,
    rates: Array,
    outer: Sequence[OuterFunction],
    active: NDArray[np.bool_],
    given: Array,
) -> Array:
    """Coefficients (C, K) that minimise ``|g(xi . phi) - y'|^2`` over the samples.

    Parameters
    ----------
    theta : ndarray of shape (n, K)
    rates : ndarray of shape (n, C)
        Derivatives of the denoised data.
    outer : sequence of OuterFunction
    active : ndarray of bool, shape (C, K)
        Coefficients to choose.
    given : ndarray of shape (C, K)
        Values of the others.
    """
    every = max(1, len(theta) // MOST_ROWS)
    theta, rates = theta[::every], rates[::every]
    size = np.sqrt(np.maximum((theta**2).mean(axis=0), 1e-300))
    coef = given.copy()
    for v, g in enumerate(outer):
        columns = np.flatnonzero(active[v])
        scaled = theta[:, columns] / size[columns]
        rest = theta @ given[v]
        coef[v, columns] = _match(scaled, rates[:, v], rest, g) / size[columns]
    return coef


def _match(theta: Array, rate: Array, rest: Array, g: OuterFunction) -> Array:
    linear = np.asarray(np.linalg.lstsq(theta, rate - rest, rcond=1e-10)[0], dtype=np.float64)
    if g.is_identity or not theta.shape[1]:
        return linear

    def values(coef: NDArray[Any]) -> tuple[Array, Array]:
        inner = torch.from_numpy(theta @ coef + rest).requires_grad_()
        out = g(inner)
        return out.detach().numpy(), torch.autograd.grad(out.sum(), inner)[0].numpy()

    def residual(coef: NDArray[Any]) -> Array:
        return np.clip(np.nan_to_num(values(coef)[0] - rate, nan=1e100), -1e100, 1e100)

    def slope(coef: NDArray[Any]) -> Array:
        return np.asarray(np.nan_to_num(values(coef)[1])[:, None] * theta)

    best, lowest = linear, float("inf")
    # From the linear answer, from its halves, and from nowhere: g may be flat or steep at each.
    for factor in (0.0, 0.1, 0.5, 1.0):
        begin = factor * linear + (1e-3 if factor == 0.0 else 0.0)
        if not np.isfinite(values(begin)[0]).all():
            continue
        found = least_squares(residual, begin, slope, method="trf", max_nfev=200)
        if found.cost < lowest:
            best, lowest = np.asarray(found.x, dtype=np.float64), float(found.cost)
    if not np.isfinite(lowest):
        raise ValueError(
            "g is not finite at any of the starting points: restrict it to what its argument can "
            "be (a logarithm of a softplus, say), or scale the states."
        )
    return best


def random_start(
    theta: Array, active: NDArray[np.bool_], given: Array, generator: np.random.Generator
) -> Array:
    """Small random coefficients (C, K): their terms contribute about a tenth of one unit."""
    size = np.sqrt(np.maximum((theta**2).mean(axis=0), 1e-300))
    noise = 0.1 * generator.standard_normal(active.shape) / size / np.sqrt(active.shape[1])
    return np.where(active, noise, given)
