"""What each input acts on: a mass, as a force, or all of them, as the ground's acceleration."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

__all__ = ["BASE", "read_force_on"]

BASE = 0
"""Stands among the numbers of driven masses for an input that is the ground's acceleration."""


def read_force_on(
    force_on: int | str | Sequence[int | str] | None, n_dof: int, n_inputs: int
) -> tuple[int, ...]:
    """Read the parameter `force_on` of `ElementStructure`, which documents its forms.

    Returns
    -------
    tuple of int
        For each input the number of the mass that it acts on, or `BASE`.

    Raises
    ------
    ValueError
        If it does not say one of these for each input.

    Examples
    --------
    >>> from discoverers.structures.elements.driving import read_force_on
    >>> read_force_on(["base", 2], n_dof=2, n_inputs=2)
    (0, 2)
    """
    if force_on is None:
        named: Sequence[int | str] = range(1, n_inputs + 1)
    elif isinstance(force_on, str | int | Integral):
        named = [force_on]
    else:
        named = list(force_on)
    if len(named) != n_inputs:
        raise ValueError(
            f"force_on names {len(named)} mass(es), but there are {n_inputs} input(s) u; name one "
            f"mass, or 'base', per input."
        )
    driven = []
    for place in named:
        if isinstance(place, str) and place == "base":
            driven.append(BASE)
        elif not isinstance(place, str) and 1 <= place <= n_dof and int(place) == place:
            driven.append(int(place))
        else:
            raise ValueError(
                f"force_on must name masses from 1 to {n_dof}, or 'base' where an input is the "
                f"ground's acceleration, got {force_on!r}."
            )
    return tuple(driven)
