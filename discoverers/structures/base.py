"""What a structure is given, what it hands back, and what it has to be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import sympy
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from discoverers.equations import Equations
from discoverers.libraries import Library

if TYPE_CHECKING:
    from discoverers.shooting import Observation, Record

__all__ = [
    "STRUCTURES",
    "Channel",
    "Data",
    "Note",
    "Options",
    "StructuralFit",
    "Structure",
    "resolve_structure",
]

Array = NDArray[np.float64]
Measure = Callable[[Array, Array, Array], Any]
"""Channels (n, C) of states (n, V), their rates (n, V) and inputs (n, m)."""

STRUCTURES = {
    "chain": ("chain", "ChainStructure"),
    "elements": ("elements", "ElementStructure"),
    "modal": ("modal", "ModalStructure"),
}
"""Module and class of each structure that has a short name."""


@dataclass(frozen=True)
class Channel:
    """What one column of the data measures: a weighted sum, by names.

    Attributes
    ----------
    name : str
        Name of the column.
    states, rates, inputs : mapping of str to float
        Weights of states, of time derivatives of states, and of inputs. An accelerometer on the
        mass whose velocity is the state v has ``rates={"v": 1.0}``.
    """

    name: str
    states: Mapping[str, float] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    inputs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Data:
    """The measured runs.

    Attributes
    ----------
    records : tuple of Record
        One per run: times, channels (NaN where not measured), inputs, weights.
    channels : tuple of Channel
        What the columns measure, by the names of `Structure.state_names`.
    input_names : tuple of str
    x0 : ndarray of shape (runs, V)
        Initial states in the order of `Structure.state_names`, taken as exact; NaN where they are
        to be estimated. With ``Options.initial_state == "rest"`` there is no NaN, and states that
        a structure adds start at 0 too.
    noise_std : ndarray of shape (C,) or None
        Standard deviations of the noise, if the user knows them.
    measure : callable or None
        ``measure(states, rates, inputs)`` gives all channels, if the user passed a function; the
        `channels` have names only then.
    """

    records: tuple[Record, ...]
    channels: tuple[Channel, ...]
    input_names: tuple[str, ...]
    x0: Array
    noise_std: Array | None = None
    measure: Measure | None = None

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the columns of the data."""
        return tuple(channel.name for channel in self.channels)

    def observation(self, state_names: Sequence[str]) -> Observation:
        """The same channels for a list of states, which may be longer than the structure's own."""
        from discoverers.shooting import FunctionObservation, Observation

        if self.measure is not None:
            return FunctionObservation(self.channel_names, self.measure)

        def weights(kind: str, names: Sequence[str]) -> Array:
            rows = [getattr(channel, kind) for channel in self.channels]
            return np.array([[row.get(name, 0.0) for name in names] for row in rows])

        return Observation.linear(
            self.channel_names,
            states=weights("states", state_names),
            rates=weights("rates", state_names),
            inputs=weights("inputs", self.input_names).reshape(len(self.channels), -1),
        )


def _no_progress(name: str, maximum: int) -> Iterator[int]:
    """Count without telling anybody."""
    yield from range(maximum)


@dataclass(frozen=True, eq=False)
class Options:
    """What the user asks of every structure.

    Attributes
    ----------
    library : str or Library
        Candidate terms; "auto" leaves them to the structure.
    max_terms : int or None
        Most terms in one equation.
    gamma : float
        How sceptical the selection is of large libraries, as in `SMNNDiscoverer`.
    initial_state : {"estimate", "rest"}
        What holds of initial states that the user did not give.
    required : mapping of sympy.Expr to float or None
        Terms that are in the law whatever the data say, with their coefficient, or None where that
        is to be estimated.
    forbidden : frozenset of sympy.Expr
        Terms that are not in the law.
    parity : {"odd", None}
        "odd": the law changes its sign with all states and inputs.
    seed : int
        For whatever is drawn at random.
    iterations : callable
        ``for i in iterations("calibration", 40)`` counts to 40, tells the user's callbacks, and
        ends early when one of them asks to stop.
    """

    library: str | Library = "auto"
    max_terms: int | None = None
    gamma: float = 1.0
    initial_state: Literal["estimate", "rest"] = "estimate"
    required: Mapping[sympy.Expr, float | None] = field(default_factory=dict)
    forbidden: frozenset[sympy.Expr] = frozenset()
    parity: Literal["odd"] | None = None
    seed: int = 0
    iterations: Callable[[str, int], Iterator[int]] = _no_progress

    def allows(self, term: sympy.Expr) -> bool:
        """Whether a term (a product, without coefficient) may be a candidate."""
        if term in self.required:
            return True
        if term in self.forbidden:
            return False
        if self.parity is None:
            return True
        flipped = term.xreplace({symbol: -symbol for symbol in term.free_symbols})
        return bool(sympy.expand(flipped + term) == 0)


