"""Rows of the original MNN (Pervez et al. 2024): Taylor and central-difference rows with a slack.

The unknowns are one slack ``eps`` shared by all smoothness rows, and y in the order (t, v, r):

- governing and initial rows as in S-MNN, without the slack;
- for r < R, forward   ``eps + sum_j s^j/(j-r)! y[t,v,j] - s^r y[t+1,v,r] = 0``
  and backward         ``eps + sum_j (-s)^j/(j-r)! y[t+1,v,j] - (-s)^r y[t,v,r] = 0``;
- for the highest order, at interior times with ``m = s[t-1] + s[t]``, the central difference
  ``eps + m^(R-1) ((y[t+1,v,R-1] - y[t-1,v,R-1]) / m - y[t,v,R]) = 0``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MNNSystem", "build_system"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MNNSystem:
    """The rows G of one problem as a sparse matrix, and how its entries depend on s.

    Attributes
    ----------
    matrix : scipy.sparse.csr_array (m, 1 + T n)
        Rows in the order governing, initial, smoothness; column 0 is the slack.
    weights : array (m,)
        Squared weights of the rows.
    slope_rows, slope_columns, slopes, slope_steps
        For every entry that depends on a step: its place, its derivative, and which step.
    shape : tuple
        T, Q, V, R+1.
    initial_shape : tuple
        T_init, V, R_init+1.
    """

    matrix: Any
    weights: Array
    slope_rows: Index
    slope_columns: Index
    slopes: Array
    slope_steps: Index
    shape: tuple[int, int, int, int]
    initial_shape: tuple[int, int, int]

    @property
    def n_unknowns(self) -> int:
        """Columns of G."""
        return int(self.matrix.shape[1])

    def right_hand_side(self, d: Array, u: Array) -> Array:
        """Return b (m, K) for d (K, T, Q) and u (K, T_init, V, R_init+1)."""
        count = len(d)
        b = np.zeros((self.matrix.shape[0], count))
        n_d = self.shape[0] * self.shape[1]
        b[:n_d] = d.reshape(count, -1).T
        b[n_d : n_d + int(np.prod(self.initial_shape))] = u.reshape(count, -1).T
        return b

    def split(self, rows: Array) -> tuple[Array, Array]:
        """Return the governing (K, T, Q) and initial (K, ...) parts of rows (m, K)."""
        n_d = self.shape[0] * self.shape[1]
        n_u = int(np.prod(self.initial_shape))
        return (
            rows[:n_d].T.reshape(-1, *self.shape[:2]),
            rows[n_d : n_d + n_u].T.reshape(-1, *self.initial_shape),
        )

    def step_gradient(self, rho: Array, g: Array, h: Array, z: Array) -> Array:
        """Return dl/ds (K, T-1), from dl/dG = rho g^T - h z^T at the entries of G."""
        rows, columns = self.slope_rows, self.slope_columns
        terms = rho[rows] * g[columns] - h[rows] * z[columns]
        out = np.zeros((self.shape[0] - 1, terms.shape[1]))
        np.add.at(out, self.slope_steps, self.slopes[:, None] * terms)
        return out.T


def build_system(
    c: Array, s: Array, governing: Array, initial: Array, smooth: Array, n_variables: int
) -> MNNSystem:
    """Build the rows of one problem.

    Parameters
    ----------
    c : array (T, Q, n)
    s : array (T-1,)
    governing, initial, smooth : array
        Squared weights, (T, Q), (T_init, V, R_init+1), (T-1, V, R+1). A central-difference row
        takes the mean of the highest-order weights of its two steps.
    n_variables : int
        V.
    """
    from scipy.sparse import csr_array

    steps, equations, n = c.shape
    size = n // n_variables
    top = size - 1

    def column(t: Any, v: Any, r: Any) -> Any:
        return 1 + (t * n_variables + v) * size + r

    entries = _Entries()
    # Governing and initial rows.
    t, q, i = _grid(np.arange(steps), np.arange(equations), np.arange(n))
    entries.add(t * equations + q, 1 + t * n + i, c)
    count = steps * equations
    t, v, i = _grid(*(np.arange(k) for k in initial.shape))
    entries.add(count + np.arange(initial.size).reshape(initial.shape), column(t, v, i), 1.0)
    count += initial.size
    weights = [governing.ravel(), initial.ravel()]
    # Taylor rows, forward and backward.
    t, v = _grid(np.arange(steps - 1), np.arange(n_variables))
    step = np.broadcast_to(s[:, None], t.shape)
    for sign, here, there in ((1.0, t, t + 1), (-1.0, t + 1, t)):
        for r in range(top):
            rows = count + np.arange(t.size).reshape(t.shape)
            entries.add(rows, np.zeros_like(t), 1.0)
            for j in range(r, size):
                scale = sign**j / factorial(j - r)
                slope = scale * j * step ** max(j - 1, 0)
                entries.add(rows, column(here, v, j), scale * step**j, slope, t)
            slope = -(sign**r) * r * step ** max(r - 1, 0)
            entries.add(rows, column(there, v, r), -(sign**r) * step**r, slope, t)
            weights.append(smooth[..., r].ravel())
            count += t.size
    # Central differences of the highest order, at interior times.
    t, v = _grid(np.arange(1, steps - 1), np.arange(n_variables))
    width = np.broadcast_to((s[:-1] + s[1:])[:, None], t.shape)
    rows = count + np.arange(t.size).reshape(t.shape)
    entries.add(rows, np.zeros_like(t), 1.0)
    central: tuple[tuple[Index, float, int], ...] = (
        (column(t - 1, v, top - 1), -1.0, top - 2),
        (column(t + 1, v, top - 1), 1.0, top - 2),
        (column(t, v, top), -1.0, top - 1),
    )
    for columns, factor, power in central:
        slope = factor * power * width ** (power - 1.0)
        entries.add(rows, columns, factor * width ** float(power), slope, t - 1)
        entries.add(rows, columns, 0.0, slope, t)
    weights.append(0.5 * (smooth[:-1, :, top] + smooth[1:, :, top]).ravel())
    count += t.size

    row_index, column_index, values = entries.values()
    slopes = entries.slopes()
    matrix = csr_array((values, (row_index, column_index)), shape=(count, 1 + steps * n))
    return MNNSystem(
        matrix=matrix,
        weights=np.concatenate(weights),
        slope_rows=slopes[0],
        slope_columns=slopes[1],
        slopes=slopes[2],
        slope_steps=slopes[3],
        shape=(steps, equations, n_variables, size),
        initial_shape=(initial.shape[0], initial.shape[1], initial.shape[2]),
    )


def _grid(*axes: Index) -> Any:
    return np.meshgrid(*axes, indexing="ij")


class _Entries:
    """Collects matrix entries, and their derivatives by step."""

    def __init__(self) -> None:
        self._values: list[tuple[Index, Index, Array]] = []
        self._slopes: list[tuple[Index, Index, Array, Index]] = []

    def add(
        self, rows: Any, columns: Any, values: Any, slopes: Any = None, steps: Any = None
    ) -> None:
        flat = rows.ravel(), columns.ravel()
        self._values.append((*flat, np.broadcast_to(values, rows.shape).ravel()))
        if slopes is not None:
            self._slopes.append((*flat, np.broadcast_to(slopes, rows.shape).ravel(), steps.ravel()))

    def values(self) -> list[Any]:
        return [np.concatenate(part) for part in zip(*self._values, strict=True)]

    def slopes(self) -> list[Any]:
        return [np.concatenate(part) for part in zip(*self._slopes, strict=True)]
