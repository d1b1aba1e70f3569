"""What a calibrated law is worth: extended BIC, with a floor below which errors are not noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dictionary import Dictionary
from .model import ChainTask

__all__ = ["Candidate", "Charges", "Judge", "Support"]

Array = NDArray[np.float64]
Support = tuple[int, ...]

SMALLEST_SHARE = 5e-4
"""Terms whose contribution to the law stays below this share of it are left out."""


SWITCH_SHARE = 1e-2
"""The same of laws that jump."""

SWITCH_FLOOR = 3.0
"""Floor of laws that jump, in units of others': samples close to a switch hang on its moment."""


@dataclass(frozen=True, eq=False)
class Charges:
    """Charges that are known, as the subset search asks for them."""

    values: Array

    def charges(self, n_rows: int) -> Array:
        """Charge of each column, shape (K,)."""
        return self.values


@dataclass(frozen=True, eq=False)
class Candidate:
    """A law that was calibrated.

    Attributes
    ----------
    support : tuple of int
        Columns of the dictionary, in increasing order.
    coef : ndarray of shape (k,)
    x0 : ndarray of shape (runs, n_s)
    rss : ndarray of shape (C,)
    cost : float
        In units of the noise at the time; infinite if the law blew up.
    converged : bool
    share : float
        Contribution of the law's smallest term, relative to the law.
    cancellation : float
        What large terms that all but cancel cost, ``2 sum log(contribution / law)``.
    states : tuple of ndarray of shape (n, n_s)
    lifted : bool
        Whether it was calibrated by multiple shooting; `states` are its nodes.
    """

    support: Support
    coef: Array
    x0: Array
    rss: Array
    cost: float
    converged: bool
    share: float
    cancellation: float
    states: tuple[Array, ...]
    lifted: bool = False


@dataclass(frozen=True, eq=False)
class Judge:
    """Scores candidates.

    Attributes
    ----------
    n_observed : ndarray of shape (C,)
    floor : ndarray of shape (C,)
    charges : ndarray of shape (K,)
    known_noise : ndarray of shape (C,) or None
    switching : ndarray of bool, shape (K,)
        Columns that jump.
    each : ndarray of shape (C,)
        Samples per independent one: 1 where what laws leave is noise.
    """

    n_observed: NDArray[np.int64]
    floor: Array
    charges: Array
    known_noise: Array | None
    switching: NDArray[np.bool_]
    each: Array

    @classmethod
    def of(cls, task: ChainTask, dictionary: Dictionary, each: Array | None = None) -> Judge:
        """The judge of a task; each sample independent unless said otherwise."""
        rows = task.n_observed
        each = np.ones(len(rows)) if each is None else each
        return cls(
            rows,
            task.floor,
            dictionary.charges(int((rows / each).sum()), task.options.gamma),
            task.data.noise_std,
            dictionary.switching,
            each,
        )

    @property
    def independent(self) -> float:
        """Share of the samples that are independent."""
        return float((self.n_observed / self.each).sum() / max(int(self.n_observed.sum()), 1))

    def deviance(self, candidate: Candidate) -> float:
        """-2 log likelihood, up to a constant."""
        rss, floor, count = candidate.rss, self.floor, np.maximum(self.n_observed, 1)
        if self.switching[list(candidate.support)].any():
            floor = SWITCH_FLOOR * floor
        variance = rss / count + floor**2
        if self.known_noise is not None:
            known = self.known_noise**2 + floor**2
            # Residuals below the known noise are as good as at it.
            below = rss / known
            profiled = count * (1.0 + np.log(np.maximum(variance / known, 1e-300)))
            return float(np.sum(np.where(variance <= known, below, profiled) / self.each))
        return float(np.sum(self.n_observed / self.each * np.log(variance)))

    def least(self, support: Support) -> float:
        """Smallest contribution that a term of such a law may have."""
        return SWITCH_SHARE if self.switching[list(support)].any() else SMALLEST_SHARE

    def score(self, candidate: Candidate) -> float:
        """Lower is better."""
        if not np.isfinite(candidate.cost) or candidate.share < self.least(candidate.support):
            return np.inf
        charged = float(self.charges[list(candidate.support)].sum())
        return self.deviance(candidate) + charged + candidate.cancellation

    def noise(self, rss: Array, n_parameters: float) -> Array:
        """Noise that residuals show, degrees of freedom allowed for, never below the floor.

        Of correlated ones so much more that their loss is the number of independent ones.
        """
        if self.known_noise is not None:
            return np.sqrt((self.known_noise**2 + self.floor**2) * self.each)
        share = n_parameters / max(len(rss), 1)
        left = np.maximum(self.n_observed - share, 0.2 * self.n_observed)
        return np.sqrt((rss / np.maximum(left, 1.0) + self.floor**2) * self.each)


def contributions(values: list[Array], coef: Array, laws: Array) -> tuple[float, float]:
    """Smallest contribution of a term to its law, and what terms that cancel cost.

    Parameters
    ----------
    values : list of ndarray of shape (n, k)
        The terms along the trajectories.
    coef : ndarray of shape (k,)
    laws : ndarray of int, shape (k,)
        Which law each belongs to.

    Returns
    -------
    share, cancellation : float
        Root mean squares relative to the law's; a coefficient that only its opposite in another
        term keeps at bay needs as many more digits as the terms are larger than the law.
    """
    ratios = shares(values, coef, laws)
    smallest = float(ratios.min(initial=1.0))
    return smallest, 2.0 * float(np.log(np.maximum(ratios, 1.0)).sum())


def shares(values: list[Array], coef: Array, laws: Array) -> Array:
    """Root mean square of each term, relative to its law's, shape (k,)."""
    if len(coef) == 0:
        return np.ones(0)
    parts = np.concatenate(values) * coef
    spread, out = np.sqrt((parts**2).mean(axis=0)), np.ones(len(coef))
    for law in np.unique(laws):
        mine = laws == law
        whole = np.sqrt((parts[:, mine].sum(axis=1) ** 2).mean())
        out[mine] = spread[mine] / max(whole, 1e-300)
    return out
