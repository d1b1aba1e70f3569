"""Forced mechanical systems whose equations are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import sympy
from numpy.typing import ArrayLike, NDArray

from discoverers.datasets.switching import modal_rates
from discoverers.equations import Equations

__all__ = ["ForcedSystem", "Tones", "make_forced_system"]


@dataclass(frozen=True)
class Tones:
    """A force made of sines: the sum of ``amplitude * sin(frequency * t + phase)``.

    Parameters
    ----------
    amplitudes : tuple of float
        Amplitude of each tone, in the input's unit.
    frequencies : tuple of float
        Angular frequency of each, in radian per unit of time.
    phases : tuple of float, optional
        Phase of each at t = 0, in radian; by default zero.

    Raises
    ------
    ValueError
        If the tuples have different lengths.

    Examples
    --------
    >>> import math
    >>> from discoverers.datasets import Tones
    >>> Tones((2.0,), (math.pi,))(0.5)
    np.float64(2.0)
    """

    amplitudes: tuple[float, ...]
    frequencies: tuple[float, ...]
    phases: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(self.amplitudes), len(self.frequencies), len(self._phases)}
        if len(lengths) > 1:
            raise ValueError(
                f"amplitudes={self.amplitudes}, frequencies={self.frequencies} and "
                f"phases={self.phases} differ in length; give one of each for every tone"
            )

    @property
    def _phases(self) -> tuple[float, ...]:
        return self.phases or (0.0,) * len(self.amplitudes)

    def __call__(self, t: ArrayLike) -> NDArray[np.float64]:
        """Return the force at the times `t`, in their shape."""
        times = np.asarray(t, dtype=float)
        tones = zip(self.amplitudes, self.frequencies, self._phases, strict=True)
        total = np.zeros_like(times)
        for amplitude, frequency, phase in tones:
            total = total + amplitude * np.sin(frequency * times + phase)
        return total


@dataclass(frozen=True)
class ForcedSystem:
    """A mechanical system with a known force, and a setting to sample it in.

    Its states are the displacements of the masses, then their velocities, then hidden states, such
    as the force of a hysteretic spring.

    Parameters
    ----------
    name : str
        Name of the system.
    equations : Equations
        The true right-hand sides in the states and the input, parameters filled in.
    force : callable
        The input as a function of time: ``force(t)`` for times of shape (n,) gives (n,).
    n_dof : int
        Number d of masses.
    t : ndarray of shape (n,)
        Sampling times of the reference record.
    x0 : ndarray of shape (V,)
        State at ``t[0]``.
    n_train : int
        Number of first samples that the reference setting trains on.
    parameters : mapping of str to float
        Values of the parameters, by their usual names.
    source : str
        Publication that the equations come from.

    Examples
    --------
    >>> from discoverers.datasets import duffing_forced
    >>> system = duffing_forced()
    >>> system.state_names, system.input_names, system.channels
    (('x', 'v'), ('u',), ('x', 'v', 'a'))
    """

    name: str
    equations: Equations
    force: Callable[[Any], NDArray[np.float64]]
    n_dof: int
    t: NDArray[np.float64]
    x0: NDArray[np.float64]
    n_train: int
    parameters: Mapping[str, float]
    source: str

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the V states: displacements, velocities, hidden states."""
        return self.equations.state_names

    @property
    def input_names(self) -> tuple[str, ...]:
        """Name of the input."""
        return self.equations.input_names

    @property
    def hidden_names(self) -> tuple[str, ...]:
        """Names of the states that are neither displacement nor velocity."""
        return self.state_names[2 * self.n_dof :]

    @property
    def accelerations(self) -> tuple[str, ...]:
        """Names of the accelerations: a, or a1, a2, ... as the displacements are numbered."""
        return tuple(f"a{name[1:]}" for name in self.state_names[: self.n_dof])

    @property
    def channels(self) -> tuple[str, ...]:
        """All that `observe` can measure: the states and the accelerations."""
        return (*self.state_names, *self.accelerations)


