"""Block cyclic (odd-even) reduction in plain torch: log2(T) batched steps on any device.

Each level eliminates every second block row at once, so there is no loop over time, and every
operation is one of torch's own, so results differentiate any number of times.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_solver.backends.base import BlockTridiagonalBackend, relative_pivot_floor
from gpu_solver.status import SolverStatus

__all__ = ["CyclicReductionBackend", "factorize_blocks", "solve_blocks"]


class _Level(NamedTuple):
    """Odd rows of one level: their Cholesky factor and their couplings to the rows around them."""

    factor: Any  # (..., n_odd, n, n)
    before: Any  # M_{i, i-1}, (..., n_odd, n, n)
    after: Any  # M_{i, i+1}, (..., n_next, n, n); one fewer when the last row is odd


def _safe_cholesky(blocks: Any) -> tuple[Any, Any]:
    """Cholesky factors, and which problems broke down; those get the identity instead."""
    with torch.no_grad():
        info = torch.linalg.cholesky_ex(blocks).info
        finite = torch.isfinite(blocks).flatten(-2).all(-1)
        bad = (info != 0) | ~finite
    identity = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
    safe = torch.where(bad[..., None, None], identity, blocks) if bool(bad.any()) else blocks
    return torch.linalg.cholesky_ex(safe).L, bad.any(-1)


def factorize_blocks(diagonal: Any, lower: Any) -> tuple[list[_Level], Any]:
    """Reduce M (..., T, n, n), (..., T-1, n, n) to nothing.

    Returns
    -------
    levels : list
        What `solve_blocks` needs; the last level is the single remaining row.
    broken : bool tensor (...)
        Problems that are not positive definite; their factors are meaningless.
    """
    batch = torch.broadcast_shapes(diagonal.shape[:-3], lower.shape[:-3])
    diagonal = diagonal.expand(*batch, *diagonal.shape[-3:])
    lower = lower.expand(*batch, *lower.shape[-3:])
    levels = []
    broken = torch.zeros(batch, dtype=torch.bool, device=diagonal.device)
    while diagonal.shape[-3] > 1:
        odd, even = diagonal[..., 1::2, :, :], diagonal[..., 0::2, :, :]
        factor, bad = _safe_cholesky(odd)
        broken = broken | bad
        before = lower[..., 0::2, :, :]
        after = lower[..., 1::2, :, :].mT
        count = after.shape[-3]
        weighed_before = torch.cholesky_solve(before, factor)
        weighed_after = torch.cholesky_solve(after, factor[..., :count, :, :])
        from_right = before.mT @ weighed_before  # on even row i-1, through odd row i
        from_left = after.mT @ weighed_after  # on even row i+1, through odd row i
        n = diagonal.shape[-1]
        rows = even.shape[-3]
        pad = diagonal.new_zeros(*batch, 1, n, n)
        right = torch.cat([from_right, pad], -3)[..., :rows, :, :]
        left = torch.cat([pad, from_left], -3)
        levels.append(_Level(factor, before, after))
        lower = -(after.mT @ weighed_before[..., :count, :, :])
        diagonal = even - right - left
        diagonal = 0.5 * (diagonal + diagonal.mT)
    factor, bad = _safe_cholesky(diagonal)
    empty = diagonal.new_zeros(*batch, 0, *diagonal.shape[-2:])
    levels.append(_Level(factor, empty, empty))
    return levels, broken | bad


def solve_blocks(levels: list[_Level], rhs: Any) -> Any:
    """Solve for rhs (..., T, n, K), whose batch axes broadcast with the factor's."""
    kept = []
    for level in levels[:-1]:
        odd, even = rhs[..., 1::2, :, :], rhs[..., 0::2, :, :]
        weighed = torch.cholesky_solve(odd, level.factor)
        count, rows = level.after.shape[-3], even.shape[-3]
        right = level.before.mT @ weighed
        left = level.after.mT @ weighed[..., :count, :, :]
        pad = right.new_zeros(*right.shape[:-3], 1, *right.shape[-2:])
        rhs = even - torch.cat([right, pad], -3)[..., :rows, :, :] - torch.cat([pad, left], -3)
        kept.append(weighed)
    x = torch.cholesky_solve(rhs, levels[-1].factor)
    for level, weighed in zip(reversed(levels[:-1]), reversed(kept), strict=True):
        odd_count, count = level.before.shape[-3], level.after.shape[-3]
        coupling = level.before @ x[..., :odd_count, :, :]
        ahead = level.after @ x[..., 1 : count + 1, :, :]
        if count < odd_count:
            pad = ahead.new_zeros(*ahead.shape[:-3], 1, *ahead.shape[-2:])
            ahead = torch.cat([ahead, pad], -3)
        odd = weighed - torch.cholesky_solve(coupling + ahead, level.factor)
        x = _interleave(x, odd)
    return x


def _interleave(even: Any, odd: Any) -> Any:
    count = odd.shape[-3]
    pairs = torch.stack([even[..., :count, :, :], odd], dim=-3).flatten(-4, -3)
    return torch.cat([pairs, even[..., count:, :, :]], -3)


class CyclicReductionBackend(BlockTridiagonalBackend):
    """Cyclic reduction for numpy arrays, on torch's CPU side; mostly a check on the others."""

    name = "cyclic_reduction"

    def factorize(
        self, diagonal: NDArray[np.float64], lower: NDArray[np.float64]
    ) -> tuple[list[_Level], NDArray[np.int64]]:
        """Reduce all problems together."""
        levels, broken = factorize_blocks(
            torch.tensor(diagonal), torch.tensor(lower).reshape(len(diagonal), *lower.shape[1:])
        )
        status = np.where(broken.numpy(), int(SolverStatus.NOT_POSITIVE_DEFINITE), 0)
        return levels, _flag_small_pivots(levels, diagonal, status)

    def solve(
        self, state: list[_Level], which: NDArray[np.int64] | None, rhs: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Solve with the levels of the problems asked for."""
        levels = state
        if which is not None:
            index = torch.tensor(which)
            levels = [_Level(*(part[index] for part in level)) for level in state]
        return np.asarray(solve_blocks(levels, torch.tensor(rhs)).numpy())

    def log_determinant(self, state: list[_Level]) -> NDArray[np.float64]:
        """Sum over the pivots of all levels."""
        total = np.zeros(state[0].factor.shape[0])
        for level in state:
            pivots = level.factor.diagonal(dim1=-2, dim2=-1)
            total += 2.0 * pivots.log().sum((-2, -1)).numpy()
        return total


def _flag_small_pivots(
    levels: list[_Level], diagonal: NDArray[np.float64], status: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Mark problems whose pivots lost all digits against the diagonal entries they came from."""
    remaining = np.diagonal(diagonal, axis1=-2, axis2=-1)
    smallest = np.ones(len(diagonal))
    for level in levels:
        pivots = np.square(level.factor.diagonal(dim1=-2, dim2=-1).numpy())
        mine = remaining[:, 1::2] if level.before.shape[-3] else remaining
        with np.errstate(invalid="ignore", divide="ignore"):
            smallest = np.minimum(smallest, (pivots / mine).min(axis=(-2, -1)))
        remaining = remaining[:, 0::2]
    floor = relative_pivot_floor(diagonal.shape[-1])
    return np.where((status == 0) & (smallest < floor), int(SolverStatus.ILL_CONDITIONED), status)
