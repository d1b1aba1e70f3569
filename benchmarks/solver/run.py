"""Run the cases: guard against endless ones, time, compare with the right answer."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from benchmarks.solver.candidates import Candidate, Step, candidates_of
from benchmarks.solver.cases import Case, Inputs
from benchmarks.solver.measure import COMPILING, interleave, ratio, seconds
from benchmarks.solver.oracle import relative_error, solve_exactly
from benchmarks.solver.roofline import Machine, count_work

__all__ = ["run_case", "slopes"]

#: What a method may say instead of an answer; anything else is a bug and ends the run.
REFUSALS = (ValueError, TypeError, RuntimeError, MemoryError, ImportError, ArithmeticError)

#: Steps times problems below which a case is run without first trying a smaller one.
SMALL = 5000


def run_case(
    case: Case,
    *,
    extra: Iterable[Candidate] = (),
    only: Iterable[str] | None = None,
    budget: float = 4.0,
    limit: float = 60.0,
    exact_steps: int = 10_000,
    machine: Machine | None = None,
) -> dict[str, Any]:
    """Measure all candidates on one case.

    Parameters
    ----------
    case : Case
        The shape.
    extra : iterable of Candidate
        Besides ours.
    only : iterable of str, optional
        Names of the candidates to run; the rest is not mentioned.
    budget : float, default 4.0
        Seconds of interleaved rounds.
    limit : float, default 60.0
        A candidate that would take longer a pass, by runs on smaller cases, is not run. For the
        published code, which is what the comparison is about, ten times that; "auto" always runs.
    exact_steps : int, default 10_000
        Accuracy is not measured above this T: the extended-precision oracle takes too long.
    machine : Machine, optional
        For the roofline.

    Returns
    -------
    dict
        Ready for JSON.
    """
    inputs = case.inputs()
    listed = [c for c in (*candidates_of(case), *extra) if only is None or c.name in set(only)]
    rows: dict[str, dict[str, Any]] = {}
    steps: dict[str, Step] = {}
    known: dict[str, float] = {}
    for candidate in listed:
        row: dict[str, Any] = {"name": candidate.name}
        rows[candidate.name] = row
        try:
            predicted = _predicted(candidate, case)
            if predicted > limit * _patience(candidate):
                row["refused"] = f"not run: about {predicted:.0f} s a pass, by smaller cases"
                continue
            step = candidate.prepare(inputs)
            row["notes"], answer, known[candidate.name] = _attempt(step)
        except REFUSALS as error:
            row["refused"] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            continue
        steps[candidate.name] = step
        row["answer"] = answer
    _add_errors(case, inputs, rows.values(), exact_steps)
    quiet = {name: _quiet(step) for name, step in steps.items()}
    timings = interleave(quiet, budget=budget, known=known)
    for name, timing in timings.items():
        low, high = timing.quartiles
        rows[name].update(
            {
                "median": timing.median,
                "low": low,
                "high": high,
                "fastest": timing.fastest,
                "least_cpu": timing.least_cpu,
                "rounds": len(timing.runs),
            }
        )
        if "auto" in timings and name != "auto":
            rows[name]["over_auto"] = vars(ratio(timing, timings["auto"]))
    report: dict[str, Any] = {
        "name": case.name,
        "case": case.to_dict(),
        "inputs_bytes": inputs.input_bytes,
        "outputs_bytes": inputs.output_bytes,
        "candidates": list(rows.values()),
    }
    best = min((n for n in timings if _is_ours(n)), key=lambda n: timings[n].median, default=None)
    report["best"] = best
    published = [name for name in timings if name.startswith("published")]
    if best is not None and published:
        better = min(published, key=lambda n: timings[n].median)
        report["published"] = better
        report["published_over_best"] = vars(ratio(timings[better], timings[best]))
        # The same from the fastest runs: neither side pays for other load on the machine.
        ours = min(timings[n].fastest for n in timings if _is_ours(n))
        report["published_over_best_fastest"] = min(timings[n].fastest for n in published) / ours
    if machine is not None:
        work = count_work(case, inputs)
        report["work"] = {**vars(work), "floor": work.floor(machine)}
    return report


def _patience(candidate: Candidate) -> float:
    """How much slower than the limit a candidate may be: "auto" is what everyone runs."""
    if candidate.name.startswith("auto"):
        return math.inf
    return 10.0 if candidate.name.startswith("published") else 1.0


def _is_ours(name: str) -> bool:
    """Whether a candidate is ours and does all the work in float64."""
    others = ("published", "LAPACK", "mnn", "two solves")
    return not name.startswith(others) and not name.endswith("float32")


def _attempt(step: Step) -> tuple[list[str], tuple[Any, Mapping[str, Any]], float]:
    """Run once and return what was warned about, the answer and the seconds."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        answer = step()
        elapsed = time.perf_counter() - start
    relevant = [w for w in caught if issubclass(w.category, RuntimeWarning)]
    return sorted({str(w.message).partition(";")[0] for w in relevant}), answer, elapsed


