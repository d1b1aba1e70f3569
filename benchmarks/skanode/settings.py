"""Systems, noise levels and the published figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from discoverers.datasets import (
    NONLINEARITIES,
    ForcedSystem,
    bouc_wen,
    dahl,
    duffing_forced,
    mass_chain,
    maxwell,
    nonlinear_oscillator,
    van_der_pol_forced,
)

__all__ = [
    "HYSTERETIC",
    "NOISES",
    "PAPER_SECONDS",
    "PUBLISHED",
    "THREE_MASSES",
    "Case",
    "hysteresis_cases",
    "law_cases",
    "mass_cases",
    "static_cases",
    "table_cases",
]

Start = Literal["rest", "estimate"]

NOISES = (0.0, 0.001, 0.005, 0.01)

#: Mean squared errors of the paper's table 1: acceleration, displacement, velocity.
PUBLISHED: Mapping[tuple[str, float], tuple[float, float, float]] = MappingProxyType(
    {
        ("ANODE", 0.0): (3.15e-2, 9.95e-1, 6.06),
        ("SONODE", 0.0): (1.52e-2, 1.01, 9.46),
        ("S3NODE", 0.0): (1.11e-3, 1.45e-3, 4.53e-4),
        ("SKANODE", 0.0): (3.29e-5, 2.81e-4, 1.31e-5),
        ("SKANODE", 0.001): (3.36e-5, 2.80e-4, 1.30e-5),
        ("SKANODE", 0.005): (5.90e-5, 2.90e-4, 1.40e-5),
        ("SKANODE", 0.01): (1.38e-4, 2.93e-4, 1.44e-5),
    }
)

#: Seconds of the third stage of the paper's method alone, as its authors' code reports them.
PAPER_SECONDS = 9737.0

HYSTERETIC = ("bouc_wen", "bouc_wen_2", "dahl", "maxwell")

#: The chain of three masses, by the mass that the force acts on.
THREE_MASSES: Mapping[str, int] = MappingProxyType(
    {"three_masses_force_3": 3, "three_masses_force_1": 1}
)


@dataclass(frozen=True)
class Case:
    """One fit: a system, how it is measured, and what the estimator is told.

    Attributes
    ----------
    part : str
        Which part of the benchmark it belongs to.
    name : str
        Of the system.
    noise : float
        Absolute standard deviation.
    seed : int
    start : {"rest", "estimate"}
        Whether the initial state is known to be rest.
    amplitudes : tuple of float
        One run for each.
    measured : str or tuple of str
        Channels.
    integrator : {"accurate", "ode45"}
    options : mapping
        Further parameters of the estimator.
    """

    part: str
    name: str
    noise: float
    seed: int
    start: Start = "rest"
    amplitudes: tuple[float, ...] = (1.0,)
    measured: str | tuple[str, ...] = "acceleration"
    integrator: Literal["accurate", "ode45"] = "accurate"
    options: Mapping[str, Any] = field(default_factory=dict)

    def systems(self) -> list[ForcedSystem]:
        """The system under each amplitude of the force."""
        return [_system(self.name, amplitude) for amplitude in self.amplitudes]

    def label(self) -> dict[str, Any]:
        """What tells this case from others, for JSON."""
        return {
            "part": self.part,
            "system": self.name,
            "noise": self.noise,
            "seed": self.seed,
            "start": self.start,
            "amplitudes": list(self.amplitudes),
            "measured": self.measured if isinstance(self.measured, str) else list(self.measured),
            "integrator": self.integrator,
            **{key: str(value) for key, value in self.options.items()},
        }


def _system(name: str, amplitude: float) -> ForcedSystem:
    if name == "duffing":
        return duffing_forced(amplitude=amplitude)
    if name.startswith("van_der_pol_"):
        return van_der_pol_forced(mu=float(name.rpartition("_")[2]), amplitude=amplitude)
    if name == "bouc_wen":
        return bouc_wen(amplitude=amplitude)
    if name == "bouc_wen_2":
        return bouc_wen(exponent=2, amplitude=amplitude)
    if name == "dahl":
        return dahl(amplitude=amplitude)
    if name == "maxwell":
        return maxwell(amplitude=amplitude)
    if name in THREE_MASSES:
        return mass_chain(3, force_at=THREE_MASSES[name], amplitude=amplitude)
    return nonlinear_oscillator(name, amplitude=amplitude)


def table_cases(seeds: int, quick: bool) -> list[Case]:
    """Table 1: Duffing and van der Pol, every noise, initial state known and not.

    Parameters
    ----------
    seeds : int
        Records of each setting.
    quick : bool
        Duffing and one van der Pol at one noise only.
    """
    systems = ("duffing", "van_der_pol_1") if quick else (
        "duffing", "van_der_pol_0.5", "van_der_pol_1", "van_der_pol_2",
    )  # fmt: skip
    noises = (0.01,) if quick else (*NOISES, 0.05)
    cases = [
        Case("table1", system, noise, seed, start)
        for system in systems
        for noise in noises
        for start in ("rest", "estimate")
        for seed in range(seeds if noise else 1)
    ]
    published = [
        Case("table1", "duffing", noise, seed, "rest", integrator="ode45")
        for noise in ((0.01,) if quick else NOISES)
        for seed in range(min(seeds, 3) if noise else 1)
    ]
    return cases + published


def law_cases(seeds: int, quick: bool) -> list[Case]:
    """The ten classical nonlinearities, from one amplitude and from three.

    Parameters
    ----------
    seeds : int
        Records of each setting.
    quick : bool
        Three laws at one noise.
    """
    laws = ("cubic", "quadratic_damping", "sine") if quick else NONLINEARITIES
    return [
        Case("laws", law, noise, seed, "rest", amplitudes)
        for law in laws
        for noise in ((0.01,) if quick else (0.0, 0.001, 0.01))
        for amplitudes in ((1.0,), (0.5, 1.0, 1.5))
        for seed in range(seeds if noise else 1)
    ]


def hysteresis_cases(seeds: int, quick: bool) -> list[Case]:
    """Bouc-Wen, Dahl and Maxwell from acceleration alone.

    Parameters
    ----------
    seeds : int
        Records of each setting.
    quick : bool
        Bouc-Wen at one noise.
    """
    return [
        Case("hysteresis", system, noise, seed, start)
        for system in (("bouc_wen",) if quick else HYSTERETIC)
        for noise in ((0.01,) if quick else (0.0, 0.01, 0.03))
        for start in (("rest",) if quick else ("rest", "estimate"))
        for seed in range(seeds if noise else 1)
    ]


def static_cases(seeds: int, quick: bool) -> list[Case]:
    """Systems without a hidden state, with a complete library and with one that is too small.

    Parameters
    ----------
    seeds : int
        Records of each setting.
    quick : bool
        Two systems, complete library.
    """
    systems = ("duffing", "van_der_pol_1", "cubic", "quadratic_damping", "signed_square")
    return [
        Case("static", system, 0.01, seed, "rest", options=options)
        for system in (systems[:2] if quick else systems)
        for options in (({},) if quick else ({}, {"library": "poly2"}))
        for seed in range(seeds)
    ]


def mass_cases(seeds: int, quick: bool) -> list[Case]:
    """Three masses with one cubic spring: accelerations of all masses, and of two of them.

    Parameters
    ----------
    seeds : int
        Records of each setting.
    quick : bool
        All masses, force on the last, only.
    """
    every = ("a1", "a2", "a3")
    sets = (every,) if quick else (every, ("a1", "a3"), ("a1", "a2"), ("a2", "a3"))
    return [
        Case("masses", name, 0.01, seed, "rest", measured=measured)
        for name in (list(THREE_MASSES)[:1] if quick else THREE_MASSES)
        for measured in sets
        for seed in range(seeds)
    ]
