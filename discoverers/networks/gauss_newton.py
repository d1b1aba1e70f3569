"""Derivatives of everything that a training minimises, for Gauss-Newton steps.

Derivatives of one Runge-Kutta step by all parameters are taken for all samples in one batch
(``torch.func``); the sensitivities of the states follow by the linear recursion of the steps.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, jacrev, vmap

from .levenberg_marquardt import Linearisation
from .objective import Objective
from .structured_ode import StructuredODE

__all__ = ["linearise", "regression_jacobian"]

Array = NDArray[np.float64]


def parameter_jacobian(
    ode: StructuredODE, X: Tensor, inputs: Tensor, dt: Tensor | None
) -> tuple[Array, Array]:
    """Derivatives of steps (or of rates, without `dt`), by parameters and by states.

    Returns
    -------
    by_parameter : ndarray of shape (n, n_s, P)
    by_state : ndarray of shape (n, n_s, n_s)
    """
    # The whole equation is called with other parameters, so that buffers keep their places.
    values = {name: p.detach() for name, p in ode.named_parameters() if p.requires_grad}

    def single(parameters: dict[str, Tensor], *row: Tensor) -> Tensor:
        arguments = tuple(part.unsqueeze(0) for part in row)
        call = ode.step if dt is not None else ode.rates
        answer: Tensor = functional_call(
            _Call(ode, call.__name__), _prefixed(parameters), arguments
        )
        return answer.squeeze(0)

    rows = (X, inputs) if dt is None else (X, inputs, dt)
    derivative = vmap(jacrev(single, argnums=(0, 1)), in_dims=(None, *[0] * len(rows)))
    by_parameter, by_state = derivative(values, *rows)
    flat = [by_parameter[name].flatten(2) for name in values]
    return torch.cat(flat, dim=2).detach().numpy(), by_state.detach().numpy()


class _Call(torch.nn.Module):
    """A method of a module as a module's `forward`, which is what `functional_call` replaces."""

    def __init__(self, module: torch.nn.Module, method: str) -> None:
        super().__init__()
        self.module, self.method = module, method

    def forward(self, *arguments: Tensor) -> Tensor:
        answer: Tensor = getattr(self.module, self.method)(*arguments)
        return answer


def _prefixed(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": value for name, value in parameters.items()}


def linearise(objective: Objective) -> Linearisation:
    """Residuals at the objective's nodes, which must be its current states, and derivatives."""
    windows, ode = objective.windows, objective.ode
    nodes = objective.nodes
    B, L = windows.dt.shape
    s = ode.n_states
    step_by_theta, step_by_state = parameter_jacobian(
        ode,
        nodes[:, :-1].reshape(-1, s),
        windows.stages.flatten(0, 1),
        windows.dt.flatten(),
    )
    P = step_by_theta.shape[2]
    forcing = step_by_theta.reshape(B, L, s, P)
    transition = step_by_state.reshape(B, L, s, s)
    # Columns: network, then the initial state of the window itself.
    dX = np.zeros((B, L + 1, s, P + s))
    dX[:, 0, :, P:] = np.eye(s)
    for k in range(L):
        dX[:, k + 1] = transition[:, k] @ dX[:, k]
        dX[:, k + 1, :, :P] += forcing[:, k]
    flat = nodes.reshape(-1, s)
    inputs = windows.inputs.flatten(0, 1)
    rate_by_theta, rate_by_state = parameter_jacobian(ode, flat, inputs, None)
    with torch.no_grad():
        rates = ode.rates(flat, inputs)
        residual = objective.residuals(nodes).numpy()
    arrays = (flat.numpy(), rates.numpy(), inputs.numpy())
    by_state, by_rate = objective.observation.jacobians(*arrays)
    tables = dX.reshape(-1, s, P + s)
    dF = rate_by_state @ tables
    dF[:, :, :P] += rate_by_theta
    dy = (by_state @ tables + by_rate @ dF).reshape(B, L + 1, -1, P + s)
    weight = windows.weight.numpy()
    factor = np.sqrt(weight / weight.sum()) / objective.channel_scale.numpy()
    columns = _Columns(objective, P)
    used = weight > 0
    window = np.nonzero(used)[0]
    parts = [(factor * residual)[used]]
    blocks = [columns.spread(-factor[used][:, None] * dy[used], window)]
    joints = np.flatnonzero(windows.follows)
    if len(joints):
        scale = objective.state_scale.numpy()
        x0 = objective.initial_states().detach().numpy()
        strength = np.sqrt(objective.gap_weight / (len(joints) * s)) / scale
        gaps = nodes[joints - 1, -1].numpy() - x0[joints]
        block = columns.spread(
            (strength[:, None] * dX[joints - 1, -1]).reshape(-1, P + s), np.repeat(joints - 1, s)
        )
        columns.subtract_starts(block, joints, strength)
        parts.append((strength * gaps).ravel())
        blocks.append(block)
    rough, rough_rows = roughness_rows(objective, P, columns.n_columns)
    return Linearisation(np.concatenate([*parts, rough]), np.concatenate([*blocks, rough_rows]))


class _Columns:
    """Where the free initial states of the windows stand among the columns of a Jacobian."""

    def __init__(self, objective: Objective, P: int) -> None:
        free = objective.free.numpy()
        self.P = P
        self.place = np.where(free, P + np.cumsum(free.ravel()).reshape(free.shape) - 1, -1)
        self.scale = objective.state_scale.numpy()
        self.n_columns = P + int(free.sum())

    def spread(self, rows: Array, window: NDArray[np.intp]) -> Array:
        """Rows by [network, own initial state] -> rows by [network, all free initial states]."""
        block = np.zeros((len(rows), self.n_columns))
        block[:, : self.P] = rows[:, : self.P]
        for i, size in enumerate(self.scale):
            place = self.place[window, i]
            has = np.flatnonzero(place >= 0)
            block[has, place[has]] = size * rows[has, self.P + i]
        return block

    def subtract_starts(self, block: Array, joints: NDArray[np.intp], strength: Array) -> None:
        """Gaps are ends less starts: enter the derivatives by the starts."""
        n_states = len(self.scale)
        for number, joint in enumerate(joints):
            for i in range(n_states):
                if self.place[joint, i] >= 0:
                    row = number * n_states + i
                    block[row, self.place[joint, i]] -= strength[i] * self.scale[i]


def roughness_rows(objective: Objective, P: int, n_columns: int) -> tuple[Array, Array]:
    """Second differences of spline coefficients as residuals, where the network has any."""
    operator = roughness_operator(objective.ode.network, objective.smoothness)
    if operator is None:
        return np.zeros(0), np.zeros((0, n_columns))
    theta = np.concatenate([p.detach().numpy().ravel() for p in objective.parameters])
    block = np.zeros((len(operator), n_columns))
    block[:, :P] = operator
    return operator @ theta, block


def roughness_operator(network: torch.nn.Module, smoothness: float) -> Array | None:
    """Matrix that turns all parameters into residuals of roughness; None without splines."""
    rows = getattr(network, "roughness_rows", None)
    return None if rows is None or not smoothness else np.sqrt(smoothness) * rows()


def regression_jacobian(network: torch.nn.Module, inputs: Tensor) -> Array:
    """Derivatives of the network's outputs by its parameters, (n, d, P)."""
    values = {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}

    def single(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
        answer: Tensor = functional_call(network, parameters, (row.unsqueeze(0),))
        return answer.squeeze(0)

    table = vmap(jacrev(single), in_dims=(None, 0))(values, inputs)
    return np.asarray(torch.cat([table[name].flatten(2) for name in values], dim=2).detach())
