"""What the first call of a session costs, with and without compiled kernels on disk."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["first_calls"]

ROOT = Path(__file__).parents[2]

#: Variables that say where compiled and generated kernels are kept.
CACHES = ("GPU_SOLVER_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME")

_SCRIPT = """
import json, sys, time
clock = time.perf_counter
start = clock()
import gpu_solver
imported = clock()
import torch
with_torch = clock()
from gpu_solver import LinearODEProblem, solve
V, shared = int(sys.argv[1]), sys.argv[2] == "shared"
generator = torch.Generator().manual_seed(0)
problems = int(sys.argv[3])
lead = () if shared else (problems,)
def draw(*shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
c = draw(*lead, 20, V, V, 3)
s = torch.full((*lead, 19), 0.1, dtype=torch.float64)
d, u = draw(problems, 20, V), draw(problems, 1, V, 1)
wanted = [d, u] if shared else [c, d, u, s]
for tensor in wanted:
    tensor.requires_grad_()
def once():
    begin = clock()
    solution = solve(LinearODEProblem(c, d, u, s))
    y = solution.y
    middle = clock()
    torch.autograd.grad(y.sum(), wanted)
    return middle - begin, clock() - middle, solution.method
first, second = once(), once()
print(json.dumps({
    "import": imported - start, "import_torch": with_torch - imported,
    "first_forward": first[0], "first_backward": first[1],
    "second_forward": second[0], "second_backward": second[1], "method": first[2]}))
"""


def _run(variables: int, kind: str, problems: int, cache: str) -> dict[str, Any]:
    environment = {**os.environ, **dict.fromkeys(CACHES, cache)}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(variables), kind, str(problems)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def first_calls(
    warm_runs: int = 3, sizes: tuple[int, ...] = (1, 3), batches: tuple[int, ...] = (16, 256)
) -> list[dict[str, Any]]:
    """Time the first forward and backward pass in fresh processes.

    Parameters
    ----------
    warm_runs : int, default 3
        How many processes to start after the first; their median first call is reported.
    sizes : tuple of int
        Numbers of variables V; blocks have 3 V unknowns.
    batches : tuple of int
        Numbers of problems, of 20 steps each: "auto" takes generated code from about 100 on, and
        below only where that is on disk already, which in a fresh cache it is not.

    Returns
    -------
    list of dict
        Per size, kind of left-hand side ("varying" or "shared") and batch: the report of the cold
        process and of the median warm one, in seconds, with the method that was used.
    """
    rows = []
    for variables, problems in itertools.product(sizes, batches):
        for kind in ("varying", "shared"):
            with tempfile.TemporaryDirectory() as cache:
                cold = _run(variables, kind, problems, cache)
                warm = [_run(variables, kind, problems, cache) for _ in range(warm_runs)]
            warm.sort(key=lambda run: run["first_forward"] + run["first_backward"])
            rows.append(
                {
                    "variables": variables,
                    "left_hand_side": kind,
                    "problems": problems,
                    "cold": cold,
                    "warm": warm[len(warm) // 2],
                }
            )
    return rows
