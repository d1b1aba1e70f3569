"""Governing equations from measured time series, inside scikit-learn.

``est.fit(t, X)`` takes times and measured states, ``est.equations_`` holds the governing equations
as SymPy expressions. Names are loaded when they are first used, so that importing the package takes
a moment only: PyTorch, Numba and Matplotlib are not imported before something needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from discoverers.base import load
    from discoverers.equations import Comparison, Equations
    from discoverers.exceptions import (
        ConvergenceWarning,
        EmptyEquationWarning,
        IdentifiabilityWarning,
        IntegrationWarning,
        MisfitWarning,
        NotFittedError,
        OutlierWarning,
        SolverError,
    )
    from discoverers.libraries import (
        CustomLibrary,
        ExponentialLibrary,
        FourierLibrary,
        PerStateLibrary,
        PolynomialLibrary,
    )
    from discoverers.mnn_dense import MNNDenseBaseline
    from discoverers.pde import PDEDiscoverer, PDEEquations
    from discoverers.simulation import simulate
    from discoverers.skanode import SKANODERegressor
    from discoverers.smnn import SMNNDiscoverer
    from discoverers.trajectories import Trajectories, Trajectory

__version__ = "0.1.0"

_HOMES = {
    "Comparison": "equations",
    "ConvergenceWarning": "exceptions",
    "CustomLibrary": "libraries",
    "EmptyEquationWarning": "exceptions",
    "Equations": "equations",
    "ExponentialLibrary": "libraries",
    "FourierLibrary": "libraries",
    "IdentifiabilityWarning": "exceptions",
    "IntegrationWarning": "exceptions",
    "MNNDenseBaseline": "mnn_dense",
    "MisfitWarning": "exceptions",
    "OutlierWarning": "exceptions",
    "NotFittedError": "exceptions",
    "PDEDiscoverer": "pde",
    "PDEEquations": "pde",
    "PerStateLibrary": "libraries",
    "PolynomialLibrary": "libraries",
    "SKANODERegressor": "skanode",
    "SMNNDiscoverer": "smnn",
    "SolverError": "exceptions",
    "Trajectories": "trajectories",
    "Trajectory": "trajectories",
    "load": "base",
    "simulate": "simulation",
}

__all__ = [
    "Comparison",
    "ConvergenceWarning",
    "CustomLibrary",
    "EmptyEquationWarning",
    "Equations",
    "ExponentialLibrary",
    "FourierLibrary",
    "IdentifiabilityWarning",
    "IntegrationWarning",
    "MNNDenseBaseline",
    "MisfitWarning",
    "NotFittedError",
    "OutlierWarning",
    "PDEDiscoverer",
    "PDEEquations",
    "PerStateLibrary",
    "PolynomialLibrary",
    "SKANODERegressor",
    "SMNNDiscoverer",
    "SolverError",
    "Trajectories",
    "Trajectory",
    "__version__",
    "load",
    "simulate",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first asked for."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
