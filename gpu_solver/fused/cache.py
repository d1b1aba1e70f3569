"""Compiled kernels by size of problem, kept on disk as machine code.

numba compiles them; what it made is written to a directory of the user's, under a name that holds a
hash of everything it was made from. Another process loads that through llvmlite alone, so a first
call does not wait for numba. ``GPU_SOLVER_CACHE_DIR`` names another directory; where none can be
written, a temporary one serves for this process.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["ANY_SIZE", "cache_directory", "is_on_disk", "kernels"]

VARIABLE = "GPU_SOLVER_CACHE_DIR"
#: Everything that decides what the machine code does.
_SOURCES = (
    "trace.py",
    "pieces.py",
    "sweeps.py",
    "emit.py",
    "layout.py",
    "limits.py",
    "passes.py",
    "raw.py",
    "memory.py",
    "lanes.py",
    "compiling.py",
    "loops.py",
    "reduced.py",
    "ends.py",
    "segments.py",
    "uniform.py",
    "plain.py",
)
#: For "plain", whose functions take blocks of any size.
ANY_SIZE = (0, 0, 0)
#: First line of a file, so that a half-written or foreign one is not run.
_MAGIC = b"gpu_solver kernels 1\n"

Kernels = dict[str, Callable[..., Any]]
Sizes3 = tuple[int, int, int]

_lock = threading.Lock()
_loaded: dict[tuple[str, Sizes3], Kernels] = {}
#: Machine code lives as long as its engine.
_engines: list[Any] = []


def kernels(source: str, sizes: Sizes3) -> Kernels:
    """Return the functions of that source for (V, R, Q), by name; compiles if it has to.

    ``source`` is "loops", "segments", "uniform" or, with ``ANY_SIZE``, "plain", modules of
    `gpu_solver.fused`. The functions take integers, addresses mostly, and let other Python threads
    run.
    """
    key = (source, sizes)
    found = _loaded.get(key)
    if found is None:
        with _lock:
            found = _loaded.get(key)
            if found is None:
                found = _loaded[key] = _load(*_code(source, sizes))
    return found


def is_on_disk(source: str, sizes: Sizes3) -> bool:
    """Whether `kernels` would not have to compile."""
    return (source, sizes) in _loaded or _path(source, sizes).is_file()


def _code(source: str, sizes: Sizes3) -> tuple[dict[str, tuple[str, int]], bytes]:
    """Names, as the machine code has them, with numbers of arguments; and the code."""
    path = _path(source, sizes)
    try:
        return _parsed(path.read_bytes())
    except (OSError, ValueError, KeyError):
        pass  # not there, or damaged: it is made again
    from gpu_solver.fused.compiling import compile_kernels

    names, code = compile_kernels(source, sizes)
    header = json.dumps({"names": names, "hash": hashlib.sha256(code).hexdigest()}).encode()
    _write(path, _MAGIC + header + b"\n" + code)
    return names, code


def _parsed(data: bytes) -> tuple[dict[str, tuple[str, int]], bytes]:
    if not data.startswith(_MAGIC):
        raise ValueError("no file of kernels")
    header, _, code = data[len(_MAGIC) :].partition(b"\n")
    fields = json.loads(header)
    if hashlib.sha256(code).hexdigest() != fields["hash"]:
        raise ValueError("damaged")
    return {name: (symbol, count) for name, (symbol, count) in fields["names"].items()}, code


def _load(names: dict[str, tuple[str, int]], code: bytes) -> Kernels:
    """Give the machine code to LLVM's loader and find its functions."""
    llvm = _llvm()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    found: Kernels = {}
    for name, (symbol, count) in names.items():
        # numba's convention: where to put a result and an error, of which there are none.
        kind = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int64] * (count + 2))
        found[name] = _bound(kind(engine.get_function_address(symbol)))
    return found


def _bound(function: Any) -> Callable[..., None]:
    unused = (ctypes.c_int64 * 2)()
    result = ctypes.addressof(unused)

    def call(*arguments: int, _keep: Any = unused) -> None:
        function(result, result + 8, *arguments)

    return call


@cache
def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@cache
def _fingerprint() -> str:
    llvm = _llvm()
    made_by = (version("numba"), version("llvmlite"), platform.python_version())
    made_for = (
        platform.machine(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    )
    digest = hashlib.sha256(repr((made_by, made_for)).encode())
    for name in _SOURCES:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:16]


def _path(source: str, sizes: Sizes3) -> Path:
    return cache_directory() / f"{source}_{'_'.join(map(str, (*sizes, _fingerprint())))}.kernels"


def _write(path: Path, data: bytes) -> None:
    """Write a file at once: no other process sees half of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    os.replace(temporary, path)


@cache
def cache_directory() -> Path:
    """Directory of the compiled kernels."""
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
