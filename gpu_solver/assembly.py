"""The rows of the least-squares problem: products with A, and the normal matrix M = A^T W^2 A.

One implementation for numpy and torch. Smoothness rows are kept already multiplied by ``s**r`` (so
they are part of A, which depends on s, and W holds only the user's weights): then a row is a
difference of ``p = s**r y``, which stays of the size of y whatever the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from typing import Any, NamedTuple

import numpy as np

from gpu_solver.arrays import concat, eye_like, is_torch, pad_end, to_numpy, zeros_like_of
from gpu_solver.problem import LinearODEProblem

__all__ = ["LeastSquaresRows", "RowValues", "dense_system", "rows_of", "taylor_matrix"]


class RowValues(NamedTuple):
    """One number per row of A, by kind of row."""

    governing: Any  # (..., T, Q)
    initial: Any  # (..., T_init, V, R_init+1)
    forward: Any  # (..., T-1, V, R+1)
    backward: Any  # (..., T-1, V, R+1)


def taylor_matrix(order: int, sign: int = 1) -> np.ndarray:
    """Return F of paper eq. 20, entries ``sign**(j-i) / (j-i)!`` for j >= i."""
    out = np.zeros((order + 1, order + 1))
    for i in range(order + 1):
        for j in range(i, order + 1):
            out[i, j] = sign ** (j - i) / factorial(j - i)
    return out


@dataclass(frozen=True, eq=False)
class LeastSquaresRows:
    """A and W^2 of a problem, without its right-hand sides. All arrays are float64."""

    c: Any  # (..., T or 1, Q, n)
    s: Any  # (..., T-1)
    governing: Any  # squared weights, (..., T or 1, Q or 1)
    initial: Any  # squared weights, 0 where not measured, (..., T_init, V, R_init+1)
    smooth: Any  # squared weights, (..., T-1 or 1, V or 1, R+1)
    n_steps: int
    n_variables: int
    order: int

    @property
    def block_size(self) -> int:
        """Unknowns per time, n = V (R+1)."""
        return self.n_variables * (self.order + 1)

    def _constant(self, value: np.ndarray) -> Any:
        if is_torch(self.s):
            return self.s.new_tensor(value)
        return value

    def _powers(self) -> Any:
        """s**r, shape (..., T-1, 1, R+1)."""
        exponents = self._constant(np.arange(self.order + 1.0))
        return self.s[..., None, None] ** exponents

    def _power_slopes(self) -> Any:
        """R s**(r-1), shape (..., T-1, 1, R+1)."""
        exponents = np.arange(self.order + 1.0)
        lowered = self._constant(np.maximum(exponents - 1.0, 0.0))
        return self._constant(exponents) * self.s[..., None, None] ** lowered

    def _smooth_rows(self, y: Any, powers: Any) -> tuple[Any, Any]:
        now, then = powers * y[..., :-1, :, :], powers * y[..., 1:, :, :]
        ahead = self._constant(taylor_matrix(self.order).T.copy())
        back = self._constant(taylor_matrix(self.order, -1).T.copy())
        return then - now @ ahead, now - then @ back

    def multiply(self, y: Any) -> RowValues:
        """A y for y (..., T, V, R+1)."""
        flat = y.reshape(*y.shape[:-2], 1, self.block_size)
        governing = (self.c * flat).sum(-1)
        initial = y[..., : self.initial.shape[-3], :, : self.initial.shape[-1]]
        forward, backward = self._smooth_rows(y, self._powers())
        return RowValues(governing, initial, forward, backward)

    def weigh(self, rows: RowValues) -> RowValues:
        """W^2 times rows."""
        return RowValues(
            self.governing * rows.governing,
            self.initial * rows.initial,
            self.smooth * rows.forward,
            self.smooth * rows.backward,
        )

    def right_hand_side(self, d: Any, u: Any) -> Any:
        """A^T W^2 b, shape (..., T, V, R+1), for d (..., T or 1, Q) and finite u."""
        return self._adjoint_point(self.governing * d, self.initial * u)

    def _adjoint_point(self, governing: Any, initial: Any) -> Any:
        flat = (self.c * governing[..., None]).sum(-2)
        out = flat.reshape(*flat.shape[:-1], self.n_variables, self.order + 1)
        padded = pad_end(pad_end(initial, -1, self.order + 1), -3, self.n_steps)
        return out + padded

    def adjoint(self, rows: RowValues) -> Any:
        """A^T times rows, shape (..., T, V, R+1)."""
        powers = self._powers()
        ahead = self._constant(taylor_matrix(self.order))
        back = self._constant(taylor_matrix(self.order, -1))
        now = powers * (rows.backward - rows.forward @ ahead)
        then = powers * (rows.forward - rows.backward @ back)
        none = zeros_like_of(now, (1, self.n_variables, self.order + 1))
        smooth = concat([now, none], -3) + concat([none, then], -3)
        return smooth + self._adjoint_point(rows.governing, rows.initial)

    def residual(self, d: Any, u: Any, y: Any) -> RowValues:
        """B - A y."""
        rows = self.multiply(y)
        return RowValues(d - rows.governing, u - rows.initial, -rows.forward, -rows.backward)

    def normal_blocks(self) -> tuple[Any, Any]:
        """Blocks M_{t,t} (..., T, n, n) and M_{t+1,t} (..., T-1, n, n) (paper A.1)."""
        n, size = self.block_size, self.order + 1
        powers = self._powers()
        column, row = powers[..., :, None], powers[..., None, :]  # (..., T-1, 1, R+1, R+1 or 1)
        weight = self.smooth[..., :, None]
        ahead = self._constant(taylor_matrix(self.order))
        back = self._constant(taylor_matrix(self.order, -1))
        identity = eye_like(self.s, size)
        ahead_t, back_t = ahead.T, back.T
        now = column * (ahead_t @ (weight * ahead) + weight * identity) * row
        then = column * (back_t @ (weight * back) + weight * identity) * row
        below = -column * (weight * ahead + back_t @ (weight * identity)) * row
        now, then, below = (self._spread(blocks) for blocks in (now, then, below))
        none = zeros_like_of(now, (1, n, n))
        smooth = concat([now, none], -3) + concat([none, then], -3)
        point = self.c.swapaxes(-1, -2) @ (self.governing[..., None] * self.c)
        mask = pad_end(pad_end(self.initial, -1, size), -3, self.n_steps)
        mask = mask.reshape(*mask.shape[:-2], n)
        return smooth + point + mask[..., None] * eye_like(self.s, n), below

    def _spread(self, blocks: Any) -> Any:
        """Per-variable blocks (..., t, V or 1, R+1, R+1) to block-diagonal (..., t, n, n)."""
        per_variable = (
            blocks[..., :, :, None, :] * eye_like(self.s, self.n_variables)[:, None, :, None]
        )
        return per_variable.reshape(*per_variable.shape[:-4], self.block_size, self.block_size)

    def gradients(self, rho: RowValues, g: Any, h: RowValues, y: Any) -> tuple[Any, Any]:
        """Gradients with respect to c and s: dl/dA = rho g^T - h y^T restricted to A's pattern.

        ``g = M^-1 dl/dy``, ``rho = W^2 (b - A y)`` and ``h = W^2 A g``. Returned unsummed over
        whatever was broadcast: c's as (..., T, Q, V, R+1), s's as (..., T-1).
        """
        dc = (
            rho.governing[..., None, None] * g[..., None, :, :]
            - h.governing[..., None, None] * y[..., None, :, :]
        )
        slopes = self._power_slopes()
        g_forward, g_backward = self._smooth_rows(g, slopes)
        y_forward, y_backward = self._smooth_rows(y, slopes)
        ds = (
            rho.forward * g_forward
            + rho.backward * g_backward
            - h.forward * y_forward
            - h.backward * y_backward
        )
        return dc, ds.sum((-2, -1))


def rows_of(problem: LinearODEProblem) -> tuple[LeastSquaresRows, Any, Any]:
    """Return A and W^2 in float64, and d and u (NaN replaced by 0) to go with them.

    Values keep their numpy or torch kind and, in torch, their gradient history.
    """
    c, d, u, s = problem.c, problem.d, problem.u, problem.s
    if problem.is_torch:
        c, d, u, s = c.double(), d.double(), u.double(), s.double()
    else:
        c, d, u, s = (np.asarray(value, dtype=np.float64) for value in (c, d, u, s))
    steps, variables, order = problem.n_steps, problem.n_variables, problem.order

    def weight(value: Any, core: int) -> Any:
        squared = np.square(value).reshape((1,) * max(core - value.ndim, 0) + value.shape)
        return s.new_tensor(squared) if problem.is_torch else squared

    measured = ~np.isnan(to_numpy(u))
    if not measured.all():
        known = s.new_tensor(measured).bool() if problem.is_torch else measured
        u = u.where(known, u.new_zeros(())) if problem.is_torch else np.where(measured, u, 0.0)
        # A pattern shared by the batch keeps one matrix for the batch.
        folded = measured.reshape(-1, *measured.shape[-3:])
        if (folded == folded[:1]).all():
            measured = folded[0]
    else:
        measured = measured.reshape(-1, *measured.shape[-3:])[0]
    initial = weight(problem.weight_initial, 3)
    initial = initial * (s.new_tensor(measured) if problem.is_torch else measured)
    if s.shape[-1] != steps - 1:
        s = concat([s] * (steps - 1), -1)
    rows = LeastSquaresRows(
        c=c.reshape(*c.shape[:-2], variables * (order + 1)),
        s=s,
        governing=weight(problem.weight_governing, 2),
        initial=initial,
        smooth=weight(problem.weight_smooth, 3),
        n_steps=steps,
        n_variables=variables,
        order=order,
    )
    return rows, d, u


def dense_system(problem: LinearODEProblem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return A (m, n), the diagonal w of W (m,) and b (m,) in full, for one problem (no batch).

    A is that of eqs. 5-8; the factor ``s**r`` of the smoothness rows is in w. Memory grows with
    T**2: this is an oracle and a teaching aid, not a way to solve.
    """
    if problem.batch_shape:
        raise ValueError(f"problem must have no batch axes here, got {problem.batch_shape}.")
    rows, d, u = rows_of(problem.numpy())
    steps, variables, size = rows.n_steps, rows.n_variables, rows.order + 1
    count = steps * variables * size
    columns = rows.multiply(np.eye(count).reshape(count, steps, variables, size))
    powers = np.broadcast_to(rows._powers(), (steps - 1, variables, size))
    parts = [
        columns.governing,
        np.broadcast_to(columns.initial, (count, *columns.initial.shape[1:])),
        columns.forward / powers,
        columns.backward / powers,
    ]
    dense = np.concatenate([part.reshape(count, -1) for part in parts], axis=1).T
    smooth = (np.sqrt(rows.smooth) * powers).ravel()
    shape = (steps, problem.n_equations)
    weights = np.concatenate(
        [
            np.broadcast_to(np.sqrt(rows.governing), shape).ravel(),
            np.sqrt(np.broadcast_to(rows.initial, u.shape)).ravel(),
            smooth,
            smooth,
        ]
    )
    b = np.concatenate([np.broadcast_to(d, shape).ravel(), u.ravel(), np.zeros(2 * smooth.size)])
    return dense, weights, b
