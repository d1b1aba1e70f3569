"""Rates, medians and coverage from single fits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["MEASURES", "coverage", "grouped", "summarise"]

MEASURES = ("acceleration", "displacement", "displacement_centred", "velocity")

_KEYS = ("system", "noise", "start", "amplitudes", "measured", "integrator", "library")


def grouped(
    rows: Iterable[Mapping[str, Any]], keys: Sequence[str] = _KEYS
) -> dict[tuple[str, ...], list[Mapping[str, Any]]]:
    """Rows that differ in their seed only, under what they have in common."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row.get(key, "")) for key in keys), []).append(row)
    return groups


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One line for a group of fits.

    Parameters
    ----------
    rows : sequence of mapping
        From `benchmarks.skanode.fitting.fit_case`.

    Returns
    -------
    dict
        Counts of fits, of exact structures, of fits that did not converge; medians of seconds and
        errors; the shortest common label.
    """
    done = [row for row in rows if "refused" not in row]
    line: dict[str, Any] = {key: rows[0][key] for key in _KEYS if key in rows[0]}
    line["fits"] = len(rows)
    line["exact"] = sum(bool(row["exact"]) for row in done)
    line["rate_exact"] = sum(bool(row.get("rate_exact")) for row in done)
    line["not_converged"] = len(rows) - sum(bool(row["converged"]) for row in done)
    line["hidden"] = sum(bool(row.get("hidden")) for row in done)
    line["warned"] = sum(bool(row["warnings"]) for row in done)
    for key in ("seconds", "processor_seconds", "law_error", "correlation", "multiple_correlation"):
        line[key] = _median(row[key] for row in done if key in row)
    for measure in MEASURES:
        values = [row["mse"][measure] for row in done if "mse" in row]
        line[measure] = _median(values)
    missed = [r["mse"]["unmeasured"] for r in done if "unmeasured" in r.get("mse", {})]
    line["unmeasured"] = _median(missed)
    line["unmeasured_largest"] = max(missed, default=math.nan)
    line["correlation_least"] = min(
        (r["correlation"] for r in done if "correlation" in r), default=math.nan
    )
    line["processor_largest"] = max((row["processor_seconds"] for row in done), default=math.nan)
    for name in ("median", "low"):
        line[f"correlation_{name}"] = _median(
            row["correlation_bound"][name] for row in done if "correlation_bound" in row
        )
    for name in ("displacement_median", "displacement", "unmeasured_median"):
        line[f"bound_{name}"] = _median(
            row["mse_bound"][name] for row in done if name in row.get("mse_bound", {})
        )
    line["displacement_mean"] = _mean(
        row["mse"]["displacement"] for row in done if "mse_bound" in row
    )
    return line


def coverage(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """How honest the standard errors are, over all coefficients of exact structures.

    Returns
    -------
    dict
        ``coefficients`` (how many), ``covered`` (share of true values within 1.96 standard errors),
        ``std_over_bound`` (median of standard error over the Cramer-Rao bound), its extremes, and
        ``error_over_bound`` (root mean square of error over bound).
    """
    parts = [part for row in rows for part in row.get("coefficients", [])]
    parts = [part for part in parts if part["std"] > 0 and part["bound"] > 0]
    if not parts:
        return {"coefficients": 0}
    away = np.array([part["estimate"] - part["true"] for part in parts])
    std = np.array([part["std"] for part in parts])
    bound = np.array([part["bound"] for part in parts])
    return {
        "coefficients": len(parts),
        "covered": float(np.mean(np.abs(away) <= 1.96 * std)),
        "std_over_bound": float(np.median(std / bound)),
        "std_over_bound_10": float(np.quantile(std / bound, 0.1)),
        "std_over_bound_90": float(np.quantile(std / bound, 0.9)),
        "error_over_bound": float(np.sqrt(np.mean((away / bound) ** 2))),
    }


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return float(np.mean(listed)) if listed else math.nan


def _median(values: Iterable[float]) -> float:
    listed = list(values)
    return float(np.median(listed)) if listed else math.nan
