"""Three routes to the law of a chain: spline KAN, deep KAN, pykan. Accuracy, time, right or not.

``python -m benchmarks.skanode.routes [--routes spline deep pykan] [--noise 0 0.01] [--out FILE]``
prints a table, and writes it as Markdown where asked. Every route sees the same 20 s of
acceleration, from rest; errors are of a free run over 60 s.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sympy
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from discoverers import Equations, SKANODERegressor
from discoverers.shooting import (
    Calibration,
    Column,
    Observation,
    Record,
    StateSpaceModel,
    calibrate,
    integrate,
)

Array = NDArray[np.float64]

LAWS = {
    "Duffing": "-1.5*x - 0.1*v - 10*x**3 + u",
    "Van der Pol": "v - x**2*v - x + u",
}
TRAINING = 200
CUBIC = ("x", "v", "u", "1", "x**2", "x*v", "v**2", "x**3", "x**2*v", "x*v**2", "v**3")
OBSERVED = Observation.linear(["a"], rates=[[0.0, 1.0]], n_inputs=1)


@dataclass(frozen=True, eq=False)
class Case:
    """A simulated oscillator and its noisy acceleration."""

    system: str
    noise: float
    t: Array
    u: Array
    states: Array
    y: Array

    @property
    def record(self) -> Record:
        """What a route may see."""
        return Record.make(self.t[:TRAINING], self.y[:TRAINING], self.u[:TRAINING])


@dataclass(frozen=True)
class Row:
    """What one route made of one case."""

    route: str
    system: str
    noise: float
    seconds: float
    stage_one: float | None
    network_free_run: float | None
    equation: str
    exact: bool
    free_run: float

    def cells(self) -> list[str]:
        """Texts of the table's cells."""
        numbers = (self.stage_one, self.network_free_run, self.free_run)
        first, network, last = ("" if n is None else f"{n:.1e}" for n in numbers)
        return [
            self.route, self.system, f"{self.noise:g}", f"{self.seconds:.0f}", first, network,
            last, "yes" if self.exact else "no", f"`{self.equation}`",
        ]  # fmt: skip


HEADER = (
    "route", "system", "noise", "CPU seconds", "x MSE, stage 1", "x MSE, network alone",
    "x MSE, equation", "right terms", "v' =",
)  # fmt: skip


def simulate(system: str, noise: float) -> Case:
    """The record of the SKANODE paper's settings, by an accurate integrator."""
    law = sympy.lambdify(sympy.symbols("x v u"), sympy.sympify(LAWS[system]))
    t = 0.1 * np.arange(600, dtype=np.float64)

    def rates(time: float, state: Array) -> list[float]:
        return [state[1], law(*state, np.sin(np.pi * time))]

    states = solve_ivp(rates, (0.0, t[-1]), [0.0, 0.0], t_eval=t, rtol=1e-10, atol=1e-12).y.T
    u: Array = np.sin(np.pi * t)
    y = law(states[:, 0], states[:, 1], u)
    y = y + noise * np.random.default_rng(0).standard_normal(len(t))
    return Case(system, noise, t, u, states, y)


def spline(case: Case) -> Row:
    """`SKANODERegressor` as it comes: additive and pairwise splines, linear in their parameters."""
    began = time.process_time()
    head = slice(TRAINING)
    estimator = SKANODERegressor(initial_state="rest")
    estimator.fit(case.t[head], case.y[head], u=case.u[head])
    seconds = time.process_time() - began
    law = estimator.equations_[1].subs(sympy.Symbol("u0"), sympy.Symbol("u"))
    return Row("spline", case.system, case.noise, seconds, None, None, *_judged(case, law))


def network_route(network: str) -> Callable[[Case], Row]:
    """A route whose first stage is a network; `network` as in `train_structured`."""

    def route(case: Case) -> Row:
        from discoverers.networks import train_structured

        began = time.process_time()
        learnt = train_structured(
            network,  # type: ignore[arg-type]
            [case.record],
            OBSERVED,
            order=2,
            state_names=("x", "v"),
            input_names=("u",),
            x0=[[0.0, 0.0]],
        )
        if network == "pykan":
            found = learnt.formula
            law = sympy.Integer(0) if found is None else _calibrated(case, found[0])
        else:
            law = _eliminated(
                case,
                learnt.states[0],
                learnt.acceleration(learnt.states[0], case.u[:TRAINING])[:, 0],
            )
        seconds = time.process_time() - began
        whole = learnt.simulate(Record.make(case.t, case.y, case.u), [0.0, 0.0])
        return Row(
            network, case.system, case.noise, seconds,
            _mse(learnt.states[0][:, 0], case.states[:TRAINING, 0]),
            _mse(whole[:, 0], case.states[:, 0]),
            *_judged(case, law),
        )  # fmt: skip

    return route


