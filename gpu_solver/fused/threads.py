"""Work shared by a few threads that live for one call: safe from any number of Python threads."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from itertools import pairwise

__all__ = ["run_in_threads", "thread_limit"]


def thread_limit() -> int:
    """Cores this process may use, or fewer by OMP_NUM_THREADS, NUMBA_NUM_THREADS or torch."""
    if hasattr(os, "sched_getaffinity"):
        limit = len(os.sched_getaffinity(0))
    else:
        limit = os.cpu_count() or 1
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        first = os.environ.get(name, "").split(",")[0].strip()
        if first.isdigit() and int(first) > 0:
            limit = min(limit, int(first))
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        limit = min(limit, torch.get_num_threads())
    return max(limit, 1)


def run_in_threads(work: Callable[[int, int], None], count: int, threads: int) -> None:
    """Call ``work(first, stop)`` for parts of range(count), one of them in this thread."""
    threads = max(min(threads, count), 1)
    bounds = [count * k // threads for k in range(threads + 1)]
    failures: list[BaseException] = []

    def guarded(first: int, stop: int) -> None:
        try:
            work(first, stop)
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            failures.append(error)

    others = [
        threading.Thread(target=guarded, args=part, daemon=True) for part in pairwise(bounds[1:])
    ]
    for thread in others:
        thread.start()
    guarded(bounds[0], bounds[1])
    for thread in others:
        thread.join()
    if failures:
        raise failures[0]
