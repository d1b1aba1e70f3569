"""The published single-file S-MNN solver, from a user's own copy.

The file is ``smnn.py`` of the authors' repository (github.com/IST-DASLab/ScalableMNN); it is not
part of this project. Any Python file will do that defines::

    ode_forward(coefficients, rhs_equation, init_vars, steps, n_steps=None, *,
                is_step_dim_first=False, frozen_lhs_cache_version=0) -> y

with torch tensors of shapes (..., T or 1, Q, V, R+1), (..., T or 1, Q), (..., T_init, V, R_init+1)
and (..., T-1 or 1), y of shape (..., T, V, R+1), unit weights, differentiable. With
``is_step_dim_first`` the step axis comes first everywhere. A positive
``frozen_lhs_cache_version`` names a left-hand side that is factorised once and kept.
"""

from __future__ import annotations

import importlib.util
import itertools
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.solver.candidates import Candidate, Step
from benchmarks.solver.cases import Inputs

__all__ = ["load_reference"]

_versions = itertools.count(1)


def load_reference(path: str | Path) -> tuple[Candidate, Candidate]:
    """Load the published solver, to run on torch's usual number of threads and on one.

    Its many small operations are often faster on one thread, most of all when the machine has
    other work; a comparison has to take the better of the two.

    Parameters
    ----------
    path : path
        Of the user's copy.

    Returns
    -------
    tuple of Candidate
        "published" and "published, one thread", with its cache on where the left-hand side is
        shared, the step axis first as its authors call it, and one batch axis.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file does not define ``ode_forward``.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"no reference solver at {str(path)!r}; give the path of the published smnn.py."
        )
    spec = importlib.util.spec_from_file_location("published_smnn", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{str(path)!r} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ode_forward = getattr(module, "ode_forward", None)
    if not callable(ode_forward):
        raise ValueError(f"{str(path)!r} defines no function ode_forward.")
    return (
        Candidate("published", lambda inputs: _step(ode_forward, inputs, one_thread=False)),
        Candidate("published, one thread", lambda inputs: _step(ode_forward, inputs, True)),
    )


def _step(ode_forward: Callable[..., Any], inputs: Inputs, one_thread: bool) -> Step:
    import torch

    batch = inputs.upstream.shape[:-3]
    problems = int(np.prod(batch, dtype=np.int64))

    def steps_first(array: Any, core: int) -> Any:
        """Merge the batch axes, of size 1 where they broadcast, and move the steps before them."""
        value = torch.from_numpy(array)
        lead = problems if value.ndim > core else 1
        if not batch:
            return value.clone()
        return value.reshape(lead, *value.shape[value.ndim - core :]).movedim(0, 1).contiguous()

    def batch_first(tensor: Any) -> Any:
        return tensor.movedim(1, 0).reshape(*batch, *_without(tensor.shape, 1)) if batch else tensor

    tensors = {
        name: steps_first(getattr(inputs, name), core).requires_grad_(name in inputs.varying)
        for name, core in (("c", 4), ("d", 2), ("u", 3), ("s", 1))
    }
    upstream = steps_first(inputs.upstream, 3)
    wanted = [tensors[name] for name in inputs.varying]
    options: dict[str, Any] = {"n_steps": inputs.upstream.shape[-3], "is_step_dim_first": True}
    if "c" not in inputs.varying:
        options["frozen_lhs_cache_version"] = next(_versions)

    def passes() -> tuple[Any, Any]:
        y = ode_forward(tensors["c"], tensors["d"], tensors["u"], tensors["s"], **options)
        return y.detach(), torch.autograd.grad(y, wanted, upstream)

    def step() -> tuple[Any, Mapping[str, Any]]:
        threads = torch.get_num_threads()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="An output with one or more elements")
            if one_thread:
                torch.set_num_threads(1)
            try:
                y, gradients = passes()
            finally:
                torch.set_num_threads(threads)
        named = dict(zip(inputs.varying, gradients, strict=True))
        return batch_first(y), {name: batch_first(value) for name, value in named.items()}

    return step


def _without(shape: Any, axis: int) -> tuple[int, ...]:
    return tuple(size for index, size in enumerate(shape) if index != axis)
