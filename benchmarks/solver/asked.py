"""What was asked of the solver, beside what a run found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["asked_and_found"]

#: Published code over ours, by case.
RATIOS = {
    "shared (512, 50)": 150,
    "shared (4096, 50)": 180,
    "shared (512, 500)": 60,
    "varying (512, 50)": 100,
    "varying (4096, 50)": 100,
    "sequence (1, 10000)": 2500,
    "sequence (1, 100000)": 2500,
}
PBSV = "LAPACK pbsv, assembly and two solves"

Row = tuple[str, str, str, bool]


def asked_and_found(results: Mapping[str, Any]) -> list[Row]:
    """Compare a run with what was asked.

    Parameters
    ----------
    results : mapping
        What ``python -m benchmarks.solver --out`` wrote.

    Returns
    -------
    list of tuple
        What, what was asked, what was found, and whether that is enough.
    """
    cases = {report["name"]: report for report in results.get("cases", [])}
    rows: list[Row] = []
    for name, asked in RATIOS.items():
        report = cases.get(name)
        if report is not None and "published_over_best" in report:
            rows.append(_published(report, asked))
    longest = _times(cases.get("sequence (1, 1000000)")).get("auto")
    if longest is not None:
        found = f"{1e3 * longest['median']:.3g} ms (fastest {1e3 * longest['fastest']:.3g} ms"
        cpu = longest.get("least_cpu")
        found += f"; {1e3 * cpu:.3g} ms of CPU time, all threads)" if cpu else ")"
        rows.append(("1e6 steps, forward + backward", "< 120 ms", found, longest["median"] < 0.12))
    for row in results.get("memory", []):
        if (row["name"], row["candidate"]) == ("sequence (1, 1000000)", "auto"):
            enough = row["ratio"] <= 1.5
            bound = "<= 1.5 x (inputs + outputs)"
            rows.append(("peak memory at 1e6 steps", bound, f"{row['ratio']:.2f}", enough))
    slope = results.get("slopes", {}).get("auto")
    if slope is not None:
        found = f"{slope['slope']:.2f} over {slope['shortest']:g} to {slope['longest']:g}"
        found += f", {slope['steepest']:.2f} in the steepest decade"
        rows.append(("log-log slope in T", "<= 1.05", found, slope["slope"] <= 1.05))
    for steps in (10_000, 100_000, 1_000_000):
        times = _times(cases.get(f"sequence (1, {steps})"))
        if PBSV in times and "auto" in times:
            rows.append(_lapack(steps, times[PBSV], times["auto"]))
    rows += _accuracy(results)
    for row in results.get("first_call", []):
        warm = row["warm"]
        total = warm["first_forward"] + warm["first_backward"]
        what = f"first call, warm disk cache, block {3 * row['variables']}, "
        what += f"{row['left_hand_side']}, {row['problems']} problems ({warm['method']})"
        rows.append((what, "< 0.5 s", f"{1e3 * total:.3g} ms", total < 0.5))
    return rows


def _times(report: Mapping[str, Any] | None) -> dict[str, Any]:
    listed = [] if report is None else report["candidates"]
    return {row["name"]: row for row in listed if "median" in row}


def _published(report: Mapping[str, Any], asked: float) -> Row:
    times, ratio = _times(report), report["published_over_best"]["median"]
    found = f"{ratio:.3g} (fastest runs {report['published_over_best_fastest']:.3g})"
    as_run = times.get("published")
    if as_run is not None and "over_auto" in as_run:
        found += f"; as its authors run it {as_run['over_auto']['median']:.3g}"
    found += _cpu_ratio(times.get("published, one thread"), times.get("auto"))
    needed = times[report["published"]]["median"] / asked
    floor = report.get("work", {}).get("floor")
    found += f"; {asked} would need {1e3 * needed:.3g} ms"
    if floor is not None:
        found += f", the roofline is {1e3 * floor:.3g} ms"
    return f"published code / ours, {report['name']}", f"{asked}", found, ratio >= asked


def _cpu_ratio(theirs: Mapping[str, Any] | None, ours: Mapping[str, Any] | None) -> str:
    """In CPU time of all threads."""
    pair = [(row or {}).get("least_cpu") for row in (theirs, ours)]
    return f"; in CPU time {pair[0] / pair[1]:.3g}" if pair[0] and pair[1] else ""


def _lapack(steps: int, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Row:
    ratio = theirs["over_auto"]["median"]
    fastest = theirs["fastest"] / ours["fastest"]
    what = "LAPACK pbsv (assembly, two solves) / ours (and all gradients, refinement), T = "
    found = f"{ratio:.2g} (fastest runs {fastest:.2g})" + _cpu_ratio(theirs, ours)
    return f"{what}{steps:,}", "10", found, ratio >= 10


def _accuracy(results: Mapping[str, Any]) -> list[Row]:
    rows: list[Row] = []
    defaults = [
        row
        for row in results.get("validation", [])
        if row["preset"] == "accurate" and row["method"] == "auto" and "mse" in row
    ]
    if defaults:
        value = max(row["mse"][0] for row in defaults)
        slope = max(max(row["mse"][1:]) for row in defaults)
        what = "six validation ODEs, default settings, MSE of y"
        rows.append((what, "< 1e-14", f"at most {value:.1e}", value < 1e-14))
        rows.append(("the same, y' and y''", "< 1e-10", f"at most {slope:.1e}", slope < 1e-10))
    for row in results.get("long_third_order", []):
        single = row["dtype"] == "float32"
        error = row["relative_error"]
        bound = 1e-6 if single else 1e-7
        what = f"third-order ODE, {row['steps']:,} steps, {row['dtype']}"
        asked = "right to float32" if single else "1e-07"
        rows.append((what, asked, f"{error:.1e}", error < bound))
    errors = [
        error
        for report in results.get("cases", [])
        for row in report["candidates"]
        if row["name"] == "auto"
        for name, error in (row.get("errors") or {}).items()
        if name != "y"
    ]
    if errors:
        what = "gradients against the oracle, worst of all cases, relative to the largest"
        rows.append((what, "1e-9", f"{max(errors):.1e}", max(errors) < 1e-9))
    return rows
