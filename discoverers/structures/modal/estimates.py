"""A fitted modal model in the user's terms: equations, what channels see, and standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.equations import Equations

from .model import HYSTERESIS, QUARTER, ModalModel, Mode, Sense
from .projection import Channels, DampingPrior, Fitted, jacobians

__all__ = [
    "Estimates",
    "Naming",
    "by_frequency",
    "estimates",
    "modal_equations",
    "rates_of",
    "seen_of",
    "state_names",
]

Array = NDArray[np.float64]

DIFFERENCE = 1e-6


@dataclass(frozen=True)
class Naming:
    """Names of inputs and channels, and what each channel measures."""

    inputs: tuple[str, ...]
    channels: tuple[str, ...]
    senses: tuple[Sense, ...]


@dataclass(frozen=True, eq=False)
class Estimates:
    """Everything that was estimated, by name, with its covariance.

    Attributes
    ----------
    names : tuple of str
        Coefficients of the equations, initial states, and what the channels see.
    values : ndarray of shape (P,)
    covariance : ndarray of shape (P, P)
    frequency_std, damping_std : ndarray of shape (modes,)
        Of cycles per unit of time, and of the damping ratios.
    noise_std : ndarray of shape (C,)
    """

    names: tuple[str, ...]
    values: Array
    covariance: Array
    frequency_std: Array
    damping_std: Array
    noise_std: Array

    def std(self, name: str) -> float:
        """Standard error of one of them; 0 of anything that was not estimated."""
        if name not in self.names:
            return 0.0
        k = self.names.index(name)
        return float(np.sqrt(max(self.covariance[k, k], 0.0)))


def state_names(model: ModalModel) -> tuple[str, ...]:
    """``q1, v1, q2, v2, ...``, then the hysteretic states."""
    pairs = [f"{letter}{i + 1}" for i in range(len(model.modes)) for letter in "qv"]
    return (*pairs, *(f"z{i + 1}" for i in range(len(model.modes)) if _hysteretic(model.modes[i])))


def _hysteretic(mode: Mode) -> bool:
    return any(force.kind == HYSTERESIS for force in mode.forces)


def rates_of(model: ModalModel, inputs: Sequence[str]) -> dict[str, dict[sympy.Expr, float]]:
    """Coefficients of the equations by state and term."""
    rates: dict[str, dict[sympy.Expr, float]] = {}
    for i, mode in enumerate(model.modes, start=1):
        w, damping = mode.frequency, mode.damping
        q, v, z = (sympy.Symbol(f"{letter}{i}") for letter in "qvz")
        rates[f"q{i}"] = {v: 1.0}
        law: dict[sympy.Expr, float] = {
            sympy.Symbol(name): float(w**2 * share)
            for name, share in zip(inputs, mode.participation, strict=True)
        }
        law |= {q: -(w**2), v: -2.0 * damping * w}
        for force in mode.forces:
            law[force_term(force.kind, q, v, z)] = force.factor
            if force.kind == HYSTERESIS:
                rates[z.name] = {v: 1.0, sympy.Abs(v) * z: -1.0 / force.width}
        rates[v.name] = law
    return {name: rates[name] for name in state_names(model)}


def force_term(kind: str, q: sympy.Symbol, v: sympy.Symbol, z: sympy.Symbol) -> sympy.Expr:
    """A force of factor 1 as an expression."""
    return {
        "q**2": q**2,
        "q*|q|": q * sympy.Abs(q),
        "q**3": q**3,
        "v*|v|": v * sympy.Abs(v),
        "v**3": v**3,
        "q**2*v": q**2 * v,
        HYSTERESIS: z,
    }[kind]


def modal_equations(model: ModalModel, inputs: Sequence[str]) -> Equations:
    """Rates of all states."""
    rates = rates_of(model, inputs)
    sides = [
        sympy.Add(*(term if value == 1.0 else sympy.Float(value) * term for term, value in side))
        for side in (terms.items() for terms in rates.values())
    ]
    return Equations(sides, tuple(rates), tuple(inputs))


def seen_of(model: ModalModel, weights: Array, naming: Naming) -> dict[tuple[str, str, str], float]:
    """What channels see: {(channel, "inputs" | "states" | "rates", name): weight}."""
    seen: dict[tuple[str, str, str], float] = {}
    widths = [len(naming.inputs), *(1 + mode.complex for mode in model.modes)]
    first = np.cumsum(widths)
    for c, (channel, sense) in enumerate(zip(naming.channels, naming.senses, strict=True)):
        for j, name in enumerate(naming.inputs):
            seen[channel, "inputs", name] = float(weights[c, j])
        for i, mode in enumerate(model.modes):
            for k, each in enumerate((sense, QUARTER[sense])[: 1 + mode.complex]):
                kind, letter, size = _PLACES[each]
                weight = float(weights[c, first[i] + k])
                seen[channel, kind, f"{letter}{i + 1}"] = weight / mode.frequency**size
    return seen


_PLACES: dict[Sense, tuple[str, str, int]] = {
    "acceleration": ("rates", "v", 2),
    "velocity": ("states", "v", 1),
    "displacement": ("states", "q", 0),
}
"""What a channel of a sense sees: states or rates, of which state, over which power of w."""


def _kinematic(state: str, term: sympy.Expr) -> bool:
    return state[0] in "qz" and term == sympy.Symbol(f"v{state[1:]}")


def _named_values(model: ModalModel, weights: Array, naming: Naming) -> dict[str, float]:
    rates = rates_of(model, naming.inputs)
    found = {
        f"{state}': {term}": value
        for state, terms in rates.items()
        for term, value in terms.items()
        if not _kinematic(state, term)
    }
    for r in range(len(model.records) if model.estimate_start else 0):
        run = f" of run {r + 1}" if len(model.records) > 1 else ""
        for i, mode in enumerate(model.modes, start=1):
            found[f"q{i}(0){run}"] = float(mode.start[r, 0])
            found[f"v{i}(0){run}"] = float(mode.start[r, 1] * mode.frequency)
    for (channel, kind, name), value in seen_of(model, weights, naming).items():
        prime = "'" if kind == "rates" else ""
        found[f"{channel}: {name}{prime}"] = value
    return found


def estimates(fitted: Fitted, channels: Channels, prior: DampingPrior, naming: Naming) -> Estimates:
    """Values and covariance of everything by the Gauss-Newton Hessian at a joint model."""
    model, weights = fitted.model, fitted.weights
    inner = _covariance(fitted, channels, prior)
    nonlinear = model.vector()
    at = np.concatenate([nonlinear, weights.ravel()])

    def values(parameters: Array) -> Array:
        moved = model.moved(parameters[: len(nonlinear)])
        found = _named_values(moved, parameters[len(nonlinear) :].reshape(weights.shape), naming)
        return np.array(list(found.values()))

    J = np.zeros((len(values(at)), len(at)))
    for k in range(len(at)):
        step = np.zeros(len(at))
        step[k] = DIFFERENCE * max(abs(at[k]), 1e-6)
        J[:, k] = (values(at + step) - values(at - step)) / (2.0 * step[k])
    logs = np.cumsum([0, *(len(mode.vector(model.estimate_start)) for mode in model.modes)])[:-1]
    spread = np.sqrt(np.diagonal(inner).clip(0.0))
    frequency = np.array([mode.frequency for mode in model.modes]) / (2.0 * np.pi)
    damping = np.array([mode.damping for mode in model.modes])
    count = channels.n_independent
    freedom = count / max(count - fitted.n_parameters, 1.0)
    rows = np.array([len(residual) for residual in fitted.residuals])
    covariance = J @ inner @ J.T
    return Estimates(
        tuple(_named_values(model, weights, naming)),
        values(at),
        0.5 * (covariance + covariance.T),
        frequency * spread[logs],
        damping * spread[logs + 1],
        np.sqrt(freedom * fitted.rss / rows.clip(1)),
    )


def _covariance(fitted: Fitted, channels: Channels, prior: DampingPrior) -> Array:
    """Of the nonlinear parameters, then the weights channel by channel."""
    model = fitted.model
    size, K = len(model.vector()), fitted.weights.shape[1]
    information = np.zeros((size + fitted.weights.size,) * 2)
    for c, J in enumerate(jacobians(fitted, channels)):
        rss = max(float(fitted.rss[c]), float(channels.floor[c]))
        own = slice(size + c * K, size + (c + 1) * K)
        full = np.zeros((len(J), len(information)))
        full[:, :size], full[:, own] = J, fitted.columns[c]
        information += channels.share[c] * channels.independent / rss * (full.T @ full)
    at = 0
    for mode in model.modes:
        information[at + 1, at + 1] += 1.0 / prior.spread**2
        at += len(mode.vector(model.estimate_start))
    scale = np.sqrt(np.diagonal(information)).clip(1e-150)
    return np.linalg.pinv(information / scale / scale[:, None], hermitian=True) / np.outer(
        scale, scale
    )


def by_frequency(fitted: Fitted) -> ModalModel:
    """The model with its modes in the order of their frequencies."""
    modes = sorted(fitted.model.modes, key=lambda mode: mode.log_frequency)
    return replace(fitted.model, modes=tuple(modes))
