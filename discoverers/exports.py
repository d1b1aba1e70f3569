"""Other forms of a fitted estimator: expressions, tables, functions, pictures, files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd
import sympy
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.utils.validation import check_is_fitted

from .callables import EquationsFunction
from .equations import Equations
from .persistence import Persistent

if TYPE_CHECKING:
    from .right_hand_side import RightHandSide

PLOT_KINDS = ("fit", "states", "phase", "edges", "pareto", "coefficients")


class Exports(Persistent):
    """Mixin that hands a fitted estimator's equations on to other tools."""

    equations_: Equations
    state_names_: tuple[str, ...]
    terms_: tuple[str, ...]
    coef_: NDArray[np.float64]
    coef_std_: NDArray[np.float64]

    def sympy(self) -> tuple[sympy.Expr, ...]:
        """Right-hand sides as SymPy expressions, one per state."""
        check_is_fitted(self)
        return tuple(self.equations_)

    def latex(self) -> str:
        """Equations as LaTeX source."""
        check_is_fitted(self)
        return self.equations_.latex()

    def to_callable(self, backend: Literal["numpy", "torch"] = "numpy") -> EquationsFunction:
        """Right-hand side as a vectorised function ``f(X, u=None)``.

        Parameters
        ----------
        backend : {"numpy", "torch"}, default="numpy"
            Arrays taken and returned; with "torch" the function is differentiable.
        """
        check_is_fitted(self)
        return self.equations_.lambdify(backend)

    def coef_interval(self, level: float = 0.95) -> pd.DataFrame:
        """Coefficients of the terms that were kept, with confidence intervals.

        Parameters
        ----------
        level : float, default=0.95
            Probability with which an interval covers the true coefficient, if the law is right.

        Returns
        -------
        DataFrame
            Columns ``equation``, ``term``, ``coefficient``, ``std`` (standard error; 0 of a
            coefficient that was not estimated), ``lower``, ``upper``.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1.
        """
        check_is_fitted(self)
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must be between 0 and 1, got {level!r}.")
        rows, columns = np.nonzero(self.coef_)
        values, errors = self.coef_[rows, columns], self.coef_std_[rows, columns]
        errors = np.abs(errors)  # no negative zeros in the table
        half = float(norm.ppf(0.5 + 0.5 * level)) * errors
        return pd.DataFrame(
            {
                "equation": [self.state_names_[row] for row in rows],
                "term": [self.terms_[column] for column in columns],
                "coefficient": values,
                "std": errors,
                "lower": values - half,
                "upper": values + half,
            }
        )

    @property
    def module_(self) -> RightHandSide:
        """The right-hand side as a ``torch.nn.Module`` whose parameters are the coefficients.

        Built when first asked for (torch is imported then) and kept until the next fit; changes
        of its parameters do not change `equations_`.
        """
        check_is_fitted(self)
        if "_module" not in self.__dict__:
            from .right_hand_side import RightHandSide

            self.__dict__["_module"] = RightHandSide(self.equations_)
        return self.__dict__["_module"]

    def __getstate__(self) -> dict[str, Any]:
        state = dict(cast("dict[str, Any]", super().__getstate__()))
        state.pop("_module", None)
        return state

    def plot(
        self,
        kind: Literal["fit", "states", "phase", "edges", "pareto", "coefficients"] = "fit",
        ax: Any = None,
        **options: Any,
    ) -> Any:
        """Draw the fitted estimator with Matplotlib; see `discoverers.plotting`.

        Parameters
        ----------
        kind : {"fit", "states", "phase", "edges", "pareto", "coefficients"}, default="fit"
            What was measured over time, all states over time, phase portrait, learned functions
            (of `SKANODERegressor`), complexity against loss, or coefficients.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        **options
            Passed on to the function of `discoverers.plotting`.

        Raises
        ------
        ValueError
            If `kind` is unknown.
        """
        check_is_fitted(self)
        if kind not in PLOT_KINDS:
            raise ValueError(f"kind must be one of {list(PLOT_KINDS)}, got {kind!r}.")
        from . import plotting

        return getattr(plotting, f"plot_{kind}")(self, ax=ax, **options)
