"""Many monomials at once, each by one multiplication of a lower one with a variable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["MonomialPlan"]

Exponents = tuple[int, ...]


class MonomialPlan:
    """The order in which monomials are made from each other.

    Parameters
    ----------
    wanted : sequence of tuple of int
        Exponents of each monomial, without repetition. Lower monomials that are needed on the way
        and not wanted are computed aside.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.libraries.monomials import MonomialPlan
    >>> MonomialPlan([(0, 0), (1, 1), (0, 3)]).values(np.array([[2.0], [3.0]]))
    array([[ 1.], [ 6.], [27.]])
    """

    def __init__(self, wanted: Sequence[Exponents]) -> None:
        self.n_wanted = len(wanted)
        self._place: dict[Exponents, int] = {powers: k for k, powers in enumerate(wanted)}
        self._steps: list[tuple[int, int, int]] = []  # (place, place of the parent, variable)
        self._ones: list[int] = []
        self._copies: list[tuple[int, int]] = []  # (place, variable)
        done: set[Exponents] = set()
        for powers in sorted(wanted, key=sum):
            self._require(powers, done)

    def _require(self, powers: Exponents, done: set[Exponents]) -> None:
        chain = []
        while powers not in done:
            done.add(powers)
            place = self._place.setdefault(powers, len(self._place))
            total = sum(powers)
            if total == 0:
                self._ones.append(place)
                break
            variable = max(v for v, power in enumerate(powers) if power)
            if total == 1:
                self._copies.append((place, variable))
                break
            parent = (*powers[:variable], powers[variable] - 1, *powers[variable + 1 :])
            chain.append((place, parent, variable))
            powers = parent
        self._steps += [(place, self._place[parent], v) for place, parent, v in reversed(chain)]

    def values(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Monomials (wanted, N) of variables (variables, N)."""
        result = np.empty((self.n_wanted, columns.shape[1]))
        self.fill(columns, result)
        return result

    def fill(self, columns: NDArray[np.float64], result: NDArray[np.float64]) -> None:
        """As `values`, into an array that is there."""
        aside = np.empty((len(self._place) - self.n_wanted, columns.shape[1]))
        rows = [*result, *aside]
        for place in self._ones:
            rows[place].fill(1.0)
        for place, variable in self._copies:
            rows[place][:] = columns[variable]
        for place, parent, variable in self._steps:
            np.multiply(rows[parent], columns[variable], out=rows[place])
