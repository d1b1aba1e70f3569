"""What a modal search found, written down as a `StructuralFit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import sympy
from numpy.typing import NDArray

from discoverers.exceptions import ConvergenceWarning, IdentifiabilityWarning, MisfitWarning
from discoverers.shooting import Observation
from discoverers.structures.base import Data, Note, StructuralFit

from .estimates import (
    Estimates,
    Naming,
    estimates,
    modal_equations,
    rates_of,
    seen_of,
    state_names,
)
from .forces import ScoreTest, as_joint_model, refit, score_tests
from .growth import Growth
from .model import HYSTERESIS, ModalModel, Sense
from .projection import Channels, Fitted
from .search import Search
from .words import (
    DECISIVE,
    forces_of,
    forces_text,
    is_hysteretic,
    said_of_hysteresis,
)

__all__ = ["report"]

Array = NDArray[np.float64]

MISFIT = 1.5
"""Residual, in units of the known noise, from which on the user is warned."""


def report(
    data: Data,
    search: Search,
    fitted: Fitted,
    channels: Channels,
    others: Sequence[Fitted],
    growth: Growth,
    senses: tuple[Sense, ...],
    seconds: float,
) -> StructuralFit:
    """Write down the chosen model, what stood against it, and what the record cannot say.

    Parameters
    ----------
    data : Data
    search : Search
    fitted : Fitted
        The chosen model: joint, modes in the order of their frequencies.
    channels : Channels
        With the number of independent samples that standard errors are based on.
    others : sequence of Fitted
        The model with other forces in the place of its own.
    growth : Growth
    senses : tuple of Sense
    seconds : float
        Time that the search took.
    """
    naming = Naming(data.input_names, data.channel_names, senses)
    model = fitted.model
    names = state_names(model)
    equations = modal_equations(model, data.input_names)
    found = estimates(fitted, channels, search.prior, naming)
    tests = score_tests(fitted, search.channels, growth.significance, growth.kinds)
    tests, trials = refit(search, fitted, tests, growth.gamma)
    rivals = [(trial, trial.criterion - fitted.criterion) for trial in others]
    gains = [test.gain for test in tests if np.isfinite(test.gain)]
    rivals += [(trial, -gain) for trial, gain in zip(trials, gains, strict=True)]
    alternatives = _alternatives(fitted, rivals, data.input_names)
    terms, coef, coef_std = _coefficients(model, data.input_names, found)
    states = _states(model, names)
    rate = equations.lambdify()
    said = said_of_hysteresis(fitted, tests, rivals, search)
    return StructuralFit(
        equations=equations,
        observation=_observation(model, fitted.weights, naming, names),
        terms=terms,
        coef=coef,
        coef_std=coef_std,
        parameter_names=found.names,
        covariance=found.covariance,
        states=states,
        rates=tuple(
            np.asarray(rate(X, record.u)) for X, record in zip(states, data.records, strict=True)
        ),
        x0=np.stack([X[0] for X in states]),
        x0_std=_start_std(names, found, len(states)),
        noise_std=found.noise_std,
        pareto_front=_front(fitted, search, data.input_names, found.noise_std),
        alternatives=alternatives,
        history=_history(search, channels, seconds),
        converged=fitted.converged,
        notes=_notes(data, fitted, alternatives, found),
        extras={
            "modes_": _modes(fitted, channels, found, data.channel_names),
            "score_tests_": _tests_frame(tests),
            "hysteresis_": said,
            "independent_samples_": search.channels.independent,
        },
    )


def _coefficients(
    model: ModalModel, inputs: tuple[str, ...], found: Estimates
) -> tuple[tuple[str, ...], Array, Array]:
    rates = rates_of(model, inputs)
    terms: dict[sympy.Expr, int] = {}
    for side in rates.values():
        for term in side:
            terms.setdefault(term, len(terms))
    coef, std = np.zeros((len(rates), len(terms))), np.zeros((len(rates), len(terms)))
    for v, (state, side) in enumerate(rates.items()):
        for term, value in side.items():
            coef[v, terms[term]] = value
            std[v, terms[term]] = found.std(f"{state}': {term}")
    return tuple(map(str, terms)), coef, std


def _states(model: ModalModel, names: tuple[str, ...]) -> tuple[Array, ...]:
    """States of each run in the order of `names`."""
    motions = [model.motion(mode) for mode in model.modes]
    runs = []
    for r in range(len(model.records)):
        columns: dict[str, Array] = {}
        for i, motion in enumerate(motions, start=1):
            q, v, _, z = motion[r]
            columns |= {f"q{i}": q, f"v{i}": v, f"z{i}": z}
        runs.append(np.column_stack([columns[name] for name in names]))
    return tuple(runs)


def _start_std(names: tuple[str, ...], found: Estimates, runs: int) -> Array:
    labels = [""] if runs == 1 else [f" of run {r + 1}" for r in range(runs)]
    return np.array([[found.std(f"{name}(0){label}") for name in names] for label in labels])


def _observation(
    model: ModalModel, weights: Array, naming: Naming, names: tuple[str, ...]
) -> Observation:
    places = {
        "states": {name: k for k, name in enumerate(names)},
        "rates": {name: k for k, name in enumerate(names)},
        "inputs": {name: k for k, name in enumerate(naming.inputs)},
    }
    rows = {name: c for c, name in enumerate(naming.channels)}
    matrices = {kind: np.zeros((len(rows), len(place))) for kind, place in places.items()}
    for (channel, kind, name), value in seen_of(model, weights, naming).items():
        matrices[kind][rows[channel], places[kind][name]] = value
    return Observation.linear(
        naming.channels,
        states=matrices["states"],
        rates=matrices["rates"],
        inputs=matrices["inputs"],
    )


def _modes(
    fitted: Fitted, channels: Channels, found: Estimates, channel_names: tuple[str, ...]
) -> pd.DataFrame:
    """One row per mode; contributions are rms, as shares of each channel's."""
    model = fitted.model
    frame = pd.DataFrame(
        {
            "frequency": [mode.frequency / (2.0 * np.pi) for mode in model.modes],
            "frequency_std": found.frequency_std,
            "damping": [mode.damping for mode in model.modes],
            "damping_std": found.damping_std,
        },
        index=pd.RangeIndex(1, len(model.modes) + 1, name="mode"),
    )
    for c, name in enumerate(channel_names):
        size = np.linalg.norm(channels.rows(channels.y[:, c], c)) or 1.0
        frame[f"share of {name}"] = [
            float(np.linalg.norm(fitted.columns[c][:, owned] @ fitted.weights[c, owned]) / size)
            for owned in fitted.owned
        ]
    frame["complex"] = [mode.complex for mode in model.modes]
    frame["forces"] = [", ".join(force.kind for force in mode.forces) for mode in model.modes]
    return frame


