"""Linear ODEs as banded least squares: fast, differentiable, and honest about failure.

Importing this package imports numpy only; numba, SciPy and torch are imported by the first call
that needs them.
"""

from __future__ import annotations

from gpu_solver.block_tridiagonal import BlockTridiagonal, BlockTridiagonalFactor
from gpu_solver.factorization import LinearODEFactor, factorize
from gpu_solver.ode_operator import GreenOperator, ODEOperator
from gpu_solver.problem import LinearODEProblem
from gpu_solver.selection import METHODS, BackendChoice, Solution, select_backend, solve
from gpu_solver.status import SolverError, SolverStatus

__all__ = [
    "METHODS",
    "BackendChoice",
    "BlockTridiagonal",
    "BlockTridiagonalFactor",
    "GreenOperator",
    "LinearODEFactor",
    "LinearODEProblem",
    "ODEOperator",
    "Solution",
    "SolverError",
    "SolverStatus",
    "factorize",
    "select_backend",
    "solve",
]
