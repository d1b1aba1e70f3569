"""Seconds of processor a fit takes, on one thread."""

from __future__ import annotations

import resource
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.discovery.systems import classic
from discoverers import SMNNDiscoverer
from discoverers.datasets import generate

__all__ = ["TIMED", "time_fits"]

#: What is timed: system, samples, library, step (None: the system's own), and the goal in seconds.
TIMED: dict[str, tuple[str, int, str, float | None, float]] = {
    "1 state, 150 samples, degree 3": ("logistic", 150, "poly3", 0.06, 0.15),
    "3 states, 1000 samples, degree 3": ("lorenz", 1000, "poly3", None, 3.0),
    "3 states, 10,000 samples, degree 2": ("lorenz", 10_000, "poly2", None, 6.0),
    "3 states, 1,000,000 samples, degree 2": ("lorenz", 1_000_000, "poly2", None, 120.0),
}

NOISE = 0.01
PIECE = 10_000


def time_fits(longest: int, repeats: int = 3) -> Iterator[dict[str, Any]]:
    """Fit records of different length, a few times each but for the longest.

    Parameters
    ----------
    longest : int
        Leave out records of more samples. A million samples take minutes to generate, some more
        to fit, and gigabytes.
    repeats : int, default=3
        The median is reported.

    Yields
    ------
    dict
        Ready for JSON. `peak_megabytes` is of the process up to then, which lives on.
    """
    for label, (name, n_samples, library, step, goal) in TIMED.items():
        if n_samples > longest:
            continue
        t, X = _record(name, n_samples, step)
        seconds, walls = [], []
        for _ in range(repeats if n_samples <= PIECE else 1):
            before = time.process_time(), time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = SMNNDiscoverer(library).fit(t, X)
            seconds.append(time.process_time() - before[0])
            walls.append(time.perf_counter() - before[1])
        truth = [str(side) for side in classic(name).equations]
        symbols = dict(zip(classic(name).state_names, model.state_names_, strict=True))
        for old, new in symbols.items():
            truth = [side.replace(old, new) for side in truth]
        yield {
            "label": label,
            "n_samples": n_samples,
            "goal_seconds": goal,
            "processor_seconds": float(np.median(seconds)),
            "seconds": float(np.median(walls)),
            "peak_megabytes": _peak_megabytes(),
            "exact": bool(model.equations_.compare(truth).exact),
        }


def _record(name: str, n_samples: int, step: float | None) -> tuple[np.ndarray, np.ndarray]:
    """One long run, integrated piece by piece: chaos forgets where a piece began anyway."""
    system = classic(name)
    width = system.step if step is None else step
    start, parts = system.x0, []
    for first in range(0, n_samples, PIECE):
        count = min(PIECE, n_samples - first)
        record = generate(system, t=width * np.arange(count + 1), x0=start)
        parts.append(record.clean[:count])
        start = record.clean[-1]
    clean = np.concatenate(parts)
    rng = np.random.default_rng(0)
    return width * np.arange(n_samples), clean + NOISE * clean.std(axis=0) * rng.standard_normal(
        clean.shape
    )


def _peak_megabytes() -> float:
    """Most memory that the process has held."""
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
