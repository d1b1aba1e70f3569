"""Systems of the benchmark besides the textbook's, and a second initial state for each.

The chaotic polynomial systems are in ``chaotic.json``: equations, parameters and references of the
literature; initial states on the attractors and dominant periods as collected by W. Gilpin, "Chaos
as an interpretable benchmark for forecasting and data-driven modelling" (2021; the package dysts).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.datasets import SYSTEMS, System, generate, make_system
from discoverers.equations import Equations

__all__ = [
    "CHAOTIC_SAMPLES",
    "CLASSICS",
    "OSCILLATORS",
    "as_second_order",
    "chaotic",
    "chaotic_names",
    "chaotic_period",
    "classic",
    "degree",
    "other_start",
]

Array = NDArray[np.float64]

CHAOTIC_SAMPLES = 1000
SAMPLES_A_PERIOD = 100

#: A second initial state of each classic system.
CLASSICS: dict[str, tuple[float, ...]] = {
    "lorenz": (-8.0, 7.0, 25.0),
    "rossler": (2.0, -3.0, 0.5),
    "van_der_pol": (-1.5, 2.0),
    "duffing": (-1.0, 1.0),
    "lotka_volterra": (1.5, 1.0),
    "sir": (0.8, 0.05),
    "pendulum_cubic": (-1.0, 0.8),
    "brusselator": (2.0, 1.5),
    "selkov": (0.5, 1.5),
    "fitzhugh_nagumo": (1.0, 0.0),
    "logistic": (1.6,),
}

#: Oscillators x' = y, y' = f(x, y): f, initial state, second initial state, step.
OSCILLATORS: dict[str, tuple[str, tuple[float, float], tuple[float, float], float]] = {
    "van_der_pol": ("y - x**2*y - x", (0.5, 0.0), (-1.5, 2.0), 0.02),
    "duffing": ("-0.2*y - x - x**3", (2.0, 0.0), (-1.0, 1.0), 0.02),
    "pendulum_cubic": ("-0.1*y - x + x**3/6", (1.8, 0.0), (-1.0, 0.8), 0.02),
    "rayleigh": ("-x + 0.8*y - 0.3*y**3", (0.3, 0.0), (1.5, -1.0), 0.02),
    "helmholtz": ("-x - 0.4*x**2 - 0.1*y", (1.2, 0.0), (-1.0, 0.5), 0.02),
    "double_well": ("0.9*x - 0.7*x**3 - 0.12*y", (0.2, 0.9), (-1.7, 0.4), 0.02),
}


def classic(name: str) -> System:
    """One of the classics, in the setting of the catalogue.

    Parameters
    ----------
    name : str
        A key of `CLASSICS` or `OSCILLATORS`.
    """
    if name in SYSTEMS:
        return SYSTEMS[name]()
    law, start, _, step = OSCILLATORS[name]
    x, y = sympy.symbols("x y")
    return make_system(
        name,
        {"x": y, "y": sympy.sympify(law, locals={"x": x, "y": y})},
        t=step * np.arange(1000),
        x0=start,
        parameters={},
        source="oscillators of the textbooks",
    )


@cache
def _table() -> dict[str, dict[str, Any]]:
    path = Path(__file__).with_name("chaotic.json")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def chaotic_names(half: str = "all") -> tuple[str, ...]:
    """Names in alphabetical order; the development half is the first, third and so on.

    Parameters
    ----------
    half : {"all", "development", "held-out"}, default="all"
        Methods may be mended on the development half only.
    """
    names = tuple(sorted(_table()))
    return {"all": names, "development": names[::2], "held-out": names[1::2]}[half]


def chaotic_period(name: str) -> float:
    """Dominant period.

    Parameters
    ----------
    name : str
        One of `chaotic_names`.
    """
    return float(_table()[name]["period"])


def chaotic(name: str) -> System:
    """A chaotic system, in the setting of ten dominant periods with 100 samples each.

    Parameters
    ----------
    name : str
        One of `chaotic_names`.
    """
    entry = _table()[name]
    symbols = {one: sympy.Symbol(one) for one in [*entry["equations"], *entry["parameters"]]}
    return make_system(
        name,
        {one: sympy.sympify(law, locals=symbols) for one, law in entry["equations"].items()},
        t=entry["period"] / SAMPLES_A_PERIOD * np.arange(CHAOTIC_SAMPLES),
        x0=entry["x0"],
        parameters=entry["parameters"],
        source=entry["source"],
    )


def other_start(group: str, system: System) -> tuple[float, ...]:
    """Initial state of the run that a fit did not see: on the attractor if chaotic.

    Parameters
    ----------
    group : {"classics", "chaotic", "paper"}
    system : System
    """
    if group == "chaotic":
        return tuple(generate(system).clean[-1].tolist())
    return CLASSICS.get(system.name) or OSCILLATORS[system.name][2]


def degree(equations: Equations) -> int:
    """Highest total degree of polynomial equations.

    Parameters
    ----------
    equations : Equations
    """
    symbols = sympy.symbols(equations.state_names)
    return max(int(sympy.Poly(side, *symbols).total_degree()) for side in equations)


def as_second_order(equations: Equations) -> Equations:
    """Write x' = y, y' = f(x, y) as x'' = f(x, x').

    Parameters
    ----------
    equations : Equations
        Of states x and y.
    """
    velocity = {sympy.Symbol("y"): sympy.Symbol("x'")}
    return Equations([equations["y"].xreplace(velocity)], ["x"], order=2)
