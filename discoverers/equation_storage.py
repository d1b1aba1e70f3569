"""Equations as a dictionary of text and numbers, and back without evaluating any of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sympy.core.function import AppliedUndef

from discoverers.equation_checks import checked_orders, derivative_names
from discoverers.expressions import expression_text, needs_alias, parse_expression

if TYPE_CHECKING:
    from discoverers.equations import Equations

__all__ = ["read_equations", "write_equations"]

_FORMAT = "discoverers.equations/1"
_KEYS = ("state_names", "input_names", "time_name", "order", "functions", "aliases")


def write_equations(equations: Equations) -> dict[str, Any]:
    """The dictionary of `Equations.to_dict`."""
    functions = sorted(
        {part.func.__name__ for expr in equations for part in expr.atoms(AppliedUndef)}
    )
    aliases = _aliases([variable.name for variable in equations.variables], functions)
    return {
        "format": _FORMAT,
        "state_names": list(equations.state_names),
        "input_names": list(equations.input_names),
        "time_name": equations.time_name,
        "order": equations.order if isinstance(equations.order, int) else list(equations.order),
        "functions": functions,
        "aliases": {alias: name for name, alias in aliases.items()},
        "right_hand_sides": [expression_text(expr, aliases, functions) for expr in equations],
    }


def read_equations(data: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Equations` in such a dictionary.

    Raises
    ------
    ValueError
        If keys are missing, the format is unknown, or text cannot be read.
    """
    if data.get("format") != _FORMAT:
        raise ValueError(f"data has format {data.get('format')!r}, expected {_FORMAT!r}")
    missing = [key for key in (*_KEYS, "right_hand_sides") if key not in data]
    if missing:
        raise ValueError(f"data lacks the keys {missing}; pass what Equations.to_dict returned")
    states, inputs, order = data["state_names"], data["input_names"], data["order"]
    aliases = dict(data["aliases"])
    hidden = set(aliases.values())
    names = (*derivative_names(states, checked_orders(order, len(states))), *inputs)
    readable = {name: name for name in names if name not in hidden} | aliases
    texts = data["right_hand_sides"]
    return {
        "exprs": [parse_expression(text, readable, data["functions"]) for text in texts],
        "state_names": states,
        "input_names": inputs,
        "time_name": data["time_name"],
        "order": order,
    }


def _aliases(names: Sequence[str], functions: Iterable[str]) -> dict[str, str]:
    taken = {*names, *functions}
    aliases: dict[str, str] = {}
    for name in names:
        if needs_alias(name) or name in set(functions):
            number = len(aliases)
            while f"v{number}" in taken:
                number += 1
            aliases[name] = f"v{number}"
            taken.add(aliases[name])
    return aliases
