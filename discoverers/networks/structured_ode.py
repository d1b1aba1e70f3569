"""An ordinary differential equation whose unknown part is a network, and its Runge-Kutta step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

__all__ = ["Kinematics", "StructuredODE"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Kinematics:
    """What is known of the states: ``s' = known s + drive h(s, u)``.

    Attributes
    ----------
    known : ndarray of shape (n_s, n_s)
        Rates that follow from the states alone, as q' = v does.
    drive : ndarray of shape (n_s, d)
        States that each output of the network is the rate of.
    """

    known: Array
    drive: Array

    @classmethod
    def chain(cls, order: int, n_dof: int = 1) -> Kinematics:
        """Chains ``q, q', ..., q^(order - 1)``, degree of freedom by degree of freedom.

        Examples
        --------
        >>> Kinematics.chain(2).known
        array([[0., 1.],
               [0., 0.]])
        """
        single = np.eye(order, k=1)
        last = np.eye(order)[:, -1:]
        known: Array = np.kron(np.eye(n_dof), single).astype(np.float64)
        drive: Array = np.kron(np.eye(n_dof), last).astype(np.float64)
        return cls(known, drive)

    @classmethod
    def free(cls, n_states: int) -> Kinematics:
        """Nothing known: every rate is an output of the network."""
        return cls(np.zeros((n_states, n_states)), np.eye(n_states))

    @property
    def n_states(self) -> int:
        """Number of states n_s."""
        return len(self.known)

    @property
    def n_outputs(self) -> int:
        """Number of the network's outputs d."""
        return int(self.drive.shape[1])


class StructuredODE(nn.Module):
    """``s' = known s + drive h(s, u)`` with a network h that sees scaled states and inputs.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (n, n_s + m) to (n, d), in double precision.
    kinematics : Kinematics
    n_inputs : int
        Number of inputs m.
    """

    known: Tensor
    drive: Tensor
    centre: Tensor
    scale: Tensor
    output_centre: Tensor
    output_scale: Tensor

    def __init__(self, network: nn.Module, kinematics: Kinematics, n_inputs: int) -> None:
        super().__init__()
        self.network = network
        self.n_inputs = n_inputs
        width = kinematics.n_states + n_inputs
        for name, values in (
            ("known", kinematics.known),
            ("drive", kinematics.drive),
            ("centre", np.zeros(width)),
            ("scale", np.ones(width)),
            ("output_centre", np.zeros(kinematics.n_outputs)),
            ("output_scale", np.ones(kinematics.n_outputs)),
        ):
            self.register_buffer(name, torch.as_tensor(np.array(values, dtype=np.float64)))

    @property
    def n_states(self) -> int:
        """Number of states n_s."""
        return len(self.known)

    def scale_to(self, states: Array, inputs: Array, outputs: Array) -> None:
        """Scale what goes into the network, and comes out, to the size of these samples (n, .)."""
        table = np.column_stack([states, inputs])
        for centre, scale, values in (
            (self.centre, self.scale, table),
            (self.output_centre, self.output_scale, outputs),
        ):
            # Half the range, so that samples fill [-1, 1]: what grids and activations expect.
            low, high = values.min(axis=0), values.max(axis=0)
            half = (high - low) / 2.0
            half = np.where(half > 1e-12 * (1.0 + np.abs(high)), half, 1.0)
            centre.copy_(torch.from_numpy((high + low) / 2.0))
            scale.copy_(torch.from_numpy(half))

    def scaled(self, X: Tensor, U: Tensor) -> Tensor:
        """What the network reads, (n, n_s + m)."""
        return (torch.cat([X, U], dim=-1) - self.centre) / self.scale

    def law(self, X: Tensor, U: Tensor) -> Tensor:
        """The learnt function h, (n, n_s) and (n, m) -> (n, d)."""
        return self.output_centre + self.output_scale * self.network(self.scaled(X, U))

    def rates(self, X: Tensor, U: Tensor) -> Tensor:
        """Right-hand side, (n, n_s) and (n, m) -> (n, n_s)."""
        return X @ self.known.T + self.law(X, U) @ self.drive.T

    def step(self, X: Tensor, stages: Tensor, dt: Tensor) -> Tensor:
        """States one sampling interval later, by classical Runge-Kutta steps.

        Parameters
        ----------
        X : Tensor of shape (n, n_s)
        stages : Tensor of shape (n, 2 k + 1, m)
            Inputs at the ends and middles of the k substeps.
        dt : Tensor of shape (n,)
            Interval; 0 leaves a state where it is.
        """
        substeps = (stages.shape[1] - 1) // 2
        h = (dt / substeps).unsqueeze(1)
        for j in range(substeps):
            left, middle, right = stages[:, 2 * j], stages[:, 2 * j + 1], stages[:, 2 * j + 2]
            k1 = self.rates(X, left)
            k2 = self.rates(X + 0.5 * h * k1, middle)
            k3 = self.rates(X + 0.5 * h * k2, middle)
            k4 = self.rates(X + h * k3, right)
            X = X + (h / 6.0) * (k1 + 2.0 * (k2 + k3) + k4)
        return X

    @torch.no_grad()
    def free_run(self, x0: ArrayLike, stages: Array, dt: Array) -> Array:
        """States at all samples by stepping on from `x0`, (n, n_s); NaN after a blow-up."""
        x = torch.as_tensor(np.array(x0, dtype=np.float64)).reshape(1, -1)
        inputs, intervals = torch.from_numpy(stages), torch.from_numpy(dt)
        states = np.full((len(dt) + 1, self.n_states), np.nan)
        states[0] = x.numpy()
        bound = 1e3 * (1.0 + float(self.scale.max()) + float(x.abs().max()))
        for k in range(len(dt)):
            x = self.step(x, inputs[k : k + 1], intervals[k : k + 1])
            if not float(x.abs().max()) < bound:
                break
            states[k + 1] = x.numpy()
        return states
