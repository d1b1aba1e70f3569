"""Integrate all samples at once: Newton's method on the steps, and their exact discrete adjoint.

Stepping through a record calls the network hundreds of times with one row each, which is all
overhead. Here every sampling interval is stepped from a guessed state in one batch, the linearised
recursion joins the intervals, and two or three such rounds give the states that sequential stepping
would. Gradients go back through the same recursion.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .structured_ode import StructuredODE

__all__ = ["unroll"]

Array = NDArray[np.float64]

CLOSE = 1e-6
"""Newton correction, relative to the states' size, after which one more round changes nothing."""
MAX_ROUNDS = 12


class _Recursion(torch.autograd.Function):
    """``X[k + 1] = ends[k] + A[k] (X[k] - guess[k])`` with ``X[0] = x0``."""

    @staticmethod
    def forward(ctx: Any, ends: Tensor, x0: Tensor, A: Tensor, guess: Tensor) -> Tensor:
        transition = A.numpy()
        ctx.transition = transition
        return torch.from_numpy(
            _recur(ends.detach().numpy(), x0.detach().numpy(), transition, guess.numpy())
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        gradient = gradients[0].numpy()
        transition = ctx.transition
        by_end = np.empty_like(gradient[:, 1:])
        running = gradient[:, -1]
        for k in range(gradient.shape[1] - 2, -1, -1):
            by_end[:, k] = running
            running = gradient[:, k] + np.einsum("bij,bi->bj", transition[:, k], running)
        return torch.from_numpy(by_end), torch.from_numpy(running), None, None


def _recur(ends: Array, x0: Array, transition: Array, guess: Array) -> Array:
    windows, steps, n_states = ends.shape
    X = np.empty((windows, steps + 1, n_states))
    X[:, 0] = x0
    offset = ends - np.einsum("blij,blj->bli", transition, guess)
    for k in range(steps):
        X[:, k + 1] = offset[:, k] + np.einsum("bij,bj->bi", transition[:, k], X[:, k])
    return X


def unroll(
    ode: StructuredODE, x0: Tensor, stages: Tensor, dt: Tensor, guess: Tensor
) -> tuple[Tensor, bool]:
    """States of B windows of L steps, with gradients by the parameters and by `x0`.

    Parameters
    ----------
    ode : StructuredODE
    x0 : Tensor of shape (B, n_s)
        First state of each window.
    stages : Tensor of shape (B, L, 2 k + 1, m)
        Inputs at the ends and middles of the substeps.
    dt : Tensor of shape (B, L)
    guess : Tensor of shape (B, L + 1, n_s)
        States to start from, for example those before the last update of the parameters.

    Returns
    -------
    X : Tensor of shape (B, L + 1, n_s)
    exact : bool
        False if the rounds did not settle: the states then belong to a run that blows up, and
        neither they nor their gradients mean anything.
    """
    windows, steps = dt.shape
    n_states = ode.n_states
    inputs, intervals = stages.flatten(0, 1), dt.flatten()
    size = ode.scale[:n_states]
    nodes = guess[:, :-1].detach()
    nodes = torch.cat([x0.detach().unsqueeze(1), nodes[:, 1:]], dim=1)
    for _ in range(MAX_ROUNDS):
        flat = nodes.reshape(-1, n_states).requires_grad_(True)
        with torch.enable_grad():  # the steps' own derivatives are needed whoever calls
            ends = ode.step(flat, inputs, intervals)
            rows = [
                torch.autograd.grad(ends[:, i].sum(), flat, retain_graph=True)[0]
                for i in range(n_states)
            ]
        A = torch.stack(rows, dim=1).reshape(windows, steps, n_states, n_states)
        X = _Recursion.apply(ends.reshape(windows, steps, n_states), x0, A, nodes.detach())
        moved = ((X[:, :-1].detach() - nodes.detach()) / size).abs().max()
        if not bool(torch.isfinite(moved)) or float(moved) > 1e6:
            return X, False
        if float(moved) < CLOSE:
            return X, True
        nodes = X[:, :-1].detach()
    return X, False
