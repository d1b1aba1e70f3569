"""The multilayer perceptron of the neural-ODE baselines."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["MLP"]


class MLP(nn.Module):
    """Multilayer perceptron in double precision.

    Parameters
    ----------
    n_inputs, n_outputs : int
    n_layers : int, default=5
        Hidden layers; the paper's baselines have 5 of 32 units.
    width : int, default=32
        Units of a hidden layer.
    random_state : int, default=0
        Seed of the initial weights. The global random state of torch is never used.

    Examples
    --------
    >>> import torch
    >>> MLP(3, 1)(torch.zeros(5, 3, dtype=torch.float64)).shape
    torch.Size([5, 1])
    """

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        n_layers: int = 5,
        width: int = 32,
        *,
        random_state: int = 0,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(random_state)
        sizes = [n_inputs, *([width] * n_layers), n_outputs]
        modules: list[nn.Module] = []
        for before, after in pairwise(sizes):
            linear = nn.Linear(before, after, dtype=torch.float64, device="meta").to_empty(
                device="cpu"
            )
            bound = (6.0 / (before + after)) ** 0.5  # Glorot: what suits tanh
            with torch.no_grad():
                linear.weight.uniform_(-bound, bound, generator=generator)
                linear.bias.zero_()
            modules += [linear, nn.Tanh()]
        self.stack = nn.Sequential(*modules[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Values of the network, (n, n_inputs) -> (n, n_outputs)."""
        y: Tensor = self.stack(x)
        return y
