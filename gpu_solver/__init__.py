"""Linear ODEs as banded least squares: fast, differentiable, and honest about failure."""

from __future__ import annotations

from gpu_solver.block_tridiagonal import BlockTridiagonal, BlockTridiagonalFactor
from gpu_solver.status import SolverError, SolverStatus

__all__ = ["BlockTridiagonal", "BlockTridiagonalFactor", "SolverError", "SolverStatus"]
