"""Ids that tell runs apart."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def _plain(entry: Any) -> Hashable:
    """NumPy scalars as the Python values that they compare equal to."""
    value = entry.item() if isinstance(entry, np.generic) else entry
    if value is None or value is pd.NaT or value != value:
        raise ValueError("trajectory has a missing id (None or NaN). Give every row an id.")
    try:
        hash(value)
    except TypeError as error:
        raise TypeError(f"trajectory ids must be hashable, got {value!r}.") from error
    return value


def _ids(trajectory: Any) -> list[Hashable]:
    if isinstance(trajectory, (str, bytes)) or not hasattr(trajectory, "__len__"):
        raise TypeError(
            f"trajectory must be a sequence with one id per row (or per run of a list), "
            f"got {trajectory!r}."
        )
    if np.ndim(trajectory) > 1 and not isinstance(trajectory, (list, tuple)):
        trajectory = np.asarray(trajectory)
        if trajectory.size != len(trajectory):
            raise ValueError(f"trajectory must be 1-dimensional, got shape {trajectory.shape}.")
        trajectory = trajectory.ravel()
    return [_plain(entry) for entry in trajectory]


def ids_of_runs(trajectory: Any, n_runs: int) -> tuple[Hashable, ...]:
    """Ids of the runs of a list: the user's, or their positions."""
    if trajectory is None:
        return tuple(range(n_runs))
    ids = _ids(trajectory)
    if len(ids) != n_runs or len(set(ids)) != n_runs:
        raise ValueError(
            f"trajectory must hold one distinct id per run for a list of {n_runs} run(s), "
            f"got {len(ids)} id(s), {len(set(ids))} of them distinct."
        )
    return tuple(ids)


def group_rows(trajectory: Any, n: int) -> tuple[tuple[Hashable, ...], list[NDArray[np.intp]]]:
    """Ids in order of first appearance and the rows of each."""
    ids = _ids(trajectory)
    if len(ids) != n:
        raise ValueError(
            f"trajectory has {len(ids)} id(s) but t has {n} row(s). Pass one id per row."
        )
    groups: dict[Hashable, list[int]] = {}
    for row, entry in enumerate(ids):
        groups.setdefault(entry, []).append(row)
    return tuple(groups), [np.asarray(rows, dtype=np.intp) for rows in groups.values()]
