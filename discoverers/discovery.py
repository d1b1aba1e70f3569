"""What an estimator's `_discover` hands back, and how it becomes fitted attributes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .coercion import Clock
from .equations import Equations
from .prediction import FittedTrajectory, Observes
from .runs import Form, Interpolation
from .trajectories import Trajectories

__all__ = ["Discovery", "FittedTrajectory", "TrainingData", "fitted_attributes"]


@dataclass(frozen=True)
class Discovery:
    """What `_discover` hands back; each field becomes the fitted attribute of the same name.

    Attributes
    ----------
    equations : Equations
    terms : tuple of str
        Names of the K candidate terms.
    coef, coef_std : ndarray of shape (V, K)
        Coefficients in the user's units and their standard deviations (0 where inactive).
    pareto_front : DataFrame
    noise_std : ndarray of shape (C,)
        Of each column of `X`.
    solution : tuple of FittedTrajectory
        One per run, in the order of the runs.
    history : DataFrame
    converged : bool
    extras : mapping of str to object
        Further fitted attributes; their names end with an underscore.
    observation : Observes or None
        How the columns of `X` follow from the states; None means that they are the states.
    interpolation : {"linear", "cubic", "hold"}
        How inputs run between their samples, in the fit and in every simulation after it.
    """

    equations: Equations
    terms: tuple[str, ...]
    coef: NDArray[np.float64]
    coef_std: NDArray[np.float64]
    pareto_front: pd.DataFrame
    noise_std: NDArray[np.float64]
    solution: tuple[FittedTrajectory, ...]
    history: pd.DataFrame
    converged: bool
    extras: Mapping[str, Any] = field(default_factory=dict)
    observation: Observes | None = None
    interpolation: Interpolation = "linear"


@dataclass(frozen=True)
class TrainingData:
    """How the data of `fit` came, which `predict` and `score` have to match."""

    ids: tuple[Hashable, ...]
    form: Form
    clock: Clock
    squeeze: bool
    interpolation: Interpolation = "linear"


def fitted_attributes(
    discovery: Discovery, trajectories: Trajectories, features: Mapping[str, Any]
) -> dict[str, Any]:
    """All fitted attributes by name, complete before any is set."""
    if len(discovery.solution) != len(trajectories):
        raise ValueError(
            f"solution has {len(discovery.solution)} run(s), the data have {len(trajectories)}."
        )
    shape = (len(discovery.equations), len(discovery.terms))
    for name in ("coef", "coef_std"):
        if np.shape(getattr(discovery, name)) != shape:
            raise ValueError(
                f"{name} has shape {np.shape(getattr(discovery, name))}, expected {shape}."
            )
    own = {
        "equations_": discovery.equations,
        "terms_": tuple(discovery.terms),
        "coef_": np.asarray(discovery.coef),
        "coef_std_": np.asarray(discovery.coef_std),
        "pareto_front_": discovery.pareto_front,
        "noise_std_": np.asarray(discovery.noise_std),
        "solution_": tuple(discovery.solution),
        "history_": discovery.history,
        "converged_": bool(discovery.converged),
        "state_names_": discovery.equations.state_names,
        "channel_names_": trajectories.state_names,
        "observation_": discovery.observation,
        "input_names_": trajectories.input_names,
        "x0_": np.stack([fitted.X[0] for fitted in discovery.solution]),
        "training_data_": TrainingData(
            trajectories.ids,
            trajectories.form,
            trajectories.clock,
            trajectories.squeeze,
            discovery.interpolation,
        ),
        "device_": "cpu",
    }
    return own | dict(features) | dict(discovery.extras)
