"""Markdown tables from a run's JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.skanode.settings import PAPER_SECONDS, PUBLISHED
from benchmarks.skanode.summary import coverage, grouped, summarise

__all__ = ["markdown"]

Rows = Sequence[Mapping[str, Any]]


def markdown(results: Mapping[str, Any]) -> str:
    """Return the tables of a run as Markdown.

    Parameters
    ----------
    results : mapping
        What ``python -m benchmarks.skanode --out`` wrote.
    """
    machine = results["machine"]
    parts = [
        "## Machine\n\n" + _table(["what", "value"], [[k, str(v)] for k, v in machine.items()])
    ]
    found = results["parts"]
    writers = {
        "table1": _table1,
        "laws": _laws,
        "hysteresis": _hysteresis,
        "static": _static,
        "masses": _masses,
    }
    for name, write in writers.items():
        if found.get(name):
            parts.append(write(found[name]))
    if found.get("networks"):
        parts.append(_networks(found["networks"], found.get("table1", [])))
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _figure(value: float) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.2e}" if value and (abs(value) < 1e-2 or abs(value) >= 1e4) else f"{value:.3g}"


def _of(count: int, total: int) -> str:
    return f"{count} of {total}"


def _seconds(line: Mapping[str, Any]) -> list[str]:
    return [f"{line[name]:.3g}" for name in ("seconds", "processor_seconds")]


_START = {"rest": "known", "estimate": "unknown"}


def _table1(rows: Rows) -> str:
    lines = []
    for group in grouped(rows).values():
        line = summarise(group)
        if line["integrator"] == "ode45":
            continue
        lines.append(
            [
                line["system"],
                f"{line['noise']:g}",
                _START[line["start"]],
                _of(line["exact"], line["fits"]),
                str(line["not_converged"]),
                *(_figure(line[name]) for name in ("acceleration", "displacement")),
                *(_figure(line[name]) for name in ("displacement_centred", "velocity")),
                *_seconds(line),
            ]
        )
    head = ["system", "noise", "initial state", "exact structure", "not converged"]
    head += ["MSE a", "MSE x", "MSE x, mean removed", "MSE v", "median s", "processor s"]
    text = (
        "## Duffing and van der Pol from acceleration alone\n\n"
        "Medians over the seeds; fitted to 0 to 20, free run scored over 0 to 60, accelerations "
        "against the noisy ones (their floor is the noise's variance).\n\n" + _table(head, lines)
    )
    return text + "\n" + _beside_published(rows) + "\n" + _honesty(rows)


def _beside_published(rows: Rows) -> str:
    """Duffing made by the paper's integrator, beside the paper's figures."""
    same = [row for row in rows if row["integrator"] == "ode45" and "mse" in row]
    lines = []
    for (model, noise), values in PUBLISHED.items():
        lines.append([f"{model}, published", f"{noise:g}", *map(_figure, values), "–", "–"])
    for group in grouped(same).values():
        line = summarise(group)
        figures = [_figure(line[name]) for name in ("acceleration", "displacement", "velocity")]
        lines.append(["ours", f"{line['noise']:g}", *figures, *_seconds(line)])
    if not same:
        return ""
    seconds = summarise(same)["seconds"]
    return (
        "### Beside the published table (records by ode45 at its default tolerances)\n\n"
        + _table(["model", "noise", "MSE a", "MSE x", "MSE v", "median s", "processor s"], lines)
        + f"\nThe paper's third stage took {PAPER_SECONDS:g} s: {PAPER_SECONDS / seconds:.0f} "
        "times the median of our whole fits.\n"
    )


def _honesty(rows: Rows) -> str:
    lines = []
    known = [row for row in rows if row.get("integrator", "accurate") == "accurate"]
    for key, group in grouped(known, ("system", "noise", "start")).items():
        figures = coverage(group)
        if not figures["coefficients"]:
            continue
        lines.append([*_named(key), *_coverage_cells(figures)])
    overall = coverage(known)
    if not overall["coefficients"]:
        return ""
    lines.append(["all", "", "", *_coverage_cells(overall)])
    head = ["system", "noise", "initial state", "coefficients", "within 95 %", "std / bound"]
    return (
        "### Standard errors, where the structure is exact\n\n"
        "Share of true coefficients within 1.96 standard errors, standard errors over the "
        "Cramer-Rao bound (median, tenth to ninetieth percentile), and root mean square error over "
        "the bound.\n\n" + _table([*head, "10 to 90 %", "error / bound"], lines)
    )


def _named(key: Sequence[str]) -> list[str]:
    return [key[0], key[1], _START.get(key[2], key[2])]


def _coverage_cells(figures: Mapping[str, float]) -> list[str]:
    return [
        str(int(figures["coefficients"])),
        f"{figures['covered']:.3f}",
        f"{figures['std_over_bound']:.3f}",
        f"{figures['std_over_bound_10']:.2f} to {figures['std_over_bound_90']:.2f}",
        f"{figures['error_over_bound']:.2f}",
    ]


def _laws(rows: Rows) -> str:
    lines, totals = [], {}
    for group in grouped(rows).values():
        line = summarise(group)
        count = len(line["amplitudes"])
        lines.append(
            [
                line["system"],
                f"{line['noise']:g}",
                str(count),
                _of(line["exact"], line["fits"]),
                _figure(line["law_error"]),
                str(line["warned"]),
                *_seconds(line),
            ]
        )
        exact, fits = totals.get(count, (0, 0))
        totals[count] = (exact + line["exact"], fits + line["fits"])
    head = ["law", "noise", "amplitudes", "exact structure", "error of the law", "warned"]
    said = "; ".join(f"{_of(*total)} from {count}" for count, total in sorted(totals.items()))
    return (
        "## Ten classical nonlinearities\n\n"
        "The error is that of the acceleration as a function, relative, where the true motion "
        "went.\n\n"
        + _table([*head, "median s", "processor s"], lines)
        + f"\nExact: {said} amplitudes.\n"
    )


def _hysteresis(rows: Rows) -> str:
    lines = []
    for group in grouped(rows).values():
        line = summarise(group)
        lines.append(
            [
                line["system"],
                f"{line['noise']:g}",
                _START[line["start"]],
                _of(line["exact"], line["fits"]),
                _of(line["hidden"], line["fits"]),
                f"{line['correlation']:.6f}",
                f"{line['multiple_correlation']:.6f}",
                *_seconds(line),
            ]
        )
    head = ["system", "noise", "initial state", "exact structure", "hidden state found"]
    head += ["correlation of z", "with a share of x", "median s", "processor s"]
    return "## Hysteresis from acceleration alone\n\n" + _table(head, lines)


def _static(rows: Rows) -> str:
    lines = []
    for group in grouped(rows).values():
        line = summarise(group)
        lines.append(
            [
                line["system"],
                line.get("library", "default"),
                _of(line["hidden"], line["fits"]),
                _of(line["warned"], line["fits"]),
                _of(line["exact"], line["fits"]),
            ]
        )
    head = ["system", "library", "false hidden states", "warned", "exact structure"]
    return "## No hidden state where there is none\n\n" + _table(head, lines)


def _masses(rows: Rows) -> str:
    lines = []
    for group in grouped(rows).values():
        line = summarise(group)
        lines.append(
            [
                ", ".join(line["measured"]),
                f"{line['noise']:g}",
                _of(line["exact"], line["fits"]),
                _figure(line["displacement"]),
                _figure(line["unmeasured"]),
                *_seconds(line),
            ]
        )
    head = ["measured", "noise", "exact structure", "MSE x"]
    head += ["unmeasured mass, MSE / variance", "median s", "processor s"]
    return "## Three masses, one cubic spring\n\n" + _table(head, lines)


def _networks(rows: Rows, table: Rows) -> str:
    lines = []
    for row in rows:
        figures = [_figure(row["mse"][name]) for name in ("acceleration", "displacement")]
        figures.append(_figure(row["mse"]["velocity"]))
        lines.append([row["model"], row["system"], f"{row['noise']:g}", *figures, *_seconds(row)])
    ours = [
        r for r in table if "mse" in r and r["start"] == "rest" and r["integrator"] == "accurate"
    ]
    shown = {(row["system"], f"{row['noise']:g}") for row in rows}
    for group in grouped(ours).values():
        line = summarise(group)
        if (line["system"], f"{line['noise']:g}") in shown:
            figures = [_figure(line[name]) for name in ("acceleration", "displacement", "velocity")]
            cells = ["SKANODERegressor", line["system"], f"{line['noise']:g}"]
            lines.append([*cells, *figures, *_seconds(line)])
    head = ["model", "system", "noise", "MSE a", "MSE x", "MSE v", "s", "processor s"]
    return "## Networks with the same training data\n\n" + _table(head, lines)
