"""Which nonlinear force on which mode the record asks for, and what it says of hysteresis.

Every candidate is first asked by a score test (Rao 1948): does the residual hold what the force
would add, beyond all that the present parameters can do? Only candidates that pass, with the
number of independent samples and of tests in the reckoning, are fitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f as f_distribution

from .model import FORCES, HYSTERESIS, Force, ModalModel, Mode, Sense
from .nonlinear_kernels import BY_FACTOR, BY_HOLD
from .projection import Channels, Fitted, tangent_space
from .search import Search

__all__ = ["ScoreTest", "as_joint", "as_joint_model", "candidate_forces", "refit", "score_tests"]

Array = NDArray[np.float64]

WIDTHS = (0.3, 1.0, 3.0)
"""Widths of a hysteretic spring that are tried, in units of the mode's own rms displacement."""

REFITS = 4
"""Candidates that pass and are fitted, at most."""

OPTIMISM = 1.5
"""How much more than one linear step foretells a fit may bring."""


@dataclass(frozen=True)
class ScoreTest:
    """Answer of the record to one candidate force.

    Attributes
    ----------
    mode : int
        Position of the mode in the model that was tested.
    frequency : float
        Of that mode, cycles per unit of time.
    force : Force
        With a factor of 0; a hysteretic spring with its width.
    statistic : float
        F with 1 and `freedom` degrees of freedom; 0 where it cannot be tested.
    threshold : float
        What the statistic must exceed, all candidates considered.
    detectable : float
        Size of the force, as a share of the mode's linear spring force, that would have reached
        the threshold in expectation.
    promise : float
        Fall of the objective that one linear step foretells.
    gain : float
        Fall of the criterion with the force fitted, less the price of having tried all
        candidates; NaN where it was not fitted.
    """

    mode: int
    frequency: float
    force: Force
    statistic: float
    threshold: float
    detectable: float
    promise: float = 0.0
    gain: float = float("nan")

    @property
    def passed(self) -> bool:
        """Whether the candidate deserves a fit."""
        return self.statistic > self.threshold


def as_joint(
    mode: Mode, weights: Array, scale: Array, estimate_start: bool, senses: Sequence[Sense]
) -> tuple[Mode, Array]:
    """One response seen by all channels, closest to the channels' own weights.

    Parameters
    ----------
    mode : Mode
    weights : ndarray of shape (C, m + 2 runs), or (C, m) from rest
        Of a complex mode m more, of the inputs' responses out of phase.
    scale : ndarray of shape (C,)
        In which the channels' weights are compared.
    estimate_start : bool
    senses : sequence of Sense
        What each channel measures.

    Returns
    -------
    Mode, ndarray of shape (C, 1), or (C, 2) of a complex mode
        The joint mode, and how much of it each channel sees.
    """
    if mode.joint:
        return mode, weights
    m = len(mode.participation)
    if mode.complex:
        return _as_joint_complex(mode, weights, scale, estimate_start, senses)
    U, size, V = np.linalg.svd(weights / scale[:, None], full_matrices=False)
    row = V[0]
    reference = int(np.argmax(np.abs(row[:m])))
    pivot = row[reference]
    if abs(pivot) < 1e-9:
        # A mode that no input moves: its start alone would have to be enormous.
        pivot = 1e-9 if pivot >= 0.0 else -1e-9
    participation = np.array(row[:m] / pivot)
    participation[reference] = 1.0
    start = row[m:].reshape(mode.start.shape) / pivot if estimate_start else mode.start
    joint = replace(mode, participation=participation, start=start, joint=True)
    return joint, (U[:, 0] * size[0] * pivot * scale)[:, None]


