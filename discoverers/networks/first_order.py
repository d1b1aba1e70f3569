"""Adam and L-BFGS on a loss with gradients, for networks whose Jacobians are out of reach."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from .objective import assign, flatten

__all__ = ["minimise_adam", "minimise_lbfgs"]

Array = NDArray[np.float64]
Note = Callable[[int, float], bool]
Loss = Callable[[], Tensor | None]


def minimise_adam(
    loss: Loss,
    variables: Sequence[Tensor],
    iterations: Iterable[int],
    note: Note,
    maximum: int,
    learning_rate: float,
) -> None:
    """Adam with a cosine decay to a hundredth of its rate; ends at the best point met.

    A blow-up (None) sends it back to the best point, with half the rate from there on.
    """
    optimizer = torch.optim.Adam(list(variables), lr=learning_rate)
    best: tuple[float, Array] = (np.inf, flatten(variables))
    ceiling = learning_rate
    for epoch in iterations:
        share = 0.01 + 0.99 * 0.5 * (1.0 + np.cos(np.pi * epoch / max(maximum, 1)))
        for group in optimizer.param_groups:
            group["lr"] = ceiling * share
        optimizer.zero_grad()
        value = loss()
        if value is None or not bool(torch.isfinite(value)):
            assign(variables, best[1])
            ceiling *= 0.5
            continue
        amount = float(value.detach())
        if amount < best[0]:
            best = (amount, flatten(variables))
        value.backward()
        optimizer.step()
        if note(epoch, amount):
            break
    assign(variables, best[1])
    for variable in variables:
        variable.grad = None


def minimise_lbfgs(
    loss: Loss, variables: Sequence[Tensor], iterations: Iterable[int], note: Note
) -> bool:
    """L-BFGS; ends at the best point met. True if it ended of itself."""
    best: tuple[float, Array] = (np.inf, flatten(variables))
    worst = 1.0

    def value_and_gradient(point: Array) -> tuple[float, Array]:
        nonlocal best, worst
        assign(variables, point)
        value = loss()
        if value is None or not bool(torch.isfinite(value)):
            # A blow-up is no minimum: the line search steps back from a larger value.
            return 10.0 * worst, np.zeros_like(point)
        amount = float(value.detach())
        worst = max(worst, amount)
        if amount < best[0]:
            best = (amount, point.copy())
        gradients = torch.autograd.grad(value, list(variables), allow_unused=True)
        parts = [
            torch.zeros_like(variable) if gradient is None else gradient
            for gradient, variable in zip(gradients, variables, strict=True)
        ]
        return amount, flatten(parts)

    steps = iter(iterations)
    epoch = next(steps, None)

    def after(_: Array) -> None:
        nonlocal epoch
        stop = epoch is not None and note(epoch, best[0])
        epoch = next(steps, None)
        if stop or epoch is None:
            raise StopIteration

    if epoch is None:
        return False
    result = minimize(
        value_and_gradient,
        best[1],
        jac=True,
        method="L-BFGS-B",
        callback=after,
        options={"maxiter": 100_000, "maxcor": 30, "ftol": 1e-13, "gtol": 1e-9},
    )
    assign(variables, best[1])
    return bool(result.success)
