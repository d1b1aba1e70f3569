"""Markdown tables and a picture from a run's JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.discovery.cases import MAKERS
from benchmarks.discovery.peers import PEER
from benchmarks.discovery.summary import Cell, cells, coverage

__all__ = ["draw", "markdown"]

Row = Mapping[str, Any]

LONGEST_LIST = 12
"""Failures shown of each part."""

CLOSE = 0.05
"""Relative error of constants that counts as close."""

HEAD = (
    "setting",
    "noise",
    "fits",
    "exact",
    "truth listed",
    "coefficient error",
    "R2 > .9 same / other start",
    "CPU s",
)


def markdown(results: Mapping[str, Any]) -> str:
    """Return the tables of a run as Markdown.

    Parameters
    ----------
    results : mapping
        What ``python -m benchmarks.discovery --out`` wrote.
    """
    machine = [[key, str(value)] for key, value in results["machine"].items()]
    parts = ["## Machine\n\n" + _table(["what", "value"], machine)]
    if results.get("peer"):
        parts.append(f"{PEER} was left out: {results['peer']}.\n")
    rows = results["rows"]
    for name, (_, text) in MAKERS.items():
        own = [row for row in rows if row["part"] == name]
        # Complete records of positions belong beside those of positions alone.
        own += [row for row in rows if name == "damage" and row["part"] == "position"]
        if own:
            parts.append(_part(name, text, own))
    if results.get("timing"):
        parts.append(_timing(results["timing"]))
    return "\n".join(parts)


def draw(results: Mapping[str, Any], path: str | Path) -> None:
    """Draw shares of exact structures over noise, ours and PySINDy's.

    Parameters
    ----------
    results : mapping
        What ``python -m benchmarks.discovery --out`` wrote.
    path : str or Path
        PNG or SVG file.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    titles = {
        "classics": "Eleven classics, 1000 samples",
        "short": "Textbook systems, 150 samples",
        "chaotic": "Chaotic systems, 10 periods",
    }
    shown = [name for name in titles if any(row["part"] == name for row in results["rows"])]
    figure, axes = plt.subplots(1, max(len(shown), 1), figsize=(4.0 * max(len(shown), 1), 3.4))
    for axis, name in zip([axes] if len(shown) < 2 else axes, shown, strict=False):
        found = [
            (100.0 * noise, own, other)
            for setting, noise, own, other in cells(
                [row for row in results["rows"] if row["part"] == name]
            )
            if setting == "complete"
        ]
        noise = [str(f"{one:g}") for one, _, _ in found]
        axis.plot(noise, [100.0 * own.exact for _, own, _ in found], "o-", label="SMNNDiscoverer")
        beside = [(at, other) for at, (_, _, other) in zip(noise, found, strict=True) if other]
        if beside:
            places = [at for at, _ in beside]
            axis.plot(places, [100.0 * one.exact for _, one in beside], "s--", label=PEER)
            oracle = [100.0 * (one.oracle or 0.0) for _, one in beside]
            axis.plot(places, oracle, "^:", label=f"{PEER}, best of all settings")
        axis.set(title=titles[name], xlabel="noise (%)", ylim=(-3, 103))
    first = figure.axes[0]
    first.set_ylabel("exact structure (%)")
    if first.lines:
        first.legend(frameon=False, loc="lower left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _part(name: str, text: str, rows: Sequence[Row]) -> str:
    if name == "coverage":
        return _coverage(text, rows)
    if name == "paper":
        return _paper(text, rows)
    lines = []
    for part in dict.fromkeys(row["part"] for row in rows):
        for setting, noise, own, other in cells([row for row in rows if row["part"] == part]):
            label = f"{part}: {setting}" if part != name else setting
            lines.append([label, f"{noise:g}", *_cell(own)])
            if other is not None:
                lines.append([f"{label}, {PEER}", f"{noise:g}", *_cell(other)])
    out = f"## {name.capitalize()}: {text}\n\n{_table(HEAD, lines)}"
    if name == "parameters":
        out += "\n" + _constants(rows)
    valid = [
        [f"{noise:g}", _number(own.valid_periods), _number(other.valid_periods if other else None)]
        for _, noise, own, other in cells([row for row in rows if row["part"] == name])
        if own.valid_periods is not None
    ]
    if valid:
        head = ["noise", "valid periods", f"valid periods, {PEER}"]
        out += "\n" + _table(head, valid)
    failed = [row for row in rows if row["method"] != PEER and not row["exact"]]
    if failed:
        shown = [
            f"- {row['system']}, {row['setting']}, noise {row['noise']:g}, seed {row['seed']}: "
            + _reason(row)
            for row in failed[:LONGEST_LIST]
        ]
        more = len(failed) - LONGEST_LIST
        shown += [f"- and {more} more, in the JSON"] if more > 0 else []
        out += "\nNot exact:\n\n" + "\n".join(shown) + "\n"
    return out


def _reason(row: Row) -> str:
    if "refused" in row:
        return str(row["refused"])
    if "missing" in row:
        parts = [f"{word} {', '.join(row[word])}" for word in ("missing", "extra") if row[word]]
    else:
        parts = str(row["equations"]).splitlines()
    notes = ["truth listed"] if row["listed"] else []
    notes += [] if row["identifiable"] else ["tie reported"]
    notes += ["misfit reported"] if "MisfitWarning" in row["warnings"] else []
    return "; ".join(parts) + (f" ({', '.join(notes)})" if notes else "")


def _cell(cell: Cell) -> list[str]:
    listed = _percent(cell.listed)
    if cell.oracle is not None:
        listed = f"best of all settings {_percent(cell.oracle)}"
    return [
        str(cell.count),
        _percent(cell.exact),
        listed,
        _number(cell.coefficient_error),
        f"{_percent(cell.same)} / {_percent(cell.other)}",
        _number(cell.seconds),
    ]


def _coverage(text: str, rows: Sequence[Row]) -> str:
    lines = [
        [setting, str(fits), str(exact), str(count), f"{share:.3f}", f"{right:.3f}"]
        for setting, fits, exact, count, share, right in coverage(rows)
    ]
    head = ["setting", "fits", "exact", "intervals", "hold the truth", "of exact fits"]
    return f"## Coverage: {text}\n\n{_table(head, lines)}"


def _paper(text: str, rows: Sequence[Row]) -> str:
    lines = [
        [
            "degree 2" if row["setting"] == "library of degree 2" else "degree 3",
            "yes" if row["exact"] else "no",
            str(row.get("n_terms", "-")),
            _number(row.get("largest_error")),
            _number(row.get("processor_seconds")),
        ]
        for row in rows
    ]
    head = ["library", "exact", "terms", "largest coefficient error", "CPU s"]
    return f"## Paper: {text}\n\n{_table(head, lines)}"


def _constants(rows: Sequence[Row]) -> str:
    """Systems one by one: shares of the few seeds would hide which law is meant."""
    lines = []
    for setting, name in dict.fromkeys((row["setting"], row["system"]) for row in rows):
        own = [row for row in rows if (row["setting"], row["system"]) == (setting, name)]
        errors = [row["constants_error"] for row in own if row["exact"]]
        lines.append(
            [
                setting,
                name,
                f"{len(errors)} of {len(own)}",
                f"{sum(error <= CLOSE for error in errors)} of {len(own)}",
                _number(median(errors) if errors else None),
            ]
        )
    close = f"and constants within {100.0 * CLOSE:g} %"
    return _table(["setting", "system", "exact", close, "worst constant, median"], lines)


def _timing(rows: Iterable[Row]) -> str:
    lines = [
        [
            row["label"],
            _number(row["processor_seconds"]),
            _number(row["seconds"]),
            f"{row['goal_seconds']:g}",
            f"{row['peak_megabytes']:.0f}" if "peak_megabytes" in row else "-",
            "yes" if row["exact"] else "no",
        ]
        for row in rows
    ]
    return "## Time of one fit\n\n" + _table(
        ["record", "CPU s", "wall s", "goal s", "peak MB", "exact"], lines
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100.0 * value:.0f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
