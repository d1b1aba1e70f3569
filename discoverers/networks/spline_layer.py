"""A layer of univariate spline functions: one cubic B-spline on a uniform grid on every edge."""

from __future__ import annotations

from math import comb, factorial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Base", "SplineLayer", "segment_matrix"]

Base = Literal["silu", "identity", "none"]


def segment_matrix(degree: int) -> NDArray[np.float64]:
    """Coefficients of the uniform B-spline's pieces, shape (degree + 1, degree + 1).

    Entry [j, p] multiplies ``r**p`` in the j-th basis function that is not zero on a grid interval,
    r in [0, 1] being the position within that interval.

    Examples
    --------
    >>> segment_matrix(1)
    array([[ 1., -1.],
           [ 0.,  1.]])
    """
    matrix = np.zeros((degree + 1, degree + 1))
    for j in range(degree + 1):
        # The cardinal spline on its interval degree - j, as a sum of truncated powers.
        offset = degree - j
        for shift in range(offset + 1):
            sign = (-1) ** shift * comb(degree + 1, shift)
            for power in range(degree + 1):
                term = comb(degree, power) * float(offset - shift) ** (degree - power)
                matrix[j, power] += sign * term
    return matrix / factorial(degree)


class SplineLayer(nn.Module):
    """Sums of spline functions: ``y_j = sum_i base_ij * b(x_i) + spline_ij(x_i)``.

    The grid of each input is uniform, so the cell of a value is found by a division, and only the
    ``degree + 1`` basis functions that are not zero there are computed, all samples and inputs at
    once. Outside of the grid a spline continues along its tangent.

    Parameters
    ----------
    n_inputs, n_outputs : int
    n_intervals : int, default=8
        Grid intervals of every input; more follow finer detail and need more data.
    degree : int, default=3
        Degree of the splines.
    base : {"silu", "identity", "none"}, default="silu"
        Function b that is added to every spline: pykan's is SiLU.
    noise : float, default=0.1
        Standard deviation of the initial spline coefficients.
    generator : torch.Generator or None, default=None
        Source of the initial values; None starts one with seed 0. The global random state of torch
        is never used.

    Attributes
    ----------
    coef : Parameter of shape (n_inputs, n_intervals + degree, n_outputs)
        Coefficients of the basis functions.
    base_weight : Parameter of shape (n_inputs, n_outputs)
    lower, upper : Tensor of shape (n_inputs,)
        Ends of the grids; [-1, 1] until `adapt` is called.

    Examples
    --------
    >>> import torch
    >>> layer = SplineLayer(2, 3)
    >>> layer(torch.zeros(5, 2, dtype=torch.float64)).shape
    torch.Size([5, 3])
    """

    lower: Tensor
    upper: Tensor
    _pieces: Tensor
    _slopes: Tensor

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        n_intervals: int = 8,
        *,
        degree: int = 3,
        base: Base = "silu",
        noise: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if n_intervals < 1 or degree < 1:
            raise ValueError(
                f"n_intervals and degree must be at least 1, got {n_intervals} and {degree}."
            )
        self.n_inputs, self.n_outputs = n_inputs, n_outputs
        self.n_intervals, self.degree, self.base = n_intervals, degree, base
        random = generator if generator is not None else torch.Generator().manual_seed(0)
        size = (n_inputs, n_intervals + degree, n_outputs)
        draw = torch.randn(size, generator=random, dtype=torch.float64)
        self.coef = nn.Parameter(noise * draw / np.sqrt(n_inputs))
        uniform = torch.rand((n_inputs, n_outputs), generator=random, dtype=torch.float64)
        weight = (2.0 * uniform - 1.0) / np.sqrt(n_inputs)
        self.base_weight = nn.Parameter(weight, requires_grad=base != "none")
        pieces = torch.from_numpy(segment_matrix(degree))
        powers = torch.arange(1, degree + 1, dtype=torch.float64)
        self.register_buffer("lower", -torch.ones(n_inputs, dtype=torch.float64))
        self.register_buffer("upper", torch.ones(n_inputs, dtype=torch.float64))
        self.register_buffer("_pieces", pieces)
        self.register_buffer("_slopes", pieces[:, 1:] * powers)

    def forward(self, x: Tensor) -> Tensor:
        """Values of the sums, (n, n_inputs) -> (n, n_outputs)."""
        basis = self.basis(x).flatten(1)
        y = basis @ self.coef.flatten(0, 1)
        if self.base == "none":
            return y
        return y + self._base(x) @ self.base_weight

    def basis(self, x: Tensor) -> Tensor:
        """Values of all basis functions, (n, n_inputs) -> (n, n_inputs, n_intervals + degree)."""
        position = (x - self.lower) * (self.n_intervals / (self.upper - self.lower))
        inside = position.clamp(0.0, float(self.n_intervals))
        # NaN goes on as a value (r below); as an index it would be out of bounds.
        cell = inside.detach().floor().clamp(max=self.n_intervals - 1).nan_to_num(0.0)
        r = inside - cell
        monomials = torch.stack([r**p for p in range(self.degree + 1)], dim=-1)
        beyond = (position - inside).unsqueeze(-1)
        values = monomials @ self._pieces.T + beyond * (monomials[..., :-1] @ self._slopes.T)
        columns = cell.long().unsqueeze(-1) + torch.arange(self.degree + 1, device=x.device)
        empty = values.new_zeros((*x.shape, self.n_intervals + self.degree))
        return empty.scatter(-1, columns, values)

    def edges(self, x: Tensor) -> Tensor:
        """Every function on its own, (n, n_inputs) -> (n, n_inputs, n_outputs)."""
        y = torch.einsum("nig,igo->nio", self.basis(x), self.coef)
        if self.base == "none":
            return y
        return y + self._base(x).unsqueeze(-1) * self.base_weight

    @torch.no_grad()
    def adapt(self, x: Tensor, *, margin: float = 0.1) -> None:
        """Stretch the grids over the values of `x` and keep the functions where the values lie.

        Parameters
        ----------
        x : Tensor of shape (n, n_inputs)
        margin : float, default=0.1
            What is added at each end, relative to the range of the values.
        """
        if not bool(torch.isfinite(x).all()):
            raise ValueError("x must be finite to adapt the grids to it, got NaN or infinity.")
        least, most = x.amin(dim=0), x.amax(dim=0)
        span = (most - least).clamp(min=1e-6 * (1.0 + most.abs()))
        # Where to keep the functions: evenly over the range, whatever the values' density.
        n_points = 8 * (self.n_intervals + self.degree)
        unit = torch.linspace(0.0, 1.0, n_points, dtype=x.dtype, device=x.device).unsqueeze(-1)
        points = least + unit * span
        wanted = torch.einsum("nig,igo->nio", self.basis(points), self.coef)
        self.lower.copy_(least - margin * span)
        self.upper.copy_(most + margin * span)
        basis = self.basis(points).transpose(0, 1)  # (n_inputs, n, G)
        ridge = 1e-8 * torch.eye(basis.shape[-1], dtype=x.dtype, device=x.device)
        gram = basis.transpose(1, 2) @ basis + ridge
        right = basis.transpose(1, 2) @ wanted.transpose(0, 1)
        self.coef.copy_(torch.linalg.solve(gram, right))

    @torch.no_grad()
    def make_linear(self) -> None:
        """Make every spline the identity, in units of half the grid's length."""
        half = (self.degree - 1) / 2.0
        # A linear spline's coefficients are its values at the knots' averages.
        place = torch.arange(self.coef.shape[1], dtype=torch.float64) - half
        self.coef.copy_((2.0 * place / self.n_intervals - 1.0)[None, :, None])
        self.base_weight.zero_()

    def roughness(self) -> Tensor:
        """Mean squared second difference of the coefficients: little of it in smooth splines."""
        second = self.coef[:, 2:] - 2.0 * self.coef[:, 1:-1] + self.coef[:, :-2]
        return second.square().mean()

    def roughness_rows(self) -> NDArray[np.float64]:
        """The matrix whose product with the parameters, squared and summed, is `roughness`."""
        n_basis = self.n_intervals + self.degree
        second = np.diff(np.eye(n_basis), n=2, axis=0)
        rows = np.kron(np.eye(self.n_inputs), np.kron(second, np.eye(self.n_outputs)))
        n_base = self.base_weight.numel() if self.base_weight.requires_grad else 0
        return np.hstack([rows, np.zeros((len(rows), n_base))]) / np.sqrt(len(rows))

    def _base(self, x: Tensor) -> Tensor:
        return nn.functional.silu(x) if self.base == "silu" else x
