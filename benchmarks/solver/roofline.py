"""Bytes and flops that a case needs, against what the machine was measured to give."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.solver.cases import Case, Inputs

__all__ = ["Machine", "Work", "count_work", "probe_machine"]


@dataclass(frozen=True)
class Machine:
    """What simple loops reach: bytes and float64 operations per second, on all threads.

    Attributes
    ----------
    bandwidth, bandwidth_one_thread : float
        Of ``a = b + 3 c`` over arrays far larger than the caches; 24 bytes an element counted.
    matmul : float
        Of a 1024 x 1024 matrix product: about the peak.
    lanes : float
        Of a chain of multiply-adds over lanes in cache, one thread: what a sweep can hope for.
    threads : int
        Used for bandwidth and matmul.
    """

    bandwidth: float
    bandwidth_one_thread: float
    matmul: float
    lanes: float
    threads: int

    def to_dict(self) -> dict[str, float]:
        """Return the fields, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Work:
    """What one forward and backward pass has to do.

    Attributes
    ----------
    bytes : int
        Compulsory traffic: every input read in each pass, y and the gradients written once, y and
        dl/dy read once. No scratch, no write-allocate.
    flops : int
        Of assembly, factorisation, two solves, a refinement of each, and gradients from residuals.
        With a shared left-hand side only the solves and the refinement count.
    """

    bytes: int
    flops: int

    def floor(self, machine: Machine) -> float:
        """Seconds below which a sweep on all threads cannot go on that machine."""
        flop_rate = max(machine.matmul, machine.lanes * machine.threads)
        return max(self.bytes / machine.bandwidth, self.flops / flop_rate)


def count_work(case: Case, inputs: Inputs) -> Work:
    """Count compulsory bytes and flops of a case, by formula.

    Parameters
    ----------
    case : Case
        Its shape.
    inputs : Inputs
        Its data, for their sizes.
    """
    y = inputs.upstream.nbytes
    data = inputs.input_bytes - y
    gradients = inputs.output_bytes - y
    traffic = (data + y) + (data + y + y + gradients)
    V, orders, Q = case.variables, case.order + 1, case.variables
    n = V * orders
    solve = 6 * n**2  # two block substitutions, a product with L and one with a triangle each
    smooth_pairs = orders * (orders + 1) // 2 + orders
    product = 2 * Q * n + 2 * 2 * V * smooth_pairs  # A y or A' r, forward and backward rows
    flops = 4 * solve + 5 * product
    if not case.shared:
        factor = n**3 // 3 + n**3 + n**2 * (n + 1)
        assembly = Q * n * (n + 1) + 4 * V * orders**2
        flops += 2 * (factor + assembly) + 4 * Q * n + 8 * V * smooth_pairs
    return Work(traffic, flops * case.steps * case.problems)


def _best(run: Callable[[], object], repeats: int = 5) -> float:
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def probe_machine(megabytes: int = 256) -> Machine:
    """Measure bandwidth and flop rates; the best of five runs each.

    Parameters
    ----------
    megabytes : int, default 256
        Size of each of three arrays.
    """
    import numba

    @numba.njit(parallel=True)
    def triad(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
        for i in numba.prange(a.size):
            a[i] = b[i] + 3.0 * c[i]

    @numba.njit
    def triad_one(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
        for i in range(a.size):
            a[i] = b[i] + 3.0 * c[i]

    @numba.njit(fastmath={"contract"})  # multiply-add, but nothing folded away
    def chains(x: np.ndarray, rounds: int) -> None:
        for _ in range(rounds):
            for i in range(x.size):
                v = x[i]
                v = v * 0.999 + 0.001
                v = v * 1.001 - 0.002
                v = v * v + 0.25
                v = v * 0.5 + v * v
                x[i] = v

    size = megabytes * 2**20 // 8
    a, b, c = (np.full(size, value) for value in (0.0, 1.0, 2.0))
    parallel = _best(lambda: triad(a, b, c))
    alone = _best(lambda: triad_one(a, b, c))
    x = np.full(512, 0.3)
    rounds = 20_000
    lanes = _best(lambda: chains(x, rounds))
    m = np.full((1024, 1024), 0.5)
    product = _best(lambda: m @ m)
    return Machine(
        bandwidth=24.0 * size / parallel,
        bandwidth_one_thread=24.0 * size / alone,
        matmul=2.0 * 1024**3 / product,
        lanes=9.0 * x.size * rounds / lanes,
        threads=int(numba.get_num_threads()),
    )