@dataclass(frozen=True)
class Note:
    """Something that the user has to know; it becomes a warning."""

    text: str
    category: type[Warning] = UserWarning


@dataclass(frozen=True, eq=False)
class StructuralFit:
    """What a structure hands back.

    Attributes
    ----------
    equations : Equations
        Rates of all states, in the user's units; constants are substituted, not states.
    observation : Observation
        The channels as functions of these states, their rates and the inputs.
    terms : tuple of str
        Names of the K candidate terms, kinematics (v in x' = v) included.
    coef, coef_std : ndarray of shape (V, K)
        Coefficients and standard errors, 0 where inactive or fixed.
    parameter_names : tuple of str
        What `covariance` is about: estimated coefficients (as ``"v': x**3"``), then initial states
        (as ``"x(0)"``, or ``"x(0) of run 1"`` of several) and whatever else was estimated.
    covariance : ndarray of shape (P, P)
    states, rates : tuple of ndarray of shape (n, V)
        Fitted states of each run at the times of its record, and their time derivatives.
    x0, x0_std : ndarray of shape (runs, V)
        Initial states and standard errors, 0 where known.
    noise_std : ndarray of shape (C,)
        Standard deviation of the noise of each channel.
    pareto_front : DataFrame
        As of `SMNNDiscoverer`: complexity, loss, score, equation, sympy_format, lambda_format,
        criterion, selected.
    alternatives : DataFrame
        Laws that the data do not rule out, the best first: equation, equations (`Equations`),
        score_behind, weight.
    history : DataFrame
        What each stage did.
    converged : bool
    edge_functions : tuple of EdgeFunction
        The learned one-dimensional (and pairwise) functions of stage 1.
    x_offset_identifiable : bool or None
        Whether the data fix the level of the positions; None where the question does not arise.
    notes : tuple of Note
    extras : mapping of str to object
        Further fitted attributes; their names end with an underscore.
    """

    equations: Equations
    observation: Observation
    terms: tuple[str, ...]
    coef: Array
    coef_std: Array
    parameter_names: tuple[str, ...]
    covariance: Array
    states: tuple[Array, ...]
    rates: tuple[Array, ...]
    x0: Array
    x0_std: Array
    noise_std: Array
    pareto_front: pd.DataFrame
    alternatives: pd.DataFrame
    history: pd.DataFrame
    converged: bool
    edge_functions: tuple[Any, ...] = ()
    x_offset_identifiable: bool | None = None
    notes: tuple[Note, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)


class Structure(BaseEstimator, ABC):
    """Base class of structures: a value that the constructor only stores.

    Parameters are listed in `_parameter_constraints`, as of any scikit-learn estimator, so that
    grid searches reach them (``structure__order``) and `SKANODERegressor` checks them. `discover`
    must not change `self`, and must come to an end and hand back finite coefficients whatever the
    data are, if need be with ``converged=False`` and a `Note`.
    """

    @abstractmethod
    def state_names(
        self, channel_names: Sequence[str], input_names: Sequence[str]
    ) -> tuple[str, ...]:
        """Names of the states that are there beforehand, in the order of `x0`.

        States that the discovery adds (a hidden force) come after them in `StructuralFit`. A
        structure whose number of degrees of freedom is left open has one per channel.

        Raises
        ------
        ValueError
            If the structure does not suit so many channels or inputs, or a name is taken.
        """

    @abstractmethod
    def quantities(
        self, channel_names: Sequence[str], input_names: Sequence[str]
    ) -> Mapping[str, tuple[str, ...]]:
        """What the words for measured quantities mean, one entry per degree of freedom.

        For one mass ``{"position": ("x",), "velocity": ("v",), "acceleration": ("v'",)}``; a name
        with an apostrophe is the rate of that state.
        """

    @abstractmethod
    def discover(self, data: Data, options: Options) -> StructuralFit:
        """Find the equations."""


def resolve_structure(structure: str | Structure) -> Structure:
    """The structure of a short name; a `Structure` is returned as it is.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if isinstance(structure, Structure):
        return structure
    home = STRUCTURES.get(structure)
    if home is None:
        raise ValueError(
            f"structure must be one of {sorted(STRUCTURES)} or a Structure, got {structure!r}."
        )
    module, name = home
    found = getattr(import_module(f"discoverers.structures.{module}"), name)
    made: Structure = found()
    return made
