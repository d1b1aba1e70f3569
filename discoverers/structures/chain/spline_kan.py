"""Stage 1: a Kolmogorov-Arnold network that is linear in its parameters, trained through its ODE.

Each law is a sum of cubic B-spline curves of the chain's states, tensor-product splines of pairs
of them, and inputs times coefficients. Smoothness is a Gaussian prior on second differences; how
strong, hold-out says, separately for each kind of curve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import root

from discoverers.shooting import (
    Calibration,
    Column,
    LinearObservation,
    Observation,
    Record,
    StateSpaceModel,
    calibrate,
    tangent,
)

from .drift import remove_drift
from .kan_terms import Term, build_terms
from .model import Chain, ChainTask, enough_substeps
from .start import Start

__all__ = ["SplineKAN", "Term", "fit_spline_kan"]

Array = NDArray[np.float64]

STRENGTHS = np.logspace(-4.0, 6.0, 6)
"""Precisions of second differences to choose from, per variance of the law."""

RIDGE = 1e-6
TRUST = 1e-3
"""Mean squared error, per variance of the law, that guessed rates are taken to have."""

HELD_OUT = 4
"""Every so many samples one is held out."""

FIRST_WINDOW = 40
ATTEMPTS = ((1e-2, 0.03), (1.0, 0.3), (1.0, 3.0))
"""Strength of the smoothness, and weight of the guessed rates while the window still grows."""

STAGE_SUBSTEPS = 4


@dataclass(frozen=True, eq=False)
class SplineKAN:
    """A trained network.

    Attributes
    ----------
    chain : Chain
    terms : tuple of Term
    calibration : Calibration
        Of `model`.
    noise_std : ndarray of shape (C,)
        Residuals, their degrees of freedom allowed for.
    freedom : float
        Effective number of parameters.
    strengths : dict
        Smoothness by kind of curve.
    substeps : int
        Of the integration.
    guess : Start
        States that it started from, without their drift.
    """

    chain: Chain
    terms: tuple[Term, ...]
    calibration: Calibration
    noise_std: Array
    freedom: float
    strengths: dict[tuple[int, int], float]
    substeps: int
    guess: Start

    @property
    def columns(self) -> list[Column]:
        """Columns of the laws, kinematics not included."""
        return [column for term in self.terms for column in term.columns(self.chain)]

    @property
    def coef(self) -> Array:
        """Coefficients of `columns`."""
        theta = self.calibration.theta
        return theta[len(theta) - sum(term.size for term in self.terms) :]

    def shifted(self, levels: Array) -> SplineKAN:
        """The same network with coordinates counted from `levels` (n_dof,)."""
        moves = dict.fromkeys(self.chain.state_names, 0.0)
        for place, level in zip(self.chain.lowest, levels, strict=True):
            moves[self.chain.state_names[place]] = float(level)
        terms = tuple(
            replace(
                term,
                lower=tuple(
                    a - moves.get(n, 0.0) for a, n in zip(term.lower, term.variables, strict=True)
                ),
                upper=tuple(
                    b - moves.get(n, 0.0) for b, n in zip(term.upper, term.variables, strict=True)
                ),
            )
            for term in self.terms
        )
        x0 = self.calibration.x0.copy()
        x0[:, list(self.chain.lowest)] -= levels
        return replace(self, terms=terms, calibration=replace(self.calibration, x0=x0))

    def equilibrium(self) -> Array:
        """Coordinates (n_dof,) at which the laws vanish at rest, without inputs; nearest the mean.

        Where the laws have no such point in the range of the data, the mean.
        """
        chain, model = self.chain, self.chain.model(self.columns)
        X = np.concatenate([path.X for path in self.calibration.paths])
        lowest, tops = list(chain.lowest), list(chain.highest)
        at = X[:, lowest].mean(axis=0)
        theta = self.calibration.theta
        quiet = np.zeros((1, len(chain.input_names)))

        def laws(q: Array) -> Array:
            state = np.zeros((1, X.shape[1]))
            state[0, lowest] = q
            return model.rates(state, quiet, theta)[0, tops]

        lower, upper = X[:, lowest].min(axis=0), X[:, lowest].max(axis=0)
        if chain.n_dof == 1:
            grid = np.linspace(lower[0], upper[0], 201)
            values = np.array([laws(np.array([q]))[0] for q in grid])
            roots = np.flatnonzero(values[:-1] * values[1:] <= 0.0)
            if not len(roots):
                return np.asarray(at)
            share = values[roots] / np.where(
                values[roots] == values[roots + 1], 1.0, values[roots] - values[roots + 1]
            )
            places = grid[roots] + share * (grid[1] - grid[0])
            return np.array([places[np.argmin(np.abs(places - at[0]))]])
        found = root(laws, at)
        inside = found.success and np.all((found.x >= lower) & (found.x <= upper))
        return np.asarray(found.x if inside else at)

    @property
    def converged(self) -> bool:
        """Whether the network follows all runs to their ends."""
        return bool(np.isfinite(self.calibration.cost))


@dataclass(frozen=True, eq=False)
class _Training:
    """A network on its grids, before its coefficients are known."""

    task: ChainTask
    terms: tuple[Term, ...]
    model: StateSpaceModel
    observation: Observation
    noise_std: Array
    scale: Array
    """Variance of each law."""
    free_x0: NDArray[np.bool_]
    substeps: int

    def prior(self, strengths: dict[tuple[int, int], float]) -> Array:
        size = sum(term.size for term in self.terms)
        matrix = np.zeros((size, size))
        for term in self.terms:
            at = slice(term.first, term.first + term.size)
            block = strengths[term.kind] * term.roughness()
            ridge = RIDGE if len(term.variables) == 1 else 1e-2 * strengths[term.kind]
            if term.size > 1:
                matrix[at, at] = (block + ridge * np.eye(term.size)) / self.scale[term.law]
            else:
                matrix[at, at] = RIDGE / self.scale[term.law]
        return matrix

    def regress(
        self, states: Sequence[Array], rates: Sequence[Array], prior: Array
    ) -> tuple[Array, Array]:
        """Whole theta of the model from guessed states and rates, and its precision."""
        gram, moment = np.zeros(prior.shape), np.zeros(len(prior))
        skip = self.model.n_columns - len(prior)
        for record, X, F in zip(self.task.records, states, rates, strict=True):
            values = self.model.term_values(X, record.u)[:, skip:]
            for law, top in enumerate(self.task.chain.highest):
                weight = 1.0 / (TRUST * self.scale[law])
                mine = np.concatenate(
                    [np.full(term.size, term.law == law, dtype=bool) for term in self.terms]
                )
                part = np.where(mine, values, 0.0)
                gram += weight * part.T @ part
                moment += weight * part.T @ F[:, top]
        out = self.model.fixed_theta.copy()
        precise = gram + prior
        out[skip:] = np.linalg.solve(precise + 1e-12 * np.trace(gram) * np.eye(len(gram)), moment)
        return out, precise

    def misfit(self, rates: Sequence[Array], prior: Array) -> Callable[[Sequence[Array]], Array]:
        """Function of states: residuals of the best penalised regression of the rates."""
        root = np.linalg.cholesky(prior).T
        skip = self.model.n_columns - len(prior)
        tops = list(self.task.chain.highest)
        laws = np.concatenate([np.full(term.size, term.law) for term in self.terms])
        weights = 1.0 / np.sqrt(TRUST * self.scale)

        def residuals(states: Sequence[Array]) -> Array:
            values = np.concatenate(
                [
                    self.model.term_values(X, record.u)[:, skip:]
                    for X, record in zip(states, self.task.records, strict=True)
                ]
            )
            target = np.concatenate(rates)[:, tops]
            out = []
            for law, weight in enumerate(weights):
                mine = laws == law
                rows = np.concatenate([weight * values[:, mine], root[np.ix_(mine, mine)]])
                right = np.concatenate([weight * target[:, law], np.zeros(int(mine.sum()))])
                gram = rows.T @ rows
                out.append(right - rows @ np.linalg.solve(gram, rows.T @ right))
            return np.concatenate(out)

        return residuals

    def train(
        self, theta: Array, x0: Array, prior: Array, iterations: int, *,
        mean: Array | None = None, windows: int | None = None,
    ) -> Calibration:  # fmt: skip
        return calibrate(
            self.model, theta, x0, self.task.records, self.observation, self.noise_std,
            free_x0=self.free_x0, prior_precision=prior, prior_mean=mean, windows=windows,
            max_iterations=iterations, substeps=self.substeps,
        )  # fmt: skip

    def choose(
        self, fit: Calibration, strengths: dict[tuple[int, int], float]
    ) -> dict[tuple[int, int], float]:
        """Strengths whose solution of the linearised problem predicts held-out samples best."""
        parts = []
        for held in (False, True):
            quadratic = tangent(
                self.model, fit.theta, fit.x0, _split(self.task.records, held), self.observation,
                self.noise_std, free_x0=self.free_x0, substeps=self.substeps,
            )  # fmt: skip
            if quadratic is None:
                return strengths
            parts.append(quadratic)
        training, test = parts
        every = list(range(training.n_columns))
        chosen = dict(strengths)

        def loss(trial: dict[tuple[int, int], float]) -> float:
            matrix = training.gram + self.prior(trial)
            scale = np.sqrt(np.diagonal(matrix))
            solved = np.linalg.solve(matrix / np.outer(scale, scale), training.moment / scale)
            return float(test.loss_at(every, solved / scale))

        for _ in range(2):
            for kind in chosen:
                values = {s: loss({**chosen, kind: float(s)}) for s in STRENGTHS}
                least = min(values.values())
                # The smoothest of those that predict as well, within a percent.
                chosen[kind] = max(s for s, v in values.items() if v <= 1.01 * least + 1e-9)
        return chosen

    def freedom(self, fit: Calibration, prior: Array) -> float:
        n = len(prior)
        scale = np.sqrt(np.diagonal(fit.normal))
        scale = np.where(scale > 0.0, scale, 1.0)
        whole = fit.normal / np.outer(scale, scale) + 1e-12 * np.eye(len(scale))
        held = np.zeros_like(whole)
        held[:n, :n] = prior / np.outer(scale[:n], scale[:n])
        return float(len(scale) - np.trace(np.linalg.solve(whole, held)))


def fit_spline_kan(task: ChainTask, start: Start, *, drifting: bool = True) -> SplineKAN:
    """Train the network from guessed states: coarsely, on better grids, then as smooth as it pays.

    Parameters
    ----------
    task : ChainTask
    start : Start
    drifting : bool, default=True
        Whether the guess may hold the drift of integrated channels.

    Returns
    -------
    SplineKAN
        With ``converged`` False if it could not be made to follow the runs.
    """
    states: Sequence[Array] = start.states
    rates: Sequence[Array] = start.rates
    strengths = {(1, 0): 1e-2, (2, 0): 1e-2}
    noise = np.maximum(start.noise_std, task.floor)
    x0 = np.array([X[0] for X in states])
    free = task.free_x0.copy()
    if task.shiftable:
        free[0, list(task.chain.lowest)] = False
    training = _training(task, states, rates, noise, free)
    if drifting and drifts(task):
        states = remove_drift(task, states, training.misfit(rates, training.prior(strengths)))
        x0 = np.array([X[0] for X in states])
        training = _training(task, states, rates, noise, free)
    guess = replace(start, states=tuple(states))
    training, fit, strengths = _follow(training, states, rates, x0)
    for _ in range(2):
        if not np.isfinite(fit.cost):
            break
        sampled = np.sqrt(fit.rss / np.maximum(fit.n_observed - 10.0, 1.0))
        noise = np.maximum(sampled, task.floor)
        states, rates = [path.X for path in fit.paths], [path.F for path in fit.paths]
        again = replace(_training(task, states, rates, noise, free), substeps=training.substeps)
        theta, _ = again.regress(states, rates, 1e-6 * again.prior(strengths))
        moved = again.train(theta, fit.x0, again.prior(strengths), 6)
        if not np.isfinite(moved.cost):
            break
        training, fit = again, moved
        chosen = training.choose(fit, strengths)
        moved = training.train(fit.theta, fit.x0, training.prior(chosen), 15)
        if np.isfinite(moved.cost):
            fit, strengths = moved, chosen
    freedom = training.freedom(fit, training.prior(strengths)) if np.isfinite(fit.cost) else 0.0
    share = np.maximum(fit.n_observed - freedom / len(fit.rss), 0.2 * fit.n_observed)
    sigma = np.sqrt(fit.rss / np.maximum(share, 1.0))
    return SplineKAN(
        task.chain, training.terms, fit, sigma, freedom, strengths, training.substeps, guess
    )


def _follow(
    training: _Training, states: Sequence[Array], rates: Sequence[Array], x0: Array
) -> tuple[_Training, Calibration, dict[tuple[int, int], float]]:
    """A first network that follows the runs to their ends, and the strengths it took."""
    task, used = training.task, dict[tuple[int, int], float]()
    best: Calibration | None = None
    enough = np.maximum(3.0 * training.noise_std, 10.0 * task.floor)
    for strength, guide in ATTEMPTS:
        strengths = {(1, 0): strength, (2, 0): strength}
        theta, precise = training.regress(states, rates, training.prior(strengths))
        if best is None:
            steps = enough_substeps(training.model, theta, x0, task.records, 1e-3, STAGE_SUBSTEPS)
            training = replace(training, substeps=steps)
        # Windows that do not visit a region yet must not undo what the guess says of it.
        fit = training.train(
            theta, x0, guide * precise, 10, mean=theta[-len(precise) :], windows=FIRST_WINDOW
        )
        if best is None or not fit.cost >= best.cost:
            best, used = fit, strengths
        if np.isfinite(fit.cost) and np.all(fit.rss <= enough**2 * fit.n_observed):
            break
    return training, best or fit, used


def drifts(task: ChainTask) -> bool:
    """Whether no channel shows the coordinates themselves, so that guesses of them drift."""
    observation = task.data.observation(task.chain.state_names)
    if not isinstance(observation, LinearObservation):
        return False
    return not observation.states[:, list(task.chain.lowest)].any()


def _training(
    task: ChainTask, states: Sequence[Array], rates: Sequence[Array], noise: Array,
    free: NDArray[np.bool_],
) -> _Training:  # fmt: skip
    together, moving = np.concatenate(states), np.concatenate(rates)
    terms = build_terms(task.chain, together.min(axis=0), together.max(axis=0))
    model = task.chain.model([c for term in terms for c in term.columns(task.chain)])
    scale = np.maximum(np.mean(moving[:, list(task.chain.highest)] ** 2, axis=0), 1e-300)
    observation = task.data.observation(task.chain.state_names)
    return _Training(task, terms, model, observation, noise, scale, free, 1)


def _split(records: Sequence[Record], held: bool) -> list[Record]:
    """Records with the held-out samples missing, or only them."""
    out = []
    for record in records:
        out_of = np.arange(len(record)) % HELD_OUT == HELD_OUT // 2
        y = record.y.copy()
        y[out_of != held] = np.nan
        out.append(replace(record, y=y))
    return out
