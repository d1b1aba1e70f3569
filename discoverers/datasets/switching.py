"""Exact integration of laws with corners and jumps: absolute values, signs, dry friction.

A step across a corner or a jump spoils the order of every integrator. Here each ``Abs(s)`` and
``sign(s)`` becomes a mode m (1 or -1) that stays as it is until its argument s reaches zero; the
crossing is located to rounding error, and the integration starts again behind it. Where the rates
on both sides of a jump point at it, the solution slides along s = 0 (a body sticks): m is then the
value between -1 and 1 that keeps s at zero, until it leaves that range (Filippov's solution).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import sympy
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from discoverers.equations import Equations

__all__ = ["ModalRates", "integrate_exactly", "modal_rates"]

_RTOL = 1e-11
_ATOL = 1e-12
_LOOK_AHEAD = 1e-7  # relative to the span: where a start at rest begins to move
_MOST_EVENTS = 100_000

Floats = NDArray[np.float64]
Force = Callable[[float], Sequence[float]]


@dataclass(frozen=True)
class ModalRates:
    """Rates as smooth functions of states, inputs and modes.

    Parameters
    ----------
    rates : callable
        ``rates(*states, *inputs, *modes)`` gives a list of V floats.
    switches : callable
        ``switches(*states)`` gives the argument s of each mode.
    gradients : callable
        ``gradients(*states)`` gives the derivatives of each s by the states, as nested lists.
    n_switches : int
        Number of modes.

    Examples
    --------
    >>> from discoverers.datasets.switching import modal_rates
    >>> from discoverers.equations import Equations
    >>> compiled = modal_rates(Equations(["v", "-x - 0.2*sign(v)"], ["x", "v"]))
    >>> compiled.rates(1.0, 0.5, -1.0)
    [0.5, -0.8]
    """

    rates: Callable[..., list[float]]
    switches: Callable[..., list[float]]
    gradients: Callable[..., list[list[float]]]
    n_switches: int


def modal_rates(equations: Equations) -> ModalRates:
    """Compile right-hand sides with their absolute values and signs as modes.

    Parameters
    ----------
    equations : Equations
        Right-hand sides; ``Abs`` and ``sign`` of expressions of the states only.

    Returns
    -------
    ModalRates
        Smooth functions.

    Raises
    ------
    ValueError
        If the argument of ``Abs`` or ``sign`` is no expression of the states.

    Examples
    --------
    >>> from discoverers.datasets.switching import modal_rates
    >>> from discoverers.equations import Equations
    >>> modal_rates(Equations(["v", "-x*Abs(x) - sign(v)"], ["x", "v"])).n_switches
    2
    """
    states = [sympy.Symbol(name) for name in equations.state_names]
    inputs = [sympy.Symbol(name) for name in equations.input_names]
    kinks = {atom for side in equations for atom in side.atoms(sympy.Abs, sympy.sign)}
    arguments = sorted({kink.args[0] for kink in kinks}, key=sympy.default_sort_key)
    for argument in arguments:
        if argument.free_symbols - set(states):
            raise ValueError(
                f"{argument} inside Abs or sign holds more than states "
                f"({', '.join(equations.state_names)}); only states may switch"
            )
    modes = [sympy.Dummy(f"mode{i}") for i in range(len(arguments))]
    replaced = {}
    for argument, mode in zip(arguments, modes, strict=True):
        replaced[sympy.Abs(argument)] = mode * argument
        replaced[sympy.sign(argument)] = mode
    sides = [side.xreplace(replaced) for side in equations]

    def compiled(symbols: list[sympy.Symbol], expressions: object) -> Callable[..., list]:
        return sympy.lambdify(symbols, expressions, modules="math", cse=True)

    return ModalRates(
        rates=compiled([*states, *inputs, *modes], sides),
        switches=compiled(states, arguments),
        gradients=compiled(states, [[s.diff(x) for x in states] for s in arguments]),
        n_switches=len(arguments),
    )


def integrate_exactly(
    equations: Equations,
    t: Floats,
    x0: Floats,
    force: Force,
    *,
    rtol: float = _RTOL,
    atol: float = _ATOL,
    max_step: float = np.inf,
) -> tuple[Floats, Floats]:
    """Integrate forced right-hand sides that may have corners and jumps.

    Parameters
    ----------
    equations : Equations
        Right-hand sides of V states and m inputs.
    t : ndarray of shape (n,)
        Increasing times.
    x0 : ndarray of shape (V,)
        State at ``t[0]``.
    force : callable
        ``force(time)`` gives the m inputs at one time.
    rtol, atol : float, default=1e-11, 1e-12
        Tolerances of the integrator, Dormand and Prince's pair of order 8.
    max_step : float, default=inf
        Longest step. Only a law with corners needs one: what crosses zero twice within a step is
        not seen.

    Returns
    -------
    X, rates : ndarray of shape (n, V)
        States at `t` and their rates, at a jump those behind it, while sliding those of sliding.

    Raises
    ------
    ValueError
        If the solution does not reach the last time.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.datasets.switching import integrate_exactly
    >>> from discoverers.equations import Equations
    >>> sliding = Equations(["v", "-0.5*sign(v)"], ["x", "v"])
    >>> X, _ = integrate_exactly(
    ...     sliding, np.array([0.0, 1.0, 5.0]), np.array([0.0, 1.0]), lambda time: ()
    ... )
    >>> X.round(9)  # it stops at t = 2 and x = 1
    array([[0.  , 1.  ],
           [0.75, 0.5 ],
           [1.  , 0.  ]])
    """
    modal = modal_rates(equations)
    X, rates = np.empty((t.size, x0.size)), np.empty((t.size, x0.size))
    now, x, done = float(t[0]), np.asarray(x0, dtype=float), 0
    look_ahead = _LOOK_AHEAD * float(t[-1] - t[0])
    phase = _Phase(modal, force, tuple(1.0 for _ in range(modal.n_switches)))
    phase = phase.started(now, x, look_ahead)
    for _ in range(_MOST_EVENTS):
        solution = solve_ivp(
            phase.rates,
            (now, t[-1]),
            x,
            method="DOP853",
            t_eval=t[done:],
            events=phase.events(),
            rtol=rtol,
            atol=atol,
            max_step=max_step if modal.n_switches else np.inf,
        )
        if not solution.success or not np.isfinite(np.asarray(solution.y)).all():
            raise ValueError(
                f"the solution from x0={np.asarray(x0).tolist()} does not reach t={t[-1]:g}: "
                f"{solution.message} Use another x0, other parameters, a smaller force or a "
                "shorter span."
            )
        until = done + len(solution.t)
        if until > done:  # SciPy has an empty list for no samples
            X[done:until] = solution.y.T
        for row in range(done, until):
            rates[row] = phase.rates(float(t[row]), X[row])
        done = until
        if solution.status == 0 or done == t.size:
            return X, rates
        which = next(i for i, times in enumerate(solution.t_events) if times.size)
        now, x = float(solution.t_events[which][0]), solution.y_events[which][0]
        phase = phase.after(which, now, x)
    raise ValueError(
        f"more than {_MOST_EVENTS} corners were crossed by t={now:g}; use a shorter span"
    )


@dataclass(frozen=True)
class _Phase:
    """What holds between two crossings: a mode each, None for one that slides."""

    modal: ModalRates
    force: Force
    modes: tuple[float | None, ...]

    def rates(self, time: float, x: Floats) -> list[float]:
        state, inputs = x.tolist(), self.force(time)
        return self.modal.rates(*state, *inputs, *self._filled(time, x))

    def _filled(self, time: float, x: Floats) -> list[float]:
        """The modes, with the value that keeps a sliding one at zero."""
        sliding = [i for i, mode in enumerate(self.modes) if mode is None]
        if not sliding:
            return [mode for mode in self.modes if mode is not None]
        return [
            self._balance(i, time, x) if mode is None else mode for i, mode in enumerate(self.modes)
        ]

    def _drifts(self, which: int, time: float, x: Floats) -> tuple[float, float]:
        """Rate of change of a switch in its mode 1 and in its mode -1."""
        state, inputs = x.tolist(), self.force(time)
        gradient = self.modal.gradients(*state)[which]
        others = [1.0 if mode is None else mode for mode in self.modes]
        values = []
        for mode in (1.0, -1.0):
            others[which] = mode
            rates = self.modal.rates(*state, *inputs, *others)
            values.append(sum(g * r for g, r in zip(gradient, rates, strict=True)))
        return values[0], values[1]

    def _balance(self, which: int, time: float, x: Floats) -> float:
        above, below = self._drifts(which, time, x)
        return -(above + below) / (above - below) if above != below else 0.0

    def _with(self, which: int, mode: float | None) -> _Phase:
        modes = list(self.modes)
        modes[which] = mode
        return _Phase(self.modal, self.force, tuple(modes))

    def started(self, time: float, x: Floats, look_ahead: float) -> _Phase:
        """The phase that a start belongs to; a switch at zero looks where it is driven."""
        phase = self
        for which, value in enumerate(self.modal.switches(*x.tolist())):
            if value != 0:
                phase = phase._with(which, 1.0 if value > 0 else -1.0)
                continue
            above, below = phase._drifts(which, time, x)
            if above == below == 0:
                above, below = phase._drifts(which, time + look_ahead, x)
            if above < 0 < below:
                phase = phase._with(which, None)
            else:
                phase = phase._with(which, -1.0 if above < 0 else 1.0)
        return phase

    def events(self) -> list[_Event]:
        """One falling function for each switch."""
        return [_Event(self, which) for which in range(len(self.modes))]

    def reserve(self, which: int, time: float, x: Floats) -> float:
        """What is left of a switch's mode: the way to zero, or to the end of the sliding range."""
        mode = self.modes[which]
        if mode is None:
            return 1.0 - abs(self._balance(which, time, x))
        return mode * self.modal.switches(*x.tolist())[which]

    def after(self, which: int, time: float, x: Floats) -> _Phase:
        """The phase behind a crossing."""
        mode = self.modes[which]
        if mode is None:
            return self._with(which, 1.0 if self._balance(which, time, x) > 0 else -1.0)
        above, below = self._drifts(which, time, x)
        ahead = below if mode > 0 else -above  # how fast it moves on, seen behind the crossing
        return self._with(which, -mode if ahead <= 0 else None)


@dataclass(frozen=True)
class _Event:
    """A phase's end as SciPy wants to see it."""

    phase: _Phase
    which: int
    terminal: bool = True
    direction: float = -1.0

    def __call__(self, time: float, x: Floats) -> float:
        return self.phase.reserve(self.which, time, x)