def _as_joint_complex(
    mode: Mode, weights: Array, scale: Array, estimate_start: bool, senses: Sequence[Sense]
) -> tuple[Mode, Array]:
    """The same of a complex mode: one participation in and out of phase, then its best start."""
    m, C = len(mode.participation), len(weights)
    both = np.concatenate([weights[:, :m], weights[:, -m:]]) / np.tile(scale, 2)[:, None]
    U, size, V = np.linalg.svd(both, full_matrices=False)
    reference = int(np.argmax(np.abs(V[0])))
    participation = np.array(V[0] / V[0, reference])
    participation[reference] = 1.0
    seen = (U[:, 0] * size[0] * V[0, reference]).reshape(2, C).T * scale[:, None]
    start = mode.start
    if estimate_start:
        # A quarter of a period off, a free motion is one from another start.
        turn = np.array([[0.0, 1.0], [-1.0, -2.0 * mode.damping]])
        back = np.linalg.inv(turn)
        turns = [turn if sense == "displacement" else back for sense in senses]
        rows = [
            (in_phase * np.eye(2) + off * by) / one
            for (in_phase, off), by, one in zip(seen, turns, scale, strict=True)
        ]
        free = weights[:, m:-m].reshape(C, len(start), 2) / scale[:, None, None]
        right = free.transpose(0, 2, 1).reshape(2 * C, len(start))
        start = np.linalg.lstsq(np.concatenate(rows), right, rcond=1e-9)[0].T
    return replace(mode, participation=participation, start=start, joint=True), seen


def as_joint_model(fitted: Fitted) -> tuple[ModalModel, Array]:
    """All modes joint, and what each channel sees of inputs and modes, (C, m + columns)."""
    model = fitted.model
    scale = np.sqrt(fitted.rss + 1e-300)
    senses = [model.senses[sense] for sense in fitted.sense]
    pairs = [
        as_joint(mode, fitted.weights[:, owned], scale, model.estimate_start, senses)
        for mode, owned in zip(model.modes, fitted.owned, strict=True)
    ]
    weights = [fitted.weights[:, : model.n_inputs], *(seen for _, seen in pairs)]
    return model.with_modes([mode for mode, _ in pairs]), np.hstack(weights)


def score_tests(
    fitted: Fitted,
    channels: Channels,
    significance: float,
    kinds: Sequence[str] = (*FORCES, HYSTERESIS),
) -> list[ScoreTest]:
    """Test every candidate force on every mode; the strongest first.

    Parameters
    ----------
    fitted : Fitted
    channels : Channels
    significance : float
        Probability that any candidate at all passes by chance (Bonferroni).
    kinds : sequence of str
        Forces that are candidates.
    """
    joint, weights = as_joint_model(fitted)
    bases = tangent_space(fitted, channels)
    candidates = [candidate_forces(joint, mode, kinds) for mode in joint.modes]
    count = sum(map(len, candidates))
    freedom = channels.n_independent - fitted.n_parameters - 1.0
    threshold = np.inf
    if freedom >= 1.0 and count:
        threshold = float(f_distribution.isf(significance / count, 1.0, freedom))
    tests = []
    ends = np.cumsum([joint.n_inputs, *(1 + mode.complex for mode in joint.modes)])
    for i, forces in enumerate(candidates):
        own = weights[:, ends[i] : ends[i + 1]]
        for force, column, unit in _responses(joint, joint.modes[i], forces):
            score, information = _score(fitted, channels, bases, column, own)
            size = float(np.sqrt(threshold / information)) if information > 0.0 else np.inf
            statistic = _statistic(score, information, channels.n_independent, freedom)
            tests.append(
                ScoreTest(
                    i,
                    joint.modes[i].frequency / (2.0 * np.pi),
                    force,
                    statistic,
                    threshold,
                    size * unit,
                    channels.n_independent * float(np.log1p(statistic / max(freedom, 1.0))),
                )
            )
    return sorted(tests, key=lambda test: -test.statistic)


def candidate_forces(model: ModalModel, mode: Mode, kinds: Sequence[str]) -> list[Force]:
    """Forces that a joint mode does not have yet, hysteresis at several widths."""
    present = {force.kind for force in mode.forces}
    found = [Force(kind) for kind in kinds if kind not in present and kind != HYSTERESIS]
    if HYSTERESIS in kinds and HYSTERESIS not in present:
        q = np.concatenate([part[0] for part in model.motion(mode)])
        rms = float(np.sqrt(np.mean(q**2)))
        if np.isfinite(rms) and rms > 0.0:
            found += [Force(HYSTERESIS, width=ratio * rms) for ratio in WIDTHS]
    return found


