"""What a benchmark ran on, and how it tells of its progress."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["describe_machine", "say"]


def describe_machine(libraries: Sequence[str]) -> dict[str, Any]:
    """Describe the machine, its load, and the versions of some libraries, without any path."""
    name, vectors = platform.processor(), ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        pairs = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        fields = {key.strip(): value.strip() for key, _, value in pairs}
        name = fields.get("model name", name)
        vectors = " with AVX-512" if "avx512f" in fields.get("flags", "") else ""
    return {
        "processor": f"{name}{vectors}",
        "cores": os.cpu_count(),
        "system": platform.system(),
        "Python": platform.python_version(),
        **{library: version(library) for library in libraries},
        "threads": os.environ.get("OMP_NUM_THREADS", "not limited"),
        "load at start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def say(text: str) -> None:
    """Print a line at once: runs take hours, and their output is often a file."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
