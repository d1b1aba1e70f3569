"""Warnings and errors that the estimators raise, in one place to import from.

scikit-learn's own classes are re-exported, so that one import serves an
``except`` clause. ``SolverError`` lives in ``gpu_solver`` and is looked up when
first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

if TYPE_CHECKING:
    from gpu_solver.status import SolverError

__all__ = [
    "ConvergenceWarning",
    "EmptyEquationWarning",
    "IdentifiabilityWarning",
    "IntegrationError",
    "IntegrationWarning",
    "InvalidParameterError",
    "MisfitWarning",
    "NotFittedError",
    "OutlierWarning",
    "SolverError",
]


class EmptyEquationWarning(UserWarning):
    """An equation was left without any term: the state's derivative reads 0."""


class IntegrationWarning(UserWarning):
    """The discovered equations could not be integrated over all requested times.

    The prediction is NaN from the time on that the message names.
    """


class MisfitWarning(UserWarning):
    """The discovered equations do not explain the data to within the noise."""


class IdentifiabilityWarning(UserWarning):
    """The data do not tell some of the candidate terms apart."""


class OutlierWarning(UserWarning):
    """Measurements that contradict their neighbours were left out as gross errors."""


class IntegrationError(RuntimeError):
    """Raised in place of `IntegrationWarning` by an estimator with ``on_failure="raise"``."""


def __getattr__(name: str) -> Any:
    if name == "SolverError":
        from gpu_solver.status import SolverError

        return SolverError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
