"""How much memory the machine can still give, for refusing work that would exhaust it."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available_memory"]

#: Assumed where the system does not say.
FALLBACK = 4e9


def available_memory() -> float:
    """Bytes available now: what the system reports, or less where a container is limited."""
    found: list[float] = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024.0 * float(x.split()[1]) for x in lines if x.startswith("MemAvailable:")]
    except OSError:
        # Not Linux: physical memory is the best that the standard library knows.
        try:
            found.append(float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES")))
        except (AttributeError, ValueError, OSError):
            found.append(FALLBACK)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text().strip()
        if limit != "max":
            found.append(max(float(limit) - float(used), 0.0))
    except OSError:
        pass  # no container limit to respect
    return min(found, default=FALLBACK)
