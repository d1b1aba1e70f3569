"""What a block-tridiagonal backend must offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["BlockTridiagonalBackend", "relative_pivot_floor"]


def relative_pivot_floor(n: int) -> float:
    """Pivot, relative to its diagonal entry, below which a Cholesky factor has no digits left."""
    return float(16 * n * np.finfo(np.float64).eps)


class BlockTridiagonalBackend(ABC):
    """One algorithm for symmetric positive definite block-tridiagonal systems, in float64.

    A backend keeps nothing between calls: `factorize` returns a state that the caller owns.
    Arrays come checked, contiguous, with all batch axes folded into the first one: diagonal
    (problems, T, n, n) and lower (problems, T-1, n, n) of M, of which it may keep references but
    which it must not write.
    """

    name: ClassVar[str]
    #: Whether `selected_inverse` is implemented.
    has_selected_inverse: ClassVar[bool] = False
    #: Whether `factorize` finds out itself which problems are not finite.
    checks_input: ClassVar[bool] = False

    @abstractmethod
    def factorize(
        self, diagonal: NDArray[np.float64], lower: NDArray[np.float64]
    ) -> tuple[Any, NDArray[np.int64]]:
        """Return the state and a `SolverStatus` code per problem.

        Problems that are not positive definite must get their status, must not change the numbers
        of other problems, and must give no warning. Input is finite, problems that are not having
        been replaced by the identity, unless ``checks_input`` is set.
        """

    @abstractmethod
    def solve(
        self, state: Any, which: NDArray[np.int64] | None, rhs: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Solve for rhs (m, T, n, K), where right-hand side i belongs to problem ``which[i]``.

        None stands for one right-hand side a problem, in their order; else each problem has as
        many. It must not write rhs. Values of failed problems may be anything: the caller hides
        them.
        """

    @abstractmethod
    def log_determinant(self, state: Any) -> NDArray[np.float64]:
        """Natural logarithm of det M, one per problem."""

    def selected_inverse(self, state: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Blocks (t, t) and (t+1, t) of the inverse of M, shaped as M's own."""
        raise ValueError(
            f"method {self.name!r} has no selected inverse; factorize with method='auto'."
        )

    def variances(self, state: Any) -> NDArray[np.float64]:
        """Diagonal of the inverse of M, (problems, T, n)."""
        return np.einsum("ptii->pti", self.selected_inverse(state)[0]).copy()
