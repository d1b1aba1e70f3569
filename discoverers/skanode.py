"""`SKANODERegressor`: equations and hidden states by structured Kolmogorov-Arnold neural ODEs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral as Whole
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import sympy
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .base import BaseDiscoverer
from .denoising import known_noise
from .discovery import Discovery, FittedTrajectory
from .libraries import Library
from .runs import Interpolation, RawRun, evaluate_input
from .structures.base import Data, Options, Structure, resolve_structure
from .structures.observing import Observed, read_observe
from .structures.offsets import WithOffsets, discover_with_offsets
from .structures.sensors import sensor_notes
from .structures.terms import read_terms
from .structures.timing import timing_notes
from .trajectories import Trajectories, Trajectory, merged_rows

if TYPE_CHECKING:
    from .shooting import Record

__all__ = ["SKANODERegressor"]

Array = NDArray[np.float64]
Observe = str | Sequence[str] | Mapping[str, str] | ArrayLike | Callable[..., Any]
Terms = Sequence[str | sympy.Expr] | Mapping[str | sympy.Expr, float | None]


class SKANODERegressor(BaseDiscoverer):
    """Discover equations of motion and hidden states from indirect measurements.

    What is measured (accelerations, say) are functions of states that are not. A `structure` says
    which states there are and where unknown laws enter their rates; the laws are learned as
    splines, read as symbols, and calibrated by integrating the equations.

    Parameters
    ----------
    structure : {"chain", "elements", "modal"} or Structure, default="chain"
        What is known beforehand. "chain" is ``ChainStructure()``: x' = v, v' = h(x, v, u) with an
        unknown law h. "elements" is ``ElementStructure()``: masses that unknown springs, dampers
        and the like may join. "modal" is ``ModalStructure()``: modes of vibration, as many as the
        data support. Pass a `Structure` of `discoverers.structures` for other orders, hidden
        forces and whatever else they offer.
    observe : str, sequence, mapping, array-like or callable, default="acceleration"
        What the columns of y measure. "acceleration", "velocity" or "position" (or
        "displacement"), one column per degree of freedom; or one text per column, in a sequence or
        by name of the column: such a word ("acceleration 2" is of the second mass; of one mass any
        number of columns may measure anything), a state ("x"), the rate of a state ("v'"), or a
        weighted sum of states, rates and inputs ("v' + u0"). Or a matrix with a row per column of
        y, which weighs states, then (optionally) rates and inputs. Or a function of states (n, V),
        rates (n, V) and inputs (n, m) that returns (n, C). Subtract gravity and offsets of sensors
        before, or let `sensor_offset` find them.
    library : str or Library, default="auto"
        Candidate terms of the unknown laws; "auto" leaves them to the structure.
    interpolation : {"cubic", "linear", "hold"}, default="cubic"
        How inputs run between samples, in the fit and in simulations. The right one matters:
        straight lines through a smooth force bias coefficients by a percent. A function passed as
        `u` is used as it is. It is not kept: inside the training span its values at the samples
        are, beyond it `predict` and `simulate` ask for it again (also after `load`).
    initial_state : {"estimate", "rest"}, default="estimate"
        What holds of initial states that are not given as `x0`: they are estimated, or zero.
        Knowing them helps: accelerations alone may leave the level of positions open.
    sensor_offset : {"none", "estimate"}, default="none"
        "estimate" finds a constant offset of each accelerometer, gravity for instance, along with
        the law (one for all runs); the fit takes two to four times as long. "none" takes channels
        as they are, and tells of an offset by a `MisfitWarning` where it shows.
    noise_std : float, array-like of shape (C,) or None, default=None
        Standard deviation of the measurement noise, if it is known; estimated otherwise.
    max_terms : int or None, default=None
        Most terms in one law.
    gamma : float, default=1.0
        How sceptical the selection is of large libraries: 0 is BIC, larger keeps fewer terms.
    required : sequence of str or sympy.Expr, or mapping from these to float or None, default=()
        Terms that are in the law whatever the data say; a mapping gives their coefficients.
    forbidden : sequence of str or sympy.Expr, default=()
        Terms that are not in the law.
    parity : {"odd"} or None, default=None
        "odd": the law changes its sign with all states and inputs, so only odd terms are
        candidates.
    random_state : int, RandomState or None, default=None
        For structures that draw at random.
    time_unit : {"ns", "us", "ms", "s", "min", "h", "d"}, default="s"
        Unit that dates and durations in `t` are converted to. Numbers are used as they are.
    trajectory_column : str, default=None
        Column of the DataFrame `t` or `y` whose values tell the runs apart.
    on_failure : {"nan", "raise"}, default="nan"
        What `predict` and `simulate` do when the equations cannot be integrated.

    Attributes
    ----------
    equations_ : Equations
        Rates of all states, in the user's units.
    states_ : DataFrame, or list of DataFrame
        The states at the times of each run, measured or not (virtual sensing); `states` gives
        them at any time.
    coef_, coef_std_ : ndarray of shape (V, K)
        Coefficients of the candidates `terms_` and standard errors (0 where inactive or fixed);
        `coef_interval` lists them with confidence intervals.
    covariance_ : ndarray of shape (P, P)
        Of everything that was estimated: `parameter_names_`.
    x0_, x0_std_ : ndarray of shape (runs, V)
        Initial states and standard errors.
    noise_std_ : ndarray of shape (C,)
    sensor_offset_, sensor_offset_std_ : ndarray of shape (C,)
        Offsets of the sensors and standard errors, 0 where none was estimated. `predict` adds them.
    edge_functions_ : tuple of EdgeFunction
        The learned splines with their error bands, and the symbol that was read from each.
    x_offset_identifiable_ : bool or None
        Whether the data fix the level of the positions.
    pareto_front_, alternatives_ : DataFrame
        The best law of each size, and laws that the data do not rule out.
    state_names_, channel_names_, input_names_ : tuple of str
        Of the states, the columns of y, and the inputs.
    measured_ : tuple of ndarray of shape (n, C)
        The channels of each run, at the times of `states_`; NaN where they were not measured.
    observation_ : Observation
        How the channels follow from the states.
    history_ : DataFrame
    converged_ : bool

    Notes
    -----
    ``fit(t, y, u=...)`` takes all the forms that `SMNNDiscoverer` takes: several runs, gaps,
    irregular times, dates. `predict` gives channels, `states` and `simulate` give states.

    `score` compares channels. A held-out run (of a list, or with a new id) starts from `x0`, else
    at rest with ``initial_state="rest"``, else from the initial state that fits its own channels
    best with the coefficients frozen: as many numbers as there are states are read from the run.

    References
    ----------
    Liu, Pantazis, Lai, Chatzi: Structured Kolmogorov-Arnold neural ODEs for interpretable learning
    and symbolic discovery of nonlinear dynamics, 2025.

    Examples
    --------
    >>> from discoverers import SKANODERegressor
    >>> from discoverers.datasets import duffing_forced, observe
    >>> record = observe(duffing_forced(), "acceleration").training()  # a mass at rest, shaken
    >>> model = SKANODERegressor(initial_state="rest").fit(record.t, record.y, u=record.u)
    >>> model.equations_.round(3)
    x' = v
    v' = 1.0 u0 - 1.5 x - 0.1 v - 10.0 x^3
    >>> bool(abs(model.states_["x"] - record.states[:, 0]).max() < 1e-4)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseDiscoverer._parameter_constraints,
        "structure": [str, Structure],
        "observe": [str, Mapping, callable, "array-like"],
        "library": [str, Library],
        "interpolation": [StrOptions({"cubic", "linear", "hold"})],
        "initial_state": [StrOptions({"estimate", "rest"})],
        "sensor_offset": [StrOptions({"none", "estimate"})],
        "noise_std": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "max_terms": [Interval(Whole, 1, None, closed="left"), None],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "required": [list, tuple, Mapping],
        "forbidden": [list, tuple, set, frozenset],
        "parity": [StrOptions({"odd"}), None],
        "random_state": ["random_state"],
    }
    _column_prefix = "y"

    def __init__(
        self,
        structure: str | Structure = "chain",
        *,
        observe: Observe = "acceleration",
        library: str | Library = "auto",
        interpolation: Interpolation = "cubic",
        initial_state: Literal["estimate", "rest"] = "estimate",
        sensor_offset: Literal["none", "estimate"] = "none",
        noise_std: float | ArrayLike | None = None,
        max_terms: int | None = None,
        gamma: float = 1.0,
        required: Terms = (),
        forbidden: Sequence[str | sympy.Expr] = (),
        parity: Literal["odd"] | None = None,
        random_state: int | np.random.RandomState | None = None,
        time_unit: str = "s",
        trajectory_column: str | None = None,
        on_failure: str = "nan",
    ) -> None:
        self.structure = structure
        self.observe = observe
        self.library = library
        self.interpolation = interpolation
        self.initial_state = initial_state
        self.sensor_offset = sensor_offset
        self.noise_std = noise_std
        self.max_terms = max_terms
        self.gamma = gamma
        self.required = required
        self.forbidden = forbidden
        self.parity = parity
        self.random_state = random_state
        self.time_unit = time_unit
        self.trajectory_column = trajectory_column
        self.on_failure = on_failure

    # --- fit

    def _checked_structure(self) -> Structure:
        structure = resolve_structure(self.structure)
        structure._validate_params()
        return structure

    def _state_names(
        self, channel_names: Sequence[str], input_names: Sequence[str]
    ) -> tuple[str, ...]:
        names = self._checked_structure().state_names(channel_names, input_names)
        clash = sorted(set(names) & set(input_names))
        if clash:
            raise ValueError(
                f"input(s) {clash} have the name of a state; the states are {list(names)}. Rename "
                f"the column(s), or the states in the structure."
            )
        return tuple(names)

    def _discover(self, trajectories: Trajectories) -> Discovery:
        structure = self._checked_structure()
        channels, inputs = trajectories.state_names, trajectories.input_names
        states = self._state_names(channels, inputs)
        observed = read_observe(
            self.observe, channels, states, inputs, structure.quantities(channels, inputs)
        )
        data = self._data(trajectories, observed)
        options = self._options((*states, *inputs))
        if self.sensor_offset == "none":
            nothing = np.zeros(len(channels))
            with_offsets = WithOffsets(structure.discover(data, options), data, nothing, nothing)
        else:
            with_offsets = discover_with_offsets(structure, data, options)
        found, data = with_offsets.fit, with_offsets.data
        further = (*sensor_notes(found, data), *timing_notes(found, data, self.interpolation))
        for note in (*found.notes, *further):
            warnings.warn(note.text, note.category, stacklevel=5)
        return _discovery(with_offsets, trajectories, self.interpolation)

    def _data(self, trajectories: Trajectories, observed: Observed) -> Data:
        x0 = np.stack([run.x0 for run in trajectories])
        if self.initial_state == "rest":
            x0 = np.nan_to_num(x0, nan=0.0)
        return Data(
            records=tuple(_record(run, self.interpolation) for run in trajectories),
            channels=observed.channels,
            input_names=trajectories.input_names,
            x0=x0,
            noise_std=known_noise(self.noise_std, trajectories.n_states),
            measure=observed.measure,
        )

    def _options(self, names: Sequence[str]) -> Options:
        required = read_terms("required", self.required, names)
        forbidden = frozenset(read_terms("forbidden", list(self.forbidden), names))
        both = [str(term) for term in required if term in forbidden]
        if both:
            raise ValueError(f"required and forbidden both hold {both}. Take them out of one.")
        return Options(
            library=self.library,
            max_terms=self.max_terms,
            gamma=self.gamma,
            initial_state=self.initial_state,
            required=required,
            forbidden=forbidden,
            parity=self.parity,
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
            iterations=self._iterations,
        )

    # --- answers

    @property
    def states_(self) -> pd.DataFrame | list[pd.DataFrame]:
        """Fitted states of the run, or of each run of several, indexed by time."""
        check_is_fitted(self)
        frames = [
            pd.DataFrame(run.X, columns=list(self.state_names_), index=pd.Index(run.t, name="t"))
            for run in self.solution_
        ]
        return frames[0] if self.training_data_.form == "array" else frames

    def _held_out_start(self, run: RawRun, x0: Array, label: str) -> tuple[float, Array]:
        t, y, u, weight = merged_rows(run)
        if not len(t) or np.isnan(y).all():
            raise ValueError(
                f"X (scikit-learn's y) holds no measured value{label}; leave the run out."
            )
        known = np.nan_to_num(x0, nan=0.0) if self.initial_state == "rest" else x0
        if np.isnan(known).any():
            from .structures.held_out import estimate_start

            known = estimate_start(
                self.equations_,
                self.observation_,  # type: ignore[arg-type]
                _record(Trajectory(t, y, u, weight, x0, run.signal), self.interpolation),
                self.noise_std_,
                known,
                [fitted.X for fitted in self.solution_],
            )
        return float(t[0]), known


