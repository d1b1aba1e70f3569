"""Pictures of edge functions: what was learned before it was read as symbols."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from discoverers.plotting.style import COLOURS, check_fitted, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from discoverers.equations import Equations
    from discoverers.skanode import SKANODERegressor
    from discoverers.structures.edges import EdgeFunction


def plot_edges(
    estimator: "SKANODERegressor", ax: "Axes | Sequence[Axes] | None" = None
) -> "NDArray[np.object_]":
    """Draw the learned functions of single inputs and of pairs, one panel for each.

    Parameters
    ----------
    estimator : SKANODERegressor
        A fitted estimator with edge functions.
    ax : Axes or sequence of Axes, optional
        Where to draw, one for each function of `edge_functions_`. The default is a new figure.

    Returns
    -------
    ndarray of Axes
        The panel of each function: a curve with its 95 % band and, dashed, the symbol that was
        read from it; of a pair a map of colours.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If it has no edge functions, or `ax` does not hold one panel for each.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers import SKANODERegressor
    >>> from discoverers.plotting import plot_edges
    >>> t = np.arange(0.0, 15.0, 0.1)
    >>> swing = np.exp(-0.1 * t) * np.cos(2.0 * t)  # position of a damped oscillator
    >>> model = SKANODERegressor(observe="position").fit(t, swing)
    >>> [panel.get_xlabel() for panel in plot_edges(model)][:2]
    ['x', 'v']
    """
    check_fitted(estimator)
    edges: tuple[EdgeFunction, ...] = tuple(getattr(estimator, "edge_functions_", ()))
    if not edges:
        raise ValueError(
            f"this {type(estimator).__name__} has no edge functions: they are learned by "
            "structures with unknown laws, as ChainStructure; use kind='coefficients'"
        )
    panels = _panels(ax, len(edges))
    for edge, panel in zip(edges, panels, strict=True):
        if len(edge.inputs) == 1:
            _curve(edge, estimator.equations_, panel)
        else:
            peers = [other for other in edges if other.target == edge.target]
            _surface(edge, panel, max(float(np.abs(other.values).max()) for other in peers))
    return panels


def _curve(edge: "EdgeFunction", equations: "Equations", panel: "Axes") -> None:
    at = edge.grid[0]
    lower, upper = edge.band
    panel.fill_between(at, lower, upper, color=COLOURS[0], alpha=0.25, linewidth=0)
    panel.plot(at, edge.values, color=COLOURS[0], linewidth=1.6, label="learned")
    if edge.symbolic is not None:
        panel.plot(
            at,
            _symbolic_values(edge, equations),
            color=COLOURS[1],
            linewidth=1.4,
            linestyle="--",
            label=_short(edge.symbolic),
        )
    panel.set_xlabel(edge.inputs[0])
    panel.set_ylabel(f"part of {edge.target}")
    tidy(panel)
    panel.legend(fontsize="small", framealpha=0.85)


def _surface(edge: "EdgeFunction", panel: "Axes", limit: float) -> None:
    # Colours on the scale of all parts of the law: what is negligible looks it.
    limit = limit or 1.0
    picture = panel.pcolormesh(
        *edge.grid, edge.values.T, cmap="RdBu_r", vmin=-limit, vmax=limit, shading="gouraud"
    )
    panel.figure.colorbar(picture, ax=panel, label=f"part of {edge.target}")
    panel.set_xlabel(edge.inputs[0])
    panel.set_ylabel(edge.inputs[1])
    if edge.symbolic is not None:
        panel.set_title(_short(edge.symbolic), fontsize="small")


def _symbolic_values(edge: "EdgeFunction", equations: "Equations") -> NDArray[np.float64]:
    """Return the law's terms in the edge's input alone, 0 where the learned curve is."""
    from discoverers.equations import Equations

    part = sum(
        coefficient * term
        for term, coefficient in equations.terms()[edge.target.rstrip("'")].items()
        if {symbol.name for symbol in term.free_symbols} == set(edge.inputs)
    )
    law = Equations([part], edge.inputs, functions=equations.functions).lambdify()
    zero = law(np.array([edge.reference]))[:, 0]
    return np.asarray(law(edge.grid[0][:, None])[:, 0] - zero)


def _short(text: str) -> str:
    """Return an expression with its numbers to three digits, as legends have room for."""
    rounded = re.sub(r"\d+\.\d+(?:e[+-]?\d+)?", lambda found: f"{float(found[0]):.3g}", text)
    return rounded.replace("**", "^").replace("*", " ")


def _panels(ax: "Axes | Sequence[Axes] | None", n: int) -> "NDArray[np.object_]":
    given: NDArray[Any]
    if ax is None:
        import matplotlib.pyplot as plt

        columns = min(n, 3)
        rows = -(-n // columns)
        figure, grid = plt.subplots(
            rows,
            columns,
            squeeze=False,
            figsize=(3.4 * columns, 2.8 * rows),
            layout="constrained",
        )
        given = grid.ravel()
        for spare in given[n:]:
            figure.delaxes(spare)
        return given[:n]
    given = np.array(ax, dtype=object).ravel()
    if given.size != n:
        raise ValueError(f"ax holds {given.size} panels; {n}, one for each function, are needed")
    return given
