"""Stage 3: the chosen law calibrated to the end, and what can be said of its level."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.shooting import Calibration, StateSpaceModel, calibrate, lifted

from .corners import are_candidates, knotted
from .dictionary import Dictionary
from .judging import Candidate, Judge, shares
from .model import ChainTask, enough_substeps

__all__ = ["Finished", "finish"]

Array = NDArray[np.float64]

LOOSE = 0.3
"""A coordinate's level with a larger standard error, in units of its spread, is not identified."""

MAX_SUBSTEPS = 16

LOST = 2.0
"""Mean squared residual, in units of the noise, of a trajectory that does not follow the runs."""

LEVEL = 0.3
"""Shift, in units of a coordinate's spread, under which a library is asked to stay closed."""


@dataclass(frozen=True, eq=False)
class Finished:
    """The final calibration.

    Attributes
    ----------
    support : tuple of int
        Columns of the dictionary.
    model : StateSpaceModel
        As it was integrated.
    written : StateSpaceModel
        As the equations are written: with sign where a steep layer was integrated.
    calibration : Calibration
        With covariance in the data's own noise.
    noise_std : ndarray of shape (C,)
    offset_identifiable : bool or None
    dictionary : Dictionary
        With the knots of corners where the calibration put them.
    knots_std : ndarray
        Standard errors of the knots of the support's corners; the covariance has them last.
    """

    support: tuple[int, ...]
    model: StateSpaceModel
    written: StateSpaceModel
    calibration: Calibration
    noise_std: Array
    offset_identifiable: bool | None
    dictionary: Dictionary
    knots_std: Array


def finish(task: ChainTask, dictionary: Dictionary, chosen: Candidate) -> Finished:
    """Calibrate the chosen law on all data, with accurate integration and the noise re-estimated.

    Terms that then turn out to contribute next to nothing are left out, one by one.

    Returns
    -------
    Finished
    """
    judge = Judge.of(task, dictionary)
    while True:
        made = _calibrated(task, dictionary, chosen)
        fit, k, dictionary = made.calibration, len(made.support), made.dictionary
        if not np.isfinite(fit.cost) or k < 2:
            return made
        coef = fit.theta[len(fit.theta) - k :]
        values = [
            made.model.term_values(path.X, record.u)[:, -k:]
            for path, record in zip(fit.paths, task.records, strict=True)
        ]
        ratios = shares(values, coef, np.array([dictionary.laws[i] for i in made.support]))
        ratios = np.where(dictionary.required[list(made.support)], np.inf, ratios)
        weakest = int(np.argmin(ratios))
        if ratios[weakest] >= judge.least(made.support):
            return made
        left = [i for i in range(k) if i != weakest]
        support = tuple(made.support[i] for i in left)
        chosen = replace(chosen, support=support, coef=coef[left], x0=fit.x0, rss=fit.rss)


