"""What a term costs: extended BIC with a prior that is graded by the term's degree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["GradedCriterion", "deviance"]


def deviance(loss: float, n_rows: int) -> float:
    """-2 log likelihood up to a constant, of a loss in units of the noise variance.

    With the noise as estimated the loss is about n. Below that it counts as it is; above, the
    model is wrong somewhere and the variance is profiled out, ``n (1 + log(loss / n))``: terms
    then have to explain a share of the misfit, not an amount.
    """
    if loss <= n_rows or n_rows == 0:
        return float(loss)
    return float(n_rows * (1.0 + np.log(loss / n_rows)))


@dataclass(frozen=True, eq=False)
class GradedCriterion:
    """Score of a support: deviance + sum over its terms of (log n + 2 gamma log(V K_d)).

    K_d is the number of candidate terms of degree d or less, for a term of degree d: a rich
    library does not make simple terms more expensive (Chen & Chen 2008 for the ungraded form).

    Parameters
    ----------
    degrees : ndarray of shape (K,)
        Graded complexity of the candidates.
    n_states : int
        V: equations that draw from the library.
    gamma : float, default 1.0
        0 is plain BIC; larger values ask for more evidence.
    """

    degrees: NDArray[np.int64]
    n_states: int
    gamma: float = 1.0

    def charges(self, n_rows: int) -> NDArray[np.float64]:
        """Charge of each candidate term, shape (K,)."""
        degrees = np.asarray(self.degrees)
        at_most = (degrees[None, :] <= degrees[:, None]).sum(axis=1)
        return np.log(max(n_rows, 2)) + 2.0 * self.gamma * np.log(self.n_states * at_most)

    def score(self, loss: float, support: Sequence[int], n_rows: int) -> float:
        """Deviance plus charges; lower is better."""
        charge = self.charges(n_rows)[list(support)].sum() if len(support) else 0.0
        return deviance(loss, n_rows) + float(charge)
