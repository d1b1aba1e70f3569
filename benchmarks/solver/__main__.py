"""Command line: ``python -m benchmarks.solver [--quick] [--cases ...] [--out results.json]``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, say
from benchmarks.results import write_results
from benchmarks.solver.candidates import Candidate
from benchmarks.solver.cases import GROUPS, Case, cases_of

#: Measurements that are not cases.
OTHERS = {
    "roofline": "bandwidth and flop rate of this machine",
    "memory": "peak memory, each case in a process of its own",
    "accuracy": "validation ODEs against closed forms",
    "first-call": "cost of a session's first call, cold and warm disk cache",
}

LIBRARIES = ("numpy", "scipy", "torch", "numba")


def _parser() -> argparse.ArgumentParser:
    listed = "; ".join(f"{name}: {text}" for name, text in {**GROUPS, **OTHERS}.items())
    parser = argparse.ArgumentParser(prog="python -m benchmarks.solver", description=__doc__)
    known = [*GROUPS, *OTHERS]
    parser.add_argument("--cases", nargs="+", choices=known, default=known, help=listed)
    parser.add_argument("--quick", action="store_true", help="smaller shapes, shorter rounds")
    parser.add_argument("--out", type=Path, help="write JSON here, and .md and .png beside it")
    parser.add_argument("--reference", type=Path, help="your copy of the published smnn.py")
    parser.add_argument("--only", nargs="+", help="names of the candidates to time")
    parser.add_argument("--budget", type=float, help="seconds of rounds a case")
    parser.add_argument("--limit", type=float, help="skip candidates slower than this a pass")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to solve")
    return parser


def _memory_rows(quick: bool, reference: Path | None) -> list[dict[str, Any]]:
    from benchmarks.solver.memory import peak_memory

    cases = [Case("varying", (512,), 500), Case("varying", (4096,), 50)]
    cases += cases_of("sst", quick)
    cases += [Case("sequence", (), 10**power) for power in ((5,) if quick else (5, 6))]
    shared = Case("shared", (512, 3), 500, shared=True)
    pairs = [(case, name) for case in cases for name in ("auto", "auto, float32")]
    pairs += [(shared, name) for name in ("auto", "factor kept", "Green operator kept")]
    if reference is not None:
        slow = [Case("sequence", (), 10**5)] if not quick else []
        pairs += [(case, "published") for case in (cases[0], cases[1], *slow, shared)]
    path = None if reference is None else str(reference.resolve())
    rows = []
    for case, candidate in pairs:
        rows.append(
            {"name": case.name, "candidate": candidate, **peak_memory(case, candidate, path)}
        )
        say(f"  memory {case.name} {candidate}: {rows[-1].get('ratio', rows[-1].get('refused'))}")
    return rows


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
    from benchmarks.solver.report import draw, markdown

    # Threads that one candidate leaves spinning would be another's load; read before torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = _parser().parse_args(arguments)
    quick = given.quick
    budget = given.budget if given.budget is not None else (0.5 if quick else 4.0)
    limit = given.limit if given.limit is not None else (5.0 if quick else 60.0)
    if given.device == "cuda":
        from benchmarks.solver.cuda import run_on_card

        return run_on_card(given.cases, quick, budget, limit, given.out)
    results: dict[str, Any] = {"machine": describe_machine(LIBRARIES)}
    results["settings"] = {"quick": quick, "budget": budget, "limit": limit}
    machine = None
    if "roofline" in given.cases:
        from benchmarks.solver.roofline import probe_machine

        machine = probe_machine(32 if quick else 256)
        results["roofline"] = machine.to_dict()
    extra: list[Candidate] = []
    if given.reference is not None:
        from benchmarks.solver.reference import load_reference

        extra += load_reference(given.reference)
    results["cases"] = []
    for group in GROUPS:
        if group not in given.cases:
            continue
        from benchmarks.solver.run import run_case, slopes

        reports = []
        for case in cases_of(group, quick):
            report = run_case(
                case, extra=extra, only=given.only, budget=budget, limit=limit, machine=machine
            )
            reports.append(report)
            times = (
                f"{r['name']} {r['median'] * 1e3:.3g} ms"
                for r in report["candidates"]
                if "median" in r
            )
            say(f"{case.name}: {', '.join(times)}")
        results["cases"] += reports
        if given.out is not None:  # what is known already survives an interruption
            write_results(results, given.out)
        if group == "sequence":
            results["slopes"] = slopes(reports)
    if "memory" in given.cases:
        results["memory"] = _memory_rows(quick, given.reference)
    if "accuracy" in given.cases:
        from benchmarks.solver.accuracy import long_third_order, validation

        results["validation"] = validation(["auto", "mnn_dense", "mnn_conjugate_gradient"])
        results["long_third_order"] = [
            row
            for steps in ((10_000,) if quick else (10_000, 100_000))
            for row in long_third_order(steps)
        ]
    if "first-call" in given.cases:
        from benchmarks.solver.first_call import first_calls

        results["first_call"] = first_calls(1 if quick else 3)
    text = markdown(results)
    if given.out is None:
        say("\n" + text)
    else:
        write_results(results, given.out)
        given.out.with_suffix(".md").write_text(text)
        draw(results, given.out.with_suffix(".png"))
    return results


if __name__ == "__main__":
    main()
