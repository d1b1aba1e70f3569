"""What is asked of the solver: a linear ODE on a time grid, checked once, here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gpu_solver.arrays import concat, is_torch, to_numpy, zeros_like_of
from gpu_solver.step_units import weights_in_steps

__all__ = ["LinearODEProblem"]

_AXES = {
    "c": "(..., T or 1, Q, V, R+1)",
    "d": "(..., T or 1, Q)",
    "u": "(..., T_init, V, R_init+1)",
    "s": "(..., T-1 or 1)",
}
_CORE = {
    "c": 4,
    "d": 2,
    "u": 3,
    "s": 1,
    "weight_governing": 2,
    "weight_initial": 3,
    "weight_smooth": 3,
}


@dataclass(frozen=True, eq=False)
class LinearODEProblem:
    """Weighted least squares for a system of linear ODEs on a grid (paper section 3.1).

    The unknowns are ``y[t, v, r]``, the r-th derivative of variable v at time t. Rows are the
    governing equations ``sum_vr c[t, q, v, r] y[t, v, r] = d[t, q]`` (eq. 5), the initial values
    ``y[t, v, r] = u[t, v, r]`` (eq. 6) and Taylor smoothness forward and backward over each step,
    times ``s**r`` (eqs. 7 and 8).

    Parameters
    ----------
    c : array (..., T, Q, V, R+1)
        Coefficients. The T axis may have size 1: the same at every time.
    d : array (..., T, Q)
        Right-hand sides. The T axis may have size 1.
    u : array (..., T_init, V, R_init+1)
        Initial values, for the first T_init times and derivatives up to R_init. NaN means "not
        measured": that row gets weight 0.
    s : array (..., T-1)
        Positive time steps, in the unit of time of c and d. A last axis of size 1 is a constant
        step.
    weight_governing, weight_initial, weight_smooth : float or array, default 1.0
        Factors on the rows (the paper's w: the normal matrix has their squares), not negative.
        Arrays broadcast to the rows: (..., T, Q), (..., T_init, V, R_init+1) and
        (..., T-1, V, R+1); so an array (R+1,) weights smoothness by derivative.

    Any leading axes are a batch, and broadcast. Arrays are numpy or torch; if any of c, d, u, s is
    a tensor, the answer is one. float32 in gives float32 out; arithmetic is float64 always.

    Raises
    ------
    TypeError
        If an argument is not an array of real numbers in float32, float64 or integers.
    ValueError
        If shapes do not fit each other, a step is not positive, or a weight is negative.

    Examples
    --------
    >>> import numpy as np
    >>> problem = LinearODEProblem(  # y' = -y, y(0) = 1
    ...     c=np.array([[[[1.0, 1.0, 0.0]]]]), d=np.zeros((1, 1)), u=np.ones((1, 1, 1)),
    ...     s=np.full(9, 0.1))
    >>> problem.n_steps, problem.n_variables, problem.order
    (10, 1, 2)
    """

    c: Any
    d: Any
    u: Any
    s: Any
    weight_governing: Any = 1.0
    weight_initial: Any = 1.0
    weight_smooth: Any = 1.0

    def __post_init__(self) -> None:
        arrays = _same_kind({name: getattr(self, name) for name in "cdus"})
        for name, array in arrays.items():
            if array.ndim < _CORE[name]:
                raise ValueError(
                    f"{name} must have shape {_AXES[name]}, got {tuple(array.shape)}: "
                    f"{_CORE[name] - array.ndim} axis (axes) short."
                )
            object.__setattr__(self, name, array)
        self._check_shapes()
        self._check_steps()
        for name, rows in self._row_shapes().items():
            object.__setattr__(self, name, self._checked_weight(name, rows))
        _ = self.batch_shape  # raises if there is none

    def _check_steps(self) -> None:
        s = to_numpy(self.s)
        if s.min() > 0.0:  # one pass; false for NaN too
            return
        if (s <= 0).any():
            raise ValueError(
                f"s must be positive time steps, got {float(np.nanmin(s))!r}; sort the times and "
                "average duplicates."
            )

    def _check_shapes(self) -> None:
        c, d, u, s = (tuple(getattr(self, name).shape) for name in "cdus")
        if 0 in c[-4:] + d[-2:] + u[-3:] or 0 in s[-1:]:
            raise ValueError(
                f"no axis of c {c}, d {d}, u {u}, s {s} may be empty; T must be at least 2."
            )
        steps = self.n_steps
        for name, size, fits in (
            ("c", c[-4], (1, steps)),
            ("d", d[-2], (1, steps)),
            ("s", s[-1], (1, steps - 1)),
        ):
            if size not in fits:
                raise ValueError(
                    f"{name} must have shape {_AXES[name]} with T = {steps} (the longest of c "
                    f"{c}, d {d}, s {s}), got {getattr(self, name).ndim} axes with time axis "
                    f"{size}; s has one step fewer than there are times."
                )
        if d[-1] != c[-3]:
            raise ValueError(
                f"d must have Q = {c[-3]} equations as c {c} has, got {d[-1]} in shape {d}."
            )
        if u[-2] != c[-2]:
            raise ValueError(
                f"u must have V = {c[-2]} variables as c {c} has, got {u[-2]} in shape {u}."
            )
        if u[-1] > c[-1]:
            raise ValueError(
                f"u has values for {u[-1]} derivatives but c {c} knows only R+1 = {c[-1]}; drop "
                "the highest of u or pad c with zeros."
            )
        if u[-3] > steps:
            raise ValueError(f"u has T_init = {u[-3]} times, more than T = {steps}.")

    def _row_shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            "weight_governing": (self.n_steps, self.n_equations),
            "weight_initial": tuple(self.u.shape[-3:]),
            "weight_smooth": (self.n_steps - 1, self.n_variables, self.order + 1),
        }

    def _checked_weight(self, name: str, rows: tuple[int, ...]) -> Any:
        value = getattr(self, name)
        if type(value) is float and 0.0 <= value < np.inf:
            array = np.array(value)
            array.flags.writeable = False
            return array
        if is_torch(value) and value.requires_grad:
            raise ValueError(
                f"{name} must not require a gradient: only c, d, u and s have one; "
                "pass a detached tensor."
            )
        array = to_numpy(value)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}.")
        array = array.astype(np.float64)
        if not np.isfinite(array).all() or (array < 0).any():
            raise ValueError(f"{name} must be finite and not negative; use 0 to drop a row.")
        shape = array.shape[-len(rows) :] if array.ndim else ()
        try:
            fits = np.broadcast_shapes(shape, rows) == rows
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"{name} must be a number or broadcast to its rows (..., "
                f"{', '.join(map(str, rows))}), got shape {array.shape}."
            )
        array.flags.writeable = False
        return array

    def numpy(self) -> LinearODEProblem:
        """Return the same problem with numpy arrays, on the CPU and without gradient history."""
        if not self.is_torch:
            return self
        return LinearODEProblem(
            to_numpy(self.c),
            to_numpy(self.d),
            to_numpy(self.u),
            to_numpy(self.s),
            self.weight_governing,
            self.weight_initial,
            self.weight_smooth,
        )

    @cached_property
    def is_torch(self) -> bool:
        """Whether the data are torch tensors."""
        return is_torch(self.c)

    @cached_property
    def n_steps(self) -> int:
        """Number of times, T."""
        return _n_times(self.c, self.d, self.s)

    @property
    def n_equations(self) -> int:
        """Governing equations per time, Q."""
        return int(self.c.shape[-3])

    @property
    def n_variables(self) -> int:
        """Variables, V."""
        return int(self.c.shape[-2])

    @property
    def order(self) -> int:
        """Highest derivative among the unknowns, R."""
        return int(self.c.shape[-1]) - 1

    @cached_property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading axes of the answer."""
        shapes = {}
        for name, core in _CORE.items():
            shape = tuple(getattr(self, name).shape)
            if len(shape) > core:
                shapes[name] = shape[:-core]
        different = set(shapes.values())
        if len(different) < 2:  # the usual case
            return different.pop() if different else ()
        try:
            return np.broadcast_shapes(*different)
        except ValueError:
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ValueError(
                f"the batch axes must broadcast, got {listed}; give them equal leading axes or 1."
            ) from None

    @classmethod
    def from_ode(
        cls,
        c: Any,
        d: Any,
        u: Any,
        s: Any,
        *,
        preset: str = "accurate",
        weight_governing: Any = 1.0,
        weight_initial: Any = 1.0,
    ) -> LinearODEProblem:
        """Build the problem from coefficients up to the ODE's own order p only.

        Parameters
        ----------
        c : array (..., T, Q, V, p+1)
            Coefficients up to order p; higher derivatives are added with coefficient 0.
        d, u, s
            As in the class.
        weight_governing, weight_initial : float or array, default 1.0
            Factors on the preset's weights of these rows; to set weights themselves, use the class.
        preset : {"accurate", "paper"}
            "accurate" solves for derivatives up to R = p + 2 (p + 1 if there are two times only)
            and gives the smoothness rows of the r-th derivative the weights 1 up to r = p - 1,
            then 0.3, 0.09, 0.027: errors are of order s**4 and about 1e4 times smaller at 1000
            steps of 0.01, at up to twice the time. Governing rows of order r and initial values of
            the r-th derivative have the weight ``(h / 0.01)**r``, where h is the geometric mean of
            the steps of a problem and the ratio is taken to the nearest power of 2: so the answer
            does not depend on the unit of time, for equations whose highest coefficient is about 1
            (one that is 1e4 times smaller is a weight of 1e-4).
            "paper" takes R = p + 1 and unit weights: R = 2 for the paper's first-order systems,
            and the accuracy of its section 5.1 for all six ODEs (with R = p the undamped
            oscillator would miss 1e-6) at steps of about 0.01. Steps above 1 cost accuracy.

        Returns
        -------
        LinearODEProblem

        Raises
        ------
        ValueError
            If preset is unknown, or as the class does.
        """
        if preset not in ("accurate", "paper"):
            raise ValueError(f"preset must be 'accurate' or 'paper', got {preset!r}.")
        c = _as_array("c", c)
        if c.ndim < 4:
            raise ValueError(f"c must have shape (..., T, Q, V, p+1), got {tuple(c.shape)}.")
        p = c.shape[-1] - 1
        top = p + 1
        weight_smooth = np.ones(top + 1)
        if preset == "accurate":
            d, u, s = (_as_array(name, value) for name, value in (("d", d), ("u", u), ("s", s)))
            # Two times and their equations determine no more than p + 1 derivatives.
            top = p + 1 if _n_times(c, d, s) == 2 else p + 2
            # Rows of high derivatives spoil the low ones if they weigh as much. Weights that fall
            # from r = 0 on would do 2 to 3 times better still, but cost M its digits from p = 2.
            weight_smooth = 0.3 ** np.maximum(np.arange(top + 1.0) - p + 1, 0.0)
            weight_governing, weight_initial = weights_in_steps(
                c, u, s, weight_governing, weight_initial
            )
        if top > p:
            c = concat([c, zeros_like_of(c, (*c.shape[:-1], top - p))], -1)
        return cls(c, d, u, s, weight_governing, weight_initial, weight_smooth)


def _n_times(c: Any, d: Any, s: Any) -> int:
    shapes = ((c, 4, 0), (d, 2, 0), (s, 1, 1))
    return max((a.shape[-axis] + more for a, axis, more in shapes if a.ndim >= axis), default=0)


def _as_array(name: str, value: Any) -> Any:
    if is_torch(value):
        dtype = str(value.dtype).removeprefix("torch.")
        array = value
    else:
        array = np.asarray(value)
        dtype = str(array.dtype)
    if dtype in ("float32", "float64"):
        return array
    if dtype.startswith(("int", "uint", "bool")):
        return array.double() if is_torch(array) else array.astype(np.float64)
    raise TypeError(
        f"{name} must hold real numbers in float32, float64 or integers, got dtype {dtype}; "
        "convert it first."
    )


def _same_kind(values: dict[str, Any]) -> dict[str, Any]:
    arrays = {name: _as_array(name, value) for name, value in values.items()}
    tensors = {name: array for name, array in arrays.items() if is_torch(array)}
    if not tensors:
        return arrays
    devices = {tensor.device for tensor in tensors.values()}
    if len(devices) > 1:
        listed = ", ".join(f"{name} on {tensor.device}" for name, tensor in tensors.items())
        raise ValueError(f"c, d, u, s must be on one device, got {listed}; move them with .to().")
    if len(tensors) == len(arrays):
        return arrays
    import torch

    (device,) = devices
    return {
        name: tensors[name] if name in tensors else torch.tensor(array, device=device)
        for name, array in arrays.items()
    }
