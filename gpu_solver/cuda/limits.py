"""What the CUDA kernels can do, decided before any of them is written."""

from __future__ import annotations

from typing import Any

from gpu_solver.fused.sweeps import Sizes

__all__ = ["LARGEST_BLOCK", "LARGEST_PROBLEM", "is_decoupled", "reason_against"]

#: Unknowns a step that sweeps unroll.
LARGEST_BLOCK = 6
#: Unknowns a step of decoupled problems, whose gradients are found all together.
LARGEST_PROBLEM = 24


def reason_against(sizes: Sizes, decoupled: bool) -> str:
    """Why kernels would not be compiled for these sizes, or nothing."""
    n = sizes.order + 1 if decoupled else sizes.n
    if n > LARGEST_BLOCK:
        return (
            f"its kernels unroll blocks of up to {LARGEST_BLOCK} unknowns a step, got {n}, which "
            "would take minutes to compile; use 'cyclic_reduction'."
        )
    if sizes.n > LARGEST_PROBLEM:
        return (
            f"its gradients unroll up to {LARGEST_PROBLEM} unknowns a step, got {sizes.n}; solve "
            "the decoupled variables as a batch, or use 'cyclic_reduction'."
        )
    return ""


def is_decoupled(c: Any) -> bool:
    """Whether equation q has coefficients of variable q only; this waits for the device."""
    equations, variables = c.shape[-3:-1]
    if variables == 1 or equations != variables:
        return False
    import torch

    other = ~torch.eye(variables, dtype=torch.bool, device=c.device)
    return not bool((c.detach()[..., other, :] != 0).any())
