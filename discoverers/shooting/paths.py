"""Integrate a model along a record, with exact sensitivities."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .model import StateSpaceModel
from .signal import Record

__all__ = ["Path", "automatic_substeps", "integrate", "nodes"]

Array = NDArray[np.float64]

BOUND = 1e8
"""A state beyond this many times its scale has blown up."""

STEP_TOLERANCE = 1e-7
"""Relative to a state's size: what doubling the substeps may change."""

MAX_SUBSTEPS = 64


@dataclass(frozen=True, eq=False)
class Path:
    """States, rates and their sensitivities at the samples.

    Attributes
    ----------
    X, F : ndarray of shape (n, n_s)
        States and rates; rows from `n_valid` on are meaningless.
    dX, dF : ndarray of shape (n, n_s, P)
        Derivatives by the free coefficients, then by the free initial states.
    n_valid : int
        Samples reached before a state blew up.
    """

    X: Array
    F: Array
    dX: Array  # noqa: N815 - the differential of X, as written in the field
    dF: Array  # noqa: N815
    n_valid: int

    @property
    def complete(self) -> bool:
        """Whether the last sample was reached."""
        return self.n_valid == len(self.X)

    def without_sensitivities(self) -> Path:
        """The same path, the memory of its sensitivities given back."""
        none = np.empty((*self.X.shape, 0))
        return replace(self, dX=none, dF=none)


def integrate(
    model: StateSpaceModel,
    theta: Array,
    x0: Array,
    record: Record,
    *,
    free_theta: NDArray[np.bool_] | None = None,
    free_x0: NDArray[np.bool_] | None = None,
    substeps: int = 1,
) -> Path:
    """Integrate from the record's first time on, by RK4 with `substeps` steps a sample.

    Parameters
    ----------
    model : StateSpaceModel
    theta : ndarray of shape (K,)
    x0 : ndarray of shape (n_s,)
    record : Record
        Gives times and inputs.
    free_theta : ndarray of bool, shape (K,), optional
        Coefficients to carry sensitivities for; none by default.
    free_x0 : ndarray of bool, shape (n_s,), optional
        Initial states to carry sensitivities for; none by default.
    substeps : int, default=1

    Returns
    -------
    Path

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.shooting import Column, Record, StateSpaceModel, integrate
    >>> model = StateSpaceModel(["x"], [], [Column("x", {"x": 1.0})])
    >>> record = Record.make([0.0, 1.0], [np.nan, np.nan])
    >>> path = integrate(model, np.array([-1.0]), np.ones(1), record, substeps=20)
    >>> abs(path.X[1, 0] - np.exp(-1.0)) < 1e-7
    np.True_
    """
    starts = np.ascontiguousarray(x0, dtype=np.float64).reshape(1, -1)
    return _run(model, theta, starts, record, free_theta, free_x0, substeps, restart=False)


def nodes(
    model: StateSpaceModel,
    theta: Array,
    X: Array,
    record: Record,
    *,
    free_theta: NDArray[np.bool_] | None = None,
    substeps: int = 1,
) -> Path:
    """One interval from each node (N, n_s): row i + 1 of the path is where interval i ends.

    Sensitivities are by the free coefficients, then by the node's states. `F` and `dF` are the
    rates at the nodes themselves.
    """
    every = np.ones(model.n_states, dtype=bool)
    starts = np.ascontiguousarray(X, dtype=np.float64)
    return _run(model, theta, starts, record, free_theta, every, substeps, restart=True)


def automatic_substeps(
    model: StateSpaceModel,
    theta: Array,
    x0: Array,
    record: Record,
    tolerance: float = STEP_TOLERANCE,
) -> int:
    """Substeps at which doubling them changes no state by more than 1e-7 of its size."""
    substeps = 1
    coarse = integrate(model, theta, x0, record, substeps=1)
    while substeps < MAX_SUBSTEPS:
        fine = integrate(model, theta, x0, record, substeps=2 * substeps)
        n = min(coarse.n_valid, fine.n_valid)
        size = np.abs(fine.X[:n]).max(axis=0)
        change = np.abs(fine.X[:n] - coarse.X[:n]).max(axis=0)
        # Of RK4 the finer of the two has a sixteenth of the difference left.
        if np.all(change <= 16.0 * tolerance * np.where(size > 0.0, size, 1.0)):
            return 2 * substeps if np.any(change > tolerance * size) else substeps
        substeps, coarse = 2 * substeps, fine
    return substeps


def _run(
    model: StateSpaceModel,
    theta: Array,
    starts: Array,
    record: Record,
    free_theta: NDArray[np.bool_] | None,
    free_x0: NDArray[np.bool_] | None,
    substeps: int,
    *,
    restart: bool,
) -> Path:
    from .kernels import shoot

    n, n_s = len(record), model.n_states
    free = np.flatnonzero(free_theta) if free_theta is not None else np.empty(0, dtype=np.int64)
    start = np.flatnonzero(free_x0) if free_x0 is not None else np.empty(0, dtype=np.int64)
    width = len(free) + len(start)
    S = np.zeros((n_s, width))
    S[start, len(free) + np.arange(len(start))] = 1.0
    X, F = np.full((n, n_s), np.nan), np.full((n, n_s), np.nan)
    dX, dF = np.empty((n, n_s, width)), np.empty((n, n_s, width))
    program = model.program
    size = np.maximum(np.abs(starts).max(axis=0), 1.0)
    n_valid = shoot(
        program.code,
        program.numbers,
        program.splines,
        program.n_terms,
        model.term_of,
        model.direction,
        np.ascontiguousarray(theta, dtype=np.float64),
        free.astype(np.int64),
        starts,
        S,
        restart,
        record.t,
        record.u,
        record.stages(substeps),
        np.full(n_s, BOUND * float(size.max())),
        X,
        F,
        dX,
        dF,
    )
    return Path(X, F, dX, dF, int(n_valid))
