"""The paper's neural-ODE baselines on the same records."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.skanode.fitting import records_of
from benchmarks.skanode.settings import Case

__all__ = ["train_networks"]

BASELINES = ("ANODEBaseline", "SONODEBaseline", "S3NODEBaseline")


def train_networks(quick: bool, seconds: float | None, seeds: int = 1) -> Iterator[dict[str, Any]]:
    """Train every baseline on Duffing (and, if not quick, van der Pol), free run over 0 to 60.

    The first two latent states are scored as displacement and velocity, as the paper does,
    whatever they mean to the model.

    Parameters
    ----------
    quick : bool
        Duffing without noise only, and little training.
    seconds : float or None
        Time for training each; None leaves it to the baseline, or 20 if quick.
    seeds : int, default=1
        Records of each setting.

    Yields
    ------
    dict
        Ready for JSON, one for each model and record.
    """
    settings = [("duffing", 0.0)]
    if not quick:
        settings += [("duffing", 0.01), ("van_der_pol_1", 0.01)]
    for system, noise in settings:
        for seed in range(seeds if noise else 1):
            for name in BASELINES:
                budget = seconds if seconds is not None else (20.0 if quick else None)
                yield _train(name, Case("networks", system, noise, seed), budget)


def _train(name: str, case: Case, budget: float | None) -> dict[str, Any]:
    from discoverers import networks

    (whole,) = records_of(case)
    record = whole.training()
    # SONODE's and ANODE's states are what is observed and what they make up beside it.
    known = {"initial_state": case.start} if name.startswith("S3") else {}
    model = getattr(networks, name)(time_budget=budget, random_state=case.seed, **known)
    before = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(record.t, record.y, u=record.u)
        row = {
            "model": name.removesuffix("Baseline"),
            **case.label(),
            "seconds": time.perf_counter() - before[0],
            "processor_seconds": time.process_time() - before[1],
            "converged": bool(model.converged_),
        }
        observed = np.asarray(model.predict(whole.t, u=whole.u)).reshape(-1, 1)
        latent = np.asarray(model.latent(whole.t, u=whole.u))
    row["mse"] = {
        "acceleration": _mse(observed - whole.y),
        "displacement": _mse(latent[:, 0] - whole.states[:, 0]),
        "velocity": _mse(latent[:, 1] - whole.states[:, 1]),
    }
    return row


def _mse(difference: np.ndarray) -> float:
    return float(np.mean(np.where(np.isfinite(difference), difference, np.inf) ** 2))
