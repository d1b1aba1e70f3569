"""Integrate governing equations from an initial state, forwards and backwards, safely.

Equations that come out of a search may blow up in finite time, be stiff, or be undefined in places.
The integration therefore stops, with a status and a message, when the states grow beyond a bound,
stop being finite, or use up a budget of evaluations; there is no clock in it, so the answer does
not depend on the speed of the machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import DOP853, LSODA, OdeSolver

from .coercion import check_finite, to_float
from .equation_checks import derivative_levels
from .inputs import SampledInput, interpolated_input
from .runs import InputFunction, evaluate_input

if TYPE_CHECKING:
    from .shooting.simulating import Compiled

__all__ = ["Simulation", "SimulationStatus", "chain_rates", "interpolated_input", "simulate"]

RightHandSide = Callable[[NDArray[np.float64], "NDArray[np.float64] | None"], Any]
EVALUATIONS_PER_SAMPLE = 20
_SOLVERS: dict[str, type[OdeSolver]] = {"LSODA": LSODA, "DOP853": DOP853}


class SimulationStatus(IntEnum):
    """What became of one integration; anything but OK leaves NaN from some time on."""

    OK = 0
    BLEW_UP = 1
    UNDEFINED = 2
    TOO_MANY_EVALUATIONS = 3
    STEP_FAILED = 4


class _Lambdified(Protocol):
    def lambdify(self, backend: Any = ...) -> RightHandSide: ...


@dataclass(frozen=True)
class Simulation:
    """States at the requested times, and how the integration ended.

    Attributes
    ----------
    X : ndarray of shape (n, V)
        States, one row per entry of `t`; NaN where the integration did not get.
    status : SimulationStatus
    message : str
        Empty when all went well, else what happened, where, and what to do.
    n_evaluations : int
        How often the right-hand side was evaluated.
    """

    X: NDArray[np.float64]
    status: SimulationStatus
    message: str
    n_evaluations: int

    @property
    def success(self) -> bool:
        """Whether every requested time was reached."""
        return self.status is SimulationStatus.OK


def simulate(
    equations: _Lambdified | RightHandSide,
    t: ArrayLike,
    x0: ArrayLike,
    u: ArrayLike | InputFunction | None = None,
    *,
    t0: float | None = None,
    u_times: ArrayLike | None = None,
    method: Literal["auto", "compiled", "LSODA", "DOP853"] = "auto",
    rtol: float = 1e-8,
    scale: ArrayLike | None = None,
    bound: float = 1e12,
    max_evaluations: int = 100_000,
) -> Simulation:
    """Integrate x' = f(x, u) from a state at one time and read it off at the times `t`.

    Parameters
    ----------
    equations : Equations or callable
        The governing equations, or ``f(x, u)`` with x of shape (V,) that returns shape (V,).
    t : array-like of shape (n,)
        Times at which the states are wanted, in any order.
    x0 : array-like of shape (V,)
        State at `t0`; for equations of higher order the states, then their derivatives below the
        order, as in `Equations.variables`.
    u : array-like of shape (n,) or (n, m), callable or None, default=None
        Inputs at `u_times`, interpolated linearly and constant outside, or a function of time.
    t0 : float, default=None
        Time of `x0`; None means the smallest of `t`. Smaller times are integrated backwards.
    u_times : array-like of shape (k,), default=None
        Times of the rows of `u`; None means `t`.
    method : {"auto", "compiled", "LSODA", "DOP853"}, default="auto"
        "compiled" is RODAS4 in machine code, for `Equations` of first order: it takes dry friction
        (sign) in its stride, and samples of inputs by the ten thousand. LSODA switches between a
        stiff and a non-stiff method; DOP853 is more accurate per step on smooth problems that are
        not stiff. "auto" is "compiled" where there are inputs or a sign and the equations suit,
        else LSODA.
    rtol : float, default=1e-8
        Relative error per step; the absolute one is ``0.01 * rtol * scale``.
    scale : array-like of shape (V,), default=None
        Typical size of each state; None means the largest of ``abs(x0)``, or 1 if that is 0.
    bound : float, default=1e12
        The states have blown up when one exceeds ``bound * max(1, scale)``.
    max_evaluations : int, default=100_000
        Budget of evaluations of the right-hand side (of steps, if "compiled"), for each direction
        in time; sampled inputs, over which no step is longer than from sample to sample, add 20
        for each sample.

    Returns
    -------
    Simulation

    Raises
    ------
    ValueError
        If `t`, `x0` or `u` has a wrong shape or is not finite. Failures of the integration
        itself are reported by `Simulation.status`, never raised.

    References
    ----------
    .. [1] L. Petzold, "Automatic selection of methods for solving stiff and nonstiff systems of
       ordinary differential equations", SIAM J. Sci. Stat. Comput. 4 (1983).

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.simulation import simulate
    >>> result = simulate(lambda x, u: -x, [0.0, 1.0, 2.0], [1.0])
    >>> np.allclose(result.X[:, 0], np.exp([0.0, -1.0, -2.0]))
    True
    >>> simulate(lambda x, u: x**2, [0.0, 0.5, 2.0], [1.0]).X.ravel().round(6)
    array([ 1.,  2., nan])
    """
    times = to_float(t, "t").ravel()
    state = to_float(x0, "x0").ravel()
    check_finite(times[:, None], "t")
    check_finite(state[:, None], "x0")
    if method not in (known := ["auto", "compiled", *_SOLVERS]):
        raise ValueError(f"method must be one of {known}, got {method!r}.")
    if len(times) == 0:
        return Simulation(np.empty((0, len(state))), SimulationStatus.OK, "", 0)
    sizes = np.abs(state).max(initial=0.0) if scale is None else to_float(scale, "scale")
    sizes = np.broadcast_to(np.where(sizes > 0, sizes, 1.0), state.shape)
    start = float(times.min()) if t0 is None else float(t0)
    signal = None if u is None else _input(u, times if u_times is None else u_times)
    engine = None
    if method in ("auto", "compiled"):
        low, high = min(start, float(times.min())), max(start, float(times.max()))
        engine, signal = _engine(equations, signal, u, low, high, forced=method == "compiled")
    sampled = signal if isinstance(signal, SampledInput) else None
    extra = 0 if sampled is None else EVALUATIONS_PER_SAMPLE * len(sampled.knots)
    run = _Integration(
        _right_hand_side(equations, signal, len(state)),
        engine,
        sampled,
        _SOLVERS["LSODA" if method in ("auto", "compiled") else method],
        rtol,
        sizes,
        bound * max(1.0, float(sizes.max(initial=0.0))),
        max_evaluations + extra,
        np.inf if sampled is None else sampled.longest_step,
    )
    X = np.full((len(times), len(state)), np.nan)
    X[times == start] = state
    status, messages, evaluations = SimulationStatus.OK, [], 0
    for side in (times > start, times < start):
        if side.any():
            ahead, place = np.unique(np.abs(times[side] - start), return_inverse=True)
            sign = 1.0 if times[side][0] > start else -1.0
            exact = np.empty(len(ahead))
            exact[place] = times[side]
            values, outcome, message, used = run.advance(start, state, exact, sign)
            X[side] = values[place]
            status = max(status, outcome)
            evaluations += used
            messages += [message] if message else []
    return Simulation(X, status, " ".join(messages), evaluations)


def _input(u: Any, times: ArrayLike) -> InputFunction:
    if isinstance(u, SampledInput):
        return u
    if not callable(u):
        return interpolated_input(times, u)

    def value(time: float) -> NDArray[np.float64]:
        return evaluate_input(u, np.array([time]))[0]

    return value


def _engine(
    equations: Any,
    signal: InputFunction | None,
    given: Any,
    low: float,
    high: float,
    *,
    forced: bool,
) -> tuple[Compiled | None, InputFunction | None]:
    """The equations in machine code, and inputs that it can read, where that is wanted."""
    from .shooting.simulating import compile_equations, tabulated

    engine = compile_equations(equations)
    if engine is None and forced:
        raise ValueError(
            'method="compiled" needs Equations of first order whose functions the engine knows; '
            'use method="LSODA".'
        )
    if engine is None or not (forced or signal is not None or engine.jumps):
        return None, signal
    if signal is None or isinstance(signal, SampledInput):
        return engine, signal
    table = tabulated(given, low, high)
    if table is None and forced:
        raise ValueError(
            'method="compiled" reads inputs as splines, which this function u is too rough for; '
            'pass samples, or method="LSODA".'
        )
    return (None, signal) if table is None else (engine, table)


def chain_rates(orders: Sequence[int]) -> NDArray[np.intp]:
    """Where each entry of a state has its rate, in the state followed by the right-hand sides."""
    places = {place: index for index, place in enumerate(derivative_levels(orders))}
    return np.array(
        [
            places.get((state, level + 1), len(places) + state)
            for state, level in derivative_levels(orders)
        ],
        dtype=np.intp,
    )


def _right_hand_side(
    equations: Any, signal: InputFunction | None, n_states: int
) -> Callable[[float, NDArray[np.float64]], NDArray[np.float64]]:
    function = equations.lambdify("numpy") if hasattr(equations, "lambdify") else equations
    # Of equations of a higher order the states are followed by their lower derivatives, and the
    # right-hand side is the highest one.
    orders = tuple(getattr(equations, "orders", ()))
    chained = max(orders, default=1) > 1
    rates = chain_rates(orders) if chained else np.empty(0, dtype=np.intp)

    def derivative(time: float, state: NDArray[np.float64]) -> NDArray[np.float64]:
        inputs = None if signal is None else signal(time)
        value = np.asarray(function(state, inputs), dtype=np.float64)
        if chained and value.shape == (len(orders),) and len(state) == len(rates):
            value = np.concatenate([state, value])[rates]
        if value.shape != (n_states,):
            raise ValueError(
                f"x0 has {n_states} state(s), but the equations return shape {value.shape}."
            )
        return value

    return derivative


@dataclass(frozen=True)
class _Integration:
    """One problem with its tolerances; `advance` runs it in one direction of time."""

    derivative: Callable[[float, NDArray[np.float64]], NDArray[np.float64]]
    engine: Compiled | None
    sampled: SampledInput | None
    solver: type[OdeSolver]
    rtol: float
    sizes: NDArray[np.float64]
    bound: float
    max_evaluations: int
    max_step: float

    def advance(
        self, start: float, state: NDArray[np.float64], times: NDArray[np.float64], sign: float
    ) -> tuple[NDArray[np.float64], SimulationStatus, str, int]:
        """Integrate over `times`, which move away from `start` in the direction `sign`."""
        if self.engine is not None:
            done = self.engine.march(
                start,
                state,
                times,
                self.sampled,
                rtol=self.rtol,
                scale=self.sizes,
                bound=self.bound,
                max_steps=self.max_evaluations,
            )
            status = SimulationStatus(done.status)
            text = "" if status is SimulationStatus.OK else _report(status, done.time, self)[1]
            return done.X, status, text, done.steps
        values = np.full((len(times), len(state)), np.nan)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not np.isfinite(self.derivative(start, state)).all():
                return (values, *_report(SimulationStatus.UNDEFINED, start, self), 1)
            solver = self.solver(
                self.derivative,
                start,
                state,
                times[-1],
                rtol=self.rtol,
                atol=0.01 * self.rtol * self.sizes,
                max_step=self.max_step,
            )
            reached = 0
            status = SimulationStatus.OK
            while solver.status == "running":
                solver.step()
                if solver.status == "failed":
                    status = SimulationStatus.STEP_FAILED
                elif not np.isfinite(solver.y).all():
                    status = SimulationStatus.UNDEFINED
                elif np.abs(solver.y).max() > self.bound:
                    status = SimulationStatus.BLEW_UP
                elif solver.nfev > self.max_evaluations:
                    status = SimulationStatus.TOO_MANY_EVALUATIONS
                if status is not SimulationStatus.OK:
                    break
                passed = int(np.searchsorted(sign * times, sign * solver.t, side="right"))
                if passed > reached:
                    dense = solver.dense_output()
                    values[reached:passed] = dense(times[reached:passed]).T
                    reached = passed
        if status is SimulationStatus.OK:
            return values, status, "", solver.nfev
        return (values, *_report(status, float(solver.t), self), solver.nfev)


def _report(
    status: SimulationStatus, time: float, run: _Integration
) -> tuple[SimulationStatus, str]:
    reasons = {
        SimulationStatus.BLEW_UP: f"a state grew beyond {run.bound:.3g}",
        SimulationStatus.UNDEFINED: "the right-hand side or a state is not finite",
        SimulationStatus.TOO_MANY_EVALUATIONS: (
            f"more than {run.max_evaluations} evaluations were needed"
        ),
        SimulationStatus.STEP_FAILED: "the step size became too small",
    }
    return status, f"The integration stopped at t = {time:.6g}: {reasons[status]}."