ROUTES: dict[str, Callable[[Case], Row]] = {
    "spline": spline,
    "deep": network_route("deep"),
    "pykan": network_route("pykan"),
}


def _eliminated(case: Case, X: Array, acceleration: Array) -> sympy.Expr:
    """Cubic terms on the learnt states, calibrated, and dropped one by one while BIC falls."""
    inputs = case.u[:TRAINING, None]
    terms = [sympy.sympify(text) for text in CUBIC]
    # The floor keeps integration errors of clean data from counting as evidence.
    floor = (2e-3 * float(np.std(case.y[:TRAINING]))) ** 2

    def score(chosen: Sequence[sympy.Expr]) -> tuple[float, Array]:
        theta: Array = np.linalg.lstsq(_table(chosen, X, inputs), acceleration, rcond=None)[
            0
        ].astype(np.float64)
        fit = _fit(case, chosen, theta)
        variance = fit.rss[0] / TRAINING if np.isfinite(fit.cost) else np.inf
        return TRAINING * np.log(variance + floor) + len(chosen) * np.log(TRAINING), fit.theta[1:]

    best, theta = score(terms)
    while len(terms) > 1:
        trials = [(*score([*terms[:k], *terms[k + 1 :]]), k) for k in range(len(terms))]
        value, coefficients, dropped = min(trials, key=lambda trial: trial[0])
        if value >= best:
            break
        best, theta = value, coefficients
        del terms[dropped]
    return sympy.Add(*[float(c) * term for c, term in zip(theta, terms, strict=True)])


def _calibrated(case: Case, formula: sympy.Expr) -> sympy.Expr:
    """The formula with its terms' coefficients trained through the equation."""
    parts = [term.as_coeff_Mul() for term in sympy.Add.make_args(formula)]
    terms = [term for _, term in parts]
    fit = _fit(case, terms, np.array([float(c) for c, _ in parts], dtype=np.float64))
    theta = fit.theta[1:] if np.isfinite(fit.cost) else [float(c) for c, _ in parts]
    return sympy.Add(*[float(c) * term for c, term in zip(theta, terms, strict=True)])


def _fit(case: Case, terms: Sequence[sympy.Expr], theta: Array) -> Calibration:
    columns = [Column("v", {"x": 1.0}, 1.0)] + [Column(term, {"v": 1.0}) for term in terms]
    model = StateSpaceModel(("x", "v"), ("u",), tuple(columns))
    return calibrate(
        model, [1.0, *theta], np.zeros((1, 2)), [case.record], OBSERVED, [1.0], windows=40
    )


def _table(terms: Sequence[sympy.Expr], X: Array, inputs: Array) -> Array:
    symbols = sympy.symbols("x v u")
    columns = [
        np.broadcast_to(sympy.lambdify(symbols, term)(*X.T, inputs[:, 0]), len(X)) for term in terms
    ]
    return np.column_stack(columns).astype(np.float64)


def _judged(case: Case, law: sympy.Expr) -> tuple[str, bool, float]:
    """Text of the law, whether its terms are the true ones, and x MSE of its free run."""
    found = Equations([sympy.Symbol("v"), law], ("x", "v"), ("u",))
    truth = Equations([sympy.Symbol("v"), sympy.sympify(LAWS[case.system])], ("x", "v"), ("u",))
    columns = (Column("v", {"x": 1.0}, 1.0), Column(law, {"v": 1.0}, 1.0))
    model = StateSpaceModel(("x", "v"), ("u",), columns)
    path = integrate(
        model, np.ones(2), np.zeros(2), Record.make(case.t, case.y, case.u), substeps=4
    )
    x = np.full(len(case.t), np.nan)
    x[: path.n_valid] = path.X[: path.n_valid, 0]
    shown = str(law.xreplace({n: sympy.Float(n, 4) for n in law.atoms(sympy.Float)}))
    return shown, bool(found.compare(truth).exact), _mse(x, case.states[:, 0])


def _mse(found: Array, truth: Array) -> float:
    return float(np.mean((found - truth) ** 2)) if np.isfinite(found).all() else float("inf")


def table(rows: Sequence[Row]) -> str:
    """Markdown of the rows."""
    lines = [HEADER, ["---"] * len(HEADER), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the routes that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", nargs="+", choices=list(ROUTES), default=list(ROUTES))
    parser.add_argument("--systems", nargs="+", choices=list(LAWS), default=list(LAWS))
    parser.add_argument("--noise", nargs="+", type=float, default=[0.0, 0.01])
    parser.add_argument("--out", type=Path, help="write the table here, as Markdown")
    given = parser.parse_args(arguments)
    rows = []
    for route in given.routes:
        for system in given.systems:
            for noise in given.noise:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    rows.append(ROUTES[route](simulate(system, noise)))
                print("| " + " | ".join(rows[-1].cells()) + " |", flush=True)  # noqa: T201
    if given.out is not None:
        given.out.write_text(table(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
