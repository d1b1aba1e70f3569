"""Laws without memory that a hidden force has to beat: a longer library's, and splines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.shooting import Column, Spline, StateSpaceModel, calibrate, spline_values
from discoverers.structures.base import StructuralFit

from .rates import is_even
from .search import FIRST_SUBSTEPS, Candidate, Search, Setting
from .start import Scales

__all__ = ["KnownLaw", "SplineLaw", "further_terms", "spline_law"]

Array = NDArray[np.float64]

N_BASIS = 9
SPLINE_ITERATIONS = 25

MARGIN = 0.15
"""Share of a variable's range by which the splines' grid reaches beyond it."""

RIDGE = 1e-5
"""Of the splines' largest curvature: directions without data stay where they began."""

SWITCHES = (0.03, 0.1, 0.3)
"""Widths of smoothed switches tanh(q / w), in standard deviations of q."""


@dataclass(frozen=True, eq=False)
class KnownLaw:
    """A law without hidden force that was found elsewhere: one more to beat.

    Attributes
    ----------
    terms : mapping of sympy.Expr to float
        Of the acceleration, with their coefficients.
    x0 : ndarray of shape (runs, 2)
        Initial position and velocity of each run.
    """

    terms: Mapping[sympy.Expr, float]
    x0: Array

    @classmethod
    def of(cls, fit: StructuralFit) -> KnownLaw:
        """The law of a chain with one mass."""
        terms = list(fit.equations.terms().values())[1]
        return cls({term: float(value) for term, value in terms.items()}, fit.x0[:, :2])


@dataclass(frozen=True, eq=False)
class SplineLaw:
    """A law without hidden state and almost without form.

    Attributes
    ----------
    cost : float
        Squared residuals in units of the noise.
    n_parameters : int
    """

    cost: float
    n_parameters: int


def further_terms(
    position: str, velocity: str, scales: Scales, known: Sequence[sympy.Expr], odd: bool
) -> list[sympy.Expr]:
    """Usual nonlinear springs and dampers that a library does not hold already.

    With `odd` only those that change their sign with the motion.
    """
    out: list[sympy.Expr] = []
    x, v = sympy.Symbol(position), sympy.Symbol(velocity)
    for q, size in ((x, scales.x), (v, scales.v)):
        out += [q, q**2, q**3, q**5, sympy.Abs(q), q * sympy.Abs(q), sympy.sign(q)]
        out += [sympy.tanh(q / sympy.Float(width * size)) for width in SWITCHES]
        gap = sympy.Float(0.7 * size)
        out.append(sympy.Max(q - gap, 0) - sympy.Max(-q - gap, 0))
    out += [sympy.sin(x / sympy.Float(size)) for size in (0.5 * scales.x, scales.x)]
    out += [sympy.exp(x / sympy.Float(scales.x))]
    out += [x * v, x**2 * v, x * v**2, sympy.Abs(x) * v]
    if odd:
        out = [term for term in out if not is_even(term, [x, v])]
    return [term for term in dict.fromkeys(out) if term not in known]


def spline_law(
    around: Candidate, search: Search, states: Array, names: tuple[str, str]
) -> SplineLaw:
    """Calibrate splines of the position and of the velocity, and a bilinear share of both.

    Parameters
    ----------
    around : Candidate
        A static law to begin with, of the columns of `search`.
    search : Search
        Over position and velocity.
    states : ndarray of shape (n, 2)
        Its states along the records.
    names : tuple of str
        Position and velocity.

    Returns
    -------
    SplineLaw
        With infinite cost if the splines blew up.
    """
    setting: Setting = search.setting
    inputs = search.model.input_names
    x, v = (sympy.Symbol(name) for name in names)
    columns = [Column(name, {names[1]: 1.0}) for name in inputs]
    columns += [Column(term, {names[1]: 1.0}) for term in (x * v, x**2 * v, x * v**2)]
    u = np.concatenate([record.u for record in setting.records])
    values = [u, (states[:, 0] * states[:, 1])[:, None],
              (states[:, 0] ** 2 * states[:, 1])[:, None],
              (states[:, 0] * states[:, 1] ** 2)[:, None]]  # fmt: skip
    for place, name in enumerate(names):
        lower, upper = states[:, place].min(), states[:, place].max()
        margin = MARGIN * (upper - lower)
        grid = (float(lower - margin), float(upper + margin))
        # The last function of the second variable is the constant once more.
        count = N_BASIS - place
        columns += [Column(Spline(name, *grid, N_BASIS, k), {names[1]: 1.0}) for k in range(count)]
        values.append(spline_values(states[:, place], *grid, N_BASIS)[:, :count])
    design = np.concatenate(values, axis=1)
    target = search.model.rates(states, u, search.full(around.theta))[:, 1]
    size = np.maximum(np.sqrt((design**2).mean(axis=0)), 1e-12)
    scaled = design / size
    weight = scaled.T @ scaled / len(design) + 1e-8 * np.eye(len(size))
    theta = np.linalg.solve(weight, scaled.T @ target / len(design)) / size
    model = StateSpaceModel(names, inputs, [Column(names[1], {names[0]: 1.0}, value=1.0), *columns])
    strength = RIDGE * len(design) * float(np.mean(target**2 / setting.noise_std.min() ** 2))
    relative = size / max(float(np.std(target)), 1e-300)
    with np.errstate(all="ignore"):
        fit = calibrate(
            model,
            np.concatenate([[1.0], theta]),
            around.x0,
            setting.records,
            setting.observation,
            setting.noise_std,
            free_x0=setting.free_x0,
            prior_mean=theta,
            prior_precision=strength * np.diag(relative**2),
            max_iterations=SPLINE_ITERATIONS,
            substeps=FIRST_SUBSTEPS,
        )
    cost = float((fit.rss / setting.noise_std**2).sum()) if np.isfinite(fit.cost) else np.inf
    return SplineLaw(cost, len(columns))
