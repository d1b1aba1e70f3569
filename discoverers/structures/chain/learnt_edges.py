"""The spline network's curves and surfaces as edge functions with error bands."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.equations import Equations
from discoverers.formatting import format_expression
from discoverers.structures.edges import EdgeFunction

from .spline_kan import SplineKAN

__all__ = ["edge_functions"]

Array = NDArray[np.float64]

POINTS = 61
SURFACE_POINTS = 21


def edge_functions(
    kan: SplineKAN, inputs: Sequence[Array], shift: Array, equations: Equations | None
) -> tuple[EdgeFunction, ...]:
    """Slices of the trained laws through a reference point, with bands.

    Parameters
    ----------
    kan : SplineKAN
    inputs : sequence of ndarray of shape (n, m)
        Of each run.
    shift : ndarray of shape (n_s,)
        Added to the network's states: it may count coordinates from elsewhere than the equations.
    equations : Equations or None
        Gives the symbolic counterparts.

    Returns
    -------
    tuple of EdgeFunction
        For every law: a curve of each state and input, then a surface of each pair of states.
    """
    chain = kan.chain
    X = np.concatenate([path.X for path in kan.calibration.paths])
    U = np.concatenate(list(inputs))
    whole = np.concatenate([X, U], axis=1)
    moved = np.concatenate([shift, np.zeros(U.shape[1])])
    names = (*chain.state_names, *chain.input_names)
    lower, upper = whole.min(axis=0) + moved, whole.max(axis=0) + moved
    reference = np.where((lower <= 0.0) & (upper >= 0.0), 0.0, 0.5 * (lower + upper))
    view = _View(kan, len(chain.state_names), reference, moved)
    edges = []
    for law, top in enumerate(chain.tops):
        for place, name in enumerate(names):
            grid = np.linspace(lower[place], max(upper[place], lower[place] + 1e-12), POINTS)
            values, std = view.curve(law, place, grid)
            text = _symbolic(equations, top, (name,), names)
            edges.append(
                EdgeFunction(
                    f"{top}'", (name,), (grid,), values, std, (float(reference[place]),), text
                )
            )
        for one, two in combinations(range(len(chain.state_names)), 2):
            pair = (names[one], names[two])
            if not any(term.law == law and term.variables == pair for term in kan.terms):
                continue
            sides = tuple(
                np.linspace(lower[k], max(upper[k], lower[k] + 1e-12), SURFACE_POINTS)
                for k in (one, two)
            )
            values, std = view.surface(law, one, two, *sides)
            centre = (float(reference[one]), float(reference[two]))
            text = _symbolic(equations, top, pair, names)
            edges.append(EdgeFunction(f"{top}'", pair, sides, values, std, centre, text))
    return tuple(edges)


class _View:
    """Values and errors of linear functionals of the network's coefficients."""

    def __init__(self, kan: SplineKAN, n_states: int, reference: Array, moved: Array) -> None:
        self.kan, self.n_states, self.reference, self.moved = kan, n_states, reference, moved
        n = len(kan.coef)
        self.covariance = kan.calibration.covariance[:n, :n]
        self.model = kan.chain.model(kan.columns)
        self.laws = np.concatenate([np.full(term.size, term.law) for term in kan.terms])

    def rows(self, law: int, points: Array) -> Array:
        at = points - self.moved
        values = self.model.term_values(at[:, : self.n_states], at[:, self.n_states :])
        return np.where(self.laws == law, values[:, -len(self.laws) :], 0.0)

    def at(self, count: int, **fixed: Array) -> Array:
        points = np.tile(self.reference, (count, 1))
        for place, values in fixed.items():
            points[:, int(place[1:])] = values
        return points

    def read(self, rows: Array) -> tuple[Array, Array]:
        variance = np.einsum("ij,jk,ik->i", rows, self.covariance, rows)
        return rows @ self.kan.coef, np.sqrt(np.maximum(variance, 0.0))

    def curve(self, law: int, place: int, grid: Array) -> tuple[Array, Array]:
        moved = self.rows(law, self.at(len(grid), **{f"p{place}": grid}))
        return self.read(moved - self.rows(law, self.at(1)))

    def surface(
        self, law: int, one: int, two: int, first: Array, second: Array
    ) -> tuple[Array, Array]:
        a, b = (part.ravel() for part in np.meshgrid(first, second, indexing="ij"))
        n = len(a)
        rows = (
            self.rows(law, self.at(n, **{f"p{one}": a, f"p{two}": b}))
            - self.rows(law, self.at(n, **{f"p{one}": a}))
            - self.rows(law, self.at(n, **{f"p{two}": b}))
            + self.rows(law, self.at(1))
        )
        values, std = self.read(rows)
        shape = (len(first), len(second))
        return values.reshape(shape), std.reshape(shape)


def _symbolic(
    equations: Equations | None, top: str, inputs: tuple[str, ...], names: Sequence[str]
) -> str | None:
    if equations is None:
        return None
    wanted = set(map(sympy.Symbol, inputs))
    parts = [part for part in sympy.Add.make_args(equations[top]) if part.free_symbols == wanted]
    if not parts:
        return None
    return format_expression(sympy.Add(*parts), tuple(map(sympy.Symbol, names)), 4)
