"""What is measured in a case: times, states with noise, and what the measuring spoils."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from benchmarks.discovery.cases import Case
from benchmarks.discovery.parametric import parametric
from benchmarks.discovery.systems import as_second_order, chaotic, classic, degree, other_start
from benchmarks.discovery.textbook import END
from benchmarks.discovery.textbook import SYSTEMS as TEXTBOOK
from discoverers.datasets import generate
from discoverers.equations import Equations

__all__ = ["Measured", "measure"]

Array = NDArray[np.float64]

MISSING = 0.3
OUTLIERS = 0.05
OUTLIER_SIZE = (3.0, 6.0)
"""Gross errors, in standard deviations of the state."""


@dataclass(frozen=True)
class Measured:
    """One case's data, and the truth.

    Attributes
    ----------
    t : tuple of ndarray of shape (n,), one per run
    X : tuple of ndarray of shape (n, V)
        With noise; NaN where nothing was measured.
    clean : tuple of ndarray of shape (n, V)
        Before anything was added or lost.
    truth : Equations
    start, other : ndarray of shape (V,)
        First state of the first run, and one that no run started from.
    names : tuple of str
        Of the measured states.
    degree : int
        Of the polynomials in the library.
    order : int
        Of the equations.
    """

    t: tuple[Array, ...]
    X: tuple[Array, ...]
    clean: tuple[Array, ...]
    truth: Equations
    start: Array
    other: Array
    names: tuple[str, ...]
    degree: int
    order: int = 1


def measure(case: Case) -> Measured:
    """Make the record of a case.

    Parameters
    ----------
    case : Case
    """
    rng = np.random.default_rng(crc32(case.key().encode()))
    irregular = None
    if case.setting.endswith("irregular"):
        irregular = crc32(f"times {case.key()}".encode())
    t, clean, truth, starts = _clean(
        case.group, case.system, case.n_samples, case.setting == "two trajectories", irregular
    )
    X = []
    for states in clean:
        spread = states.std(axis=0)
        noisy = states + case.noise * spread * rng.standard_normal(states.shape)
        if case.setting.endswith("30 % missing"):
            noisy[rng.random(noisy.shape) < MISSING] = np.nan
        if case.setting.endswith("5 % outliers"):
            gross = rng.random(noisy.shape) < OUTLIERS
            size = rng.uniform(*OUTLIER_SIZE, noisy.shape) * rng.choice([-1.0, 1.0], noisy.shape)
            noisy = np.where(gross, noisy + size * spread, noisy)
        X.append(noisy)
    names = truth.state_names
    library = 2 if case.setting == "library of degree 2" else 3
    if case.group != "parametric":
        library = max(library, degree(truth))
    if case.setting.startswith("position only"):
        X, names = [part[:, :1] for part in X], ("x",)
        return Measured(
            t, tuple(X), clean, as_second_order(truth), *starts, names, library, order=2
        )
    return Measured(t, tuple(X), clean, truth, *starts, names, library)


@cache
def _clean(
    group: str, name: str, n_samples: int, two: bool, irregular: int | None
) -> tuple[tuple[Array, ...], tuple[Array, ...], Equations, tuple[Array, Array]]:
    """Times and states of each run, the truth, and the first and another initial state."""
    if group == "textbook":
        one = next(one for one in TEXTBOOK if one.name == name)
        t = np.linspace(0.0, END, n_samples)
        truth = Equations(one.truth, one.state_names)
        start, other = np.array(one.start), np.array(one.other)
        begins = [one.start, one.other] if two else [one.start]
        unseen = 0.5 * (start + other) if two else other
        clean = tuple(one.path(begin, t) for begin in begins)
        return (t,) * len(begins), clean, truth, (start, unseen)
    if group == "parametric":
        law = parametric(name)
        t = np.linspace(0.0, law.end, n_samples)
        begins = [law.start, law.other] if two else [law.start]
        ends = np.array(law.start), np.array(law.other)
        unseen = 0.5 * (ends[0] + ends[1]) if two else ends[1]
        clean = tuple(law.path(begin, t) for begin in begins)
        return (t,) * len(begins), clean, law.truth, (ends[0], unseen)
    if group == "paper":
        # The paper's record is odeint's, with the errors of its default tolerances.
        record = generate(classic(name), n_samples, method="odeint")
        starts = record.clean[0], np.array(other_start(group, record.system))
        return (record.t,), (record.clean,), record.system.equations, starts
    system = chaotic(name) if group == "chaotic" else classic(name)
    t = system.t[0] + system.step * np.arange(n_samples)
    if irregular is not None:
        # Uniform times: steps are exponential, but none is shorter than a twentieth of the mean.
        inner = np.sort(np.random.default_rng(irregular).uniform(t[0], t[-1], n_samples - 2))
        steps = np.maximum(np.diff(np.concatenate([t[:1], inner, t[-1:]])), 0.05 * system.step)
        t = np.concatenate([t[:1], t[0] + np.cumsum(steps)])
    record = generate(system, t=t)
    return (
        (t,),
        (record.clean,),
        system.equations,
        (system.x0, np.array(other_start(group, system))),
    )
