"""Markdown tables from a run's JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
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
    parts.append(_circumstances(found))
    for name, write in writers.items():
        if found.get(name):
            parts.append(write(found[name]))
    if found.get("networks"):
        parts.append(_networks(found["networks"], found.get("table1", [])))
    return "\n".join(parts)


def _circumstances(found: Mapping[str, Rows]) -> str:
    """How many fits of which revision, and how busy the machine was."""
    lines = []
    for part, rows in found.items():
        loads = [row["load"] for row in rows if row.get("load") is not None]
        seeds = {row["seed"] for row in rows}
        revisions = dict.fromkeys(str(row.get("revision", "unknown")) for row in rows)
        lines.append(
            [
                part,
                str(len(rows)),
                str(len(seeds)),
                ", ".join(revisions),
                f"{min(loads):.1f} to {max(loads):.1f}" if loads else "–",
            ]
        )
    head = ["part", "fits", "seeds", "revision", "load when a fit began"]
    return "## Runs\n\n" + _table(head, lines)


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
    parts = (text, _at_the_bound(rows), _beside_published(rows), _honesty(rows))
    return "\n".join(part for part in parts if part)


def _at_the_bound(rows: Rows) -> str:
    """Errors of the displacement beside those of the best unbiased estimate."""
    bounded = [row for row in rows if "mse_bound" in row and row["integrator"] == "accurate"]
    if not bounded:
        return ""
    lines = []
    for group in grouped(bounded).values():
        line = summarise(group)
        names = ("displacement", "bound_displacement_median")
        means = ("displacement_mean", "bound_displacement")
        lines.append(
            [
                *(line["system"], f"{line['noise']:g}", _START[line["start"]]),
                str(line["fits"]),
                *(_figure(line[name]) for name in names + means),
                f"{line['displacement_mean'] / line['bound_displacement']:.2f}",
            ]
        )
    head = ["system", "noise", "initial state", "records", "median", "median at the bound"]
    return (
        "### Errors of x against the Cramer-Rao bound\n\n"
        "Mean squared errors of x over 0 to 60, where the structure is exact, beside those that an "
        "unbiased estimate of least variance has: its covariance, from the sensitivities of the "
        "true trajectory over 0 to 20, carried on to 60.\n\n"
        + _table([*head, "mean", "mean at the bound", "ratio of means"], lines)
    )


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
                _of(line["rate_exact"], line["fits"]),
                _of(line["exact"], line["fits"]),
                *(
                    "–" if math.isnan(line[name]) else f"{line[name]:.5f}"
                    for name in (
                        "correlation",
                        "correlation_median",
                        "correlation_least",
                        "correlation_low",
                    )
                ),
                *_seconds(line),
                f"{line['processor_largest']:.3g}",
            ]
        )
    head = ["system", "noise", "initial state", "exact rate of z", "exact altogether"]
    head += ["correlation of z", "at the bound", "least", "5 % at the bound"]
    head += ["median s", "processor s", "most processor s"]
    rates, exact = (sum(bool(row.get(key)) for row in rows) for key in ("rate_exact", "exact"))
    return (
        "## Hysteresis from acceleration alone\n\n"
        "Medians and the least of all records; at the Cramer-Rao bound, the median, and what a "
        "twentieth of all records stay below.\n\n"
        + _table(head, lines)
        + f"\nThe rate of z is exact in {_of(rates, len(rows))}, all in {exact}.\n"
    )


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
                line["system"].rpartition("_")[2],
                ", ".join(line["measured"]),
                _of(line["exact"], line["fits"]),
                _figure(line["displacement"]),
                _figure(line["bound_displacement_median"]),
                _figure(line["unmeasured"]),
                _figure(line["bound_unmeasured_median"]),
                _figure(line["unmeasured_largest"]),
                *_seconds(line),
                f"{line['processor_largest']:.3g}",
            ]
        )
    head = ["force on", "measured", "exact structure", "MSE x", "at the bound", "unmeasured mass"]
    head += ["at the bound", "largest", "median s", "processor s", "most processor s"]
    return (
        "## Three masses, one cubic spring\n\n"
        "Noise 0.01. Medians; of the unmeasured mass, the mean squared error of its acceleration "
        "over the variance. The bound is that of Cramer and Rao for masses and elements.\n\n"
        + _table(head, lines)
    )


def _networks(rows: Rows, table: Rows) -> str:
    ours = [
        {**row, "model": "SKANODERegressor"}
        for row in table
        if "mse" in row and row["start"] == "rest" and row["integrator"] == "accurate"
    ]
    shown = {(row["system"], row["noise"]) for row in rows}
    compared = [*rows, *(row for row in ours if (row["system"], row["noise"]) in shown)]
    lines = []
    groups = grouped(compared, ("system", "noise", "model"))
    for (system, noise, model), group in sorted(groups.items(), key=lambda item: item[0][:2]):
        cells = []
        for name in ("acceleration", "displacement", "velocity"):
            values = sorted(row["mse"][name] for row in group)
            spread = f" ({_figure(values[0])} to {_figure(values[-1])})" if len(values) > 1 else ""
            cells.append(_figure(float(median(values))) + spread)
        spent = [median(row[name] for row in group) for name in ("seconds", "processor_seconds")]
        times = [f"{value:.3g}" for value in spent]
        lines.append([model, system, noise, str(len(group)), *cells, *times])
    head = ["model", "system", "noise", "records", "MSE a", "MSE x", "MSE v", "s", "processor s"]
    return (
        "## Networks with the same training data\n\n"
        "Medians (least to largest) over the seeds of weights and noise.\n\n" + _table(head, lines)
    )
