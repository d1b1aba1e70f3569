"""What training minimises: misfit of the channels, gaps between windows, roughness of splines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from discoverers.shooting import LinearObservation, Observation

from .levenberg_marquardt import Linearisation
from .structured_ode import StructuredODE
from .unrolling import unroll
from .windows import Windows

__all__ = ["Objective", "assign", "flatten", "observe"]

Array = NDArray[np.float64]

BLOWN_UP = 1e6
"""Mean squared scaled residual beyond which a run counts as having blown up."""


class _Observe(torch.autograd.Function):
    """Any observation, through its own values and Jacobians."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, F: Tensor, U: Tensor, observation: Observation) -> Tensor:
        arrays = [part.detach().numpy() for part in (X, F, U)]
        ctx.jacobians = observation.jacobians(*arrays)
        return torch.from_numpy(np.ascontiguousarray(observation.values(*arrays)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_state, by_rate = (torch.from_numpy(np.array(part)) for part in ctx.jacobians)
        row = gradients[0].unsqueeze(1)
        return (row @ by_state).squeeze(1), (row @ by_rate).squeeze(1), None, None


def observe(observation: Observation, X: Tensor, F: Tensor, U: Tensor) -> Tensor:
    """Channels (n, C) at states, rates (n, n_s) and inputs (n, m), with gradients."""
    if isinstance(observation, LinearObservation):
        y = X @ torch.from_numpy(observation.states.T) + F @ torch.from_numpy(observation.rates.T)
        return y + U @ torch.from_numpy(observation.inputs.T) if observation.inputs.size else y
    return cast(Tensor, _Observe.apply(X, F, U, observation))


class Objective:
    """Loss and gradient by the network's parameters and the windows' free initial states.

    Parameters
    ----------
    ode : StructuredODE
    observation : Observation
    windows : Windows
    nodes : Tensor of shape (B, L + 1, n_s)
        States to start from.
    free : ndarray of bool, shape (B, n_s)
        Initial states of windows that are to be estimated.
    channel_scale : ndarray of shape (C,)
        Size of each channel: residuals count relative to it.
    smoothness : float
        Weight of the roughness of splines, where the network has them.
    ridge : float
        Weight of the sum of the squared parameters.
    gap_weight : float
        Weight of the squared gaps between windows, relative to the states' size.
    """

    def __init__(
        self,
        ode: StructuredODE,
        observation: Observation,
        windows: Windows,
        nodes: Tensor,
        free: NDArray[np.bool_],
        channel_scale: Array,
        *,
        smoothness: float = 0.0,
        ridge: float = 0.0,
        gap_weight: float = 1.0,
    ) -> None:
        self.ode, self.observation, self.windows = ode, observation, windows
        self.nodes = nodes.clone()
        self.x0 = nodes[:, 0].clone()
        self.free = torch.from_numpy(free)
        self.channel_scale = torch.from_numpy(np.asarray(channel_scale, dtype=np.float64))
        self.smoothness, self.ridge, self.gap_weight = smoothness, ridge, gap_weight
        self.parameters = [p for p in ode.network.parameters() if p.requires_grad]
        # Initial states are in units of the states' size, so that one step length fits all.
        self.state_scale = ode.scale[: ode.n_states].clone()
        self.start = torch.nn.Parameter((self.x0 / self.state_scale)[self.free].clone())
        self.failures = 0

    def variables(self) -> list[torch.nn.Parameter]:
        """All that is estimated."""
        return [*self.parameters, self.start] if self.start.numel() else list(self.parameters)

    def initial_states(self) -> Tensor:
        """First state of each window, (B, n_s)."""
        if not self.start.numel():
            return self.x0
        scaled = (self.x0 / self.state_scale).masked_scatter(self.free, self.start)
        return scaled * self.state_scale

    def loss(self) -> Tensor | None:
        """Mean squared scaled residual and the penalties; None if the states blow up."""
        windows = self.windows
        x0 = self.initial_states()
        X, exact = unroll(self.ode, x0, windows.stages, windows.dt, self.nodes)
        if not exact:
            self.failures += 1
            return None
        self.nodes = X.detach()
        residual = self.residuals(X) / self.channel_scale
        total = (windows.weight * residual.square()).sum() / windows.weight.sum()
        joints = np.flatnonzero(windows.follows)
        if len(joints):
            gaps = (X[joints - 1, -1] - x0[joints]) / self.state_scale
            total = total + self.gap_weight * gaps.square().mean()
        roughness = getattr(self.ode.network, "roughness", None)
        if self.smoothness and roughness is not None:
            total = total + self.smoothness * roughness()
        if self.ridge:
            total = (
                total + self.ridge * torch.stack([p.square().sum() for p in self.parameters]).sum()
            )
        return total

    def residuals(self, X: Tensor) -> Tensor:
        """Observed less predicted channels, (B, L + 1, C)."""
        windows = self.windows
        states = X.flatten(0, 1)
        inputs = windows.inputs.flatten(0, 1)
        rates = self.ode.rates(states, inputs)
        predicted = observe(self.observation, states, rates, inputs)
        return windows.y - predicted.reshape(windows.y.shape)

    # --- what Levenberg-Marquardt asks for

    @property
    def n_weights(self) -> int:
        """Number of the network's parameters: the ridge is on them alone."""
        return sum(p.numel() for p in self.parameters)

    def settle(self) -> float | None:
        """Loss, with the nodes moved onto the states; None at a blow-up."""
        with torch.no_grad():
            value = self.loss()
        return None if value is None or not float(value) < BLOWN_UP else float(value)

    def linearise(self) -> Linearisation:
        """Residuals and derivatives at the current states."""
        from .gauss_newton import linearise

        return linearise(self)

    def point(self) -> Array:
        """All variables, (P,)."""
        return flatten(self.variables())

    def move(self, point: Array) -> None:
        """Set all variables."""
        assign(self.variables(), point)

    def remember(self) -> Callable[[], None]:
        """A function that brings variables and states back to what they are now."""
        point, nodes = self.point(), self.nodes

        def restore() -> None:
            self.move(point)
            self.nodes = nodes

        return restore

    def gather(self, lengths: Sequence[int]) -> tuple[Array, ...]:
        """States of each run at the latest parameters for which they did not blow up."""
        return self.windows.gather(self.nodes.numpy(), lengths)


def flatten(variables: Sequence[Tensor]) -> Array:
    """Values of all variables in one vector."""
    return np.concatenate([v.detach().numpy().ravel() for v in variables]).astype(np.float64)


@torch.no_grad()
def assign(variables: Sequence[Tensor], point: Array) -> None:
    """Set all variables from one vector."""
    offset = 0
    for variable in variables:
        size = variable.numel()
        values = torch.from_numpy(point[offset : offset + size].copy())
        variable.copy_(values.reshape(variable.shape))
        offset += size
