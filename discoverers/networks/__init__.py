"""Networks that learn dynamics: deep spline KANs, pykan's, and the neural-ODE baselines.

Every network is trained in the same way, inside a structured ordinary differential equation whose
observation reads the same function as its transition (`train_structured`). PyTorch and pykan are
imported when a name is first used.

What a structure hands over, and what it gets back::

    from discoverers.networks import train_structured

    learnt = train_structured(
        "deep",                  # "deep" (spline KAN), "pykan", "mlp" (5 x 32), or a torch module
        records,                 # sequence of discoverers.shooting.Record
        observation,             # discoverers.shooting.Observation of the chain's states
        order=2,                 # length of each chain: q, q', ..., q^(order - 1)
        state_names=("x", "v"),  # dof by dof: q_1, q_1', ..., q_2, ...
        input_names=("u",),
        x0=None,                 # (runs, n_s), NaN = to be estimated; None = all of it
        start=None,              # guesses of the states at the samples, (n, n_s) a run, or None
        pilot=True,              # a KAN begins at states that a perceptron learns from the guesses
        random_state=0,
        max_epochs=None,         # cap on optimiser steps of every phase
        time_budget=None,        # seconds
        iterations=None,         # iterations(name, maximum) yields 0, 1, ...: progress, early stop
    )
    learnt.states                # per run (n, n_s) at the sample times, integrated by the network
    learnt.rates                 # per run (n, n_s)
    learnt.x0                    # (runs, n_s)
    learnt.acceleration(X, u)    # (n, n_s), (n, m) -> (n, n_dof); NumPy in and out
    learnt.edges                 # tuple of Edge: source, target, grid, values; edge(x) evaluates
    learnt.formula               # pykan: one SymPy expression per degree of freedom; otherwise None
    learnt.noise_std             # (C,) root mean square residual of each channel
    learnt.history               # DataFrame: phase, window, epoch, loss, seconds
    learnt.converged             # False if a cap or the time budget cut the last phase short
    learnt.simulate(record, x0)  # (n, n_s) states of a free run

With ``dynamics="deep"`` the structure goes on from `learnt.states` (extraction, then calibration by
the engine). With ``dynamics="pykan"`` `learnt.formula` is what pykan's own symbolic mode made of
them: its terms are what the engine calibrates.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from discoverers.networks.baselines import ANODEBaseline, S3NODEBaseline, SONODEBaseline
    from discoverers.networks.edges import Edge
    from discoverers.networks.kan import SplineKAN
    from discoverers.networks.learning import LearntDynamics, train_structured
    from discoverers.networks.mlp import MLP
    from discoverers.networks.spline_layer import SplineLayer

_HOMES = {
    "ANODEBaseline": "baselines",
    "Edge": "edges",
    "LearntDynamics": "learning",
    "MLP": "mlp",
    "S3NODEBaseline": "baselines",
    "SONODEBaseline": "baselines",
    "SplineKAN": "kan",
    "SplineLayer": "spline_layer",
    "train_structured": "learning",
}

__all__ = [
    "MLP",
    "ANODEBaseline",
    "Edge",
    "LearntDynamics",
    "S3NODEBaseline",
    "SONODEBaseline",
    "SplineKAN",
    "SplineLayer",
    "train_structured",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first asked for."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
