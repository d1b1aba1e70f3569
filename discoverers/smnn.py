"""`SMNNDiscoverer`: governing equations by scalable mechanistic neural networks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from numbers import Integral as Whole
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from .automatic import grow, worth_growing
from .automatic.report import answer_of, constants_frame, others_grown
from .base import BaseDiscoverer
from .chains import is_derivative, measured_columns, read_chains
from .constraints import Constraint, Known, Rules, bind_rules
from .denoising import Denoised, denoise, known_noise
from .discovery import Discovery
from .doubled_columns import warn_of_doubled_columns
from .exceptions import ConvergenceWarning
from .inputs import with_interpolation
from .integrability import Other, first_that_integrates, warn_of_broken_runs
from .integration import MechanisticIntegral
from .libraries import AutoLibrary, BoundLibrary, Library, resolve_library
from .mechanistic import SGDEngine
from .refinement import refine
from .reporting import (
    MISFIT,
    others_refined,
    others_selected,
    outliers_frame,
    report_refined,
    report_selection,
    warn_of_ambiguity,
    warn_of_misfit,
    warn_of_outliers,
)
from .runs import Interpolation
from .selection import select_terms
from .trajectories import Trajectories
from .viewpoints import seen_from_nearby

__all__ = ["SMNNDiscoverer"]


class SMNNDiscoverer(BaseDiscoverer):
    """Discover ordinary differential equations from measured time series.

    Parameters
    ----------
    library : str or Library, default="poly3"
        Candidate terms of every right-hand side: "poly3" are all monomials of states and inputs
        up to degree 3; "poly3+fourier", a `Library`, sums and products of libraries. More
        candidates cost time and evidence; a term that is missing here cannot be found. "auto"
        (`AutoLibrary`) goes on to textbook functions with free constants where polynomials do not
        explain the data, and takes some seconds more.
    window : int, default=30
        Samples after which the initial value is free again. Longer windows average more noise,
        shorter ones suffer less from denoised states that are off.
    gamma : float, default=1.0
        How sceptical the selection is of large libraries: 0 is BIC, larger keeps fewer terms.
    max_terms : int or None, default=None
        Most terms in one equation.
    noise_std : float, array-like of shape (V,) or None, default=None
        Standard deviation of the measurement noise, if it is known; estimated otherwise.
    constraints : sequence of constraints, default=()
        What is known beforehand: `Known`, `Required`, `Forbidden`, `Bounded` and `Shared` of
        `discoverers.constraints`, in the names of the states and of the library's terms.
    order : int, sequence of int, or mapping of str to int, default=1
        Order of the equations, of all or of each state (``{"x": 2, "y": 1}``; 1 where left out).
        With 2 the equations read ``x'' = f(x, x', u)``, with 3 ``x''' = f(x, x', x'', u)``, and
        candidate terms hold the derivatives, named ``x'``, too. The states have to be measured,
        at least here and there; derivatives need not be, and are used where columns of `X` named
        ``x'`` hold them. The higher the order, the denser and cleaner positions have to be.
    input_interpolation : {"linear", "cubic", "hold"}, default="linear"
        How inputs run between samples, in the fit and in every simulation after it: straight
        lines, a cubic spline, or the last sample (digital control, switches). The right one
        matters: at 16 samples a cycle of a smooth force and 1 % noise straight lines bias its
        coefficient by two percent, the spline by a tenth of one, and of a force that is switched
        every 5 samples only "hold" finds the law. A function passed as `u` is used as it is; one
        that jumps is better sampled and held.
    engine : {"closed_form", "sgd"} or SGDEngine, default="closed_form"
        How coefficients are found. "sgd" is the paper's neural route, ``SGDEngine()`` of
        `discoverers.mechanistic`: gradient descent through the mechanistic solver, for right-hand
        sides ``g(xi . phi)`` and for encoders of your own. It is slower, and no better where the
        closed form applies.
    outliers : {"drop", "keep"}, default="drop"
        Whether single measurements that contradict their neighbours are left out as gross errors;
        `outliers_` lists them and an `OutlierWarning` counts them.
    time_unit : {"ns", "us", "ms", "s", "min", "h", "d"}, default="s"
        Unit that dates and durations in `t` are converted to. Numbers are used as they are.
    trajectory_column : str, default=None
        Column of the DataFrame `t` or `X` whose values tell the runs apart.
    on_failure : {"nan", "raise"}, default="nan"
        What `predict` and `simulate` do when the equations cannot be integrated.

    Attributes
    ----------
    equations_ : Equations
        The governing equations, in the user's units.
    coef_, coef_std_ : ndarray of shape (V, K)
        Coefficients of the candidates `terms_`, and their standard errors (0 where inactive).
    pareto_front_ : DataFrame
        The best system of each size; `selected` marks the one in `equations_`.
    solution_ : tuple of FittedTrajectory
        Denoised states of each run that fit the data and the equations.
    noise_std_ : ndarray of shape (V,)
        Standard deviation of the measurement noise.
    chi2_ : ndarray of shape (V,)
        Mean squared residual of the equations taken as exact laws, in units of the noise: about 1
        where the library holds the truth, less where the noise was first overestimated.
    alternatives_ : DataFrame
        Systems that describe the data nearly as well: `equations`, how far their score is behind,
        and weights ``exp(-behind / 2)``; the first row is `equations_`.
    identifiable_ : bool
        False if another system is as good (score within 2), or terms of this one cannot be told
        apart: an `IdentifiabilityWarning` says so, and what to do.
    entangled_ : tuple of (state, term)
        Terms of `equations_` of which the data tell only a combination: the 99.9 % interval of each
        holds both signs, yet not all of them can be 0. Terms that the user requires may come to
        this, as x, x' and the force of a record at one frequency.
    integrates_ : bool
        Whether `equations_` can be integrated over the span of every run (the first 20,000 samples
        of longer ones) from `x0_`. A law that blows up there gives way to the best one that does
        not, of all that were judged (`laws_passed_over` in `history_` counts them); False, with an
        `IntegrationWarning`, if there is none.
    constants_ : DataFrame
        With ``library="auto"`` only: constants inside of terms, such as k of ``x / (k + x)``, with
        their standard errors: `equation`, `term` (in which the constant reads p), `p`, `p_std`.
    outliers_ : DataFrame
        Measurements that were left out: `trajectory`, `t`, `state`, `value`, `expected`.
    history_ : DataFrame
        What each stage did, one row per state. `link_level` is how exactly the equations hold over
        a step, in units of the noise: 0.01 for a law, 0.3 and more for a rough description.

    Notes
    -----
    Stage 1 denoises each state by the S-MNN least-squares problem with the data at all times and
    a cross-validated smoothness. Stage 2 integrates the candidate terms with the same solver,
    regresses the raw data on them, and selects terms by an extended BIC (see `GradedCriterion`);
    clean data are explained by then. Otherwise states and coefficients are fitted together by
    Gauss-Newton on a bordered block-tridiagonal system (stage 3), which also judges the terms, over
    all equations at once, and says how exactly the equations hold (stage 4). All of it is O(T);
    of records above 2000 samples stage 4 reads blocks. Time and terms are scaled inside;
    equations are in the user's units.

    Of states that lie far from zero (30 standard deviations: a pressure, a temperature in kelvin)
    all powers are nearly one straight line. Without constraints, polynomials in the distance from a
    round value among the data are tried, too, and are the answer, ``(x - 10003)**2*y`` among
    `terms_`, if they describe the data better. Other libraries take such states less an offset.

    A derivative that is not measured is told by the positions, of every degree of freedom that the
    laws hold; one whose position was never measured is known up to a constant only, and refused.

    One fit is one thread: its candidate systems take a tenth of its time (Lorenz's, 1000 samples:
    9 of about 9 ms each, of 1 s), each from where the last one led. Several fits go in parallel by
    joblib (`GridSearchCV(n_jobs=...)`), and so do the starts of ``SGDEngine(n_jobs=...)``.

    Warnings: `EmptyEquationWarning` for an equation without terms, `MisfitWarning` where chi2_ is
    above 1.5 (more on short records), `OutlierWarning` for measurements that were left out,
    `IdentifiabilityWarning` for ties, `ConvergenceWarning` where no joint fit exists and the
    regression's equations stand, `IntegrationWarning` where no law that was found can be
    integrated over the runs.

    References
    ----------
    Chen, Yao, Pervez, Alistarh, Locatello: Scalable Mechanistic Neural Networks, ICLR 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers import SMNNDiscoverer
    >>> t = np.linspace(0.0, 10.0, 200)
    >>> X = np.column_stack([np.cos(2.0 * t), -2.0 * np.sin(2.0 * t)])
    >>> SMNNDiscoverer(library="poly2").fit(t, X).equations_.round(4)
    x0' = 1.0 x1
    x1' = -4.0 x0
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseDiscoverer._parameter_constraints,
        "library": [str, Library],
        "window": [Interval(Whole, 4, None, closed="left")],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "max_terms": [Interval(Whole, 1, None, closed="left"), None],
        "noise_std": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "constraints": [list, tuple],
        "order": [Interval(Whole, 1, None, closed="left"), "array-like", Mapping],
        "input_interpolation": [StrOptions({"linear", "cubic", "hold"})],
        "engine": [StrOptions({"closed_form", "sgd"}), SGDEngine],
        "outliers": [StrOptions({"drop", "keep"})],
    }

    def __init__(
        self,
        library: str | Library = "poly3",
        *,
        window: int = 30,
        gamma: float = 1.0,
        max_terms: int | None = None,
        noise_std: float | ArrayLike | None = None,
        constraints: Sequence[Constraint] = (),
        order: int | Sequence[int] | Mapping[str, int] = 1,
        input_interpolation: Interpolation = "linear",
        engine: str | SGDEngine = "closed_form",
        outliers: str = "drop",
        time_unit: str = "s",
        trajectory_column: str | None = None,
        on_failure: str = "nan",
    ) -> None:
        self.library = library
        self.window = window
        self.gamma = gamma
        self.max_terms = max_terms
        self.noise_std = noise_std
        self.constraints = constraints
        self.order = order
        self.input_interpolation = input_interpolation
        self.engine = engine
        self.outliers = outliers
        self.time_unit = time_unit
        self.trajectory_column = trajectory_column
        self.on_failure = on_failure

    def _discover(self, trajectories: Trajectories) -> Discovery:
        library = resolve_library(self.library)
        columns = read_chains(self.order, trajectories.state_names)
        noise_std = known_noise(self.noise_std, trajectories.n_states)
        trajectories, seen = measured_columns(trajectories)
        warn_of_doubled_columns(trajectories)
        chains = read_chains(self.order, trajectories.state_names)
        if isinstance(library, AutoLibrary) and not all(
            isinstance(one, Known) and one.only for one in self.constraints
        ):
            raise ValueError(
                "library='auto' takes equations that are known as a whole, Known(..., only=True), "
                "and no other constraints; name the terms, as in library='poly3+fourier', to use "
                "them."
            )
        trajectories = with_interpolation(trajectories, self.input_interpolation)
        denoised = denoise(
            trajectories,
            None if noise_std is None else noise_std[seen],
            keep_outliers=self.outliers == "keep",
            orders=None if chains is None else chains.smoother_orders(),
        )
        outliers = outliers_frame(trajectories, denoised)
        warn_of_outliers(outliers, trajectories)
        constraints = list(self.constraints)
        if chains is not None:
            trajectories = chains.trajectories(trajectories)
            denoised = chains.denoised(denoised, known_noise=noise_std is not None)
            constraints += chains.kinematics()
        bound = library.bind(trajectories.state_names, trajectories.input_names)
        if chains is not None:
            bound = chains.library(bound)
        bound, rules = bind_rules(constraints, bound)
        engine = SGDEngine() if self.engine == "sgd" else self.engine
        if isinstance(engine, SGDEngine):
            found = self._descend(engine, library, trajectories, denoised, bound, rules)
            others: Iterator[Other] = iter(())
        else:
            found, others = self._solve(library, trajectories, denoised, bound, rules)
        found = first_that_integrates(found, others, self.input_interpolation)
        if isinstance(library, AutoLibrary):
            found = replace(found, extras={"constants_": constants_frame(), **found.extras})
        found = replace(
            found,
            extras={**found.extras, "outliers_": outliers},
            noise_std=_spread(found.noise_std, seen),
            observation=None if columns is None else columns.observation,
            interpolation=self.input_interpolation,
        )
        warn_of_misfit(found, trajectories)
        warn_of_ambiguity(found)
        warn_of_broken_runs(found, trajectories.ids)
        return found

    def _may_be_unmeasured(self, column: str, columns: Sequence[str]) -> bool:
        return self.order != 1 and is_derivative(column, columns)

    def _solve(
        self,
        library: Library,
        trajectories: Trajectories,
        denoised: Denoised,
        bound: BoundLibrary,
        rules: Rules,
    ) -> tuple[Discovery, Iterator[Other]]:
        """The closed form: regression, joint fit, growth of the library; and what else there is."""
        auto, known = isinstance(library, AutoLibrary), self.noise_std is not None
        stages = self._iterations("stage", 2)
        next(stages)
        select = partial(
            select_terms,
            library=bound,
            integral=MechanisticIntegral(),
            window=self.window,
            gamma=self.gamma,
            max_terms=self.max_terms,
            rules=rules,
        )
        selection = select(trajectories, denoised)
        refined, stopped = None, next(stages, None) is None
        if stopped:
            warnings.warn(
                "A callback stopped the fit after the regression: its equations are reported.",
                ConvergenceWarning,
                stacklevel=6,
            )
        elif not selection.explained:
            refined = refine(selection, self.max_terms, known_noise=known)
        if not stopped and self.engine == "closed_form" and not (auto or self.constraints):
            selection, refined = seen_from_nearby(
                (selection, refined), select, self.max_terms, known_noise=known
            )
        next(stages, None)  # tells the callbacks that the last one is over
        found = report_refined(selection, refined) if refined else report_selection(selection)
        failed = refined is None and not selection.explained
        found = replace(found, converged=found.converged and not (stopped or failed))
        others = others_refined(selection, refined) if refined else others_selected(selection)
        if auto and not stopped and worth_growing(found.extras["chi2_"]):
            coef = refined.coef if refined else selection.coef
            followed = refined.states if refined and (refined.chi2 <= MISFIT).all() else None
            grown = grow(selection, coef, library, self.window, self._iterations, followed)
            if grown is not None:
                others = chain(others_grown(grown, found, selection), others)
                answer = answer_of(grown, found, selection)
                failed = failed and answer.equations is found.equations
                found = answer
        if failed and not stopped:
            warnings.warn(
                "The joint fit of states and coefficients failed (the candidate equations "
                "cannot be followed from sample to sample): the regression's equations are "
                "reported, with larger errors. Denser samples or a smaller library may help.",
                ConvergenceWarning,
                stacklevel=6,
            )
        return found, others

    def _descend(
        self,
        engine: SGDEngine,
        library: Library,
        trajectories: Trajectories,
        denoised: Denoised,
        bound: BoundLibrary,
        rules: Rules,
    ) -> Discovery:
        """Gradient descent, from the closed form if the engine starts warm."""
        if isinstance(library, AutoLibrary):
            raise ValueError(
                "library='auto' needs engine='closed_form'; name the terms, as in "
                "library='poly3+fourier', to use gradient descent."
            )
        chains = denoised.chains
        if chains is not None and (set(chains.orders) != {2} or chains.observation is not None):
            raise ValueError(
                "engine='sgd' works with order=1, and with order=2 where only positions are "
                "measured; use engine='closed_form'."
            )
        measured = [
            n for n, skip in zip(bound.state_names, denoised.inferred, strict=True) if not skip
        ]
        closed = None
        if engine.uses_closed_form(measured):
            closed, _ = self._solve(library, trajectories, denoised, bound, rules)
        found = engine.discover(
            trajectories,
            denoised,
            bound,
            rules,
            closed,
            gamma=self.gamma,
            max_terms=self.max_terms,
            iterations=self._iterations,
        )
        if not found.converged:
            warnings.warn(
                "Gradient descent was cut short, by max_epochs or by a callback: the coefficients "
                "may still be on their way. Raise max_epochs, or learning_rate.",
                ConvergenceWarning,
                stacklevel=6,
            )
        return found


def _spread(values: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values of measured columns among all, NaN elsewhere."""
    out = np.full(len(seen), np.nan)
    out[seen] = values
    return out
