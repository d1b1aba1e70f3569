"""Equations integrated by compiled code with step control, forced by samples or functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sympy
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from discoverers.equations import Equations
from discoverers.inputs import SampledInput
from discoverers.runs import InputFunction, evaluate_input

from .model import Column, StateSpaceModel

__all__ = ["Compiled", "March", "compile_equations", "tabulated"]

Array = NDArray[np.float64]

LAYER = 1e-8
"""Width of the layer in which sign goes from -1 to 1, per size of its argument."""

TABLE_INTERVALS = 1000
TABLE_LIMIT = 2_000_000
TABLE_TOLERANCE = 1e-9


@dataclass(frozen=True)
class March:
    """States at the times that were asked for, and how far the integration got.

    Attributes
    ----------
    X : ndarray of shape (n, V)
        NaN from where it ended on.
    status : int
        As `discoverers.simulation.SimulationStatus`.
    steps : int
    time : float
        Where it ended.
    """

    X: Array
    status: int
    steps: int
    time: float


@dataclass(frozen=True, eq=False)
class Compiled:
    """Equations of first order as the engine runs them."""

    equations: Equations

    @property
    def jumps(self) -> bool:
        """Whether a right-hand side holds sign."""
        return any(side.has(sympy.sign) for side in self.equations)

    def model(self, scale: Array) -> StateSpaceModel:
        """The right-hand sides, sign as a layer far thinner than the states' sizes.

        Where dry friction holds there is no rate with sign in it: the state would chatter. In the
        layer it creeps, by 1e-8 of its size in a unit of time.
        """
        names = self.equations.state_names
        widths = dict(zip(names, scale, strict=True))

        def size(expr: sympy.Expr) -> float:
            if expr.is_Symbol:
                return float(widths.get(expr.name, 1.0))
            if expr.is_Add:
                return max(size(part) for part in expr.args)
            if expr.is_Number:
                return abs(float(expr))
            if expr.is_Mul:
                return float(np.prod([size(part) for part in expr.args]))
            if expr.is_Pow and expr.exp.is_Number:
                return float(size(expr.base) ** float(expr.exp))
            return 1.0

        def layer(argument: sympy.Expr) -> sympy.Expr:
            return sympy.tanh(argument / (LAYER * (size(argument) or 1.0)))

        columns = [
            Column(side.replace(sympy.sign, layer), {name: 1.0}, value=1.0)
            for name, side in zip(names, self.equations, strict=True)
        ]
        return StateSpaceModel(names, self.equations.input_names, columns)

    def march(
        self,
        start: float,
        x0: Array,
        times: Array,
        signal: SampledInput | None,
        *,
        rtol: float,
        scale: Array,
        bound: float,
        max_steps: int,
    ) -> March:
        """Integrate over `times`, which move away from `start`.

        Parameters
        ----------
        start : float
        x0 : ndarray of shape (V,)
        times : ndarray of shape (n,)
            Strictly increasing, or strictly decreasing for times before `start`.
        signal : SampledInput or None
        rtol : float
            Relative error per step; the absolute one is ``0.01 * rtol * scale``.
        scale : ndarray of shape (V,)
        bound : float
        max_steps : int
        """
        from .rosenbrock import march

        model = self.model(scale)
        program = model.program
        knots, origins, pieces = _pieces(signal)
        low, high = min(start, times[-1]), max(start, times[-1])
        inner = knots[(knots > low) & (knots < high)]
        stops = np.unique(np.concatenate([times, inner]))
        middles = 0.5 * (stops + np.concatenate([[low], stops[:-1]]))
        if times[-1] < start:
            stops = stops[::-1].copy()
            middles = 0.5 * (stops + np.concatenate([[start], stops[:-1]]))
        X = np.full((len(stops), len(x0)), np.nan)
        with np.errstate(all="ignore"):
            reached, status, steps, time = march(
                program.code, program.numbers, program.splines, program.n_terms, model.term_of,
                model.direction, model.fixed_theta, float(start),
                np.ascontiguousarray(x0, dtype=np.float64), stops,
                np.searchsorted(knots, middles).astype(np.int64), origins, pieces, float(rtol),
                np.ascontiguousarray(0.01 * rtol * scale), float(bound), int(max_steps), X,
            )  # fmt: skip
        X[reached:] = np.nan
        order = 1 if len(stops) < 2 or stops[-1] > stops[0] else -1
        place = np.searchsorted(order * stops, order * times)
        return March(X[place], int(status), int(steps), float(time))


def compile_equations(equations: object) -> Compiled | None:
    """Equations for the engine; None where it cannot run them.

    It runs `Equations` of first order whose functions it knows (`discoverers.shooting.program`).

    Examples
    --------
    >>> from discoverers.equations import Equations
    >>> from discoverers.shooting.simulating import compile_equations
    >>> compile_equations(Equations(["y", "-sign(y)"], ["x", "y"])).jumps
    True
    >>> compile_equations(lambda x, u: -x) is None
    True
    """
    if not isinstance(equations, Equations) or equations.order != 1:
        return None
    compiled = Compiled(equations)
    try:
        _ = compiled.model(np.ones(len(equations))).program
    except (ValueError, TypeError):
        return None
    return compiled


def tabulated(signal: InputFunction, low: float, high: float) -> SampledInput | None:
    """A function of time as a cubic spline as good as it; None if 2 million samples are too few.

    Raises
    ------
    ValueError
        If the function returns anything but a finite row per time.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.shooting.simulating import tabulated
    >>> table = tabulated(np.sin, 0.0, 10.0)
    >>> bool(abs(table(3.21)[0] - np.sin(3.21)) < 1e-8)
    True
    >>> tabulated(np.sign, -1.0, 2.0) is None
    True
    """
    count = TABLE_INTERVALS
    knots = np.linspace(low, high, count + 1)
    values = evaluate_input(signal, knots)
    while 2 * count <= TABLE_LIMIT:
        middles = 0.5 * (knots[1:] + knots[:-1])
        between = evaluate_input(signal, middles)
        error = np.abs(CubicSpline(knots, values)(middles) - between).max(initial=0.0)
        if error <= TABLE_TOLERANCE * max(np.abs(values).max(initial=0.0), 1e-300):
            return SampledInput(knots, values, "cubic")
        finer = np.empty((2 * count + 1, values.shape[1]))
        finer[::2], finer[1::2] = values, between
        count *= 2
        knots, values = np.linspace(low, high, count + 1), finer
    return None


def _pieces(signal: SampledInput | None) -> tuple[Array, Array, Array]:
    """Knots (k,), left ends (k + 1,) and polynomials (k + 1, 4, m) of the inputs' pieces.

    The first and the last piece are the constants outside of the samples.
    """
    if signal is None:
        return np.empty(0), np.zeros(1), np.zeros((1, 4, 0))
    knots, values = signal.knots, signal.values
    pieces = np.zeros((len(knots) + 1, 4, values.shape[1]))
    pieces[0, 0], pieces[1:, 0] = values[0], values
    if signal.interpolation == "cubic" and len(knots) > 3:
        pieces[1:-1] = CubicSpline(knots, values).c[::-1].transpose(1, 0, 2)
    elif signal.interpolation != "hold":
        pieces[1:-1, 1] = np.diff(values, axis=0) / np.diff(knots)[:, None]
    return knots, np.concatenate([knots[:1], knots]), pieces
