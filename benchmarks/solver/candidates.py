"""Who is measured: every method of ``gpu_solver``, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.solver import lapack
from benchmarks.solver.cases import Case, Inputs
from gpu_solver import METHODS, LinearODEProblem, factorize, solve

__all__ = ["Candidate", "Step", "candidates_of"]

#: One forward and backward pass: y, and the gradients of what varies by name.
Step = Callable[[], tuple[Any, Mapping[str, Any]]]


@dataclass(frozen=True)
class Candidate:
    """Something that solves a case forward and backward.

    Attributes
    ----------
    name : str
        For tables.
    prepare : callable
        From `Inputs` to what is timed. Work that users do once, such as factorising a shared
        left-hand side, belongs here.
    """

    name: str
    prepare: Callable[[Inputs], Step]


def candidates_of(case: Case) -> tuple[Candidate, ...]:
    """Return our candidates for a case; those that refuse it say so when prepared or run."""
    listed = [Candidate("auto", lambda inputs: by_method(inputs, "auto"))]
    listed += [Candidate(name, _bind(name)) for name in METHODS]
    if case.shared:
        listed.append(Candidate("factor kept", factor_kept))
        listed.append(Candidate("Green operator kept", green_kept))
    else:
        listed.append(Candidate("auto, float32", lambda inputs: by_method(inputs, "auto", True)))
    if not case.batch and case.variables == 1:
        listed.append(Candidate("two solves, no c and s gradients", two_solves))
        listed.append(Candidate("LAPACK pbsv, assembly and two solves", lapack.assemble_and_solve))
        listed.append(Candidate("LAPACK pbsv, two solves only", lapack.solve_only))
    return tuple(listed)


def _bind(method: str) -> Callable[[Inputs], Step]:
    return lambda inputs: by_method(inputs, method)


def by_method(inputs: Inputs, method: str, single: bool = False) -> Step:
    """Solve torch tensors with `solve` and differentiate; building the problem is timed too."""
    import torch

    dtype = torch.float32 if single else torch.float64
    tensors = {
        name: torch.from_numpy(getattr(inputs, name))
        .to(dtype)
        .requires_grad_(name in inputs.varying)
        for name in "cdus"
    }
    upstream = torch.from_numpy(inputs.upstream).to(dtype)
    wanted = [tensors[name] for name in inputs.varying]

    def step() -> tuple[Any, Mapping[str, Any]]:
        y = solve(LinearODEProblem(**tensors), method).y
        gradients = torch.autograd.grad(y, wanted, upstream)
        return y.detach(), dict(zip(inputs.varying, gradients, strict=True))

    return step


def factor_kept(inputs: Inputs) -> Step:
    """Factorise before the clock starts, then solve and transpose-solve."""
    operator = factorize(inputs.c, inputs.s, n_steps=inputs.upstream.shape[-3])

    def step() -> tuple[Any, Mapping[str, Any]]:
        y = operator.solve(inputs.d, inputs.u)
        dd, du = operator.adjoint(inputs.upstream)
        return y, {"d": dd, "u": du}

    return step


def green_kept(inputs: Inputs) -> Step:
    """Form the Green operator before the clock starts, then two matrix products."""
    operator = factorize(inputs.c, inputs.s, n_steps=inputs.upstream.shape[-3])
    green = operator.green()
    adjoint = getattr(green, "adjoint", None)
    if adjoint is None:
        unknowns = int(np.prod(inputs.upstream.shape[-3:]))
        on_d = np.ascontiguousarray(green.on_d.reshape(unknowns, -1))
        on_u = np.ascontiguousarray(green.on_u.reshape(unknowns, -1))

        def adjoint(gradient: Any) -> tuple[Any, Any]:
            flat = gradient.reshape(-1, unknowns)
            return (flat @ on_d).reshape(inputs.d.shape), (flat @ on_u).reshape(inputs.u.shape)

    def step() -> tuple[Any, Mapping[str, Any]]:
        y = green.apply(inputs.d, inputs.u)
        dd, du = adjoint(inputs.upstream)
        return y, {"d": dd, "u": du}

    return step


def two_solves(inputs: Inputs) -> Step:
    """Assemble, factorise, solve and transpose-solve, as the comparison with LAPACK does."""

    def step() -> tuple[Any, Mapping[str, Any]]:
        operator = factorize(inputs.c, inputs.s, n_initial_orders=inputs.u.shape[-1])
        y = operator.solve(inputs.d, inputs.u)
        dd, du = operator.adjoint(inputs.upstream)
        return y, {"d": dd, "u": du}

    return step
