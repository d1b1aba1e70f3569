"""Interleaved timing in one process: medians, and ratios of runs that were neighbours in time."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["COMPILING", "Ratio", "Timing", "interleave", "ratio", "seconds"]

#: A first run longer than this, in seconds, was slow for another reason than compilation.
COMPILING = 30.0


def seconds(step: Callable[[], object]) -> float:
    """Run once; return wall time in seconds."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _run(step: Callable[[], object]) -> tuple[float, float]:
    """Run once; return wall time and the CPU time of all threads."""
    cpu = time.process_time()
    wall = seconds(step)
    return wall, time.process_time() - cpu


@dataclass(frozen=True)
class Timing:
    """Wall times of one candidate, in seconds, one per round, and CPU times of all threads.

    A candidate too slow for rounds has one run only.
    """

    runs: tuple[float, ...]
    cpu: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """Median run."""
        return float(np.median(self.runs))

    @property
    def fastest(self) -> float:
        """Fastest run: what other load on the machine disturbed least."""
        return min(self.runs)

    @property
    def least_cpu(self) -> float | None:
        """Least CPU time of a run: waiting for other work on the machine does not count."""
        return min(self.cpu, default=None)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile."""
        low, high = np.quantile(self.runs, [0.25, 0.75])
        return float(low), float(high)


@dataclass(frozen=True)
class Ratio:
    """How many times longer one candidate takes than another; quartiles show the spread."""

    median: float
    low: float
    high: float
    pairs: int


def interleave(
    steps: Mapping[str, Callable[[], object]],
    *,
    budget: float = 2.0,
    known: Mapping[str, float] | None = None,
    max_rounds: int = 100,
    min_rounds: int = 3,
) -> dict[str, Timing]:
    """Time candidates in turn, so that other load on the machine meets all of them alike.

    Parameters
    ----------
    steps : mapping of str to callable
        What to run.
    budget : float, default 2.0
        Seconds to spend in rounds, about. A candidate whose one run takes longer than half of it
        is left out of the rounds: one run is its result.
    known : mapping of str to float, optional
        Seconds that a first run took, for candidates that need no other warming up. One that took
        longer than ``COMPILING`` seconds was not compiling, and is not run again.
    max_rounds, min_rounds : int
        Bounds on the number of rounds.

    Returns
    -------
    dict of str to Timing
    """
    first: dict[str, tuple[float, float]] = {}
    for name, step in steps.items():
        warm_up = (known or {}).get(name)
        if warm_up is None:
            warm_up = seconds(step)
        is_slow = warm_up > max(budget, COMPILING)
        first[name] = (warm_up, warm_up) if is_slow else _run(step)
    fast = [name for name in steps if first[name][0] <= budget / 2]
    runs = {name: [] if name in fast else [first[name]] for name in steps}
    start = time.perf_counter()
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for index in range(max_rounds):
            if index >= min_rounds and time.perf_counter() - start > budget:
                break
            # Another order in every round: nobody always follows the same neighbour's cache.
            turn = index % max(len(fast), 1)
            for name in fast[turn:] + fast[:turn]:
                runs[name].append(_run(steps[name]))
    finally:
        if enabled:
            gc.enable()
    split = {name: tuple(zip(*found, strict=True)) for name, found in runs.items()}
    return {name: Timing(wall, cpu) for name, (wall, cpu) in split.items()}


def ratio(slow: Timing, fast: Timing) -> Ratio:
    """Return slow / fast, by rounds where both have the same number of them."""
    if len(slow.runs) == len(fast.runs):
        pairs = np.array(slow.runs) / np.array(fast.runs)
    else:
        pairs = slow.median / np.array(fast.runs)
    low, middle, high = np.quantile(pairs, [0.25, 0.5, 0.75])
    return Ratio(float(middle), float(low), float(high), int(pairs.size))
