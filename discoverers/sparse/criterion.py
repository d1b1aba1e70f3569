"""What a term costs: extended BIC with a prior that is graded by the term's degree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Criterion", "GradedCriterion", "deviance"]


def deviance(loss: ArrayLike, n_rows: int) -> NDArray[np.float64]:
    """-2 log likelihood up to a constant, of a loss in units of the noise variance.

    Takes one loss or an array of them. With the noise as estimated the loss is about n. Below
    that it counts as it is; above, the model is wrong somewhere and the variance is profiled out,
    ``n (1 + log(loss / n))``: terms then have to explain a share of the misfit, not an amount.
    """
    values = np.asarray(loss, dtype=np.float64)
    return np.where(
        values <= n_rows, values, n_rows * (1.0 + np.log(np.maximum(values, n_rows) / n_rows))
    )


class Criterion(Protocol):
    """What a search asks: the charge of each column, on top of the deviance."""

    def charges(self, n_rows: int) -> NDArray[np.float64]:
        """Charge of each column, shape (K,), for a regression of so many rows."""
        ...


@dataclass(frozen=True, eq=False)
class GradedCriterion:
    """Score of a support: deviance + sum over its terms of (log n + 2 gamma log(V K_d)).

    K_d is the number of candidate terms of degree d or less, for a term of degree d: a rich
    library does not make simple terms more expensive (Chen & Chen 2008 for the ungraded form).

    Parameters
    ----------
    competitors : ndarray of shape (K,)
        K_d of every candidate; see `from_degrees`.
    n_states : int
        V: equations that draw from the library.
    gamma : float, default 1.0
        0 is plain BIC; larger values ask for more evidence.
    """

    competitors: NDArray[np.int64]
    n_states: int
    gamma: float = 1.0

    @classmethod
    def from_degrees(
        cls, degrees: NDArray[np.int64], n_states: int, gamma: float = 1.0
    ) -> GradedCriterion:
        """Count the candidates of each degree (K,) or less."""
        ordered = np.sort(degrees)
        return cls(np.searchsorted(ordered, degrees, side="right"), n_states, gamma)

    def restrict(self, kept: NDArray[np.intp]) -> GradedCriterion:
        """For some of the candidates, at the charge they have among all."""
        return GradedCriterion(self.competitors[kept], self.n_states, self.gamma)

    def charges(self, n_rows: int) -> NDArray[np.float64]:
        """Charge of each candidate term, shape (K,)."""
        return np.log(max(n_rows, 2)) + 2.0 * self.gamma * np.log(self.n_states * self.competitors)
