"""One least-squares regression, reduced to what every subset of its columns needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["NormalEquations"]

Array = NDArray[np.float64]

RIDGE = 1e-13
"""Added to the unit diagonal: collinear columns then share a coefficient instead of failing."""

COLLINEAR = 1e-11
"""Share of a column's square that must be left after projection for it to count as new."""


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Gram matrix and moments of whitened columns and target.

    Attributes
    ----------
    gram : ndarray of shape (K, K)
        Inner products of the columns.
    moment : ndarray of shape (K,)
        Inner products of the columns with the target.
    energy : float
        Inner product of the target with itself.
    n_rows : int
        Number of whitened rows: independent residuals.
    log_determinant : float
        Of the residuals' covariance, so that likelihoods of different whitenings compare.

    Examples
    --------
    >>> import numpy as np
    >>> columns = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> target = columns @ [2.0, 0.0]
    >>> normal = NormalEquations.from_rows(columns, target)
    >>> normal.solve([0]).round(6), round(normal.loss([0]), 6)
    (array([2.]), 0.0)
    """

    gram: Array
    moment: Array
    energy: float
    n_rows: int
    log_determinant: float = 0.0

    @classmethod
    def from_rows(
        cls, columns: Array, target: Array, log_determinant: float = 0.0
    ) -> NormalEquations:
        """Reduce whitened rows: columns (n, K) and target (n,)."""
        gram = columns.T @ columns
        return cls(gram, columns.T @ target, float(target @ target), len(target), log_determinant)

    def __add__(self, other: NormalEquations) -> NormalEquations:
        """Pool the rows of two regressions."""
        return NormalEquations(
            self.gram + other.gram,
            self.moment + other.moment,
            self.energy + other.energy,
            self.n_rows + other.n_rows,
            self.log_determinant + other.log_determinant,
        )

    def given(self, columns: Sequence[int], values: Array) -> NormalEquations:
        """What is left to explain when some coefficients are known; positions stay the same."""
        index = np.asarray(columns, dtype=np.intp)
        if not index.size:
            return self
        pull = self.gram[:, index] @ values
        energy = (
            self.energy - 2.0 * float(values @ self.moment[index]) + float(values @ pull[index])
        )
        return replace(self, moment=self.moment - pull, energy=max(energy, 0.0))

    def eliminate(self, columns: Sequence[int]) -> NormalEquations:
        """The regression with some columns always in it, at their best; positions stay the same.

        The columns themselves become zero: they have nothing more to give.
        """
        index = np.asarray(columns, dtype=np.intp)
        if not index.size:
            return self
        gram, moment = self._scaled
        norms = self.column_norms
        inverse = np.linalg.inv(gram[np.ix_(index, index)])
        gain = gram[:, index] @ inverse
        left = gram - gain @ gram[index]
        rest = moment - gain @ moment[index]
        left[index], left[:, index], rest[index] = 0.0, 0.0, 0.0
        energy = max(self.energy - float(moment[index] @ inverse @ moment[index]), 0.0)
        return replace(self, gram=left * np.outer(norms, norms), moment=rest * norms, energy=energy)

    @property
    def n_columns(self) -> int:
        """Number of columns K."""
        return len(self.moment)

    @cached_property
    def column_norms(self) -> Array:
        """Length of every column; 1 for columns that vanish."""
        norms = np.sqrt(np.diagonal(self.gram))
        return np.where(norms > 0.0, norms, 1.0)

    @cached_property
    def _scaled(self) -> tuple[Array, Array]:
        norms = self.column_norms
        gram = self.gram / np.outer(norms, norms) + RIDGE * np.eye(self.n_columns)
        return gram, self.moment / norms

    def losses(self, supports: NDArray[np.intp]) -> Array:
        """Residual sums of squares of the best fits on supports (N, k), shape (N,)."""
        if supports.shape[1] == 0:
            return np.full(len(supports), self.energy)
        gram, moment = self._scaled
        parts = moment[supports]
        matrices = gram[supports[:, :, None], supports[:, None, :]]
        coefficients = np.linalg.solve(matrices, parts[..., None])[..., 0]
        return np.maximum(self.energy - (coefficients * parts).sum(axis=1), 0.0)

    def loss(self, support: Sequence[int]) -> float:
        """Residual sum of squares of the best fit on one support."""
        return float(self.losses(np.array([support], dtype=np.intp).reshape(1, -1))[0])

    def loss_at(self, support: Sequence[int], coef: Array) -> float:
        """Residual sum of squares at given coefficients (k,) of a support."""
        index = np.asarray(support, dtype=np.intp)
        curved = coef @ self.gram[np.ix_(index, index)] @ coef
        return max(float(self.energy - 2.0 * coef @ self.moment[index] + curved), 0.0)

    def solve(self, support: Sequence[int]) -> Array:
        """Coefficients of the best fit on one support, shape (k,)."""
        index = np.asarray(support, dtype=np.intp)
        gram, moment = self._scaled
        scaled = np.linalg.solve(gram[np.ix_(index, index)], moment[index])
        return scaled / self.column_norms[index]

    def covariance(self, support: Sequence[int]) -> Array:
        """Covariance of `solve`'s coefficients when rows have unit variance, shape (k, k)."""
        index = np.asarray(support, dtype=np.intp)
        norms = self.column_norms[index]
        inverse = np.linalg.inv(self._scaled[0][np.ix_(index, index)])
        return inverse / np.outer(norms, norms)

    def losses_with_one_more(self, supports: NDArray[np.intp]) -> Array:
        """Losses of supports (N, k) with each column added, shape (N, K); infinite for their own.

        One elimination per support serves all columns: O(k K) each, not O(k**3).
        """
        gram, moment = self._scaled
        count, size = supports.shape
        base = self.losses(supports)
        left_norm = np.broadcast_to(np.diagonal(gram), (count, self.n_columns))
        left_moment = np.broadcast_to(moment, (count, self.n_columns))
        if size:
            cross = gram[supports]
            right = np.concatenate([cross, moment[supports][..., None]], axis=2)
            solved = np.linalg.solve(gram[supports[:, :, None], supports[:, None, :]], right)
            left_norm = left_norm - (cross * solved[..., :-1]).sum(axis=1)
            left_moment = left_moment - (cross * solved[..., -1:]).sum(axis=1)
        # A column that the support explains but for rounding adds nothing.
        safe = left_norm > COLLINEAR
        gain = np.where(safe, left_moment**2 / np.where(safe, left_norm, 1.0), 0.0)
        out = np.maximum(base[:, None] - gain, 0.0)
        if size:
            np.put_along_axis(out, supports, np.inf, axis=1)
        return out

    def drop_costs(self, support: Sequence[int]) -> Array:
        """How much the loss rises when one column of the support is left out, shape (k,)."""
        index = np.asarray(support, dtype=np.intp)
        gram, moment = self._scaled
        inverse = np.linalg.inv(gram[np.ix_(index, index)])
        return (inverse @ moment[index]) ** 2 / np.diagonal(inverse)