def _responses(
    model: ModalModel, mode: Mode, forces: Sequence[Force]
) -> Iterator[tuple[Force, Array, float]]:
    """What a force of factor 1 would add at first order, (S, N, 1 or 2), and its size.

    The size is its rms as a share of the mode's linear spring force.
    """
    smooth = [force for force in forces if force.kind != HYSTERESIS]
    for asked in ([smooth] if smooth else []) + [[f] for f in forces if f.kind == HYSTERESIS]:
        moved = replace(mode, forces=(*mode.forces, *asked))
        by = BY_FACTOR if asked is smooth else BY_HOLD
        entries = [entry for entry in moved.kinds(model.estimate_start) if entry[0] == by]
        (q, v, _, z), seen = model.derivative(moved, entries[-len(asked) :])
        spring = mode.frequency**2 * max(float(np.sqrt(np.mean(q**2))), 1e-150)
        for k, force in enumerate(asked):
            with np.errstate(over="ignore", invalid="ignore"):
                size = float(np.sqrt(np.mean(_force_values(force.kind, q, v, z) ** 2)))
            yield force, model.paired(moved, seen[..., k : k + 1]), size / spring


def _force_values(kind: str, q: Array, v: Array, z: Array) -> Array:
    """A force of factor 1 along a motion."""
    return {
        "q**2": q**2,
        "q*|q|": q * np.abs(q),
        "q**3": q**3,
        "v*|v|": v * np.abs(v),
        "v**3": v**3,
        "q**2*v": q**2 * v,
        HYSTERESIS: z,
    }[kind]


def _score(
    fitted: Fitted, channels: Channels, bases: Sequence[Array], column: Array, weights: Array
) -> tuple[float, float]:
    """Score and information of a factor whose force would add columns, (S, N, 1 or 2)."""
    score = information = 0.0
    for c, sense in enumerate(channels.sense):
        added = channels.rows(column[sense], c) @ weights[c]
        added = added - bases[c] @ (bases[c].T @ added)
        rss = fitted.rss[c] + channels.floor[c]
        precision = channels.share[c] * channels.independent / rss
        score += precision * float(added @ fitted.residuals[c])
        information += precision * float(added @ added)
    return score, information


def _statistic(score: float, information: float, total: float, freedom: float) -> float:
    if freedom < 1.0 or information <= 0.0:
        return 0.0
    explained = min(score**2 / information, total * (1.0 - 1e-9))
    return float(explained / (total - explained) * freedom)


def refit(
    search: Search,
    fitted: Fitted,
    tests: Sequence[ScoreTest],
    gamma: float = 1.0,
    rival: float = 0.0,
) -> tuple[list[ScoreTest], list[Fitted]]:
    """Fit the strongest candidates that passed, one width each.

    Parameters
    ----------
    search : Search
    fitted : Fitted
        The model that was tested.
    tests : sequence of ScoreTest
        The strongest first.
    gamma : float, default=1.0
        Weight of the price of having tried many candidates.
    rival : float, default=0.0
        Gain of something else; candidates that promise far less are not fitted.

    Returns
    -------
    list of ScoreTest
        With their gains: what the criterion falls, less the price of having tried so many.
    list of Fitted
        One for each gain, in this order.
    """
    price = 2.0 * gamma * float(np.log(max(len(tests), 1)))
    seen: set[tuple[int, str]] = set()
    told, trials = [], []
    for test in tests:
        key = (test.mode, test.force.kind)
        trial = None
        worthy = test.passed and OPTIMISM * test.promise > rival
        if worthy and key not in seen and len(seen) < REFITS:
            seen.add(key)
            trial = search.fit(_with_force(fitted, test))
        if trial is not None:
            trials.append(trial)
            test = replace(test, gain=fitted.criterion - trial.criterion - price)
        told.append(test)
    return told, trials


def _with_force(fitted: Fitted, test: ScoreTest) -> ModalModel:
    joint, _ = as_joint_model(fitted)
    modes = list(fitted.model.modes)
    mode = joint.modes[test.mode]
    modes[test.mode] = replace(mode, forces=(*mode.forces, test.force))
    return fitted.model.with_modes(modes)
