"""`PDEDiscoverer`: the partial differential equation behind a measured field."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import sympy
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from discoverers.exceptions import (
    ConvergenceWarning,
    EmptyEquationWarning,
    IdentifiabilityWarning,
    MisfitWarning,
)
from discoverers.persistence import Persistent

from .answers import FieldAnswers
from .candidates import polynomial_candidates
from .fields import Fields, as_fields
from .selection import FieldSelection, select_field_terms

__all__ = ["FittedField", "PDEDiscoverer"]

Array = NDArray[np.float64]

MISFIT = 1.5


@dataclass(frozen=True, eq=False)
class FittedField:
    """The smoothed field of one run.

    Attributes
    ----------
    t : ndarray of shape (n_times,)
        Equally spaced.
    x : ndarray of shape (n_space,)
    X : ndarray of shape (n_times, n_space, V)
    """

    t: Array
    x: Array
    X: Array


class PDEDiscoverer(FieldAnswers, Persistent, RegressorMixin, BaseEstimator):
    """Discover the partial differential equation ``u_t = ...`` of measured fields in one dimension.

    Terms are monomials of the states times spatial derivatives. They are integrated against smooth
    test functions in time and space, which take over derivatives by parts, and chosen by the graded
    criterion. Field smoothing, scales of the test functions and variance of every row come from the
    data; the bias that noise in the terms causes is taken out.

    Parameters
    ----------
    degree : int, default=3
        Most factors in a term: 3 allows ``u**3`` and ``u**2*u_xx``.
    derivative_order : int, default=4
        Most differentiations in a term. Each further one makes noise count more.
    derivative_factors : int, default=1
        Most derivatives in a term: 2 adds ``u_x**2`` and ``u*u_x*u_xx``.
    periodic : {"auto"} or bool, default="auto"
        Whether the positions close to a ring: the point after the last is the first. "auto" asks
        whether the field is as smooth across the ends as inside.
    state_names : sequence of str, default=None
        Names of the states; None takes u, v, w, or u0, u1, ... of more than three.
    forbidden : sequence of str, default=None
        Terms that no equation may have, as in `terms_`: ``["1", "u*u_xx"]``.
    noise_std : float or array-like of shape (V,), default=None
        Known noise of a cell; None estimates it.
    gamma : float, default=1.0
        Charge of a term for the size of the library: 0 is plain BIC, larger asks more evidence.
    max_terms : int, default=None
        Most terms in an equation.
    boundary : {"auto", "zero_flux", "fixed"}, default="auto"
        What simulations take to happen at the ends of a field that is not periodic: the field is
        mirrored, or end values stay. "auto": they stay if they do in the data.
    random_state : int, RandomState or None, default=0
        Seed of the simulated noise.
    on_failure : {"nan", "raise"}, default="nan"
        When an integration fails in `predict` or `simulate`: NaN from there on and an
        `IntegrationWarning`, or `IntegrationError`. `score` never raises it.

    Attributes
    ----------
    equations_ : PDEEquations
    terms_ : tuple of str
        The K candidate terms.
    coef_, coef_std_ : ndarray of shape (V, K)
        Coefficients and standard errors.
    pareto_front_, alternatives_, history_ : DataFrame
    identifiable_ : bool
        False if other equations score as well.
    chi2_ : ndarray of shape (V,)
        Mean squared residuals in units of what the noise explains.
    noise_std_ : ndarray of shape (V,)
    solution_ : tuple of FittedField
        The smoothed field of each run.
    x_ : tuple of ndarray of shape (n_space,)
        Positions, per run.
    periodic_ : bool
    boundary_ : {"zero_flux", "fixed"}
    state_names_ : tuple of str
    converged_ : bool
        Whether selection and variance settled.
    listed_, squeeze_ : bool
        Whether the fields came as a list of runs, and without an axis of states.

    References
    ----------
    Messenger, Bortz: Weak SINDy for partial differential equations, J. Comput. Phys. 443, 2021.
    Rudy, Brunton, Proctor, Kutz: Data-driven discovery of partial differential equations, Sci. Adv.
    3, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers import PDEDiscoverer
    >>> t, x = np.linspace(0.0, 2.0, 40), np.arange(48) * np.pi / 24
    >>> X = 1 + np.exp(-0.3 * t)[:, None] * np.sin(x) + np.exp(-1.2 * t)[:, None] * np.cos(2 * x)
    >>> PDEDiscoverer().fit(t, X, x=x).equations_.round(3)
    u_t = 0.3 u_xx
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "degree": [Interval(Integral, 1, None, closed="left")],
        "derivative_order": [Interval(Integral, 1, 8, closed="both")],
        "derivative_factors": [Interval(Integral, 1, None, closed="left")],
        "periodic": ["boolean", StrOptions({"auto"})],
        "state_names": ["array-like", None],
        "forbidden": ["array-like", None],
        "noise_std": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "max_terms": [Interval(Integral, 1, None, closed="left"), None],
        "boundary": [StrOptions({"auto", "zero_flux", "fixed"})],
        "random_state": ["random_state"],
        "on_failure": [StrOptions({"nan", "raise"})],
    }

    def __init__(
        self,
        degree: int = 3,
        derivative_order: int = 4,
        *,
        derivative_factors: int = 1,
        periodic: bool | str = "auto",
        state_names: Sequence[str] | None = None,
        forbidden: Sequence[str] | None = None,
        noise_std: float | ArrayLike | None = None,
        gamma: float = 1.0,
        max_terms: int | None = None,
        boundary: str = "auto",
        random_state: int | np.random.RandomState | None = 0,
        on_failure: str = "nan",
    ) -> None:
        self.degree = degree
        self.derivative_order = derivative_order
        self.derivative_factors = derivative_factors
        self.periodic = periodic
        self.state_names = state_names
        self.forbidden = forbidden
        self.noise_std = noise_std
        self.gamma = gamma
        self.max_terms = max_terms
        self.boundary = boundary
        self.random_state = random_state
        self.on_failure = on_failure

    def fit(self, t: Any, X: Any, *, x: Any = None) -> Self:
        """Discover the equations of one or several measured fields.

        Parameters
        ----------
        t : array-like of shape (n_times,), or list of such arrays
            Times. Unequal steps are allowed.
        X : array-like of shape (n_times, n_space) or (n_times, n_space, V), or list of such arrays
            The fields; NaN where nothing was measured.
        x : array-like of shape (n_space,), or list of such arrays
            Equally spaced positions; one array serves all runs.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameterError
            If a parameter of the constructor has a wrong type or value.
        ValueError
            If the data do not fit together; the text names the argument and what to do.
        """
        self._validate_params()
        fields = as_fields(t, X, x, self.state_names)
        candidates = polynomial_candidates(
            fields.state_names, self.degree, self.derivative_order, self.derivative_factors
        )
        selection = select_field_terms(
            fields,
            candidates,
            periodic=None if isinstance(self.periodic, str) else bool(self.periodic),
            noise_std=self._known_noise(fields),
            allowed=self._allowed(candidates.names, fields.n_states),
            gamma=self.gamma,
            max_terms=self.max_terms,
            random=np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1)),
        )
        fitted = self._fitted(fields, selection)
        self.__dict__ = {k: v for k, v in self.__dict__.items() if not k.endswith("_")} | fitted
        self._warn(selection, fields)
        return self

    def _known_noise(self, fields: Fields) -> Array | None:
        if self.noise_std is None:
            return None
        known = np.asarray(self.noise_std, dtype=np.float64)
        if known.ndim > 1 or (known.ndim == 1 and len(known) != fields.n_states):
            raise ValueError(
                f"noise_std must be one number or one per state ({fields.n_states}), got shape "
                f"{known.shape}."
            )
        if not (np.isfinite(known).all() and (known > 0).all()):
            raise ValueError(f"noise_std must be positive and finite, got {self.noise_std!r}.")
        return np.broadcast_to(known, (fields.n_states,))

    def _allowed(self, names: tuple[str, ...], n_states: int) -> NDArray[np.bool_]:
        allowed = np.ones((n_states, len(names)), dtype=bool)
        if self.forbidden is None:
            return allowed
        if isinstance(self.forbidden, str):
            raise ValueError(f"forbidden must be a sequence of terms, got {self.forbidden!r}.")
        for term in self.forbidden:
            if term not in names:
                raise ValueError(
                    f"forbidden holds {term!r}, which is no candidate; candidates are "
                    f"{', '.join(names)}."
                )
            allowed[:, names.index(term)] = False
        return allowed

    def _fitted(self, fields: Fields, selection: FieldSelection) -> dict[str, Any]:
        fits, best = selection.fits, selection.best
        periodic = selection.denoised[0].periodic
        return {
            "equations_": selection.equations(best),
            "terms_": selection.candidates.names,
            "coef_": selection.expand([fit.coef for fit in fits], best),
            "coef_std_": selection.expand([fit.coef_std for fit in fits], best),
            "pareto_front_": selection.pareto_front(),
            "alternatives_": selection.alternatives(),
            "history_": selection.history(),
            "identifiable_": selection.identifiable,
            "chi2_": np.array([fit.chi2 for fit in fits]),
            "noise_std_": selection.noise_std,
            "solution_": tuple(
                FittedField(one.t, one.field.x, one.states) for one in selection.denoised
            ),
            "x_": tuple(run.x for run in fields),
            "periodic_": periodic,
            "boundary_": self._boundary(selection),
            "state_names_": fields.state_names,
            "converged_": all(fit.converged for fit in fits),
            "listed_": fields.listed,
            "squeeze_": fields.squeeze,
        }

    def _boundary(self, selection: FieldSelection) -> str:
        if self.boundary != "auto":
            return self.boundary
        for one in selection.denoised:
            ends = one.states[:, [0, -1]]
            moved = np.abs(ends - ends.mean(axis=0)).max(axis=(0, 1))
            if (moved > 0.02 * np.ptp(one.states, axis=(0, 1)) + one.noise_std).any():
                return "zero_flux"
        return "fixed"

    def _warn(self, selection: FieldSelection, fields: Fields) -> None:
        empty = [n for n, one in zip(self.state_names_, selection.best, strict=True) if not one]
        if empty:
            warnings.warn(
                f"No term was kept in the equation(s) of {empty}: the time derivative reads 0. The "
                "field may be at rest, too noisy, or need other candidate terms.",
                EmptyEquationWarning,
                stacklevel=3,
            )
        limit = max(MISFIT, 1.0 + 6.0 * np.sqrt(2.0 / max(selection.n_rows, 1)))
        poor = [
            f"{name} ({value:.3g})"
            for name, value in zip(self.state_names_, self.chi2_, strict=True)
            if value > limit
        ]
        if poor:
            warnings.warn(
                f"The equations leave more than the noise unexplained: chi2 is above {limit:.2g} "
                f"for {', '.join(poor)}. The law may need terms outside the library (raise degree, "
                "derivative_order or derivative_factors), a state that was not measured, or a "
                f"finer grid.{_about_gaps(fields)}",
                MisfitWarning,
                stacklevel=3,
            )
        if not self.identifiable_:
            warnings.warn(
                "Other equations explain the data as well, see alternatives_. Add a run with "
                "another initial field, or list terms that cannot be in forbidden.",
                IdentifiabilityWarning,
                stacklevel=3,
            )
        if not self.converged_:
            warnings.warn(
                "The choice of terms still changed in the last round; equations_ is the last one, "
                "alternatives_ has others.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def sympy(self) -> tuple[sympy.Expr, ...]:
        """Right-hand sides with `sympy.Derivative` objects."""
        check_is_fitted(self)
        return tuple(self.equations_)

    def latex(self, digits: int = 6) -> str:
        """LaTeX source of the equations, floats to so many significant digits."""
        check_is_fitted(self)
        return self.equations_.latex(digits)


def _about_gaps(fields: Fields) -> str:
    """Advice where part of the space was never measured: what lies there is interpolated."""
    for i, run in enumerate(fields):
        if len(run.unseen) > 1:
            return (
                f" At {len(run.unseen)} positions of run {i}, from x = {run.unseen[0]:g} to "
                f"{run.unseen[-1]:g}, nothing was measured at any time: pass what lies on either "
                "side as runs of their own."
            )
    return ""
