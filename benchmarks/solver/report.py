"""Markdown tables and the plot from a run's JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.solver.asked import asked_and_found

__all__ = ["draw", "markdown"]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _duration(value: float) -> str:
    if value >= 1.0:
        return f"{value:.3g} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} µs"


def _ratio(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "–"
    low, high = value["low"], value["high"]
    return f"{value['median']:.3g} ({low:.3g} to {high:.3g})"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.3g} MB"


def _case_table(report: Mapping[str, Any]) -> str:
    rows = []
    for row in report["candidates"]:
        if "refused" in row:
            rows.append([row["name"], "–", "–", "–", "–", row["refused"].replace("|", "/")])
            continue
        spread = f"{_duration(row['median'])} ({_duration(row['low'])} to {_duration(row['high'])})"
        if row["rounds"] == 1:
            spread = f"{_duration(row['median'])} (one run)"
        errors = row.get("errors")
        worst = "–"
        if errors:
            gradients = [value for name, value in errors.items() if name != "y"]
            worst = f"{errors['y']:.1e}, {max(gradients):.1e}"
        over = "1" if row["name"] == "auto" else _ratio(row.get("over_auto"))
        fastest = _duration(row["fastest"]) if "fastest" in row else "–"
        note = "; ".join(row.get("notes", []))
        rows.append([row["name"], spread, fastest, over, worst, note])
    head = ["candidate", "median (quartiles)", "fastest", "time / auto"]
    head += ["error of y, gradients", "note"]
    return f"### {report['name']}\n\n" + _table(head, rows)


def _fastest(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


#: The published solver as its authors run it, and where that is faster.
PUBLISHED = ("published", "published, one thread")


def _published(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    over = row.get("over_auto")
    return _duration(row["median"]) + (f"; {over['median']:.3g}" if over else "")


def _cpu_ratio(times: Mapping[str, Any]) -> str:
    """Of all threads; the published solver on one, where it has no threads that wait for others."""
    ours, theirs = (times.get(name, {}).get("least_cpu") for name in ("auto", PUBLISHED[1]))
    return f"{theirs / ours:.3g}" if ours and theirs else "–"


def _summary(reports: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for report in reports:
        times = {r["name"]: r for r in report["candidates"] if "median" in r}
        auto = times.get("auto")
        best = times.get(report.get("best") or "")
        floor = report.get("work", {}).get("floor")
        rows.append(
            [
                report["name"],
                _duration(auto["median"]) if auto else "–",
                f"{_duration(best['median'])} ({best['name']})" if best else "–",
                *(_published(times.get(name)) for name in PUBLISHED),
                _ratio(report.get("published_over_best")),
                _fastest(report.get("published_over_best_fastest")),
                _duration(auto["least_cpu"]) if auto and auto.get("least_cpu") else "–",
                _cpu_ratio(times),
                f"{best.get('fastest', best['median']) / floor:.3g}" if best and floor else "–",
            ]
        )
    head = ["case (problems, T)", "auto", "best of ours"]
    head += ["published, torch's threads; over auto", "published, one thread; over auto"]
    tail = ["faster of these / best", "same, fastest runs", "least CPU time, auto"]
    tail += ["published, one thread / auto, in CPU time", "best / roofline"]
    return _table([*head, *tail], rows)


def markdown(results: Mapping[str, Any]) -> str:
    """Return the tables of a run as Markdown.

    Parameters
    ----------
    results : mapping
        What ``python -m benchmarks.solver --out`` wrote.
    """
    parts = []
    machine = results["machine"]
    parts.append(
        "## Machine\n\n" + _table(["what", "value"], [[k, str(v)] for k, v in machine.items()])
    )
    if "roofline" in results:
        r = results["roofline"]
        parts.append(
            "Measured: "
            f"{r['bandwidth'] / 1e9:.1f} GB/s on {r['threads']} threads, "
            f"{r['bandwidth_one_thread'] / 1e9:.1f} GB/s on one, "
            f"{r['matmul'] / 1e9:.0f} Gflop/s in a matrix product on {r['threads']} threads, "
            f"{r['lanes'] / 1e9:.0f} Gflop/s in multiply-add chains on one.\n"
        )
    reports = results.get("cases", [])
    asked = asked_and_found(results)
    if asked:
        rows = [
            [what, wanted, found, "yes" if met else "**no**"] for what, wanted, found, met in asked
        ]
        parts.append(
            "## Against what was asked\n\n" + _table(["what", "asked", "found", "met"], rows)
        )
    if reports:
        parts.append("## Forward and backward\n\n" + _summary(reports))
    if results.get("slopes"):
        rows = [
            [
                name,
                f"{s['slope']:.3f}",
                f"{s['steepest']:.2f}",
                f"{s['shortest']:g} to {s['longest']:g}",
            ]
            for name, s in results["slopes"].items()
        ]
        head = ["candidate", "log-log slope", "steepest decade", "T"]
        parts.append("## Growth with T, one sequence\n\n" + _table(head, rows))
    if results.get("memory"):
        parts.append("## Peak memory\n\n" + _memory_table(results["memory"]))
    if results.get("validation"):
        parts.append("## Accuracy, closed forms\n\n" + _validation_table(results["validation"]))
    if results.get("long_third_order"):
        rows = [
            [f"{r['steps']:g}", r["dtype"], r["used"], f"{r['relative_error']:.1e}"]
            for r in results["long_third_order"]
        ]
        parts.append(
            "Third-order ODE over many steps of 0.01:\n\n"
            + _table(["T", "input", "method used", "relative error of y"], rows)
        )
    if results.get("first_call"):
        parts.append("## First call\n\n" + _first_call_table(results["first_call"]))
    if reports:
        parts.append("## Every candidate\n\n" + "\n".join(_case_table(r) for r in reports))
    return "\n".join(parts)


def _memory_table(memory: Iterable[Mapping[str, Any]]) -> str:
    rows = []
    for row in memory:
        if "refused" in row:
            rows.append([row["name"], row["candidate"], "–", "–", "–", row["refused"]])
            continue
        sizes = [_megabytes(row[key]) for key in ("inputs", "outputs", "extra")]
        rows.append([row["name"], row["candidate"], *sizes, f"{row['ratio']:.2f}"])
    head = ["case", "candidate", "inputs", "outputs", "added at the peak"]
    return _table([*head, "(inputs + added) / (inputs + outputs)"], rows)


def _validation_table(validation: Iterable[Mapping[str, Any]]) -> str:
    rows = []
    for row in validation:
        mse = [f"{value:.1e}" for value in row.get("mse", ())] or [
            row.get("refused", "–"),
            "–",
            "–",
        ]
        used = row.get("used", "–") + (" (not converged)" if row.get("status") == 5 else "")
        rows.append([row["ode"], row["preset"], used, *mse])
    return _table(["ODE", "preset", "method", "MSE y", "MSE y'", "MSE y''"], rows)


def _first_call_table(first: Iterable[Mapping[str, Any]]) -> str:
    rows = []
    for row in first:
        for kind in ("cold", "warm"):
            run = row[kind]
            total = run["first_forward"] + run["first_backward"]
            again = run["second_forward"] + run["second_backward"]
            imports = f"{_duration(run['import'])}, {_duration(run['import_torch'])}"
            what = [str(3 * row["variables"]), row["left_hand_side"]]
            what += [str(row.get("problems", 16)), str(run.get("method", "–")), kind]
            rows.append([*what, imports, _duration(total), _duration(again)])
    head = ["block", "left-hand side", "problems", "method", "kernels on disk"]
    head.append("import gpu_solver, torch")
    return _table([*head, "first call", "second call"], rows)


def draw(results: Mapping[str, Any], path: str | Path) -> None:
    """Draw time over T for one sequence, and each case beside its roofline.

    Parameters
    ----------
    results : mapping
        As for `markdown`.
    path : path
        Where to write the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    reports = results.get("cases", [])
    lines: dict[str, list[tuple[int, float]]] = {}
    for report in reports:
        if report["case"]["group"] == "sequence":
            for row in report["candidates"]:
                if "median" in row:
                    point = (report["case"]["steps"], row["median"])
                    lines.setdefault(row["name"], []).append(point)
    for name, points in lines.items():
        style = {"marker": "o", "markersize": 3.5, "linewidth": 2.4 if name == "auto" else 1.1}
        dashed = name.startswith(("published", "LAPACK", "mnn"))
        left.plot(
            *zip(*points, strict=True), label=name, linestyle="--" if dashed else "-", **style
        )
    left.set(xlabel="steps T", ylabel="forward + backward [s]")
    left.set_title("One sequence")
    left.grid(alpha=0.3)
    if lines:
        left.set(xscale="log", yscale="log")
        left.legend(fontsize=6, loc="lower right")
    others = [report for report in reports if report["case"]["group"] != "sequence"]
    for name, marker in (("auto", "o"), ("best", "s"), ("published", "^"), ("roofline", "|")):
        places, values = [], []
        for place, report in enumerate(others):
            times = {r["name"]: r["median"] for r in report["candidates"] if "median" in r}
            times["roofline"] = report.get("work", {}).get("floor")
            value = times.get(report.get(name) if name in ("best", "published") else name)
            if value is not None:
                places.append(place)
                values.append(value)
        label = "best of ours" if name == "best" else name
        hollow = {"facecolors": "none", "edgecolors": "C1"} if name == "best" else {}
        right.scatter(values, places, marker=marker, s=60, label=label, **hollow)
    right.set_yticks(range(len(others)), [report["name"] for report in others])
    right.invert_yaxis()
    right.set(xlabel="forward + backward [s]")
    right.set_title("Batches (problems, T)")
    right.grid(alpha=0.3)
    if others:
        right.set(xscale="log")
        right.legend(fontsize=7)
    figure.savefig(path, dpi=110)
