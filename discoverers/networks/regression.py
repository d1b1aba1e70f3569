"""The start of a training: the network fitted to guessed outputs at guessed states."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .gauss_newton import regression_jacobian, roughness_operator
from .levenberg_marquardt import Linearisation
from .objective import assign, flatten

__all__ = ["Regression"]

Array = NDArray[np.float64]


class Regression:
    """Mean squared error of a network's outputs, with the penalties of the training.

    Parameters
    ----------
    network : torch.nn.Module
    inputs : Tensor of shape (n, n_inputs)
    targets : Tensor of shape (n, d)
    smoothness, ridge : float
        Weights of the splines' roughness and of the squared parameters.
    """

    def __init__(
        self, network: nn.Module, inputs: Tensor, targets: Tensor, smoothness: float, ridge: float
    ) -> None:
        self.network, self.inputs, self.targets = network, inputs, targets
        self.smoothness, self.ridge = smoothness, ridge
        self.parameters = [p for p in network.parameters() if p.requires_grad]

    @property
    def n_weights(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.parameters)

    def loss(self) -> Tensor:
        """Mean squared error and penalties, with gradients."""
        value = (self.network(self.inputs) - self.targets).square().sum() / len(self.inputs)
        roughness = getattr(self.network, "roughness", None)
        if self.smoothness and roughness is not None:
            value = value + self.smoothness * roughness()
        if self.ridge:
            squares = torch.stack([p.square().sum() for p in self.parameters]).sum()
            value = value + self.ridge * squares
        return value

    def settle(self) -> float | None:
        """Loss at the current point."""
        with torch.no_grad():
            value = float(self.loss())
        return value if np.isfinite(value) else None

    def linearise(self) -> Linearisation:
        """Residuals and derivatives."""
        with torch.no_grad():
            error = (self.network(self.inputs) - self.targets).numpy().ravel()
        jacobian = regression_jacobian(self.network, self.inputs).reshape(len(error), -1)
        factor = 1.0 / np.sqrt(len(self.inputs))
        operator = roughness_operator(self.network, self.smoothness)
        if operator is None:
            return Linearisation(factor * error, factor * jacobian)
        return Linearisation(
            np.concatenate([factor * error, operator @ self.point()]),
            np.concatenate([factor * jacobian, operator]),
        )

    def point(self) -> Array:
        """All parameters, (P,)."""
        return flatten(self.parameters)

    def move(self, point: Array) -> None:
        """Set all parameters."""
        assign(self.parameters, point)

    def remember(self) -> Callable[[], None]:
        """A function that brings the parameters back to what they are now."""
        point = self.point()
        return lambda: self.move(point)
