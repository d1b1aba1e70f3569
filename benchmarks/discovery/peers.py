"""Hands the same records to PySINDy, in an interpreter of its own, and judges what comes back."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sympy

from benchmarks.discovery.cases import Case
from benchmarks.discovery.judging import runs
from benchmarks.discovery.records import Measured, measure
from discoverers.equations import Equations

__all__ = ["PEER", "judge", "peer_missing", "peer_rows"]

PEER = "PySINDy"
WORKER = Path(__file__).with_name("pysindy_worker.py")

#: Cases of one process: little is lost when a run is interrupted.
BATCH = 8


def peer_missing(python: str) -> str | None:
    """Why PySINDy cannot be run by an interpreter; None if it can.

    Parameters
    ----------
    python : str
        Command of the interpreter.
    """
    try:
        done = subprocess.run(
            [python, "-c", "import pysindy; print(pysindy.__version__)"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        return f"{python} does not start: {error.strerror}"
    if done.returncode:
        return f"{python} has no pysindy: {done.stderr.strip().splitlines()[-1]}"
    return None


def peer_rows(cases: Sequence[Case], python: str) -> Iterator[dict[str, Any]]:
    """Fit every configuration of PySINDy to every case, and judge.

    Parameters
    ----------
    cases : sequence of Case
        With complete records.
    python : str
        Command of an interpreter that has PySINDy.

    Yields
    ------
    dict
        Ready for JSON, one row for each case; "oracle" says whether any configuration is right.
    """
    for first in range(0, len(cases), BATCH):
        batch = cases[first : first + BATCH]
        with tempfile.TemporaryDirectory() as folder:
            records, answers = Path(folder) / "records.npz", Path(folder) / "answers.jsonl"
            _export(batch, records)
            subprocess.run([python, str(WORKER), str(records), str(answers)], check=True)
            lines = answers.read_text(encoding="utf-8").splitlines()
        for case, line in zip(batch, lines, strict=True):
            yield {**case.label(), "method": PEER, **judge(json.loads(line), measure(case), case)}


def judge(answer: dict[str, Any], measured: Measured, case: Case) -> dict[str, Any]:
    """Judge one record's answers.

    Parameters
    ----------
    answer : dict
        A line of what `pysindy_worker.py` writes.
    measured : Measured
    case : Case
    """
    row: dict[str, Any] = {"processor_seconds": answer["processor_seconds"]}
    truth = [_powers(measured.truth, side) for side in measured.truth]
    row["oracle"] = any(
        [set(part) for part in one["coef"]] == [set(part) for part in truth]
        for one in answer["found"]
    )
    if answer["best"] is None:
        return row | {"exact": False, "refused": "no configuration could be fitted"}
    chosen = answer["found"][answer["best"]]
    found = _equations(chosen["coef"], measured.truth.state_names)
    compared = found.compare(measured.truth)
    return row | {
        "configuration": chosen["name"],
        "exact": bool(compared.exact),
        "coefficient_error": float(compared.relative_coefficient_error),
        "equations": str(found),
        **runs(found, measured, case),
    }


def _export(cases: Sequence[Case], path: Path) -> None:
    arrays: dict[str, Any] = {"keys": json.dumps([case.key() for case in cases])}
    for i, case in enumerate(cases):
        measured = measure(case)
        arrays |= {f"runs{i}": len(measured.t), f"degree{i}": measured.degree}
        for j, (t, X) in enumerate(zip(measured.t, measured.X, strict=True)):
            arrays |= {f"t{i}_{j}": t, f"x{i}_{j}": X}
    np.savez(path, **arrays)


def _powers(equations: Equations, side: sympy.Expr) -> dict[str, float]:
    """Coefficients of a polynomial by the exponents of its terms."""
    polynomial = sympy.Poly(side, *sympy.symbols(equations.state_names))
    return {" ".join(map(str, powers)): float(value) for powers, value in polynomial.terms()}


def _equations(coef: Sequence[dict[str, float]], names: tuple[str, ...]) -> Equations:
    symbols = sympy.symbols(names)
    sides = [
        sympy.Add(
            *(
                value * sympy.Mul(*(s ** int(p) for s, p in zip(symbols, key.split(), strict=True)))
                for key, value in part.items()
            )
        )
        for part in coef
    ]
    return Equations(sides, names)
