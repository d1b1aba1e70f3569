"""Block-tridiagonal systems: ours against LAPACK's banded Cholesky and a selected inverse in numpy.

    python -m benchmarks.block_tridiagonal --out results.json

Times are of the processor, on one thread, the least of several turns taken one after the other by
all candidates: other work on the machine disturbs them least. LAPACK's includes bringing blocks
into its band; its selected inverse is the block recursion of textbooks in numpy.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import say

# One thread for everyone: set before numpy loads its BLAS.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve_banded, cholesky_banded

from gpu_solver import BlockTridiagonal

Array = NDArray[np.float64]

#: (problems, T, n, right-hand sides), as discovery uses them and beyond.
CASES = (
    (1, 150, 1, 4),
    (1, 150, 4, 1),
    (8, 250, 3, 9),
    (1, 1000, 3, 9),
    (1, 1000, 6, 20),
    (1, 10_000, 3, 9),
    (1, 10_000, 6, 3),
    (1, 10_000, 12, 1),
    (1, 1000, 12, 80),
    (1, 500, 24, 20),
    (1, 200, 60, 20),
    (1, 1_000_000, 3, 1),
)
METHODS = ("segments", "sweep", "blocked")
#: Times that the recursion in numpy, one call after the other, is let do.
LONGEST_NUMPY = 10_000


def random_system(problems: int, steps: int, n: int) -> tuple[Array, Array]:
    """Blocks of a positive definite system."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(problems, steps, n, n)) / np.sqrt(n)
    diagonal = root @ np.swapaxes(root, -1, -2) + 10.0 * np.eye(n)
    return diagonal, rng.normal(size=(problems, steps - 1, n, n)) / np.sqrt(n)


def lapack(diagonal: Array, lower: Array, rhs: Array) -> Array:
    """Factorise and solve through the band, problem by problem."""
    problems, steps, n = diagonal.shape[:3]
    out = np.empty_like(rhs)
    for p in range(problems):
        band = np.zeros((2 * n, steps, n))
        for j in range(n):
            for i in range(j, n):
                band[i - j, :, j] = diagonal[p, :, i, j]
            for i in range(n):
                band[n + i - j, :-1, j] = lower[p, :, i, j]
        factor = cholesky_banded(band.reshape(2 * n, -1), lower=True, check_finite=False)
        flat = rhs[p].reshape(steps * n, -1)
        out[p] = cho_solve_banded((factor, True), flat, check_finite=False).reshape(rhs[p].shape)
    return out


def numpy_selected_inverse(diagonal: Array, lower: Array) -> tuple[Array, Array]:
    """Blocks (t, t) and (t+1, t) of the inverse, all problems at once, time after time."""
    steps = diagonal.shape[1]
    left = diagonal.copy()
    gains = np.empty_like(lower)
    for t in range(steps - 1):
        gains[:, t] = np.swapaxes(
            np.linalg.solve(left[:, t], np.swapaxes(lower[:, t], -1, -2)), -1, -2
        )
        left[:, t + 1] -= gains[:, t] @ np.swapaxes(lower[:, t], -1, -2)
    out, below = np.empty_like(diagonal), np.empty_like(lower)
    out[:, -1] = np.linalg.inv(left[:, -1])
    for t in range(steps - 2, -1, -1):
        below[:, t] = -out[:, t + 1] @ gains[:, t]
        out[:, t] = np.linalg.inv(left[:, t]) - np.swapaxes(gains[:, t], -1, -2) @ below[:, t]
    return out, below


def fastest(candidates: dict[str, Callable[[], object]], budget: float) -> dict[str, float]:
    """Least processor time of each, taking turns until the budget is spent."""
    best = dict.fromkeys(candidates, np.inf)
    for candidate in candidates.values():
        candidate()  # compiles, and warms memory
    deadline = time.perf_counter() + budget
    rounds = 0
    while rounds < 3 or time.perf_counter() < deadline:
        for name, candidate in candidates.items():
            start = time.process_time()
            candidate()
            best[name] = min(best[name], time.process_time() - start)
        rounds += 1
    return best


def measure(case: tuple[int, int, int, int], budget: float) -> dict[str, object]:
    """Time one case and compare the answers."""
    problems, steps, n, columns = case
    diagonal, lower = random_system(problems, steps, n)
    rhs = np.random.default_rng(1).normal(size=(problems, steps, n, columns))
    system = BlockTridiagonal(diagonal, lower)
    solving: dict[str, Callable[[], object]] = {"lapack": lambda: lapack(diagonal, lower, rhs)}
    inverting: dict[str, Callable[[], object]] = {}
    if steps <= LONGEST_NUMPY:
        inverting["numpy"] = lambda: numpy_selected_inverse(diagonal, lower)
    for method in METHODS:
        solving[method] = lambda method=method: system.factorize(method).solve(rhs, columns=True)
        inverting[method] = lambda method=method: system.factorize(method).selected_inverse()
    mine = system.factorize().solve(rhs, columns=True)
    error = np.abs(mine - lapack(diagonal, lower, rhs)).max() / np.abs(mine).max()
    return {
        "problems": problems,
        "T": steps,
        "n": n,
        "columns": columns,
        "auto": system.factorize().method,
        "factorize_and_solve": fastest(solving, budget),
        "factorize_and_selected_inverse": fastest(inverting, budget),
        "difference_from_lapack": float(error),
    }


def main() -> None:
    """Print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--budget", type=float, default=1.0, help="seconds a case and task")
    parser.add_argument("--quick", action="store_true", help="cases up to T = 1,000")
    arguments = parser.parse_args()
    rows = []
    say("milliseconds of processor time | factorise and solve | and selected inverse")
    for case in CASES:
        if arguments.quick and case[1] > 1000:
            continue
        row = measure(case, arguments.budget)
        rows.append(row)
        parts = []
        for name in ("factorize_and_solve", "factorize_and_selected_inverse"):
            times: dict[str, float] = row[name]  # type: ignore[assignment]
            parts.append(", ".join(f"{key} {1e3 * value:.3g}" for key, value in times.items()))
        say(f"{case} auto={row['auto']} | {parts[0]} | {parts[1]}")
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
