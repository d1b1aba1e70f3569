"""Which block-tridiagonal backend to take."""

from __future__ import annotations

from importlib import import_module

from gpu_solver.backends.base import BlockTridiagonalBackend

__all__ = ["fastest", "get_backend"]

#: Problems that are eliminated side by side.
LANES = 8
#: Problems times steps times squared size of blocks up to which the plain sweep is faster.
SMALL_WORK = 9_000.0
#: Size of blocks above which BLAS inside the blocks is faster.
LARGEST_BLOCK = 40


def fastest(problems: int, steps: int, n: int) -> str:
    """Name the method that costs least, by what was measured for n = 1 to 60."""
    if n > LARGEST_BLOCK and problems < LANES:
        return "blocked"
    # "segments" takes some 80 microseconds more a call. A time costs it half as much as the sweep
    # from n = 4 on, about as much at n = 3, and more at n = 1.
    least = SMALL_WORK
    if problems >= LANES:
        least /= 3
    elif n < 4:
        least *= 4
    few = problems * steps * n**2 < least
    return "sweep" if few or (n == 1 and problems < LANES) else "segments"


_BACKENDS = {
    "segments": ("segments", "SegmentBackend"),
    "sweep": ("sweep", "SweepBackend"),
    "blocked": ("blocked", "BlockedBackend"),
    "lapack": ("lapack", "LapackBackend"),
    "cyclic_reduction": ("cyclic_reduction", "CyclicReductionBackend"),
}


def get_backend(method: str) -> BlockTridiagonalBackend:
    """Return the block-tridiagonal backend of that name, importing it on first use."""
    if method not in _BACKENDS:
        raise ValueError(
            "method must be 'auto', 'segments', 'sweep', 'blocked', 'lapack' or "
            f"'cyclic_reduction' here, got {method!r}."
        )
    module, name = _BACKENDS[method]
    backend: BlockTridiagonalBackend = getattr(
        import_module(f"gpu_solver.backends.{module}"), name
    )()
    return backend
