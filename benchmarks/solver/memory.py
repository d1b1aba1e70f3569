"""Peak memory of one case and method, in a process of its own."""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.solver.candidates import Candidate, candidates_of
from benchmarks.solver.cases import Case

__all__ = ["peak_memory"]

ROOT = Path(__file__).parents[2]


def peak_memory(
    case: Case, candidate: str, reference: str | None = None, timeout: float = 600.0
) -> dict[str, Any]:
    """Measure the peak of resident memory during one forward and backward pass.

    Parameters
    ----------
    case : Case
        What to solve.
    candidate : str
        Name of a candidate of the case, or "published".
    reference : str, optional
        Path of the published solver.
    timeout : float, default 600.0
        Seconds.

    Returns
    -------
    dict
        ``inputs``, ``outputs`` (y and gradients), ``extra`` (what the pass added at its peak,
        outputs among it), all in bytes, and ``ratio``: (inputs + extra) / (inputs + outputs);
        or ``refused``.
    """
    task = json.dumps({"case": case.to_dict(), "candidate": candidate, "reference": reference})
    # The first process leaves compiled kernels on disk: compilers need memory too.
    first, second = (_child(task, timeout) for _ in range(2))
    if "refused" in first or "refused" in second:
        return first if "refused" in first else second
    return min(first, second, key=lambda report: report["extra"])


def _child(task: str, timeout: float) -> dict[str, Any]:
    # Freed arrays go back to the system at once; otherwise the pass reuses them unseen.
    small = str(2**16)
    policy = {"MALLOC_MMAP_THRESHOLD_": small, "MALLOC_TRIM_THRESHOLD_": small}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.solver.memory", task],
            cwd=ROOT,
            env={**os.environ, **policy},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"refused": f"took longer than {timeout:g} s"}
    if done.returncode:
        return {"refused": done.stderr.strip().rpartition("\n")[2]}
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _status(field: str) -> int:
    """Bytes of a field of Linux's process status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"the process status has no field {field}")


def _resident() -> int:
    try:
        return _status("VmRSS")
    except OSError:  # not Linux: the peak so far, so growth below it stays unseen
        return _peak()


def _peak() -> int:
    try:
        return _status("VmHWM")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _reset_peak() -> None:
    """Forget the peak so far, where the system can."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def _measure(case: Case, candidate: Candidate) -> dict[str, Any]:
    # Compile, start threads and load libraries before memory is counted.
    small = case.smaller(batch=2, steps=min(case.steps, 64))
    candidate.prepare(small.inputs())()
    inputs = case.inputs()
    step = candidate.prepare(inputs)
    gc.collect()
    _reset_peak()
    before = _resident()
    results = step()
    extra = max(_peak() - before, 0)
    del results
    # What came in as float32 is half as large; its float64 source is no part of the pass.
    share = 2 if candidate.name.endswith("float32") else 1
    known, made = inputs.input_bytes // share, inputs.output_bytes // share
    return {
        "inputs": known,
        "outputs": made,
        "extra": extra,
        "ratio": (known + extra) / (known + made),
    }


def main(task: str) -> None:
    """Measure what ``task``, in JSON, describes, and print the report as JSON."""
    fields = json.loads(task)
    case = Case.from_dict(fields["case"])
    listed = {candidate.name: candidate for candidate in candidates_of(case)}
    if fields["reference"] is not None:
        from benchmarks.solver.reference import load_reference

        listed.update(
            {candidate.name: candidate for candidate in load_reference(fields["reference"])}
        )
    sys.stdout.write(json.dumps(_measure(case, listed[fields["candidate"]])))


if __name__ == "__main__":
    main(sys.argv[1])
