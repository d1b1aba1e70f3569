"""Which fits each part of the benchmark makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Literal

import sympy

from benchmarks.discovery.parametric import PARAMETRIC
from benchmarks.discovery.systems import CLASSICS, OSCILLATORS, chaotic_names
from benchmarks.discovery.textbook import SYSTEMS as TEXTBOOK
from benchmarks.discovery.textbook import TextbookSystem, half

__all__ = ["MAKERS", "Case", "Group", "Setting", "short_systems"]

Group = Literal["classics", "chaotic", "textbook", "parametric", "paper"]
Setting = Literal[
    "complete",
    "two trajectories",
    "30 % missing",
    "irregular",
    "5 % outliers",
    "position only",
    "position only, 30 % missing",
    "position only, irregular",
    "position only, 5 % outliers",
    "known support",
    "library of degree 2",
]

HIGHEST_DEGREE = 3
"""The library's; the two chaotic systems of degree four get a library of degree four."""


@dataclass(frozen=True)
class Case:
    """One record, and one fit.

    Attributes
    ----------
    part : str
        Part of the benchmark.
    group : {"classics", "chaotic", "textbook", "parametric", "paper"}
        Where the system comes from.
    system : str
    noise : float
        Standard deviation relative to that of each state.
    seed : int
    setting : str
        How it is measured.
    n_samples : int
    """

    part: str
    group: Group
    system: str
    noise: float
    seed: int
    setting: Setting = "complete"
    n_samples: int = 1000

    def key(self) -> str:
        """What tells cases of different records apart; equal records have equal keys."""
        shown = {k: v for k, v in asdict(self).items() if k != "part"}
        return " ".join(map(str, shown.values()))

    def label(self) -> dict[str, Any]:
        """The case, ready for JSON."""
        return asdict(self)


def short_systems(which: str) -> tuple[TextbookSystem, ...]:
    """Textbook systems within polynomials of degree three.

    Parameters
    ----------
    which : {"all", "development", "held-out"}
    """
    chosen = (
        TEXTBOOK
        if which == "all"
        else half("development" if which == "development" else "held-out")
    )
    return tuple(
        one for one in chosen if one.kind == "polynomial" and _degree(one) <= HIGHEST_DEGREE
    )


def _degree(system: TextbookSystem) -> int:
    symbols = sympy.symbols(system.state_names)
    return max(int(sympy.Poly(side, *symbols).total_degree()) for side in system.truth)


def _classics(seeds: int, quick: bool, which: str) -> list[Case]:
    names = list(CLASSICS)[:3] if quick else list(CLASSICS)
    noises = (0.01,) if quick else (0.0, 0.01, 0.05, 0.1)
    return [
        Case("classics", "classics", name, noise, seed)
        for noise, name, seed in product(noises, names, range(seeds))
        if noise or not seed
    ]


def _short(seeds: int, quick: bool, which: str) -> list[Case]:
    names = [one.name for one in short_systems(which)]
    noises = (0.01,) if quick else (0.0, 0.01, 0.05)
    settings: Iterable[Setting] = ("complete",) if quick else ("complete", "two trajectories")
    return [
        Case("short", "textbook", name, noise, seed, setting, 150)
        for setting, noise, name, seed in product(
            settings, noises, names[:3] if quick else names, range(seeds)
        )
        if noise or not seed
    ]


def _chaotic(seeds: int, quick: bool, which: str) -> list[Case]:
    names = chaotic_names(which)
    noises = (0.01,) if quick else (0.0, 0.01, 0.05)
    return [
        Case("chaotic", "chaotic", name, noise, seed)
        for noise, name, seed in product(
            noises, names[:3] if quick else names, range(1 if quick else seeds)
        )
        if noise or not seed
    ]


def _failure(seeds: int, quick: bool, which: str) -> list[Case]:
    names = ("lorenz", "van_der_pol", "lotka_volterra", "rossler", "fitzhugh_nagumo")
    noises = (0.2,) if quick else (0.1, 0.2, 0.3, 0.4, 0.5)
    return [
        Case("failure", "classics", name, noise, seed)
        for noise, name, seed in product(noises, names[:1] if quick else names, range(seeds))
    ]


def _damage(seeds: int, quick: bool, which: str) -> list[Case]:
    settings: tuple[Setting, ...] = ("complete", "30 % missing", "irregular", "5 % outliers")
    noises = (0.01,) if quick else (0.01, 0.05)
    names = list(CLASSICS)[:2] if quick else list(CLASSICS)
    cases = [
        Case("damage", "classics", name, noise, seed, setting)
        for noise, setting, name, seed in product(noises, settings, names, range(seeds))
    ]
    swings = list(OSCILLATORS)[:1] if quick else list(OSCILLATORS)
    kinds: tuple[Setting, ...] = ("complete", "position only")
    if not quick:
        kinds += (
            "position only, 30 % missing",
            "position only, irregular",
            "position only, 5 % outliers",
        )
    return cases + [
        Case("position", "classics", name, noise, seed, setting)
        for noise, setting, name, seed in product(noises, kinds, swings, range(seeds))
    ]


def _coverage(seeds: int, quick: bool, which: str) -> list[Case]:
    kinds: tuple[Setting, ...] = ("known support", "complete")
    names = ["lorenz"] if quick else list(CLASSICS)
    # Ten times the seeds of other parts: an interval misses once in twenty times.
    return [
        Case("coverage", "classics", name, 0.05, seed, setting, 500)
        for setting, name, seed in product(kinds, names, range(4 * seeds))
    ]


def _parameters(seeds: int, quick: bool, which: str) -> list[Case]:
    names = [one.name for one in PARAMETRIC]
    settings: tuple[Setting, ...] = ("complete", "two trajectories")
    return [
        Case("parameters", "parametric", name, 0.01, seed, setting)
        for setting, name, seed in product(
            settings[: 1 if quick else 2], names[-1:] if quick else names, range(seeds)
        )
    ]


def _paper(seeds: int, quick: bool, which: str) -> list[Case]:
    # The paper's library is of degree 2; ours by default is of degree 3.
    settings: tuple[Setting, ...] = ("complete", "library of degree 2")
    return [
        Case("paper", "paper", "lorenz", 0.0, 0, setting, 10_000)
        for setting in settings[: 1 if quick else 2]
    ]


#: Cases of each part, and what it measures.
MAKERS: dict[str, tuple[Callable[[int, bool, str], list[Case]], str]] = {
    "classics": (_classics, "eleven classics, four noise levels"),
    "short": (_short, "150 samples of textbook systems, one and two trajectories"),
    "chaotic": (_chaotic, "81 chaotic polynomial systems, ten periods"),
    "failure": (_failure, "noise up to a half of the signal"),
    "damage": (_damage, "missing, irregular, gross errors, position only"),
    "parameters": (_parameters, "rational laws and constants inside of terms, 1 % noise"),
    "paper": (_paper, "Lorenz as in the S-MNN paper, 10,000 clean samples"),
    "coverage": (_coverage, "95 % intervals, with known terms and after selection"),
}