def _tests_frame(tests: Sequence[ScoreTest]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "mode": [test.mode + 1 for test in tests],
            "frequency": [test.frequency for test in tests],
            "force": [test.force.kind for test in tests],
            "width": [
                test.force.width if test.force.kind == HYSTERESIS else np.nan for test in tests
            ],
            "statistic": [test.statistic for test in tests],
            "threshold": [test.threshold for test in tests],
            "passed": [test.passed for test in tests],
            "detectable": [test.detectable for test in tests],
            "gain": [test.gain for test in tests],
        }
    )


def _alternatives(
    fitted: Fitted, rivals: Sequence[tuple[Fitted, float]], inputs: tuple[str, ...]
) -> pd.DataFrame:
    """The chosen model and others within reach of it, one per set of forces."""
    ranked, behind = [fitted], [0.0]
    seen = {_signature(fitted)}
    for rival, distance in sorted(rivals, key=lambda pair: pair[1]):
        signature = _signature(rival)
        if distance < DECISIVE and signature not in seen:
            seen.add(signature)
            ranked.append(rival)
            behind.append(max(distance, 0.0))
    systems = [modal_equations(as_joint_model(trial)[0], inputs) for trial in ranked]
    weights = np.exp(-0.5 * np.array(behind))
    return pd.DataFrame(
        {
            "equation": [str(system) for system in systems],
            "equations": systems,
            "score_behind": behind,
            "weight": weights / weights.sum(),
            "forces": [forces_text(trial.model) for trial in ranked],
            "hysteresis": [is_hysteretic(trial) for trial in ranked],
        }
    )


