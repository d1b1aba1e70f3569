"""Solves on CUDA devices by Triton kernels, made from the same steps as the CPU's.

`gpu_solver.solve` takes them where tensors are on a CUDA device; `DeviceSolver` is for CUDA graphs.
"""

from __future__ import annotations

from typing import Any

__all__ = ["DeviceSolver"]


def __getattr__(name: str) -> Any:
    if name == "DeviceSolver":
        from gpu_solver.cuda.solver import DeviceSolver

        return DeviceSolver
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
