"""Command line: ``python -m benchmarks.skanode [--quick] [--parts ...] [--out results.json]``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, say
from benchmarks.results import write_results
from benchmarks.skanode.settings import (
    Case,
    hysteresis_cases,
    law_cases,
    mass_cases,
    static_cases,
    table_cases,
)

#: Cases of each part, and what it measures.
PARTS: dict[str, tuple[Callable[[int, bool], list[Case]], str]] = {
    "table1": (table_cases, "Duffing and van der Pol: structure, states, standard errors"),
    "laws": (law_cases, "ten classical nonlinearities"),
    "hysteresis": (hysteresis_cases, "hidden hysteretic states"),
    "static": (static_cases, "no hidden state where there is none"),
    "masses": (mass_cases, "three masses, one cubic spring"),
}
NETWORKS = "networks"

QUICK_SECONDS = 20.0
"""For training each network where only a look is wanted."""

LIBRARIES = ("numpy", "scipy", "numba", "scikit-learn")


def _parser() -> argparse.ArgumentParser:
    listed = "; ".join(f"{name}: {text}" for name, (_, text) in PARTS.items())
    parser = argparse.ArgumentParser(prog="python -m benchmarks.skanode", description=__doc__)
    known = [*PARTS, NETWORKS]
    parser.add_argument(
        "--parts", nargs="+", choices=known, default=known, help=f"{listed}; networks: baselines"
    )
    parser.add_argument("--quick", action="store_true", help="few systems, one noise")
    parser.add_argument("--seeds", type=int, help="records of each setting (2 if quick, else 10)")
    parser.add_argument("--systems", nargs="+", help="of these systems only")
    parser.add_argument("--noise", nargs="+", type=float, help="at these noise levels only")
    parser.add_argument("--start", choices=["rest", "estimate"], help="with this start only")
    parser.add_argument("--network-seconds", type=float, help="time for training each network")
    parser.add_argument("--network-seeds", type=int, default=3, help="records of each network")
    parser.add_argument(
        "--resume", action="store_true", help="keep the fits that --out holds, make the others"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="write JSON here and .md beside it; parts that are there and not run are kept",
    )
    return parser


def _circumstances() -> dict[str, Any]:
    """What the code was, and how busy the machine, when a fit began."""
    called = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    return {"revision": called.stdout.strip() or "unknown", "load": load}


def _kept(results: dict[str, Any], part: str, resume: bool) -> list[dict[str, Any]]:
    """Fits of a part that are not made again."""
    return list(results["parts"].get(part, [])) if resume else []


def _made(label: dict[str, Any], rows: list[dict[str, Any]]) -> bool:
    """Whether a fit with this label is among the rows."""
    keys = {*label, "library"}  # the default library is not in a label
    return any(all(row.get(key) == label.get(key) for key in keys) for row in rows)


def _line(row: dict[str, Any]) -> str:
    label = f"{row['part']} {row['system']} noise {row['noise']:g} {row['start']} {row['seed']}"
    if "refused" in row:
        return f"{label}: {row['refused']}"
    found = "exact" if row["exact"] else "not exact"
    error = f", MSE x {row['mse']['displacement']:.1e}" if "mse" in row else ""
    memory = f", z correlation {row['correlation']:.6f}" if "correlation" in row else ""
    return f"{label}: {found}{error}{memory}, {row['seconds']:.2f} s"


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line; by default that of the process.

    Returns
    -------
    dict
        The results, as written to ``--out``.
    """
    from benchmarks.skanode.fitting import fit_case
    from benchmarks.skanode.report import markdown

    given = _parser().parse_args(arguments)
    seeds = given.seeds if given.seeds is not None else (2 if given.quick else 10)
    results: dict[str, Any] = {
        "machine": describe_machine(LIBRARIES),
        "parts": {},
    }
    if given.out is not None and given.out.is_file():
        results["parts"] = json.loads(given.out.read_text())["parts"]
    chosen = [name for name in PARTS if name in given.parts]
    if chosen:
        fit_case(Case("warm-up", "duffing", 0.01, 0))  # compiles
    for name in chosen:
        cases = [case for case in PARTS[name][0](seeds, given.quick) if _wanted(case, given)]
        rows = _kept(results, name, given.resume)
        results["parts"][name] = rows
        for case in cases:
            if _made(case.label(), rows):
                continue
            before = _circumstances()
            rows.append(fit_case(case) | before)
            say(_line(rows[-1]))
            _write(results, given.out)
    if NETWORKS in given.parts:
        from benchmarks.skanode.networks import network_cases, train_network

        rows = _kept(results, NETWORKS, given.resume)
        results["parts"][NETWORKS] = rows
        for model, case in network_cases(given.network_seeds, given.quick):
            label = {"model": model, **case.label()}
            if not _wanted(case, given) or _made(label, rows):
                continue
            before = _circumstances()
            seconds = given.network_seconds or (QUICK_SECONDS if given.quick else None)
            rows.append(train_network(model, case, seconds) | before)
            say(f"{model} {case.name} noise {case.noise:g} {case.seed}: {rows[-1]['mse']}")
            _write(results, given.out)
    text = markdown(results)
    if given.out is None:
        say("\n" + text)
    else:
        given.out.with_suffix(".md").write_text(text)
    return results


def _wanted(case: Case, given: argparse.Namespace) -> bool:
    return (
        (given.systems is None or case.name in given.systems)
        and (given.noise is None or case.noise in given.noise)
        and (given.start is None or case.start == given.start)
    )


def _write(results: dict[str, Any], out: Path | None) -> None:
    """Keep what is known already: a long run may be interrupted."""
    if out is not None:
        write_results(results, out)


if __name__ == "__main__":
    main()
