"""Windows of the runs, and the differentiable solve over each of them.

A window is a problem ``y^(order) = d`` of the paper's linear system (eqs. 5-8) with the right-hand
side at every sample. The solution is affine in its initial values, so these are not trained: the
best ones are a small least-squares problem in every window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from discoverers.denoising import Denoised
from discoverers.integration import INTEGRAL_DECAY, INTEGRAL_ORDER
from discoverers.trajectories import Trajectories
from gpu_solver import factorize
from gpu_solver.ode_operator import ODEOperator

__all__ = ["Minibatch", "cut"]

Array = NDArray[np.float64]
GOVERNING_WEIGHT = 10.0


@dataclass(frozen=True, eq=False)
class Minibatch:
    """Windows of equal length that one optimiser step reads.

    Attributes
    ----------
    states : Tensor of shape (B, T, V)
        Where the right-hand side is evaluated: denoised states, scaled by nothing.
    inputs : Tensor of shape (B, T, m)
    data, precision : Tensor of shape (B, T, C)
        What the solution has to match, and its inverse variance: 0 where nothing was measured or
        another window has the sample already.
    start : Tensor of shape (B, T, order)
        Powers of time: what initial values add to a solution.
    operator : ODEOperator
        From right-hand sides (B, V, T, 1) to solutions.
    rows : tuple of (run, first sample)
        Where each window is.
    """

    states: Any
    inputs: Any
    data: Any
    precision: Any
    start: Any
    operator: ODEOperator
    rows: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.rows)

    def integrate(self, rates: Any) -> Any:
        """Solutions (B, T, k) with initial values 0 of right-hand sides (B, T, k)."""
        d = rates.transpose(1, 2).unsqueeze(-1).contiguous()
        order = self.start.shape[-1]
        u = torch.zeros((1, 1, 1, 1, order), dtype=torch.float64)
        return self.operator.solve(d, u)[..., 0, 0].transpose(1, 2)

    def free_of_start(self, residual: Any, precision: Any) -> Any:
        """Residuals (B, T, k) after the best initial values, by weights of that shape."""
        if self.start.shape[-1] == 1:
            total = precision.sum(dim=1, keepdim=True).clamp_min(1e-300)
            return residual - (precision * residual).sum(dim=1, keepdim=True) / total
        weighted = self.start[:, :, None, :] * precision[..., None]
        gram = torch.einsum("btkp,btq->bkpq", weighted, self.start)
        moment = torch.einsum("btkp,btk->bkp", weighted, residual)
        trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1).clamp_min(1e-300)
        ridge = 1e-12 * trace[..., None, None] * torch.eye(gram.shape[-1], dtype=gram.dtype)
        best = torch.linalg.solve(gram + ridge, moment[..., None])[..., 0]
        return residual - torch.einsum("btp,bkp->btk", self.start, best)


def cut(
    trajectories: Trajectories,
    denoised: Denoised,
    states: Sequence[Array],
    targets: Sequence[int],
    order: int,
    window: int,
    batch_size: int,
) -> tuple[Minibatch, ...]:
    """Cut all runs into windows, grouped by length.

    Parameters
    ----------
    trajectories : Trajectories
    denoised : Denoised
        Data, precision and steps.
    states : sequence of ndarray of shape (n, V)
        Where the right-hand side is evaluated.
    targets : sequence of int
        Columns of the data that solutions are compared with.
    order : int
        Order of the equations.
    window : int
        Samples of a window; shorter runs are one window.
    batch_size : int
        Most windows in a minibatch.
    """
    groups: dict[int, list[tuple[int, int]]] = {}
    for run, part in enumerate(states):
        length = min(window, len(part))
        # Neighbours share a sample, so that no step is left out.
        count = max(1, -(-(len(part) - 1) // max(length - 1, 1)))
        firsts = np.linspace(0, len(part) - length, count).round().astype(int)
        groups.setdefault(length, []).extend((run, int(first)) for first in firsts)
    fresh = [np.ones(len(part), dtype=bool) for part in states]
    made = []
    for length, places in groups.items():
        for low in range(0, len(places), batch_size):
            chosen = places[low : low + batch_size]
            made.append(_minibatch(trajectories, denoised, states, targets, order, length, chosen))
            for i, (run, first) in enumerate(chosen):
                rows = slice(first, first + length)
                mask = torch.from_numpy(fresh[run][rows].copy())
                made[-1].precision[i] *= mask[:, None]
                fresh[run][rows] = False
    return tuple(made)


def _minibatch(
    trajectories: Trajectories,
    denoised: Denoised,
    states: Sequence[Array],
    targets: Sequence[int],
    order: int,
    length: int,
    places: Sequence[tuple[int, int]],
) -> Minibatch:
    def stacked(parts: Sequence[Array]) -> Any:
        return torch.from_numpy(np.stack([parts[r][i : i + length] for r, i in places]))

    steps = np.stack([denoised.steps[r][i : i + length - 1] for r, i in places])
    elapsed = np.concatenate([np.zeros((len(places), 1)), np.cumsum(steps, axis=1)], axis=1)
    shape = elapsed / elapsed[:, -1:]
    even = np.allclose(steps, steps[0], rtol=1e-9, atol=0.0)
    columns = list(targets)
    return Minibatch(
        states=stacked(states),
        inputs=stacked([run.u for run in trajectories]),
        data=stacked([part[:, columns] for part in denoised.data]),
        precision=stacked([part[:, columns] for part in denoised.precision]),
        start=torch.from_numpy(shape[:, :, None] ** np.arange(order)),
        operator=_operator(steps[:1] if even else steps, order),
        rows=tuple(places),
    )


def _operator(steps: Array, order: int) -> ODEOperator:
    """One variable, ``y^(order) = d``; all states of a window are right-hand sides."""
    # n right-hand sides and the initial values determine no more derivatives.
    top = max(min(INTEGRAL_ORDER + order - 1, steps.shape[-1]), order)
    c = np.zeros((1, 1, 1, top + 1))
    c[..., order] = 1.0
    return factorize(
        c,
        steps[0] if len(steps) == 1 else steps[:, None, :],
        weight_governing=GOVERNING_WEIGHT,
        weight_smooth=INTEGRAL_DECAY ** np.arange(top + 1.0),
    )
