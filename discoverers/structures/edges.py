"""Edge functions: what a network learnt as curves and surfaces of single inputs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline, RegularGridInterpolator

__all__ = ["EdgeFunction"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EdgeFunction:
    """How one law depends on one input, or on two beyond what each does alone.

    The other inputs stand at their reference values; a curve is 0 where its own input does.

    Attributes
    ----------
    target : str
        The rate that it is part of, such as ``"v'"``.
    inputs : tuple of str
        One name for a curve, two for a surface.
    grid : tuple of ndarray
        Points along each input, over the range that the data visit.
    values : ndarray of shape (n,) or (n, m)
    std : ndarray, like `values`
        Standard error.
    reference : tuple of float
        Where each input counts as 0.
    symbolic : str or None
        The discovered law's part that depends on these inputs only; None where it has none.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.structures.edges import EdgeFunction
    >>> x = np.linspace(-1.0, 1.0, 41)
    >>> edge = EdgeFunction("v'", ("x",), (x,), -(x**3), np.zeros(41), (0.0,), "-x**3")
    >>> edge(0.5).round(6)
    np.float64(-0.125)
    >>> edge.name
    "x -> v'"
    """

    target: str
    inputs: tuple[str, ...]
    grid: tuple[Array, ...] = field(repr=False)
    values: Array = field(repr=False)
    std: Array = field(repr=False)
    reference: tuple[float, ...]
    symbolic: str | None = None

    @property
    def name(self) -> str:
        """Such as ``"x -> v'"``."""
        return f"{', '.join(self.inputs)} -> {self.target}"

    @property
    def band(self) -> tuple[Array, Array]:
        """Lower and upper ends of the pointwise 95 % band."""
        return self.values - 1.96 * self.std, self.values + 1.96 * self.std

    def __call__(self, *at: ArrayLike) -> Array:
        """Values at points, interpolated on the grid; one array for each input."""
        if len(at) != len(self.inputs):
            raise ValueError(
                f"{self.name} is a function of {list(self.inputs)}; pass {len(self.inputs)} "
                f"arrays, got {len(at)}."
            )
        if len(at) == 1:
            return np.asarray(CubicSpline(self.grid[0], self.values)(np.asarray(at[0], float)))[()]
        points = np.broadcast_arrays(*(np.asarray(part, dtype=np.float64) for part in at))
        surface = RegularGridInterpolator(
            self.grid, self.values, bounds_error=False, fill_value=None
        )
        return np.asarray(surface(np.stack(points, axis=-1)))[()]
