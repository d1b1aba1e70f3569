"""Work shared by a few threads, which wait for more: safe from any number of Python threads.

Parts of a job are claimed one after the other by whoever is free, the calling thread included, so
a call never waits for a thread that is busy with another call's work.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from queue import SimpleQueue

__all__ = ["run_in_threads", "thread_limit", "threads_for"]

#: Parts that a job is cut into for every thread: uneven progress is evened out.
PARTS = 3


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


def threads_for(more: int) -> int:
    """Threads to use for work that is worth so many besides the calling one."""
    return min(thread_limit(), 1 + more) if more > 0 else 1


class _Job:
    """Parts of one call's work."""

    def __init__(self, work: Callable[[int, int], None], bounds: list[int]) -> None:
        self._work = work
        self._parts = deque(pairwise(bounds))
        self._unfinished = len(self._parts)
        self._lock = threading.Lock()
        self._finished = threading.Lock()
        self._finished.acquire()
        self._failures: list[BaseException] = []

    def help(self) -> None:
        """Do parts until none is left to claim."""
        while True:
            try:
                part = self._parts.popleft()
            except IndexError:
                return
            try:
                self._work(*part)
            except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
                self._failures.append(error)
            with self._lock:
                self._unfinished -= 1
                if self._unfinished == 0:
                    self._finished.release()

    def finish(self) -> None:
        """Help, wait for parts that others have claimed, and raise what went wrong."""
        self.help()
        self._finished.acquire()
        if self._failures:
            raise self._failures[0]


class _Workers:
    """Threads of this process that wait for jobs."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._count = 0
        self._lock = threading.Lock()

    def offer(self, job: _Job, threads: int) -> None:
        """Ask so many threads to help."""
        if self._count < threads:
            with self._lock:
                while self._count < threads:
                    threading.Thread(target=self._run, daemon=True, name="gpu_solver").start()
                    self._count += 1
        for _ in range(threads):
            self._jobs.put(job)

    def _run(self) -> None:
        while True:
            self._jobs.get().help()


_workers = _Workers()


def _after_fork() -> None:
    """Threads do not survive a fork: a child process starts its own."""
    global _workers
    _workers = _Workers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run_in_threads(work: Callable[[int, int], None], count: int, threads: int) -> None:
    """Call ``work(first, stop)`` for parts of range(count), in this thread and some others."""
    threads = max(min(threads, count), 1)
    if threads == 1:
        if count:
            work(0, count)
        return
    parts = min(threads * PARTS, count)
    job = _Job(work, [count * k // parts for k in range(parts + 1)])
    _workers.offer(job, threads - 1)
    job.finish()
