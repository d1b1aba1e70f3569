"""Right-hand sides with monomials over a denominator of several: 1 + b x + c y and the like.

Multiplied out, ``y' (1 + b x + c y) = ...`` is linear in all constants, but its columns hold the
rate, which noise spoils (SINDy-PI: Kaheman, Kutz & Brunton 2020). Here the constants of the
denominator stand on a grid, so that the integrated columns hold states alone; subsets of
monomials beside and above the denominator are compared at every point of the grid, and of the best
the constants are refined by variable projection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from discoverers.sparse.criterion import deviance

from .atoms import Template
from .denominators import Denominator
from .systems import Candidate, Law, charge_of

__all__ = ["Weak", "best_ratios", "may_pay"]

Array = NDArray[np.float64]
Scored = tuple[float, Law]

LARGEST_BASE = 2
"""Monomials beside the ratio."""

REFINED = 12
PER_SIZE = 4
PER_DENOMINATOR = 2
"""Structures whose constants are refined: the best, of each size, and with each denominator."""

ITERATIONS = 12
LONGEST_STEP = 0.7
"""A constant changes by no more than a factor of two at once."""

COLLINEAR = 1e-9


@dataclass(frozen=True, eq=False)
class Weak:
    """One state's equation in the weak form.

    Attributes
    ----------
    weigh : callable
        Values (n, k) at the samples to integrated, whitened columns (r, k).
    target : ndarray of shape (r,)
    monomials : tuple of Template
    values : ndarray of shape (n, M)
        The monomials at the samples.
    n_states : int
    """

    weigh: Callable[[Array], Array]
    target: Array
    monomials: tuple[Template, ...]
    values: Array
    n_states: int

    @property
    def n_rows(self) -> int:
        """Number of whitened rows."""
        return len(self.target)


def may_pay(ranked: Sequence[Scored], weak: Weak, denominators: Sequence[Denominator]) -> bool:
    """Whether a ratio could score better than the best that is known.

    Once the data are explained to within their noise, it had to be cheaper than what is known.
    """
    if not denominators or not ranked:
        return False
    n_rows, n_states = weak.n_rows, weak.n_states
    best = min(score for score, _ in ranked)
    left = min(score - charge_of(law, n_rows, n_states) for score, law in ranked)
    cheapest = min(one.charge(n_rows, n_states) for one in denominators)
    term = min(one.charge(n_rows, n_states) for one in weak.monomials)
    return left > n_rows or best > left + cheapest + term


def best_ratios(weak: Weak, denominators: Sequence[tuple[Denominator, Array]]) -> list[Scored]:
    """Laws with one denominator, their scores in the weak form before them, the best first.

    Parameters
    ----------
    weak : Weak
    denominators : sequence of (Denominator, ndarray of shape (n, m))
        With the values of their monomials at the samples.
    """
    beside = weak.weigh(weak.values)
    found: list[tuple[float, _Shape]] = []
    for denominator, values in denominators:
        found.extend(_on_grid(weak, beside, denominator, values))
    found.sort(key=lambda one: one[0])
    sizes: Counter[int] = Counter()
    below: Counter[Denominator] = Counter()
    chosen = []
    for place, (_, shape) in enumerate(found):
        sizes[shape.size] += 1
        below[shape.denominator] += 1
        few = sizes[shape.size] <= PER_SIZE or below[shape.denominator] <= PER_DENOMINATOR
        if place < REFINED or few:
            chosen.append(shape)
    return sorted((_refined(weak, beside, shape) for shape in chosen), key=lambda one: one[0])


@dataclass(frozen=True, eq=False)
class _Shape:
    """A structure and where its constants start."""

    base: tuple[int, ...]
    above: tuple[int, ...]
    denominator: Denominator
    values: Array
    start: Array

    @property
    def size(self) -> int:
        return len(self.base) + len(self.above)

    def law(self, weak: Weak, coefficients: Array, constants: Array) -> Law:
        """With numbers, in the order of base and numerator."""
        over = self.denominator.at(constants.tolist())
        numbers = iter(coefficients.tolist())
        beside = [Candidate(weak.monomials[k], next(numbers)) for k in self.base]
        above = [Candidate(weak.monomials[k], next(numbers), over=over) for k in self.above]
        return (*beside, *above)


def _on_grid(
    weak: Weak, beside: Array, denominator: Denominator, values: Array
) -> Iterator[tuple[float, _Shape]]:
    """Every structure with this denominator and one or two terms over it, at its best place."""
    grid, n_rows = denominator.grid, weak.n_rows
    below = 1.0 + values @ grid.T
    G, M = len(grid), weak.values.shape[1]
    over = weak.weigh((weak.values[:, None, :] / below[:, :, None]).reshape(-1, G * M))
    length = np.linalg.norm(over, axis=0)
    over = over / np.where(length > 0.0, length, 1.0)
    unit = beside / np.maximum(np.linalg.norm(beside, axis=0), 1e-300)
    blocks = over.reshape(-1, G, M).transpose(1, 2, 0)
    gram = blocks @ blocks.transpose(0, 2, 1)
    cross, moment = (unit.T @ over).reshape(M, G, M), (weak.target @ over).reshape(G, M)
    inner, along = unit.T @ unit, weak.target @ unit
    energy = float(weak.target @ weak.target)
    prices = np.array([one.charge(n_rows, weak.n_states) for one in weak.monomials])
    price = denominator.charge(n_rows, weak.n_states)
    first, second = np.triu_indices(M, 1)
    for base in (b for size in range(LARGEST_BASE + 1) for b in combinations(range(M), size)):
        index = list(base)
        try:
            root = np.linalg.cholesky(inner[np.ix_(index, index)])
        except np.linalg.LinAlgError:
            continue
        taken = np.linalg.solve(root, cross[index].reshape(len(base), G * M))
        taken = taken.reshape(len(base), G, M)
        share = np.linalg.solve(root, along[index])
        norm = np.diagonal(gram, axis1=1, axis2=2) - (taken**2).sum(axis=0)
        left = moment - np.tensordot(share, taken, axes=1)
        rest = energy - float(share @ share)
        fixed = price + float(prices[index].sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            alone = np.where(norm > COLLINEAR, left**2 / norm, 0.0)
            both = gram[:, first, second] - (taken[:, :, first] * taken[:, :, second]).sum(axis=0)
            free = norm[:, first] * norm[:, second] - both**2
            pair = np.where(
                (free > COLLINEAR) & (norm[:, first] > COLLINEAR) & (norm[:, second] > COLLINEAR),
                (
                    left[:, first] ** 2 * norm[:, second]
                    + left[:, second] ** 2 * norm[:, first]
                    - 2.0 * left[:, first] * left[:, second] * both
                )
                / free,
                0.0,
            )
        for gain, members, cost in (
            (alone, [(m,) for m in range(M)], prices),
            (pair, list(zip(first.tolist(), second.tolist(), strict=True)),
             prices[first] + prices[second]),
        ):  # fmt: skip
            at = gain.argmax(axis=0)
            loss = np.maximum(rest - gain[at, np.arange(len(members))], 0.0)
            scores = deviance(loss, n_rows) + fixed + cost
            for score, above, place in zip(scores.tolist(), members, at.tolist(), strict=True):
                yield score, _Shape(base, above, denominator, values, grid[place])


def _refined(weak: Weak, beside: Array, shape: _Shape) -> Scored:
    """Move the constants, by their logarithms, to where the loss is lowest."""
    kept, above = beside[:, list(shape.base)], weak.values[:, list(shape.above)]
    low, high = np.array(shape.denominator.bounds).T

    def fitted(constants: Array) -> tuple[float, Array, Array, Array]:
        below = 1.0 + shape.values @ constants
        columns = np.hstack([kept, weak.weigh(above / below[:, None])])
        lengths = np.linalg.norm(columns, axis=0)
        scale = np.where(lengths > 0.0, lengths, 1.0)
        coefficients = np.linalg.lstsq(columns / scale, weak.target, rcond=1e-12)[0] / scale
        rest = weak.target - columns @ coefficients
        ratio = above @ coefficients[kept.shape[1] :] / below**2
        slopes = -weak.weigh(ratio[:, None] * shape.values * constants)
        # What the coefficients can make up for is no slope (Kaufman 1975).
        q = np.linalg.qr(columns / scale)[0]
        return float(rest @ rest), coefficients, rest, slopes - q @ (q.T @ slopes)

    constants = shape.start
    loss, coefficients, rest, slopes = fitted(constants)
    for _ in range(ITERATIONS):
        step = np.linalg.lstsq(slopes, rest, rcond=1e-8)[0]
        step *= min(1.0, LONGEST_STEP / max(float(np.abs(step).max()), 1e-300))
        for share in (1.0, 0.3, 0.1):
            trial = np.clip(constants * np.exp(share * step), low, high)
            there = fitted(trial)
            if there[0] < loss:
                break
        else:
            break
        fall = loss - there[0]
        constants, (loss, coefficients, rest, slopes) = trial, there
        if fall <= 1e-4 * loss:
            break
    law = shape.law(weak, coefficients, constants)
    score = float(deviance(loss, weak.n_rows)) + charge_of(law, weak.n_rows, weak.n_states)
    return score, law
