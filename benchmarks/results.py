"""Results of a benchmark as JSON that people may keep in git: a fit a line, six digits a number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["write_results"]

LINES_DEEP = 3
"""Containers down to this depth have an entry a line: sections, their parts, their rows."""


def write_results(results: dict[str, Any], path: Path) -> None:
    """Write results as JSON.

    Parameters
    ----------
    results : dict
        Of dicts, lists, text and numbers; numpy's numbers are taken as floats.
    path : Path
    """
    path.write_text(_text(_shortened(results), 1) + "\n")


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _shortened(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return float(f"{float(value):.6g}")


def _text(value: Any, depth: int) -> str:
    if not value or depth > LINES_DEEP or not isinstance(value, dict | list):
        return json.dumps(value)
    if isinstance(value, dict):
        entries = [f"{json.dumps(key)}: {_text(item, depth + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(entries) + "\n}"
    return "[\n" + ",\n".join(_text(item, depth + 1) for item in value) + "\n]"
