"""Functions on the edges of a Kolmogorov-Arnold network, as values to look at and to plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from .kan import SplineKAN

__all__ = ["Edge", "spline_edges"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Edge:
    """The function on one edge.

    Attributes
    ----------
    layer, source, target : int
        Where the edge stands; layer 0 reads states and inputs. Factors of product nodes come after
        the sums, two by two.
    name : str
        What it reads: a state or an input in layer 0, otherwise a node.
    grid : ndarray of shape (k,)
        From the least to the largest value that the data sent through the edge; in layer 0 in the
        user's units.
    values : ndarray of shape (k,)
        The function on the grid.
    symbol : str or None
        The symbol that pykan put in its place.
    function : callable
    """

    layer: int
    source: int
    target: int
    name: str
    grid: Array
    values: Array
    function: Callable[[Array], Array]
    symbol: str | None = None

    def __call__(self, x: ArrayLike) -> Array:
        """The function at any values."""
        return self.function(np.asarray(x, dtype=np.float64))


def spline_edges(
    network: SplineKAN,
    inputs: Array,
    centre: Array,
    scale: Array,
    names: Sequence[str],
    n: int = 101,
) -> tuple[Edge, ...]:
    """All edges of a network whose inputs (k, n_inputs) are ``(value - centre) / scale``."""
    edges = []
    values = torch.from_numpy((inputs - centre) / scale)
    for layer in range(network.depth):
        spline = network.layer(layer)
        for source in range(spline.n_inputs):
            first = layer == 0
            shift, stretch = (centre[source], scale[source]) if first else (0.0, 1.0)
            column = values[:, source].numpy() * stretch + shift
            grid = np.linspace(column.min(), column.max(), n)
            for target in range(spline.n_outputs):
                function = _in_units(network.edge(layer, source, target), shift, stretch)
                name = names[source] if first else f"node {source} of layer {layer}"
                edges.append(Edge(layer, source, target, name, grid, function(grid), function))
        with torch.no_grad():
            values = network.through(layer, values)
    return tuple(edges)


def _in_units(
    function: Callable[[ArrayLike], Array], shift: float, stretch: float
) -> Callable[[Array], Array]:
    return lambda x: function((x - shift) / stretch)
