"""What gradient descent found, written down as a `Discovery`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from discoverers.discovery import Discovery
from discoverers.equations import Equations
from discoverers.mechanistic.cycles import STILL, Cycle
from discoverers.mechanistic.outer import outer_equations
from discoverers.mechanistic.route import Route
from discoverers.mechanistic.states import fitted_states
from discoverers.reporting import CLOSE, TIED, alternatives_frame, front_frame, too_few

__all__ = ["report"]

Array = NDArray[np.float64]

SELECTION = 1.1
"""Selection makes errors look smaller than they are by about this factor."""


def report(route: Route) -> Discovery:
    """Equations, standard errors, front, alternatives and history of a route."""
    best = route.best
    chi2 = _chi2(route)
    close = _close(route, CLOSE)
    front = _front(route)
    equations = _equations(route, best.coef)
    return Discovery(
        equations=equations,
        terms=route.task.library.names,
        coef=best.coef,
        coef_std=_errors(route, chi2),
        pareto_front=front_frame(
            [_equations(route, cycle.coef) for cycle in front],
            [cycle.n_terms for cycle in front],
            [cycle.loss for cycle in front],
            [cycle.score for cycle in front],
            front.index(best),
        ),
        noise_std=route.task.denoised.noise_std[route.task.targets],
        solution=fitted_states(route),
        history=pd.DataFrame(
            {
                "cycle": np.arange(len(route.cycles)),
                "n_terms": [cycle.n_terms for cycle in route.cycles],
                "pruned": [cycle.pruned for cycle in route.cycles],
                "loss": [cycle.loss for cycle in route.cycles],
                "criterion": [cycle.score for cycle in route.cycles],
                "epochs": [cycle.epochs for cycle in route.cycles],
                "seconds": [cycle.seconds for cycle in route.cycles],
                "settled": [cycle.settled for cycle in route.cycles],
                "selected": [cycle is best for cycle in route.cycles],
            }
        ),
        converged=best.settled,
        extras={
            "chi2_": chi2,
            "alternatives_": alternatives_frame(
                [_equations(route, cycle.coef) for cycle in close],
                [cycle.score for cycle in close],
            ),
            "identifiable_": len(_close(route, TIED)) == 1 and not too_few(route.task.denoised),
            "entangled_": (),
        },
    )


def _equations(route: Route, coef: Array) -> Equations:
    task = route.task
    if task.order == 1:
        return outer_equations(task.library, coef, task.outer)
    full = np.zeros((2 * len(coef), coef.shape[1]))
    full[len(coef) :] = coef
    identity = type(task.outer[0])("identity")
    found = outer_equations(task.library, full, (*(identity,) * len(coef), *task.outer))
    return Equations(
        list(found)[len(coef) :],
        list(task.library.state_names[: len(coef)]),
        found.input_names,
        functions=found.functions,
        order=2,
    )


def _close(route: Route, within: float) -> list[Cycle]:
    """Cycles of different terms whose scores come within reach of the best."""
    seen: dict[bytes, Cycle] = {}
    for cycle in sorted(route.cycles, key=lambda one: one.score):
        seen.setdefault((cycle.coef != 0.0).tobytes(), cycle)
    return [cycle for cycle in seen.values() if cycle.score <= route.best.score + within]


def _front(route: Route) -> list[Cycle]:
    """The best cycle of each size."""
    sizes: dict[int, Cycle] = {}
    for cycle in sorted(route.cycles, key=lambda one: one.score):
        sizes.setdefault(cycle.n_terms, cycle)
    return [sizes[size] for size in sorted(sizes)]


def _chi2(route: Route) -> Array:
    total, count = np.zeros(len(route.task.outer)), np.zeros(len(route.task.outer))
    scale = route.network.time_scale
    with torch.no_grad():
        for batch in route.batches:
            states = route.network.states(batch)
            rates = route.network.rates(route.network.features(batch, states))
            left = batch.data - batch.integrate(scale * rates)
            left = batch.free_of_start(left, batch.precision)
            total += (batch.precision * left**2).sum(dim=(0, 1)).numpy()
            count += (batch.precision > 0).sum(dim=(0, 1)).numpy() - len(batch) * route.task.order
    terms = np.count_nonzero(route.network.active, axis=1)
    return np.asarray(total / np.maximum(count - terms, 1.0))


def _errors(route: Route, chi2: Array) -> Array:
    """Standard errors (C, K), the states that terms are evaluated at taken as exact."""
    active = route.network.active
    out = np.zeros(active.shape)
    matrix, _ = route.network.curvature(route.batches)
    moves = np.diagonal(matrix) > STILL
    scale = np.sqrt(np.where(moves, np.diagonal(matrix), 1.0))
    variance = np.diagonal(np.linalg.pinv(matrix / np.outer(scale, scale), hermitian=True))
    # Nothing is known of a coefficient that changes nothing.
    out[active] = np.where(moves, SELECTION * np.sqrt(np.maximum(variance, 0.0)) / scale, np.inf)
    return out * np.sqrt(np.maximum(chi2, 1.0))[:, None]
