"""Triton functions from the kernels' text, made when first used and kept for the process.

Triton itself keeps what it compiled on disk, by the text.
"""

from __future__ import annotations

import linecache
import os
import threading
from collections.abc import Callable, Hashable
from importlib.util import find_spec
from typing import Any

from gpu_solver.cuda.pieces import BLOCK, KernelWriter

__all__ = ["Kernel", "compiled", "has_triton", "is_interpreted"]

_lock = threading.Lock()
_kernels: dict[Hashable, Kernel] = {}


def has_triton() -> bool:
    """Whether Triton is installed; it is not loaded for that."""
    return find_spec("triton") is not None


def is_interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, which takes tensors on the CPU (for tests)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


class Kernel:
    """A Triton function, called with arrays and numbers by name.

    Parameters
    ----------
    name : str
        For tracebacks and profiles.
    writer : KernelWriter
        The finished kernel.
    """

    def __init__(self, name: str, writer: KernelWriter) -> None:
        self.name, self.arguments, self.numbers = name, writer.arguments, writer.numbers
        self.text = writer.source(name)
        self.function = _jit(name, self.text, self.numbers)

    def __call__(self, lanes: int, **values: Any) -> None:
        """Launch a program for every ``BLOCK`` lanes, on the current stream."""
        given = {"lanes": lanes, **values}
        arguments = [given[name] for name in self.arguments]
        programs = -(-lanes // BLOCK)
        # Fused multiply-add as on the CPU, whatever this version of Triton does by itself.
        self.function[(programs,)](*arguments, BLOCK=BLOCK, num_warps=1, enable_fp_fusion=True)


def _jit(name: str, text: str, numbers: tuple[str, ...]) -> Any:
    import triton
    import triton.language as tl

    # Triton reads a function's source from the file that it is in: this one is in memory.
    file = f"<gpu_solver.cuda {name} {abs(hash(text)):x}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    space: dict[str, Any] = {"tl": tl, "__name__": "gpu_solver.cuda.generated"}
    exec(compile(text, file, "exec"), space)
    # A stride that happens to be 1 or a multiple of 16 is no reason to compile again.
    return triton.jit(space[name], do_not_specialize=list(numbers))


def compiled(write: Callable[..., KernelWriter], *key: Any) -> Kernel:
    """Return the kernel that ``write(*key)`` writes.

    Parameters
    ----------
    write : callable
        Of `gpu_solver.cuda.sweeps` or `gpu_solver.cuda.segments`.
    *key
        Its arguments.
    """
    with _lock:
        found = _kernels.get((write, *key))
        if found is None:
            found = _kernels[(write, *key)] = Kernel(write.__name__, write(*key))
        return found
