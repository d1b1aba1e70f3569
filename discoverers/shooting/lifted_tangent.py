"""The quadratic over all candidate terms that multiple shooting sees, states eliminated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from discoverers.sparse.normal_equations import NormalEquations

from .calibration import make_problem
from .lifted import NodePoint, nodes_cost, reduce_nodes, typical_moves
from .model import StateSpaceModel
from .observation import Observation
from .signal import Record

__all__ = ["lifted_tangent"]

TANGENT_LINK = 1e-2


def lifted_tangent(
    model: StateSpaceModel,
    theta: ArrayLike,
    X: Sequence[ArrayLike],
    records: Sequence[Record],
    observation: Observation,
    noise_std: ArrayLike,
    *,
    x0: ArrayLike | None = None,
    free_theta: NDArray[np.bool_] | None = None,
    substeps: int | None = None,
    link: float = TANGENT_LINK,
) -> NormalEquations | None:
    """`tangent` of multiple shooting: the states at all samples are eliminated.

    Sensitivities of a chaotic trajectory grow beyond all use over a long record; from one sample to
    the next they do not.

    Parameters
    ----------
    model, theta, X, records, observation, noise_std, x0, free_theta, substeps
        As in `lifted`; `X` are the states that the incumbent with `theta` was fitted to.
    link : float, default=1e-2
        How closely the states follow the law from sample to sample, relative to how far they move:
        loosely enough for candidates to explain what the incumbent left to the links.

    Returns
    -------
    NormalEquations or None
        Over the free columns in their order, in units of the noise; None if it cannot be computed.
    """
    at = np.where(model.free, np.asarray(theta, dtype=np.float64), model.fixed_theta)
    guess = tuple(np.array(states, dtype=np.float64) for states in X)
    known = np.full((len(records), model.n_states), np.nan)
    if x0 is not None:
        known[:] = np.asarray(x0, dtype=np.float64)
    problem = make_problem(
        model,
        at,
        np.stack([states[0] for states in guess]),
        records,
        observation,
        noise_std,
        free_theta=free_theta,
        free_x0=np.isnan(known),
        substeps=substeps,
    )
    point, links = NodePoint(at, guess), link * typical_moves(guess)
    reduced = reduce_nodes(problem, point, ~np.isnan(known), links, 0.0)
    cost = nodes_cost(problem, point, links)
    if reduced is None or not np.isfinite(cost) or not np.isfinite(reduced.schur).all():
        return None
    own = at[problem.unknowns.free_theta]
    carried = reduced.schur @ own
    measured = sum(int((~np.isnan(record.y)).sum()) for record in records)
    return NormalEquations(
        reduced.schur,
        reduced.right + carried,
        cost - reduced.explained + float(2.0 * reduced.right @ own + own @ carried),
        max(measured - int(np.isnan(known).sum()), 1),
    )
