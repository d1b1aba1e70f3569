"""Trigonometric and exponential terms of single variables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import sympy

from discoverers.libraries.base import Candidates, Library, Variables
from discoverers.libraries.polynomial import check_integer

__all__ = ["ExponentialLibrary", "FourierLibrary"]


class FourierLibrary(Library):
    """Sines and cosines ``sin(k w x)``, ``cos(k w x)`` of every state and input.

    Parameters
    ----------
    n_frequencies : int, default=1
        Harmonics: k = 1 ... n_frequencies.
    frequency : float or sympy number, default=1.0
        Angular frequency w, in radians per unit of the variable. A SymPy number such as
        ``2*sympy.pi`` stays exact.

    Raises
    ------
    ValueError
        On binding, if `n_frequencies` is not an integer >= 1, or `frequency` is not positive.

    Examples
    --------
    >>> from discoverers.libraries import FourierLibrary
    >>> FourierLibrary(n_frequencies=2).bind(["x"]).names
    ('sin(x)', 'cos(x)', 'sin(2*x)', 'cos(2*x)')
    """

    def __init__(self, n_frequencies: int = 1, frequency: Any = 1.0) -> None:
        self.n_frequencies = n_frequencies
        self.frequency = frequency

    def candidates(self, variables: Variables) -> Candidates:
        """For each variable and harmonic a sine and a cosine."""
        check_integer(self.n_frequencies, "n_frequencies", "FourierLibrary", least=1)
        frequency = exact_number(self.frequency, "frequency", "FourierLibrary")
        if not frequency.is_positive:
            raise ValueError(f"frequency of FourierLibrary must be > 0, got {self.frequency!r}")
        # 2 * 0.5 is the integer 1, so that cos(x) is one term whatever made it
        harmonics = [
            exact_number(k * frequency, "frequency", "FourierLibrary")
            for k in range(1, self.n_frequencies + 1)
        ]
        return Candidates(
            tuple(
                wave(harmonic * symbol)
                for symbol in variables.all
                for harmonic in harmonics
                for wave in (sympy.sin, sympy.cos)
            )
        )


class ExponentialLibrary(Library):
    """Exponentials ``exp(r x)`` of every state and input.

    Parameters
    ----------
    rates : iterable of float or sympy number, default=(1.0, -1.0)
        The rates r, per unit of the variable; none may be 0.

    Raises
    ------
    ValueError
        On binding, if there are no rates, or one is 0 or not finite.

    Examples
    --------
    >>> from discoverers.libraries import ExponentialLibrary
    >>> ExponentialLibrary(rates=(-1, 0.5)).bind(["x"]).names
    ('exp(-x)', 'exp(0.5*x)')
    """

    def __init__(self, rates: Iterable[Any] = (1.0, -1.0)) -> None:
        self.rates = rates

    def candidates(self, variables: Variables) -> Candidates:
        """For each variable one exponential per rate."""
        if isinstance(self.rates, str) or not isinstance(self.rates, Iterable):
            raise ValueError(
                f"rates of ExponentialLibrary must be a sequence of numbers, got {self.rates!r}"
            )
        rates = [exact_number(rate, "rates", "ExponentialLibrary") for rate in self.rates]
        if not rates or any(rate == 0 for rate in rates):
            raise ValueError(
                f"rates of ExponentialLibrary must be one or more numbers other than 0, got "
                f"{self.rates!r}"
            )
        return Candidates(
            tuple(sympy.exp(rate * symbol) for symbol in variables.all for rate in rates)
        )


def exact_number(value: Any, name: str, owner: str) -> sympy.Expr:
    """A real number for use inside a term, whole floats as integers: sin(1.0 x) is sin(x).

    Raises
    ------
    ValueError
        If `value` is not a finite real number.
    """
    if isinstance(value, sympy.Expr):
        number: sympy.Expr = value
    else:
        try:
            converted = math.nan if isinstance(value, (str, bool)) else float(value)
        except (TypeError, ValueError):
            converted = math.nan
        if not math.isfinite(converted):
            raise ValueError(f"{name} of {owner} must be finite numbers, got {value!r}")
        number = sympy.Float(converted)
    if not (number.is_real and number.is_finite):
        raise ValueError(f"{name} of {owner} must be finite real numbers, got {value!r}")
    if number.is_Float and float(number).is_integer():
        return sympy.Integer(int(number))
    return number
