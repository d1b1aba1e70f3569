"""Accuracy against closed forms: the six ODEs of the paper's appendix B.1 and a long one."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from gpu_solver import LinearODEProblem, SolverError, solve

__all__ = ["VALIDATION_ODES", "closed_form", "long_third_order", "validation"]

Array = NDArray[np.float64]

#: Name: coefficients of y, y', ...; right-hand side; initial y, y', ...
VALIDATION_ODES: dict[str, tuple[list[float], float, list[float]]] = {
    "RC circuit": ([1 / 1.2, 2.31], 0.7, [10.0]),
    "population growth": ([0.23, -1.0], 0.0, [4.78]),
    "language death": ([0.6, 1.0], 0.32, [0.14]),
    "harmonic": ([2.1, 0.0, 1.0], 0.0, [0.4, -0.03]),
    "damped harmonic": ([4.5, 0.43, 1.0], 0.0, [0.12, 0.043]),
    "third order": ([0.0, 1.0, 1.0, 1.0], 0.0, [0.0, -1.0, 1.0]),
}


def closed_form(name: str, t: Array) -> Array:
    """Return y, y', y'' (n, 3) of a validation ODE by the matrix exponential.

    Parameters
    ----------
    name : str
        A key of ``VALIDATION_ODES``.
    t : array (n,)
        Times, from 0.
    """
    coefficients, right, initial = VALIDATION_ODES[name]
    order = len(initial)
    # State (y, ..., y^(p-1), 1): the constant makes the right-hand side part of the matrix.
    matrix = np.zeros((order + 1, order + 1))
    matrix[np.arange(order - 1), np.arange(1, order)] = 1.0
    matrix[order - 1, :order] = [-k / coefficients[-1] for k in coefficients[:-1]]
    matrix[order - 1, order] = right / coefficients[-1]
    state = expm(matrix * t[:, None, None]) @ np.array([*initial, 1.0])
    columns = [state[:, 0]]
    for _ in range(2):
        state = state @ matrix.T
        columns.append(state[:, 0])
    return np.stack(columns, axis=-1)


def _problem(name: str, count: int, preset: str, dtype: Any = np.float64) -> LinearODEProblem:
    coefficients, right, initial = VALIDATION_ODES[name]
    if preset == "R = 2 or 3":  # as the original MNN was used: order 2, or the ODE's own if higher
        coefficients = coefficients + [0.0] * (3 - len(coefficients))
        return LinearODEProblem(
            np.reshape(np.array(coefficients, dtype), (1, 1, 1, -1)),
            np.array([[right]], dtype),
            np.reshape(np.array(initial, dtype), (1, 1, -1)),
            np.full(count - 1, 0.01, dtype),
        )
    return LinearODEProblem.from_ode(
        np.reshape(np.array(coefficients, dtype), (1, 1, 1, -1)),
        np.array([[right]], dtype),
        np.reshape(np.array(initial, dtype), (1, 1, -1)),
        np.full(count - 1, 0.01, dtype),
        preset=preset,
    )


def validation(methods: Iterable[str], count: int = 1000) -> list[dict[str, Any]]:
    """Mean squared errors of y, y', y'' on the six ODEs, steps of 0.01.

    Parameters
    ----------
    methods : iterable of str
        Keys of ``gpu_solver.METHODS`` or "auto".
    count : int, default 1000
        T.

    Returns
    -------
    list of dict
        Of ode, preset, method, used (the method that answered), status, mse; or refused.
    """
    rows: list[dict[str, Any]] = []
    for name in VALIDATION_ODES:
        exact = closed_form(name, 0.01 * np.arange(float(count)))
        for method in methods:
            original = method.startswith("mnn")
            for preset in ("R = 2 or 3",) if original else ("accurate", "paper"):
                row: dict[str, Any] = {"ode": name, "preset": preset, "method": method}
                try:
                    with warnings.catch_warnings():
                        # That an iteration did not converge is in the status, and shows in the MSE.
                        warnings.simplefilter("ignore", RuntimeWarning)
                        solution = solve(_problem(name, count, preset), method)
                except (SolverError, ValueError, TypeError, RuntimeError) as error:
                    row["refused"] = str(error).partition("\n")[0]
                else:
                    row["used"] = solution.method
                    row["status"] = int(solution.status)
                    error_of = solution.y[:, 0, :3] - exact
                    row["mse"] = [float(value) for value in np.mean(error_of**2, axis=0)]
                rows.append(row)
    return rows


def long_third_order(count: int, methods: Iterable[str] = ("auto",)) -> list[dict[str, Any]]:
    """Relative error of y on the third-order ODE over many steps; and with float32 input.

    Parameters
    ----------
    count : int
        T.
    methods : iterable of str
        Keys of ``gpu_solver.METHODS`` or "auto".

    Returns
    -------
    list of dict
        Of method, used, dtype, steps, relative_error.
    """
    exact = closed_form("third order", 0.01 * np.arange(float(count)))[:, 0]
    rows = []
    for method in methods:
        for dtype in (np.float64, np.float32):
            solution = solve(_problem("third order", count, "accurate", dtype), method)
            worst = np.abs(solution.y[:, 0, 0] - exact).max() / np.abs(exact).max()
            rows.append(
                {
                    "method": method,
                    "used": solution.method,
                    "dtype": np.dtype(dtype).name,
                    "steps": count,
                    "relative_error": float(worst),
                }
            )
    return rows