def _calibrated(task: ChainTask, dictionary: Dictionary, chosen: Candidate) -> Finished:
    observation = task.data.observation(dictionary.chain.state_names)
    judge = Judge.of(task, dictionary)
    bent = [k for k in chosen.support if k in dictionary.corners]
    straight = [dictionary.columns[k] for k in chosen.support if k not in bent]
    if bent:
        corners = [dictionary.corners[k] for k in bent]
        first, moved = knotted(
            task, straight, corners, chosen.coef, chosen.x0, task.free_x0,
            judge.noise(chosen.rss, len(chosen.coef)), _substeps(task, dictionary, chosen), 40,
        )  # fmt: skip
        if np.isfinite(first.cost):
            dictionary = dictionary.moved(dict(zip(bent, moved, strict=True)))
            chosen = replace(
                chosen, coef=first.theta[len(first.theta) - len(chosen.coef) :],
                x0=first.x0[:, : chosen.x0.shape[1]], rss=first.rss,
            )  # fmt: skip
    columns = [dictionary.columns[k] for k in chosen.support]
    model = dictionary.chain.model(columns)
    skip = model.n_columns - len(columns)
    theta = np.concatenate([np.ones(skip), chosen.coef])
    substeps = _substeps(task, dictionary, chosen)
    free = task.free_x0.copy()
    noise = judge.noise(chosen.rss, len(columns))

    def calibrated(theta: Array, x0: Array, noise: Array) -> Calibration:
        fit = calibrate(
            model, theta, x0, task.records, observation, noise, free_x0=free, max_iterations=40,
            substeps=substeps,
        )  # fmt: skip
        if not chosen.lifted or fit.cost <= LOST * float(task.n_observed.sum()):
            return fit
        return lifted(
            model, theta, chosen.states, task.records, observation, noise,
            x0=np.where(free, np.nan, x0), substeps=substeps,
        )  # fmt: skip

    fit = calibrated(theta, chosen.x0, noise)
    identifiable: bool | None = None
    if task.shiftable and np.isfinite(fit.cost):
        lowest = list(dictionary.chain.lowest)
        spread = np.concatenate([path.X for path in fit.paths])[:, lowest].std(axis=0)
        loose = fit.x0_std[0, lowest] > LOOSE * spread
        identifiable = not loose.any() and not _closed_under_shifts(task, dictionary, chosen, fit)
        if loose.any():
            # Any level would do: this one is kept, and the errors are those given it.
            free[0, np.array(lowest)[loose]] = False
            fit = calibrated(fit.theta, fit.x0, noise)
    if np.isfinite(fit.cost):
        noise = _noise(task, fit, len(columns) + int(free.sum()))
        fit = calibrated(fit.theta, fit.x0, noise)
    std = np.zeros(0)
    if bent and np.isfinite(fit.cost):
        corners = [dictionary.corners[k] for k in bent]
        last, _ = knotted(
            task, straight, corners, fit.theta[skip:], fit.x0, free, noise, substeps, 0
        )
        knots = last.unknowns.positions[0, model.n_states :]
        order = [k for k in range(last.unknowns.size) if k not in knots] + knots.tolist()
        if np.isfinite(last.cost):
            every = np.ix_(order, order)
            fit = replace(fit, normal=last.normal[every], covariance=last.covariance[every])
            std = np.sqrt(np.diagonal(last.covariance)[knots])
    written = dictionary.chain.model([dictionary.exact_columns[k] for k in chosen.support])
    return Finished(
        chosen.support, model, written, fit, noise, identifiable, dictionary, std
    )  # fmt: skip


def _substeps(task: ChainTask, dictionary: Dictionary, chosen: Candidate) -> int:
    model = dictionary.chain.model([dictionary.columns[k] for k in chosen.support])
    theta = np.concatenate([np.ones(model.n_columns - len(chosen.coef)), chosen.coef])
    return enough_substeps(model, theta, chosen.x0, task.records, 1e-6, MAX_SUBSTEPS)


def _noise(task: ChainTask, fit: Calibration, n_parameters: int) -> Array:
    if task.data.noise_std is not None:
        return np.asarray(task.data.noise_std, dtype=np.float64)
    left = np.maximum(fit.n_observed - n_parameters / len(fit.rss), 0.2 * fit.n_observed)
    return np.sqrt(np.maximum(fit.rss / np.maximum(left, 1.0), 1e-24 * task.floor**2))


def _closed_under_shifts(
    task: ChainTask, dictionary: Dictionary, chosen: Candidate, fit: Calibration
) -> bool:
    """Whether the library holds the chosen law with its coordinates counted from elsewhere.

    A corner ``|q - b|`` it holds at any knot, where corners are candidates.
    """
    chain = dictionary.chain
    X = np.concatenate([path.X for path in fit.paths])
    u = np.concatenate([record.u for record in task.records])
    model = chain.model(dictionary.columns)
    skip = model.n_columns - len(dictionary)
    shift = np.zeros(X.shape[1])
    lowest = list(chain.lowest)
    shift[lowest] = LEVEL * X[:, lowest].std(axis=0)
    here = model.term_values(X, u)[:, skip:]
    there = model.term_values(X + shift, u)[:, skip:][:, list(chosen.support)]
    coef = fit.theta[len(fit.theta) - len(chosen.support) :]
    if are_candidates(task.options):
        coef = np.where([_is_corner(dictionary.terms[k]) for k in chosen.support], 0.0, coef)
    laws = np.array(dictionary.laws)
    with np.errstate(invalid="ignore"):
        finite = (np.abs(here) < 1e100).all(axis=0)
    if not np.isfinite(there).all():
        return False
    for law in range(chain.n_dof):
        target = there @ np.where(laws[list(chosen.support)] == law, coef, 0.0)
        columns = here[:, (laws == law) & finite]
        left = target - columns @ np.linalg.lstsq(columns, target, rcond=1e-12)[0]
        if np.linalg.norm(left) > 1e-6 * max(float(np.linalg.norm(target)), 1e-300):
            return False
    return True


def _is_corner(term: sympy.Expr) -> bool:
    """Whether a term is ``|q - b|``; b may be 0."""
    if not isinstance(term, sympy.Abs):
        return False
    inside = term.args[0].as_coeff_Add()[1]
    return bool(inside.is_Symbol or (-inside).is_Symbol)
