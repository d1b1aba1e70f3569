"""The paper's neural-ODE baselines on the same records."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

from benchmarks.skanode.fitting import records_of
from benchmarks.skanode.settings import Case

__all__ = ["network_cases", "train_network"]

MODELS = ("ANODE", "SONODE", "S3NODE")


def network_cases(seeds: int, quick: bool) -> list[tuple[str, Case]]:
    """Every baseline on Duffing, without noise and with; the seed is the weights' as well.

    Parameters
    ----------
    seeds : int
        Records of each setting.
    quick : bool
        Without noise only.
    """
    return [
        (model, Case("networks", "duffing", noise, seed))
        for noise in ((0.0,) if quick else (0.0, 0.01))
        for seed in range(seeds)
        for model in MODELS
    ]


def train_network(model: str, case: Case, seconds: float | None = None) -> dict[str, Any]:
    """Train one baseline and score its free run over 0 to 60.

    The first two latent states are scored as displacement and velocity, as the paper does,
    whatever they mean to the model.

    Parameters
    ----------
    model : {"ANODE", "SONODE", "S3NODE"}
    case : Case
    seconds : float, optional
        Time for the training; by default its schedule alone ends it.

    Returns
    -------
    dict
        Ready for JSON.
    """
    from discoverers import networks

    (whole,) = records_of(case)
    record = whole.training()
    # SONODE's and ANODE's states are what is observed and what they make up beside it.
    known = {"initial_state": case.start} if model == "S3NODE" else {}
    baseline = getattr(networks, f"{model}Baseline")(
        time_budget=seconds, random_state=case.seed, **known
    )
    before = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        baseline.fit(record.t, record.y, u=record.u)
        row = {
            "model": model,
            **case.label(),
            "seconds": time.perf_counter() - before[0],
            "processor_seconds": time.process_time() - before[1],
            "converged": bool(baseline.converged_),
        }
        observed = np.asarray(baseline.predict(whole.t, u=whole.u)).reshape(-1, 1)
        latent = np.asarray(baseline.latent(whole.t, u=whole.u))
    away = observed - whole.y
    row["mse"] = {
        "acceleration": _mse(away),
        "acceleration_training": _mse(away[: len(record.t)]),
        "displacement": _mse(latent[:, 0] - whole.states[:, 0]),
        "velocity": _mse(latent[:, 1] - whole.states[:, 1]),
    }
    return row


def _mse(difference: np.ndarray) -> float:
    return float(np.mean(np.where(np.isfinite(difference), difference, np.inf) ** 2))
