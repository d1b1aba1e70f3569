"""A library of its own for each state's equation."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral

import numpy as np

from discoverers.libraries.base import Candidates, Library, Variables, merge_functions

__all__ = ["PerStateLibrary"]


class PerStateLibrary(Library):
    """Different candidate terms for the equations of different states.

    Parameters
    ----------
    libraries : mapping of str or int to Library or str
        Name or position of a state, and the library of its equation (text is shorthand, see
        `resolve_library`).
    default : Library or str, optional
        Library of the states that `libraries` does not name. Without it every state must be named.

    Raises
    ------
    ValueError
        On binding, if a key is no state, a state is named twice, or a state has no library.

    Notes
    -----
    Terms are the union over all states; `BoundLibrary.allowed` says which term may enter which
    equation.

    Examples
    --------
    >>> from discoverers.libraries import PerStateLibrary, PolynomialLibrary
    >>> kinematics = PolynomialLibrary(1, include_bias=False)
    >>> bound = PerStateLibrary({"x": kinematics, "v": "poly2"}).bind(["x", "v"])
    >>> bound.names
    ('1', 'x', 'v', 'x**2', 'x*v', 'v**2')
    >>> bound.allowed.astype(int)
    array([[0, 1, 1, 0, 0, 0],
           [1, 1, 1, 1, 1, 1]])
    """

    def __init__(
        self,
        libraries: Mapping[str | int, Library | str],
        default: Library | str | None = None,
    ) -> None:
        self.libraries = libraries
        self.default = default

    def candidates(self, variables: Variables) -> Candidates:
        """The terms of all states' libraries, each allowed in its own equation."""
        from discoverers.libraries.shorthand import resolve_library  # shorthand makes libraries

        names = [symbol.name for symbol in variables.states]
        chosen: dict[int, Library | str] = {}
        if not isinstance(self.libraries, Mapping):
            raise ValueError(
                f"libraries of PerStateLibrary must be a mapping of states to libraries, got "
                f"{self.libraries!r}"
            )
        for key, library in self.libraries.items():
            index = _position(key, names)
            if index in chosen:
                raise ValueError(f"PerStateLibrary names the state '{names[index]}' twice")
            chosen[index] = library
        missing = [name for index, name in enumerate(names) if index not in chosen]
        if missing and self.default is None:
            raise ValueError(
                f"PerStateLibrary has no library for the states {missing}; name them, or give "
                "default="
            )
        parts, masks = [], []
        for index in range(len(names)):
            part = resolve_library(chosen.get(index, self.default)).candidates(variables)
            own = np.zeros((len(names), len(part.exprs)), dtype=bool)
            own[index] = part.mask(len(names))[index]
            parts.append(part)
            masks.append(own)
        allowed = np.concatenate(masks, axis=1)
        exprs = [expr for part in parts for expr in part.exprs]
        used = np.flatnonzero(allowed.any(axis=0))
        return Candidates(
            tuple(exprs[k] for k in used),
            allowed[:, used],
            merge_functions(part.functions for part in parts),
        )


def _position(key: str | int, names: list[str]) -> int:
    if isinstance(key, str) and key in names:
        return names.index(key)
    is_index = isinstance(key, Integral) and not isinstance(key, bool)
    if is_index and -len(names) <= int(key) < len(names):
        return int(key) % len(names)
    raise ValueError(f"PerStateLibrary names {key!r}, which is no state; states are {names}")
