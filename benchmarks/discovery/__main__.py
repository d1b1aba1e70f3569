"""Command line: ``python -m benchmarks.discovery [--quick] [--parts ...] [--out results.json]``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.discovery.cases import MAKERS, Case
from benchmarks.discovery.peers import PEER
from benchmarks.discovery.summary import case_of
from benchmarks.machine import describe_machine, say
from benchmarks.results import write_results

TIMING = "timing"

#: Parts whose records PySINDy can be given.
COMPARED = ("classics", "short", "chaotic", "failure")

LIBRARIES = ("numpy", "scipy", "numba", "scikit-learn")


def _parser() -> argparse.ArgumentParser:
    listed = "; ".join(f"{name}: {text}" for name, (_, text) in MAKERS.items())
    listed = listed.replace("%", "%%")  # argparse fills in what follows a percent sign
    parser = argparse.ArgumentParser(prog="python -m benchmarks.discovery", description=__doc__)
    known = [*MAKERS, TIMING]
    parser.add_argument(
        "--parts", nargs="+", choices=known, default=known, help=f"{listed}; timing: seconds"
    )
    parser.add_argument("--quick", action="store_true", help="few systems, one noise")
    parser.add_argument("--seeds", type=int, help="records of each setting (1 if quick, else 5)")
    parser.add_argument(
        "--half",
        choices=["all", "development", "held-out"],
        default="all",
        help="of the textbook and chaotic systems; mend methods on the development half only",
    )
    parser.add_argument(
        "--longest",
        type=int,
        help="timing: of records of at most so many samples (1000 if quick, else 10,000); "
        "1000000 takes minutes and gigabytes",
    )
    parser.add_argument("--noise", nargs="+", type=float, help="at these noise levels only")
    parser.add_argument("--systems", nargs="+", help="of these systems only")
    parser.add_argument(
        "--peer", default=sys.executable, help="interpreter that has PySINDy; 'none' leaves it out"
    )
    parser.add_argument("--only-peer", action="store_true", help=f"run {PEER} only")
    parser.add_argument(
        "--out",
        type=Path,
        help="write JSON here, and .md and .png beside it; fits that are there are not repeated",
    )
    return parser


def _line(row: dict[str, Any]) -> str:
    found = "exact" if row["exact"] else row.get("refused", "not exact")
    label = " ".join(str(part) for part in case_of(row))
    return f"{row['method']} {label}: {found}, {row.get('processor_seconds', 0.0):.2f} s"


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
    from benchmarks.discovery.fitting import fit_case
    from benchmarks.discovery.peers import peer_missing, peer_rows
    from benchmarks.discovery.report import draw, markdown

    given = _parser().parse_args(arguments)
    results: dict[str, Any] = {
        "machine": describe_machine(LIBRARIES),
        "peer": None,
        "rows": [],
        "timing": [],
    }
    if given.out is not None and given.out.is_file():
        held = json.loads(given.out.read_text())
        results |= {name: held[name] for name in ("rows", "timing")}
    done = {(row["method"] == PEER, *case_of(row)) for row in results["rows"]}
    cases = _cases(given)
    if not given.only_peer:
        todo = [case for case in cases if (False, *case_of(case.label())) not in done]
        for count, case in enumerate(todo):
            if not count:
                fit_case(case)  # compiles
            results["rows"].append(fit_case(case))
            say(_line(results["rows"][-1]))
            _write(results, given.out)
    results["peer"] = "not asked for" if given.peer == "none" else peer_missing(given.peer)
    if results["peer"] is None:
        todo = [
            case
            for case in cases
            if case.part in COMPARED and (True, *case_of(case.label())) not in done
        ]
        for row in peer_rows(todo, given.peer):
            results["rows"].append(row)
            say(_line(row))
            _write(results, given.out)
    elif any(row["method"] == PEER for row in results["rows"]):
        results["peer"] = None  # from an earlier run
    if TIMING in given.parts and not given.only_peer:
        _time(results, given)
    text = markdown(results)
    if given.out is None:
        say("\n" + text)
    else:
        _write(results, given.out)
        given.out.with_suffix(".md").write_text(text)
        draw(results, given.out.with_suffix(".png"))
    return results


def _cases(given: argparse.Namespace) -> list[Case]:
    seeds = given.seeds if given.seeds is not None else (1 if given.quick else 5)
    return [
        case
        for name in MAKERS
        if name in given.parts
        for case in MAKERS[name][0](seeds, given.quick, given.half)
        if (given.noise is None or case.noise in given.noise)
        and (given.systems is None or case.system in given.systems)
    ]


def _time(results: dict[str, Any], given: argparse.Namespace) -> None:
    from benchmarks.discovery.timing import time_fits

    results["timing"] = []
    longest = given.longest or (1000 if given.quick else 10_000)
    for row in time_fits(longest):
        results["timing"].append(row)
        say(f"{row['label']}: {row['processor_seconds']:.2f} s")
        _write(results, given.out)


def _write(results: dict[str, Any], out: Path | None) -> None:
    """Keep what is known already: a long run may be interrupted."""
    if out is not None:
        write_results(results, out)


if __name__ == "__main__":
    main()