def _signature(fitted: Fitted) -> tuple[Any, ...]:
    modes = sorted(fitted.model.modes, key=lambda mode: mode.log_frequency)
    return tuple(tuple(sorted(force.kind for force in mode.forces)) for mode in modes)


def _notes(
    data: Data, fitted: Fitted, alternatives: pd.DataFrame, found: Estimates
) -> tuple[Note, ...]:
    notes = []
    if not fitted.converged:
        notes.append(
            Note(
                "The modal fit did not converge; a longer record or fewer modes (max_modes) help.",
                ConvergenceWarning,
            )
        )
    chosen = forces_of(fitted)
    rivals = alternatives["forces"].iloc[1:]
    if chosen and len(rivals):
        notes.append(
            Note(
                f"The record asks for {forces_text(fitted.model)}, but does not tell the force "
                f"from {'; '.join(rivals.head(3))}: see alternatives_.",
                IdentifiabilityWarning,
            )
        )
    if data.noise_std is not None:
        poor = found.noise_std > MISFIT * data.noise_std
        if poor.any():
            names = [name for name, bad in zip(data.channel_names, poor, strict=True) if bad]
            notes.append(
                Note(
                    f"The modes leave more than the noise_std given unexplained in {names}: there "
                    f"are further modes or nonlinear forces that the record is too short to tell.",
                    MisfitWarning,
                )
            )
    return tuple(notes)


def _history(search: Search, channels: Channels, seconds: float) -> pd.DataFrame:
    """One row per model that was fitted."""
    power = np.array(
        [np.sum(channels.rows(channels.y[:, c], c) ** 2) or 1.0 for c in range(channels.y.shape[1])]
    )
    return pd.DataFrame(
        {
            "modes": [len(trial.model.modes) for trial in search.path],
            "forces": [forces_text(trial.model) for trial in search.path],
            "parameters": [trial.n_parameters for trial in search.path],
            "unexplained": [float(np.mean(trial.rss / power)) for trial in search.path],
            "criterion": [trial.criterion for trial in search.path],
            "converged": [trial.converged for trial in search.path],
        }
    ).assign(search_seconds=seconds)


def _front(
    fitted: Fitted, search: Search, inputs: tuple[str, ...], noise_std: Array
) -> pd.DataFrame:
    """The best model of each size, the chosen one marked."""
    best: dict[int, Fitted] = {}
    for trial in search.path:
        size = sum(map(len, rates_of(trial.model, inputs).values()))
        if size not in best or trial.objective < best[size].objective:
            best[size] = trial
    chosen = sum(map(len, rates_of(fitted.model, inputs).values()))
    best[chosen] = fitted
    rows, lowest = [], np.inf
    for size in sorted(best):
        if best[size].objective < lowest - 1.0 or size == chosen:
            rows.append((size, best[size]))
            lowest = min(lowest, best[size].objective)
    counts = np.array([len(residual) for residual in fitted.residuals]).clip(1)
    losses = np.array(
        [float(np.mean(trial.rss / counts / noise_std.clip(1e-150) ** 2)) for _, trial in rows]
    )
    systems = [modal_equations(as_joint_model(trial)[0], inputs) for _, trial in rows]
    sizes = np.array([size for size, _ in rows])
    gain = np.zeros(len(rows))
    gain[1:] = -np.diff(np.log(losses.clip(1e-300))) / np.diff(sizes)
    return pd.DataFrame(
        {
            "complexity": sizes,
            "loss": losses,
            "score": gain,
            "equation": [str(system) for system in systems],
            "sympy_format": [tuple(system) for system in systems],
            "lambda_format": [system.lambdify() for system in systems],
            "criterion": [trial.criterion for _, trial in rows],
            "selected": sizes == chosen,
        }
    )
