"""States that fit the data and the learned equations at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from discoverers.discovery import FittedTrajectory
from discoverers.slope_smoothing import smooth_to_slopes

if TYPE_CHECKING:
    from discoverers.mechanistic.route import Route

__all__ = ["fitted_states"]

Array = NDArray[np.float64]


def fitted_states(route: Route) -> tuple[FittedTrajectory, ...]:
    """Smooth the data with the network's rates as governing rows, weighed by cross-validation.

    States of second-order systems stay as the right-hand side was evaluated at them.
    """
    task, states = route.task, _encoded(route)
    count = len(task.outer)
    rates = []
    with torch.no_grad():
        for run, x in zip(task.trajectories, states, strict=True):
            theta = torch.from_numpy(np.array(task.library.evaluate(x, run.u)))
            rates.append(route.network.rates(theta).numpy())
    if task.order > 1:
        return tuple(
            FittedTrajectory(
                t=run.t, X=x[:, :count], derivative=x[:, count:], u=run.u, chain=x[:, count:]
            )
            for run, x in zip(task.trajectories, states, strict=True)
        )
    denoised = task.denoised
    columns = []
    for v in range(count):
        values, _ = smooth_to_slopes(
            denoised.steps,
            [part[:, v] for part in denoised.data],
            [part[:, v] for part in denoised.precision],
            [denoised.time_scale * rate[:, v] for rate in rates],
        )
        columns.append(values or tuple(part[:, v] for part in states))
    return tuple(
        FittedTrajectory(
            t=run.t,
            X=np.stack([column[i] for column in columns], axis=1),
            derivative=rates[i],
            u=run.u,
        )
        for i, run in enumerate(task.trajectories)
    )


def _encoded(route: Route) -> list[Array]:
    """The states that terms were evaluated at, averaged where windows overlap."""
    if route.network.encoder is None:
        return list(route.task.states)
    sums = [np.zeros(part.shape) for part in route.task.states]
    counts = [np.zeros((len(part), 1)) for part in route.task.states]
    with torch.no_grad():
        for batch in route.batches:
            values = route.network.states(batch).numpy()
            for (run, first), part in zip(batch.rows, values, strict=True):
                sums[run][first : first + len(part)] += part
                counts[run][first : first + len(part)] += 1.0
    return [total / count for total, count in zip(sums, counts, strict=True)]
