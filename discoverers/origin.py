"""States that lie far from zero beside what they vary: laws searched around the data.

Of a state that is 10,000 and varies by 5, all powers are one straight line to within a part in a
thousand: no fit tells them apart, and their normal equations lose all digits. Powers of the
distance from a round value among the data span the same laws and are as different as they can be.
Which description is the simpler one, only the data say: a law of predators and prey is sparse
around no animals at all, that of an oscillation about an operating point around this. So both are
searched, and judged by their evidence.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import sympy
from numpy.typing import NDArray

from .libraries import BoundLibrary, Term
from .trajectories import Trajectories

if TYPE_CHECKING:
    from .denoising import Denoised

__all__ = ["Origin"]

Array = NDArray[np.float64]
Powers = tuple[int, ...]

FAR = 30.0
"""States whose mean is this many standard deviations away from zero are looked at from nearby."""


@dataclass(frozen=True, eq=False)
class Origin:
    """Where the states are counted from.

    Attributes
    ----------
    values : ndarray of shape (V,)
        Round numbers among the data; 0 for states that do not lie far from zero.
    library : BoundLibrary
        The candidates in the user's states. In those counted from here, it holds the same powers.
    """

    values: Array
    library: BoundLibrary

    @classmethod
    def among(cls, denoised: Denoised, library: BoundLibrary) -> Origin | None:
        """The origin near the data, or None where zero does.

        That is where no state lies far from zero, or where the candidates are not all powers: of
        logarithms, or of some monomials without the lower ones, a shift makes other functions.

        Parameters
        ----------
        denoised : Denoised
        library : BoundLibrary
        """
        states = np.concatenate(denoised.states)
        seen = np.concatenate([part > 0 for _, part in denoised.measurements])
        values = np.zeros(states.shape[1])
        for v, (column, known) in enumerate(zip(states.T, seen.T, strict=True)):
            if not known.any():
                continue
            mean, spread = float(column[known].mean()), float(column[known].std())
            if spread > 0.0 and abs(mean) > FAR * spread:
                values[v] = _rounded(mean, spread)
        if not values.any() or not _closed(library, np.flatnonzero(values).tolist()):
            return None
        return cls(values, library)

    @cached_property
    def written(self) -> BoundLibrary:
        """The candidates counted from here, in the user's states: ``(x - 10000)**2*y``."""
        names = dict(zip(self.library.state_names, self.values.tolist(), strict=True))
        moved = {
            sympy.Symbol(name): sympy.Symbol(name) - _number(value)
            for name, value in names.items()
            if value
        }
        terms = tuple(
            Term(expr, term.name if expr == term.expr else str(expr), term.degree)
            for term in self.library.terms
            for expr in [term.expr.xreplace(moved)]
        )
        return replace(self.library, terms=terms)

    def counted(
        self, trajectories: Trajectories, denoised: Denoised
    ) -> tuple[Trajectories, Denoised]:
        """The same data counted from here."""
        runs = tuple(
            replace(run, X=run.X - self.values, x0=run.x0 - self.values) for run in trajectories
        )
        moved = replace(
            denoised,
            data=self._from_here(denoised.data),
            states=self._from_here(denoised.states),
            measured=tuple((x - self.values, weight) for x, weight in denoised.measured),
            fits=(),
        )
        return replace(trajectories, runs=runs), moved

    def matters_in(self, active: NDArray[np.bool_]) -> int:
        """How many states the law could not count from anywhere else without further terms.

        ``x' = a + b (x - 10) + c (x - 10)**2`` is as short around any number, so that of the origin
        is no part of the law; in ``x' = c (x - 10)**2`` it is a constant like others.

        Parameters
        ----------
        active : ndarray of bool, shape (V, K)
            The candidates in each equation.
        """
        held = [{self.library.exponents[k] for k in np.flatnonzero(row)} for row in active]
        shifted = np.flatnonzero(self.values).tolist()
        return sum(any(_lowered(own, v) - own for own in held) for v in shifted)

    def placed(self, states: Sequence[Array]) -> tuple[Array, ...]:
        """States counted from here, in the user's numbers."""
        return tuple(part + self.values for part in states)

    def _from_here(self, parts: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(part - self.values for part in parts)


def _rounded(mean: float, spread: float) -> float:
    """The mean, to the digit of the spread: laws are read more easily from a round number."""
    digit = -int(np.floor(np.log10(spread)))
    return float(round(mean, digit))


def _number(value: float) -> sympy.Expr:
    return sympy.Integer(int(value)) if value.is_integer() else sympy.Float(value)


def _closed(library: BoundLibrary, shifted: Sequence[int]) -> bool:
    """Whether shifted powers are made of candidates, in every equation."""
    if any(powers is None for powers in library.exponents):
        return False
    held = [{library.exponents[k] for k in np.flatnonzero(row)} for row in library.allowed]
    return not any(_lowered(own, v) - own for own in held for v in shifted)


def _lowered(held: Collection[Powers | None], v: int) -> set[Powers | None]:
    """Powers of which a shift of state v makes these too: the next lower ones."""
    return {
        (*powers[:v], powers[v] - 1, *powers[v + 1 :]) for powers in held if powers and powers[v]
    }
