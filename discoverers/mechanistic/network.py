"""The mechanistic network: encoder, basis functions, outer function, linear-ODE layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from discoverers.callables import compile_columns
from discoverers.libraries import BoundLibrary
from discoverers.mechanistic.outer import OuterFunction
from discoverers.mechanistic.windows import Minibatch

__all__ = ["ConvolutionalEncoder", "MechanisticNetwork", "torch_features"]

Array = NDArray[np.float64]


def torch_features(library: BoundLibrary) -> Callable[[Any, Any], Any]:
    """The candidate terms as a differentiable function of states (..., V) and inputs (..., m).

    Raises
    ------
    ValueError
        If the library holds functions that PyTorch cannot differentiate.
    """
    if library.functions:
        raise ValueError(
            f"encoder needs candidate terms that PyTorch can differentiate; the library's "
            f"function(s) {sorted(library.functions)} are not. Write them as SymPy expressions, or "
            "pass encoder=None."
        )
    compiled = compile_columns(
        library.variables, [term.expr for term in library.terms], {}, "torch"
    )

    def features(states: Any, inputs: Any) -> Any:
        columns = [*states.unbind(-1), *inputs.unbind(-1)]
        values = [
            value if isinstance(value, torch.Tensor) else torch.full_like(columns[0], float(value))
            for value in compiled(*columns)
        ]
        return torch.stack(values, dim=-1)

    return features


class ConvolutionalEncoder(nn.Module):
    """Three convolutions over time, from states and what they leave of the data to corrections.

    Parameters
    ----------
    n_states, n_channels : int
        Columns of the states, and of the data.
    width : int, default=32
        Hidden channels.
    kernel : int, default=9
        Samples that a convolution sees.
    """

    def __init__(self, n_states: int, n_channels: int, width: int = 32, kernel: int = 9) -> None:
        super().__init__()
        pad = kernel // 2
        self.layers = nn.Sequential(
            nn.Conv1d(n_states + n_channels, width, kernel, padding=pad, padding_mode="replicate"),
            nn.Tanh(),
            nn.Conv1d(width, width, kernel, padding=pad, padding_mode="replicate"),
            nn.Tanh(),
            nn.Conv1d(width, n_states, kernel, padding=pad, padding_mode="replicate"),
        )
        # It starts as no correction at all.
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)
        self.double()

    def forward(self, observed: Any) -> Any:
        """Corrections (B, T, n_states) of what is observed (B, T, n_states + n_channels)."""
        return self.layers(observed.transpose(1, 2)).transpose(1, 2)


class MechanisticNetwork(nn.Module):
    """``y^(order) = g(xi . phi(x))`` over windows, with xi (and the encoder) to be learned.

    Coefficients are learned in coordinates in which the loss is a sphere to second order
    (`recentre`), so that one learning rate suits all.

    Parameters
    ----------
    library : BoundLibrary
    outer : sequence of OuterFunction
        One per equation.
    active : ndarray of bool, shape (C, K)
        Coefficients that are learned.
    coef : ndarray of shape (C, K)
        Values at the start; inactive ones stay as they are.
    time_scale : float
        What right-hand sides are multiplied by: the unit of the windows' time, to the order.
    encoder : Module or None
        From states and residuals, standardised, (B, T, V + C) to corrections (B, T, V) of the
        states in units of the noise.
    centre, amplitude, noise : ndarray of shape (V,)
        Of the states, for the encoder.
    """

    def __init__(
        self,
        library: BoundLibrary,
        outer: Sequence[OuterFunction],
        active: NDArray[np.bool_],
        coef: Array,
        time_scale: float,
        encoder: nn.Module | None,
        centre: Array,
        amplitude: Array,
        noise: Array,
    ) -> None:
        super().__init__()
        self.library, self.outer, self.time_scale = library, tuple(outer), time_scale
        self.encoder = encoder
        self._features = torch_features(library) if encoder is not None else None
        self._cache: dict[int, Any] = {}
        self.centre, self.amplitude, self.noise = map(torch.from_numpy, (centre, amplitude, noise))
        self.point = nn.Parameter(torch.zeros(0, dtype=torch.float64))
        self.recentre(coef, active)

    def recentre(
        self, coef: Array, active: NDArray[np.bool_], transform: Array | None = None
    ) -> None:
        """Learn around these coefficients, ``xi = coef + transform @ point``."""
        self.active = active.copy()
        self.base = torch.from_numpy(np.array(coef, dtype=np.float64))
        size = int(active.sum())
        self.transform = torch.from_numpy(np.eye(size) if transform is None else transform)
        self.place = tuple(torch.from_numpy(part) for part in np.nonzero(active))
        self.point.data = torch.zeros(size, dtype=torch.float64)

    def coefficients(self) -> Any:
        """Coefficients (C, K)."""
        return self.base.index_put(self.place, self.transform @ self.point, accumulate=True)

    def coef(self) -> Array:
        """Coefficients (C, K) as an array."""
        with torch.no_grad():
            return np.array(self.coefficients().numpy())

    def states(self, batch: Minibatch) -> Any:
        """Where right-hand sides are evaluated: the batch's states, or the encoder's."""
        if self.encoder is None:
            return batch.states
        count = batch.data.shape[-1]
        shown = (batch.states - self.centre) / self.amplitude
        left = torch.where(
            batch.precision > 0, (batch.data - batch.states[..., :count]) / self.noise[:count], 0.0
        )
        return batch.states + self.noise * self.encoder(torch.cat([shown, left], dim=-1))

    def features(self, batch: Minibatch, states: Any) -> Any:
        """Candidate terms (B, T, K)."""
        if self._features is not None:
            return self._features(states, batch.inputs)
        if id(batch) not in self._cache:
            values = self.library.evaluate(states.numpy(), batch.inputs.numpy())
            self._cache[id(batch)] = torch.from_numpy(np.ascontiguousarray(values))
        return self._cache[id(batch)]

    def rates(self, theta: Any) -> Any:
        """Right-hand sides (..., C) in the user's units, of terms (..., K)."""
        inner = theta @ self.coefficients().T
        if all(one.is_identity for one in self.outer):
            return inner
        return torch.stack([one(inner[..., v]) for v, one in enumerate(self.outer)], dim=-1)

    def misfit(self, batch: Minibatch) -> tuple[Any, Any]:
        """Sums of squares in units of the noise: data against solution, encoder against solution.

        The second is a tensor 0 without an encoder.
        """
        states = self.states(batch)
        solution = batch.integrate(self.time_scale * self.rates(self.features(batch, states)))
        left = batch.free_of_start(batch.data - solution, batch.precision)
        data = (batch.precision * left**2).sum()
        if self.encoder is None:
            return data, torch.zeros((), dtype=torch.float64)
        count = batch.data.shape[-1]
        # The states that are read must be those that come out.
        gap = states[..., :count] - batch.data + left
        return data, ((gap / self.noise[:count]) ** 2).sum()

    def curvature(self, batches: Sequence[Minibatch]) -> tuple[Array, Array]:
        """Gauss-Newton matrix (k, k) of the data's misfit over the active coefficients.

        Returns
        -------
        matrix : ndarray of shape (k, k)
            J^T W J of the residuals; the states are taken as they are.
        gradient : ndarray of shape (k,)
            J^T W r: half the gradient downhill, of the summed misfit.
        """
        equation, term = self.place
        size = len(equation)
        matrix, gradient = torch.zeros(size, size).double(), torch.zeros(size).double()
        if not size:  # every term was dropped, as of data at rest
            return matrix.numpy(), gradient.numpy()
        coef = self.coefficients().detach()
        for batch in batches:
            with torch.no_grad():
                theta = self.features(batch, self.states(batch)).detach()
            inner = (theta @ coef.T).requires_grad_()
            values = torch.stack([one(inner[..., v]) for v, one in enumerate(self.outer)], dim=-1)
            slope = torch.autograd.grad(values.sum(), inner)[0]
            with torch.no_grad():
                columns = self.time_scale * slope[..., equation] * theta[..., term]
                weights = batch.precision[..., equation]
                tangent = batch.free_of_start(batch.integrate(columns), weights)
                solution = batch.integrate(self.time_scale * values)
                left = batch.free_of_start(batch.data - solution, batch.precision)
                heavy = weights * tangent
                same = equation[:, None] == equation[None, :]
                matrix += same * torch.einsum("btk,btl->kl", heavy, tangent)
                gradient += torch.einsum("btk,btk->k", heavy, left[..., equation])
        return matrix.numpy(), gradient.numpy()
