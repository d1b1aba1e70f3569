"""A second try for laws that seem to hold only roughly: the first search may have been misled.

The level of the links is that of the laws first tried. With terms missing it is loose, and at a
loose level the states follow the data whatever the laws say: what the true terms gain is not seen.
Near a limit cycle a mere rotation does at a tenth of the noise, and cubic terms gain nothing there.
So other systems, each at the level that suits it, are compared by their evidence, and terms are
searched where laws hold exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .joint import LINK_LEVELS, JointFit
from .term_search import Rival, Sweep, levels_to, search_terms, support_of

__all__ = ["RoughLaws"]

Array = NDArray[np.float64]

RUNNERS_UP = 3
"""Systems that came next in the search, and are fitted at all levels."""


@dataclass(frozen=True, eq=False)
class RoughLaws:
    """What a search ended with, where its laws hold only roughly over a step.

    Attributes
    ----------
    sweep : Sweep
        The search.
    regression : ndarray of shape (V, K)
        The coefficients that it started from.
    """

    sweep: Sweep
    regression: Array

    @property
    def found(self) -> bool:
        """Whether that is so: whether its links are looser than those of laws that hold exactly."""
        return self.sweep.fits[self.sweep.chosen].level > LINK_LEVELS[-1]

    def _value(self, fit: JointFit) -> float:
        """-2 log evidence and charges of a fit: comparable between levels of the links."""
        if not np.isfinite(fit.cost):
            return np.inf
        support = list(support_of(fit, self.sweep.columns))
        return self.sweep.problem.evidence(fit) + float(self.sweep.charges[support].sum())

    def _at_its_level(self, fit: JointFit) -> JointFit:
        """The same system at the level that suits it."""
        return self.sweep.problem.likeliest_level(fit.coef, fit.states)[0]

    def worse_than(self, other: Sweep) -> bool:
        """Whether what another search chose has more evidence."""
        value = self._value(self._at_its_level(other.fits[other.chosen]))
        return value < self._value(self.sweep.fits[self.sweep.chosen])

    def better(self, max_terms: int | None, rivals: Sequence[Rival]) -> JointFit | None:
        """A system of greater evidence, if there is one.

        Parameters
        ----------
        max_terms : int or None
            Most terms in one equation.
        rivals : sequence of Rival
            See `search_terms`.
        """
        sweep, problem = self.sweep, self.sweep.problem
        chosen = sweep.fits[sweep.chosen]
        ranked = [one for one in sorted(sweep.fits, key=sweep.score) if one != sweep.chosen]
        starts = [self.regression, *(sweep.fits[one].coef for one in ranked[:RUNNERS_UP])]
        found = [chosen]
        found += [problem.likeliest_level(coef, chosen.states)[0] for coef in starts]
        for coef in (self.regression, min(found, key=self._value).coef):
            exact = problem.fit(coef, chosen.states, levels_to(LINK_LEVELS[-1]))
            if not np.isfinite(exact.cost):
                continue
            try:
                searched = search_terms(
                    problem, exact, sweep.columns, sweep.criterion, max_terms, rivals
                )
            except FloatingPointError:  # laws that exact cannot be followed: no start
                continue
            found.append(self._at_its_level(searched.fits[searched.chosen]))
        best = min(found, key=self._value)
        return None if best is chosen else best
