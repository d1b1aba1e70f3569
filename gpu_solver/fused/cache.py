"""Compiled kernels by size of problem: written out as source, compiled by numba, kept on disk.

numba caches what has a file. The loops for each size are written to a directory of the user's,
under a name that holds a hash of everything they are made from; numba keeps the compiled code
beside them. ``GPU_SOLVER_CACHE_DIR`` names another directory; where none can be written, a
temporary one serves for this process.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["cache_directory", "compiled"]

VARIABLE = "GPU_SOLVER_CACHE_DIR"
_PREFIX = "_gpu_solver_"
_SOURCES = ("trace.py", "sweeps.py", "emit.py", "memory.py", "loops.py", "segments.py")
_lock = threading.Lock()
_modules: dict[tuple[str, int, int, int], Any] = {}


def compiled(variables: int, order: int, equations: int, source: str = "loops") -> Any:
    """Return the module of that source for these sizes; it compiles when first used.

    ``source`` is "loops" or "segments", whose modules are `gpu_solver.fused.loops` and
    `gpu_solver.fused.segments` for the smallest size.
    """
    sizes = (variables, order, equations)
    with _lock:
        for each in ("loops", "segments"):  # segments are made of loops
            if (each, *sizes) not in _modules:
                _modules[each, *sizes] = _load(each, sizes)
            if each == source:
                break
        return _modules[source, *sizes]


@cache
def _fingerprint() -> str:
    import llvmlite
    import numba
    import numpy as np

    versions = (numba.__version__, llvmlite.__version__, np.__version__, platform.python_version())
    digest = hashlib.sha256(repr((versions, platform.machine())).encode())
    for name in _SOURCES:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:16]


def _load(source: str, sizes: tuple[int, int, int]) -> Any:
    suffix = "_".join(map(str, (*sizes, _fingerprint())))
    path = cache_directory() / f"{source}_{suffix}.py"
    text = (Path(__file__).parent / f"{source}.py").read_text()
    text = text.replace("SIZES = (1, 2, 1)", f"SIZES = {sizes}")
    text = text.replace(
        "from gpu_solver.fused.loops import", f"from {_PREFIX}loops_{suffix} import"
    )
    if not path.exists() or path.read_text() != text:
        _write(path, text)
    name = f"{_PREFIX}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load the generated kernels from {path}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _write(path: Path, text: str) -> None:
    """Write a file at once: no other process sees half of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    # numba compares times: processes that write the same text must not invalidate each other.
    os.utime(temporary, (0, 0))
    os.replace(temporary, path)


@cache
def cache_directory() -> Path:
    """Directory of the generated sources and compiled kernels."""
    wanted = os.environ.get(VARIABLE)
    if wanted:
        directory = Path(wanted).expanduser()
        directory.mkdir(parents=True, exist_ok=True)
        return directory
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        base = Path(home) if home else Path.home() / ".cache"
        directory = base / "gpu_solver"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except (OSError, RuntimeError):
        # A directory of fixed name that others may write would let them run code here.
        return Path(tempfile.mkdtemp(prefix="gpu_solver-"))
