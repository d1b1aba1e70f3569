"""What `Equations` are made of, checked: names, right-hand sides, a truth to compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sympy

from discoverers.expressions import canonical, parse_expression
from discoverers.terms import is_constant

__all__ = [
    "checked_expression",
    "checked_names",
    "checked_orders",
    "derivative_levels",
    "derivative_names",
]


def checked_orders(order: Any, n_states: int) -> tuple[int, ...]:
    """Order of every equation.

    Raises
    ------
    ValueError
        If orders are no integers of at least 1, or not one, or one per state.
    """
    orders = tuple(order) if isinstance(order, Sequence) else (order,) * n_states
    if any(isinstance(one, bool) or not isinstance(one, int) or one < 1 for one in orders):
        raise ValueError(f"order must be an integer >= 1, or one per state, got {order!r}")
    if len(orders) != n_states:
        raise ValueError(f"order has {len(orders)} entries for {n_states} state(s): {order!r}")
    return orders


def derivative_levels(orders: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """State and level of every derivative below the orders: all states, then all x', ..."""
    return tuple(
        (state, level)
        for level in range(max(orders, default=0))
        for state, order in enumerate(orders)
        if level < order
    )


def derivative_names(state_names: Sequence[str], orders: Sequence[int]) -> tuple[str, ...]:
    """Names of the states, then of their derivatives below the orders: x, y, x', y', ..."""
    return tuple(
        f"{state_names[state]}{chr(39) * level}" for state, level in derivative_levels(orders)
    )


def checked_names(names: Iterable[str], argument: str) -> tuple[str, ...]:
    """Names as a tuple.

    Raises
    ------
    TypeError
        If they are one text, or one of them is no text or empty.
    """
    if isinstance(names, str):
        raise TypeError(f"{argument} must be a sequence of names, got the text {names!r}")
    names = tuple(names)
    for name in names:
        if not isinstance(name, str) or not name:
            raise TypeError(f"{argument} must hold non-empty text, got {name!r}")
    return names


def checked_expression(
    expr: Any, known: set[str], functions: Mapping[str, Callable[..., Any]]
) -> sympy.Expr:
    """A right-hand side in plain symbols.

    Raises
    ------
    TypeError
        If it is no expression, number or text.
    ValueError
        If it holds an unknown symbol or a number that is not finite and real.
    """
    if isinstance(expr, str):
        expr = parse_expression(expr, known, functions)
    expr = canonical(expr)
    unknown = sorted(symbol.name for symbol in expr.free_symbols if symbol.name not in known)
    if unknown:
        raise ValueError(
            f"'{expr}' holds the unknown symbols {unknown}; states, their derivatives and inputs "
            f"are {sorted(known)}"
        )
    numbers = {part for part in expr.atoms(sympy.Function, sympy.Pow) if is_constant(part)}
    if expr.has(sympy.nan, sympy.oo, -sympy.oo, sympy.zoo, sympy.I) or not all(
        number.is_real for number in numbers
    ):
        raise ValueError(f"'{expr}' holds a number that is not finite and real")
    return expr