def make_forced_system(
    name: str,
    right_hand_sides: Mapping[str, sympy.Expr],
    *,
    force: Callable[[Any], NDArray[np.float64]],
    parameters: Mapping[str, float],
    source: str,
    n_dof: int = 1,
    step: float = 0.1,
    duration: float = 60.0,
    training: float = 20.0,
    x0: ArrayLike | None = None,
) -> ForcedSystem:
    """Build a `ForcedSystem` from the rates of its states.

    Parameters
    ----------
    name : str
        Name of the system.
    right_hand_sides : mapping of str to sympy.Expr
        Rate of each state by the state's name: first the `n_dof` displacements, whose rates are
        the velocities, then the velocities, then hidden states. The input is the symbol ``u``.
        Corners and jumps are written with ``Abs`` and ``sign`` of expressions of the states.
    force : callable
        The input as a function of time.
    parameters : mapping of str to float
        Values of the symbols that are neither state nor input.
    source : str
        Publication that the equations come from.
    n_dof : int, default=1
        Number of masses.
    step, duration, training : float, default=0.1, 60.0, 20.0
        Time between samples, length of the reference record, and of its part for training.
    x0 : array-like of shape (V,), optional
        State at t = 0; by default rest.

    Returns
    -------
    ForcedSystem
        The system, parameters filled in.

    Raises
    ------
    ValueError
        If a symbol has no value, `x0` has not one value for each state, a displacement's rate is
        not the velocity in its place, or ``Abs`` or ``sign`` hold more than states.

    Examples
    --------
    >>> import sympy
    >>> from discoverers.datasets import Tones, make_forced_system
    >>> x, v, u, k = sympy.symbols("x v u k")
    >>> spring = make_forced_system("spring", {"x": v, "v": -k * x + u}, parameters={"k": 2.0},
    ...                             force=Tones((1.0,), (3.0,)), source="Hooke 1678")
    >>> spring.equations["v"]
    u - 2.0*x
    """
    values = {sympy.Symbol(symbol): float(value) for symbol, value in parameters.items()}
    names = tuple(right_hand_sides)
    symbols = [sympy.Symbol(state) for state in names]
    sides = [sympy.expand(sympy.sympify(side).subs(values)) for side in right_hand_sides.values()]
    known = {*symbols, sympy.Symbol("u")}
    unknown = sorted({str(s) for side in sides for s in side.free_symbols - known})
    if unknown:
        raise ValueError(
            f"right_hand_sides of {name!r} use {', '.join(unknown)}, which is neither a state, the "
            f"input u nor one of parameters={dict(parameters)}; give it a value in parameters"
        )
    if sides[:n_dof] != symbols[n_dof : 2 * n_dof]:
        raise ValueError(
            f"right_hand_sides of {name!r}: the rates of the first {n_dof} states "
            f"({', '.join(names[:n_dof])}) are {sides[:n_dof]}; each must be the velocity that "
            f"stands {n_dof} places behind it"
        )
    start = np.zeros(len(names)) if x0 is None else np.atleast_1d(np.asarray(x0, dtype=float))
    if start.shape != (len(names),) or not np.isfinite(start).all():
        raise ValueError(
            f"x0={x0!r} of {name!r}: one finite value for each of the states "
            f"{', '.join(names)} is needed"
        )
    equations = Equations(sides, names, ("u",))
    modal_rates(equations)  # refuses what could not be integrated
    t = np.arange(round(duration / step) + 1, dtype=np.float64) * step
    return ForcedSystem(
        name=name,
        equations=equations,
        force=force,
        n_dof=n_dof,
        t=t,
        x0=start,
        n_train=int(np.searchsorted(t, training, side="right")),
        parameters=MappingProxyType({key: float(value) for key, value in parameters.items()}),
        source=source,
    )
