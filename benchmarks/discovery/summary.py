"""Rows of fits to rates: by part, setting and noise, ours beside PySINDy's on the same cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.discovery.peers import PEER

__all__ = ["Cell", "case_of", "cells", "coverage"]

Row = Mapping[str, Any]

GOOD = 0.9
"""Coefficient of determination above which a simulation counts as right (ODEBench's bar)."""


@dataclass(frozen=True)
class Cell:
    """What one method reaches on one kind of record.

    Attributes
    ----------
    count : int
        Fits.
    exact : float
        Share with exactly the true terms.
    listed : float or None
        Share whose alternatives hold the truth; None if there are none.
    oracle : float or None
        Share where any configuration is right; None if there is one configuration.
    coefficient_error, same, other, valid_periods, seconds : float or None
        Median relative error of the coefficients; shares of good simulations from the same and
        another initial state; median of valid periods; median seconds of processor.
    """

    count: int
    exact: float
    listed: float | None
    oracle: float | None
    coefficient_error: float | None
    same: float | None
    other: float | None
    valid_periods: float | None
    seconds: float | None


def case_of(row: Row) -> tuple[Any, ...]:
    """What tells rows of one method apart.

    Parameters
    ----------
    row : mapping
    """
    names = ("part", "group", "system", "noise", "seed", "setting", "n_samples")
    return tuple(row[name] for name in names)


def cells(rows: Sequence[Row]) -> list[tuple[str, float, Cell, Cell | None]]:
    """Setting, noise, our cell and PySINDy's on the same cases, by setting and by noise.

    Parameters
    ----------
    rows : sequence of mapping
        Of one part.
    """
    ours = [row for row in rows if row["method"] != PEER]
    theirs = {case_of(row): row for row in rows if row["method"] == PEER}
    found = []
    settings = list(dict.fromkeys(row["setting"] for row in ours))
    kinds = {(row["setting"], row["noise"]) for row in ours}
    for setting, noise in sorted(kinds, key=lambda kind: (settings.index(kind[0]), kind[1])):
        own = [row for row in ours if (row["setting"], row["noise"]) == (setting, noise)]
        other = [theirs[case_of(row)] for row in own if case_of(row) in theirs]
        found.append((setting, noise, _cell(own), _cell(other) if other else None))
    return found


def coverage(rows: Iterable[Row]) -> list[tuple[str, int, int, int, float, float]]:
    """Setting, fits, exact fits, intervals, and shares held: of all fits, of exact ones.

    Parameters
    ----------
    rows : iterable of mapping
        Of the part "coverage".
    """
    kept = [row for row in rows if "intervals" in row]
    found = []
    for setting in dict.fromkeys(row["setting"] for row in kept):
        own = [row for row in kept if row["setting"] == setting]
        exact = [row for row in own if row["exact"]]
        count = sum(row["intervals"]["reported"] for row in own)
        found.append((setting, len(own), len(exact), count, _held(own), _held(exact)))
    return found


def _held(rows: Sequence[Row]) -> float:
    reported = sum(row["intervals"]["reported"] for row in rows)
    return sum(row["intervals"]["held"] for row in rows) / reported if reported else float("nan")


def _cell(rows: Sequence[Row]) -> Cell:
    def share(name: str) -> float | None:
        values = [row[name] for row in rows if name in row]
        return float(np.mean(values)) if values else None

    def median(name: str) -> float | None:
        values = [row[name] for row in rows if name in row]
        return float(np.median(values)) if values else None

    def good(name: str) -> float | None:
        if not any(name in row for row in rows):
            return None
        return float(np.mean([row.get(name, -1.0) > GOOD for row in rows]))

    return Cell(
        count=len(rows),
        exact=float(np.mean([row["exact"] for row in rows])),
        listed=share("listed"),
        oracle=share("oracle"),
        coefficient_error=median("coefficient_error"),
        same=good("r2_same"),
        other=good("r2_other"),
        valid_periods=median("valid_periods"),
        seconds=median("processor_seconds"),
    )
