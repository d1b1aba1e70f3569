"""`MNNDenseBaseline`: the original mechanistic neural network, to compare with."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass, field, replace
from numbers import Integral as Whole
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from gpu_solver import factorize

from .base import BaseDiscoverer
from .denoising import denoise, known_noise
from .discovery import Discovery
from .doubled_columns import warn_of_doubled_columns
from .exceptions import ConvergenceWarning
from .integration import Integral, MechanisticIntegral
from .libraries import Library, resolve_library
from .reporting import report_selection, warn_of_ambiguity, warn_of_misfit
from .selection import select_terms
from .trajectories import Trajectories

__all__ = ["MNNDenseBaseline"]

Array = NDArray[np.float64]

ORDER = 2
"""R of the original's first-order problems: state, slope and curvature at every time."""


@dataclass
class MNNIntegral:
    """Integration by the original MNN's quadratic programme; notes how the solves ended.

    Attributes
    ----------
    solver : {"dense", "cg"}
    segment : int or None
        Samples per programme; None takes a whole run.
    tolerance, max_iter
        Of conjugate gradients.
    iterations, residuals : list of float
        Largest number of iterations and relative residual of each programme.
    """

    solver: str
    segment: int | None
    tolerance: float
    max_iter: int
    iterations: list[int] = field(default_factory=list)
    residuals: list[float] = field(default_factory=list)

    @property
    def reference(self) -> Integral:
        """The scalable network's integral."""
        return MechanisticIntegral()

    def segments(self, n: int) -> list[slice]:
        """Split a run into nearly equal programmes."""
        if self.segment is None or n <= self.segment:
            return [slice(0, n)]
        edges = np.linspace(0, n, -(-n // self.segment) + 1).round().astype(int)
        return [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)]

    def __call__(self, steps: Array, theta: Array) -> Array:
        """Integrate theta (n, K): all columns are right-hand sides of one programme."""
        c = np.zeros((1, 1, 1, ORDER + 1))
        c[..., 1] = 1.0
        options: dict[str, Any] = (
            {"method": "mnn_dense"}
            if self.solver == "dense"
            else {
                "method": "mnn_conjugate_gradient",
                "tolerance": self.tolerance,
                "max_iterations": self.max_iter,
            }
        )
        try:
            operator = factorize(c, steps, **options)
        except ValueError as error:
            raise ValueError(
                f"The original MNN is O(T^2) in memory and this run has T = {len(theta)} samples: "
                f"{error} Here: set segment=200 for programmes of 200 samples each, or use "
                "SMNNDiscoverer, which is linear in T."
            ) from error
        # The programme's answer is affine in the right-hand side: subtract that of none.
        d = np.concatenate([np.zeros((1, len(theta), 1)), theta.T[:, :, None]])
        y, _, report = operator.solve_with_report(d, np.zeros((1, 1, 1)))
        if report is not None:
            self.iterations.append(int(report[0].max()))
            self.residuals.append(float(report[1].max()))
        values = y[:, :, 0, 0]
        return (values[1:] - values[0]).T


class MNNDenseBaseline(BaseDiscoverer):
    """Discover equations with the original Mechanistic Neural Network's solver.

    The same smoother, regression and selection as `SMNNDiscoverer`; only the linear ODE is solved
    as in the original: a quadratic programme with a slack variable shared by all times, central
    differences for the highest derivative, and a dense Cholesky factorisation, O(T^3) in time and
    O(T^2) in memory, or conjugate gradients. It is here to compare with, not to work with.

    Parameters
    ----------
    library : str or Library, default="poly3"
        Candidate terms; see `SMNNDiscoverer`.
    solver : {"dense", "cg"}, default="dense"
        Dense Cholesky, or conjugate gradients without a preconditioner as published.
    segment : int or None, default=None
        Samples per quadratic programme. None puts a whole run into one, as published; a number
        cuts long runs, which costs accuracy at the cuts.
    tolerance : float, default=1e-12
        Relative residual at which conjugate gradients stop.
    max_iter : int, default=200
        Most iterations of conjugate gradients; the published number, too few for long runs.
    window, gamma, max_terms, noise_std
        See `SMNNDiscoverer`.
    time_unit : {"ns", "us", "ms", "s", "min", "h", "d"}, default="s"
        Unit that dates and durations in `t` are converted to.
    trajectory_column : str, default=None
        Column of the DataFrame `t` or `X` whose values tell the runs apart.
    on_failure : {"nan", "raise"}, default="nan"
        What `predict` and `simulate` do when the equations cannot be integrated.

    Attributes
    ----------
    equations_, coef_, coef_std_, pareto_front_, solution_, noise_std_, chi2_, history_
        As in `SMNNDiscoverer`.
    alternatives_, identifiable_, entangled_
        As in `SMNNDiscoverer`, judged by the regression alone.
    converged_ : bool
        Whether conjugate gradients reached the tolerance; True for the dense solver.
    n_iter_ : int
        Most iterations of a programme; 1 for the dense solver.
    residual_ : float
        Largest relative residual of conjugate gradients; 0 for the dense solver.

    References
    ----------
    Pervez, Locatello, Gavves: Mechanistic Neural Networks for Scientific Machine Learning,
    ICML 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers import MNNDenseBaseline
    >>> t = np.linspace(0.0, 10.0, 200)
    >>> X = np.column_stack([np.cos(t), -np.sin(t)])
    >>> MNNDenseBaseline(library="poly1").fit(t, X).equations_.round(2)
    x0' = 1.0 x1
    x1' = -1.0 x0
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseDiscoverer._parameter_constraints,
        "library": [str, Library],
        "solver": [StrOptions({"dense", "cg"})],
        "segment": [Interval(Whole, 4, None, closed="left"), None],
        "tolerance": [Interval(Real, 0, 1, closed="neither")],
        "max_iter": [Interval(Whole, 1, None, closed="left")],
        "window": [Interval(Whole, 4, None, closed="left")],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "max_terms": [Interval(Whole, 1, None, closed="left"), None],
        "noise_std": [Interval(Real, 0, None, closed="neither"), "array-like", None],
    }

    def __init__(
        self,
        library: str | Library = "poly3",
        *,
        solver: str = "dense",
        segment: int | None = None,
        tolerance: float = 1e-12,
        max_iter: int = 200,
        window: int = 30,
        gamma: float = 1.0,
        max_terms: int | None = None,
        noise_std: float | ArrayLike | None = None,
        time_unit: str = "s",
        trajectory_column: str | None = None,
        on_failure: str = "nan",
    ) -> None:
        self.library = library
        self.solver = solver
        self.segment = segment
        self.tolerance = tolerance
        self.max_iter = max_iter
        self.window = window
        self.gamma = gamma
        self.max_terms = max_terms
        self.noise_std = noise_std
        self.time_unit = time_unit
        self.trajectory_column = trajectory_column
        self.on_failure = on_failure

    def _discover(self, trajectories: Trajectories) -> Discovery:
        library = resolve_library(self.library)
        warn_of_doubled_columns(trajectories)
        integral = MNNIntegral(self.solver, self.segment, self.tolerance, self.max_iter)
        # The original reads inputs at the samples only.
        runs = tuple(replace(run, signal=None) for run in trajectories)
        trajectories = replace(trajectories, runs=runs)
        selection = select_terms(
            trajectories,
            denoise(trajectories, known_noise(self.noise_std, trajectories.n_states)),
            library.bind(trajectories.state_names, trajectories.input_names),
            integral,
            window=self.window,
            gamma=self.gamma,
            max_terms=self.max_terms,
        )
        found = report_selection(selection)
        residual = max(integral.residuals, default=0.0)
        converged = residual <= self.tolerance
        if not converged:
            warnings.warn(
                f"Conjugate gradients stopped after {max(integral.iterations)} iterations at a "
                f"relative residual of {residual:.1e}, above tolerance={self.tolerance:.1e}: raise "
                'max_iter, cut the record with segment=50, or use solver="dense".',
                ConvergenceWarning,
                stacklevel=5,
            )
        warn_of_misfit(found, trajectories)
        warn_of_ambiguity(found)
        return replace(
            found,
            converged=converged,
            extras={
                **found.extras,
                "n_iter_": max(integral.iterations, default=1),
                "residual_": residual,
            },
        )