def _record(run: Trajectory, interpolation: Interpolation) -> Record:
    from .shooting import Record

    signal = run.signal
    if signal is None:
        return Record.make(run.t, run.X, run.u, interpolation=interpolation, weight=run.weight)
    return Record.make(
        run.t,
        run.X,
        run.u,
        interpolation=lambda times: evaluate_input(signal, times),
        weight=run.weight,
    )


def _discovery(
    with_offsets: WithOffsets, trajectories: Trajectories, interpolation: Interpolation
) -> Discovery:
    found, offsets = with_offsets.fit, with_offsets.offsets
    observation: Any = found.observation
    if offsets.any():
        observation = replace(observation, offsets=offsets)
    return Discovery(
        equations=found.equations,
        terms=found.terms,
        coef=found.coef,
        coef_std=found.coef_std,
        pareto_front=found.pareto_front,
        noise_std=found.noise_std,
        solution=tuple(
            FittedTrajectory(t=run.t, X=states, derivative=rates, u=run.u)
            for run, states, rates in zip(trajectories, found.states, found.rates, strict=True)
        ),
        history=found.history,
        converged=found.converged,
        observation=observation,
        interpolation=interpolation,
        extras={
            "covariance_": found.covariance,
            "parameter_names_": found.parameter_names,
            "sensor_offset_": offsets,
            "sensor_offset_std_": with_offsets.offsets_std,
            "x0_std_": found.x0_std,
            "edge_functions_": found.edge_functions,
            "alternatives_": found.alternatives,
            "x_offset_identifiable_": found.x_offset_identifiable,
            "measured_": tuple(np.array(run.X) for run in trajectories),
            **found.extras,
        },
    )
