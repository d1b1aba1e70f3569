"""A deep Kolmogorov-Arnold network of spline layers, with product nodes where they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import block_diag
from torch import Tensor, nn

from .spline_layer import Base, SplineLayer

__all__ = ["SplineKAN", "Width"]

Width = int | tuple[int, int]


class SplineKAN(nn.Module):
    """Kolmogorov-Arnold network: layers of univariate splines, summed or multiplied at the nodes.

    The first layer starts at random, the later ones as sums of their inputs: the network then grows
    out of sums and products of univariate functions.

    Parameters
    ----------
    widths : sequence of int or (int, int)
        Nodes of each layer, inputs first and outputs last. A pair is (sums, products): a product
        node multiplies two sums of its own, as in pykan's MultKAN.
    n_intervals : int, default=8
    degree : int, default=3
    base : {"silu", "identity", "none"}, default="none"
    noise : float, default=0.1
        See `SplineLayer`.
    random_state : int, default=0
        Seed of the initial values.

    Examples
    --------
    >>> import torch
    >>> network = SplineKAN([3, (4, 1), 1])
    >>> network(torch.zeros(5, 3, dtype=torch.float64)).shape
    torch.Size([5, 1])
    >>> network.edge(0, 2, 4)([0.0, 0.5]).shape  # from input 2 into the product node's first factor
    (2,)
    """

    def __init__(
        self,
        widths: Sequence[Width],
        n_intervals: int = 8,
        *,
        degree: int = 3,
        base: Base = "none",
        noise: float = 0.1,
        random_state: int = 0,
    ) -> None:
        super().__init__()
        pairs = tuple((width, 0) if isinstance(width, int) else tuple(width) for width in widths)
        if len(pairs) < 2 or any(sums + products < 1 for sums, products in pairs):
            raise ValueError(
                f"widths must name at least inputs and outputs, each with a node, got {widths!r}."
            )
        if pairs[0][1]:
            raise ValueError(
                f"widths[0] counts inputs: it cannot have products, got {widths[0]!r}."
            )
        self.widths = pairs
        generator = torch.Generator().manual_seed(random_state)
        self.layers = nn.ModuleList(
            SplineLayer(
                sum(before),
                after[0] + 2 * after[1],
                n_intervals,
                degree=degree,
                base=base,
                noise=noise,
                generator=generator,
            )
            for before, after in pairwise(pairs)
        )
        for index in range(1, self.depth):
            self.layer(index).make_linear()

    @property
    def depth(self) -> int:
        """Number of spline layers."""
        return len(self.layers)

    def forward(self, x: Tensor) -> Tensor:
        """Values of the network, (n, n_inputs) -> (n, n_outputs)."""
        for index in range(self.depth):
            x = self.through(index, x)
        return x

    def through(self, index: int, x: Tensor) -> Tensor:
        """Values of the nodes after layer `index`, from those before it."""
        return self._nodes(index, self.layer(index)(x))

    def layer(self, index: int) -> SplineLayer:
        """The spline layer `index`; layer 0 reads the inputs."""
        layer = self.layers[index]
        if not isinstance(layer, SplineLayer):
            raise TypeError(f"layer {index} is a {type(layer).__name__}, not a SplineLayer.")
        return layer

    def edge(self, layer: int, source: int, target: int) -> Callable[[ArrayLike], NDArray]:
        """The function on one edge, on NumPy arrays.

        Parameters
        ----------
        layer : int
            0 reads the inputs.
        source : int
            Node that the edge leaves.
        target : int
            Sum that it enters; the factors of product nodes come after the sums, two by two.
        """
        spline = self.layer(layer)
        for name, index, size in (
            ("source", source, spline.n_inputs),
            ("target", target, spline.n_outputs),
        ):
            if not 0 <= index < size:
                raise IndexError(f"{name} must be from 0 to {size - 1}, got {index}.")

        def function(x: ArrayLike) -> NDArray[np.float64]:
            values = torch.as_tensor(np.asarray(x, dtype=np.float64))
            columns = torch.zeros((values.numel(), spline.n_inputs), dtype=torch.float64)
            columns[:, source] = values.flatten()
            with torch.no_grad():
                answer = spline.edges(columns)[:, source, target]
            return answer.reshape(values.shape).numpy()

        return function

    @torch.no_grad()
    def adapt(self, x: Tensor, *, margin: float = 0.1) -> None:
        """Stretch the grids of all layers over what the samples `x` (n, n_inputs) send there."""
        for index in range(self.depth):
            self.layer(index).adapt(x, margin=margin)
            x = self.through(index, x)

    def roughness(self) -> Tensor:
        """Mean squared second difference of the spline coefficients over the layers."""
        parts = [self.layer(index).roughness() for index in range(self.depth)]
        return torch.stack(parts).mean()

    def roughness_rows(self) -> NDArray[np.float64]:
        """The matrix whose product with all parameters, squared and summed, is `roughness`."""
        blocks = [self.layer(index).roughness_rows() for index in range(self.depth)]
        return block_diag(*blocks) / np.sqrt(self.depth)

    def _nodes(self, index: int, sums: Tensor) -> Tensor:
        n_sums, n_products = self.widths[index + 1]
        if not n_products:
            return sums
        factors = sums[:, n_sums:].unflatten(1, (n_products, 2))
        return torch.cat([sums[:, :n_sums], factors.prod(dim=2)], dim=1)