def _quiet(step: Step) -> Callable[[], object]:
    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            step()

    return run


def _predicted(candidate: Candidate, case: Case) -> float:
    """Seconds of one pass, extrapolated from smaller cases; 0 if the case itself is small.

    Compiles and loads what the candidate needs, too.
    """
    if case.problems * case.steps <= SMALL:
        _second_run(candidate, case.smaller(batch=2))
        return 0.0
    if case.batch:
        small = case.smaller(batch=max(case.batch[0] // 16, 1))
        return _second_run(candidate, small) * case.problems / small.problems
    lengths = (200, 400)
    first, second = (_second_run(candidate, case.smaller(steps=steps)) for steps in lengths)
    # Linear cost is the least that can be; small cases show it as less.
    growth = min(max(math.log2(second / first), 1.0), 3.0)
    return second * (case.steps / lengths[1]) ** growth


def _second_run(candidate: Candidate, case: Case) -> float:
    run = _quiet(candidate.prepare(case.inputs()))
    first = seconds(run)
    return seconds(run) if first < COMPILING else first


def _add_errors(
    case: Case, inputs: Inputs, rows: Iterable[dict[str, Any]], exact_steps: int
) -> None:
    """Replace each row's answer by its relative errors, the worst over up to three problems."""
    if case.steps > exact_steps:
        for row in rows:
            row.pop("answer", None)
        return
    picks = sorted({0, case.problems // 2, case.problems - 1})
    indices = [tuple(int(i) for i in np.unravel_index(pick, case.batch)) for pick in picks]
    exact = {index: solve_exactly(inputs, index) for index in indices}
    for row in rows:
        answer = row.pop("answer", None)
        if answer is None or row["name"].startswith("mnn"):
            continue  # the original MNN answers another problem
        y, gradients = answer
        parts = {"y": y, **gradients}
        row["errors"] = {
            name: max(
                relative_error(np.asarray(part)[index], getattr(exact[index], name))
                for index in indices
            )
            for name, part in parts.items()
        }


def slopes(reports: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return how time grows with T for one sequence: slope of log time over log T.

    Parameters
    ----------
    reports : iterable of dict
        From `run_case`, of the group "sequence".

    Returns
    -------
    dict of str to dict
        Per candidate that ran on at least three lengths: ``slope`` over all of them,
        ``steepest`` between two neighbouring lengths, ``shortest`` and ``longest`` T.
    """
    times: dict[str, list[tuple[int, float]]] = {}
    for report in reports:
        for row in report["candidates"]:
            if "median" in row:
                times.setdefault(row["name"], []).append((report["case"]["steps"], row["median"]))
    found = {}
    for name, points in times.items():
        if len(points) < 3:
            continue
        T, t = np.log(np.array(sorted(points), dtype=np.float64)).T
        found[name] = {
            "slope": float(np.polyfit(T, t, 1)[0]),
            "steepest": float((np.diff(t) / np.diff(T)).max()),
            "shortest": float(np.exp(T[0]).round()),
            "longest": float(np.exp(T[-1]).round()),
        }
    return found
