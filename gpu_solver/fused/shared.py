"""Many right-hand sides of one left-hand side whose solution operator is at hand: one product.

With c, s and weights shared by a batch, y is a fixed linear map of d and u, for short sequences a
matrix that is worth having. `gpu_solver.factorize` gives a factor, which keeps this matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_solver.arrays import is_torch
from gpu_solver.status import SolverStatus

__all__ = ["product"]

Array = NDArray[Any]


def product(
    operator: Array, core: tuple[int, ...], d: Any, u: Any, batch: tuple[int, ...], code: int
) -> tuple[Any, NDArray[np.int64]]:
    """Multiply d and u by the transposed operator (entries of d and u, entries of y), in float64.

    Right-hand sides that are not finite make their own problems NaN.
    """
    if is_torch(d) or is_torch(u):
        import torch

        device = d.device if is_torch(d) else u.device
        d, u = (torch.as_tensor(part, device=device).double() for part in (d, u))
        flat = [d.expand(*batch, *d.shape[-2:]).flatten(-2), u.expand(*batch, *u.shape[-3:])]
        x = torch.cat([flat[0], flat[1].flatten(-3)], -1)
        finite = torch.isfinite(x.detach().sum(-1))
        matrix = torch.as_tensor(operator, device=device)
        if bool(finite.all()):
            y = x @ matrix
        else:
            y = torch.where(finite[..., None], x, 0.0) @ matrix
            y = torch.where(finite[..., None], y, torch.nan)
        status = np.where(finite.cpu().numpy(), code, int(SolverStatus.NON_FINITE_INPUT))
        return y.reshape(*batch, *core), status
    parts = [
        np.broadcast_to(part, batch + part.shape[-axes:]).reshape(*batch, -1)
        for part, axes in ((d, 2), (u, 3))
    ]
    values = np.concatenate(parts, axis=-1, dtype=np.float64)
    usable = np.asarray(np.isfinite(values).all(axis=-1))
    answer = np.where(usable[..., None], values, 0.0) @ operator
    answer[~usable] = np.nan
    status = np.where(usable, code, int(SolverStatus.NON_FINITE_INPUT))
    return answer.reshape(*batch, *core), status
