"""Laws with constants inside of their terms, and what a found law says of these constants.

Sources: Kaheman, Kutz & Brunton, SINDy-PI (2020) (K); Strogatz, Nonlinear Dynamics and Chaos (S);
Murray, Mathematical Biology I (M); Edelstein-Keshet, Mathematical Models in Biology (E).
Values and initial states are of our own choice but for the first system's values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import sympy
from numpy.typing import NDArray
from scipy.optimize import least_squares

from benchmarks.discovery.odebench import skeleton
from benchmarks.discovery.paths import exact_path
from discoverers.equations import Equations

__all__ = ["PARAMETRIC", "ParametricSystem", "parametric"]

Array = NDArray[np.float64]

SAME_LAW = 1e-6
"""Share of a law's root mean square within which two forms of it are one law."""


@dataclass(frozen=True)
class ParametricSystem:
    """A system whose laws hold named constants.

    Attributes
    ----------
    name, source : str
    laws : tuple of str
        Right-hand sides in x, y and the constants.
    constants : tuple of mapping from str to float
        Of each right-hand side; one that several share is judged in each.
    start, other : tuple of float
        Initial state of the first run, and of a second one.
    end : float
        Runs begin at 0.
    """

    name: str
    source: str
    laws: tuple[str, ...]
    constants: tuple[Mapping[str, float], ...]
    start: tuple[float, ...]
    other: tuple[float, ...]
    end: float

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the states."""
        return ("x", "y")[: len(self.laws)]

    @property
    def truth(self) -> Equations:
        """The equations with their constants' values."""
        pairs = zip(self._templates(), self.constants, strict=True)
        return Equations([law.subs(dict(values)) for law, values in pairs], self.state_names)

    def path(self, start: tuple[float, ...], t: Array) -> Array:
        """States (n, V) at times t from an initial state at time 0, converged to 1e-9."""
        return exact_path(self.name, self.state_names, self.truth, start, t)

    def constants_error(self, found: Equations, states: Array) -> float | None:
        """Largest relative error of a constant; None if the structure is another one.

        The true form is fitted to the found law, which is as it should be if it then is the same
        function: however a law is written, its constants are those of the textbook's form.

        Parameters
        ----------
        found : Equations
        states : ndarray of shape (n, V)
            Where the laws are compared.
        """
        if any(
            skeleton(ours, self.state_names) != skeleton(theirs, self.state_names)
            for ours, theirs in zip(found, self.truth, strict=True)
        ):
            return None
        errors = [
            _fitted(template, values, self.state_names, law, states)
            for template, values, law in zip(self._templates(), self.constants, found, strict=True)
        ]
        known = [error for error in errors if error is not None]
        return max(known) if len(known) == len(errors) else None

    def _templates(self) -> tuple[sympy.Expr, ...]:
        names = {*self.state_names, *(name for part in self.constants for name in part)}
        symbols = {name: sympy.Symbol(name) for name in names}
        return tuple(sympy.sympify(law, locals=symbols) for law in self.laws)


def _fitted(
    template: sympy.Expr,
    values: Mapping[str, float],
    names: tuple[str, ...],
    law: sympy.Expr,
    states: Array,
) -> float | None:
    """Largest relative error of the template's constants; None if it cannot become the law."""
    arguments = sympy.symbols((*names, *values))
    form = sympy.lambdify(arguments, template)
    target = np.broadcast_to(
        np.asarray(sympy.lambdify(sympy.symbols(names), law)(*states.T), dtype=np.float64),
        len(states),
    )
    size = float(np.sqrt(np.mean(target**2)))
    true = np.array(list(values.values()))

    def away(scaled: Array) -> Array:
        return np.asarray((form(*states.T, *(scaled * true)) - target) / size)

    fitted = least_squares(away, np.ones(len(true)), xtol=1e-14, ftol=1e-14, gtol=1e-14)
    if np.sqrt(np.mean(fitted.fun**2)) > SAME_LAW:
        return None
    return float(np.abs(fitted.x - 1.0).max())


PARAMETRIC: tuple[ParametricSystem, ...] = (
    ParametricSystem(
        "Michaelis-Menten", "K 3", ("j - v*x/(k + x)",), ({"j": 0.6, "v": 1.5, "k": 0.3},),
        (2.5,), (5.0,), 6.0,
    ),
    ParametricSystem(
        "Hill", "M 6", ("b + v*x**2/(k + x**2) - d*x",),
        ({"b": 0.15, "v": 1.6, "k": 1.4, "d": 0.6},), (0.05,), (5.0,), 20.0,
    ),
    ParametricSystem(
        "pendulum, unknown frequency", "S 6.7", ("u*y", "-a*sin(w*x) - c*y"),
        ({"u": 1.0}, {"a": 2.2, "w": 1.6, "c": 0.15}), (1.7, 0.0), (-0.6, 1.2), 20.0,
    ),
    ParametricSystem(
        "predator-prey, Holling II", "M 3.3",
        ("r*x*(1 - x/q) - a*x*y/(h + x)", "e*x*y/(h + x) - m*y"),
        ({"r": 1.1, "q": 4.5, "a": 1.3, "h": 0.8}, {"e": 0.9, "h": 0.8, "m": 0.45}),
        (2.0, 0.6), (3.5, 1.8), 40.0,
    ),
    ParametricSystem(
        "logistic with Allee", "E 6", ("r*x*(1 - x/q)*(x/a - 1)",),
        ({"r": 0.45, "q": 8.0, "a": 1.6},), (1.8,), (1.3,), 12.0,
    ),
)  # fmt: skip


def parametric(name: str) -> ParametricSystem:
    """One of `PARAMETRIC`.

    Parameters
    ----------
    name : str
    """
    return next(one for one in PARAMETRIC if one.name == name)
