"""The neural-ODE baselines of the paper, trained exactly as our own networks are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import cumulative_simpson
from sklearn.utils._param_validation import Interval, StrOptions

from discoverers.shooting import Observation, Record

from .neural_ode_baseline import NeuralODEBaseline
from .start import guess
from .structured_ode import Kinematics

__all__ = ["ANODEBaseline", "S3NODEBaseline", "SONODEBaseline"]

Array = NDArray[np.float64]


class S3NODEBaseline(NeuralODEBaseline):
    """Structured state-space neural ODE: ``q'' = h(q, q', u)``, and ``y = h`` is observed.

    One degree of freedom for every observed acceleration, with a perceptron for h.

    Parameters
    ----------
    initial_state : {"estimate", "rest"}, default="estimate"
    n_layers, width, interpolation, max_epochs, time_budget, random_state, callback
        See `NeuralODEBaseline`, as for the attributes.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.linspace(0, 5, 51)
    >>> baseline = S3NODEBaseline(width=4, n_layers=1, max_epochs=3)
    >>> baseline.fit(t, np.cos(t)).predict(t).shape
    (51,)
    """

    _meaningful: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NeuralODEBaseline._parameter_constraints,
        "initial_state": [StrOptions({"estimate", "rest"})],
    }

    def __init__(
        self,
        *,
        initial_state: Literal["estimate", "rest"] = "estimate",
        n_layers: int = 5,
        width: int = 32,
        interpolation: Literal["cubic", "linear", "hold"] = "cubic",
        max_epochs: int | None = None,
        time_budget: float | None = None,
        random_state: int = 0,
        callback: Callable[[str, int], Any] | None = None,
    ) -> None:
        self.initial_state = initial_state
        self.n_layers = n_layers
        self.width = width
        self.interpolation = interpolation
        self.max_epochs = max_epochs
        self.time_budget = time_budget
        self.random_state = random_state
        self.callback = callback

    def _model(self, n_channels: int, n_inputs: int) -> tuple[Kinematics, Observation]:
        kinematics = Kinematics.chain(2, n_channels)
        return kinematics, Observation.linear(
            _names(n_channels), rates=kinematics.drive.T, n_inputs=n_inputs
        )

    def _guess(self, record: Record, kinematics: Kinematics) -> tuple[Array, Array]:
        observation = self._model(kinematics.n_outputs, record.u.shape[1])[1]
        start = guess(record, observation, 2, kinematics.n_outputs)
        return start.states, start.outputs

    def _known(self, record: Record, kinematics: Kinematics) -> Array:
        value = 0.0 if self.initial_state == "rest" else np.nan
        return np.full(kinematics.n_states, value)


class SONODEBaseline(NeuralODEBaseline):
    """Second-order neural ODE: ``y'' = f(y, y', u)`` of the observed channels themselves.

    Its states are what is observed and its derivative, not displacement and velocity.

    Parameters
    ----------
    n_layers, width, interpolation, max_epochs, time_budget, random_state, callback
        See `NeuralODEBaseline`, as for the attributes.
    """

    def __init__(
        self,
        *,
        n_layers: int = 5,
        width: int = 32,
        interpolation: Literal["cubic", "linear", "hold"] = "cubic",
        max_epochs: int | None = None,
        time_budget: float | None = None,
        random_state: int = 0,
        callback: Callable[[str, int], Any] | None = None,
    ) -> None:
        self.n_layers = n_layers
        self.width = width
        self.interpolation = interpolation
        self.max_epochs = max_epochs
        self.time_budget = time_budget
        self.random_state = random_state
        self.callback = callback

    def _model(self, n_channels: int, n_inputs: int) -> tuple[Kinematics, Observation]:
        states = np.kron(np.eye(n_channels), [1.0, 0.0])
        return Kinematics.chain(2, n_channels), Observation.linear(
            _names(n_channels), states=states, n_inputs=n_inputs
        )

    def _guess(self, record: Record, kinematics: Kinematics) -> tuple[Array, Array]:
        observation = self._model(kinematics.n_outputs, record.u.shape[1])[1]
        start = guess(record, observation, 2, kinematics.n_outputs)
        return start.states, start.outputs


class ANODEBaseline(NeuralODEBaseline):
    """Augmented neural ODE: ``(y, a)' = f(y, a, u)`` with states a that start at zero.

    Parameters
    ----------
    n_augmented : int, default=1
        Augmented states; one per channel makes as many states as the other baselines have.
    n_layers, width, interpolation, max_epochs, time_budget, random_state, callback
        See `NeuralODEBaseline`, as for the attributes.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NeuralODEBaseline._parameter_constraints,
        "n_augmented": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        n_augmented: int = 1,
        n_layers: int = 5,
        width: int = 32,
        interpolation: Literal["cubic", "linear", "hold"] = "cubic",
        max_epochs: int | None = None,
        time_budget: float | None = None,
        random_state: int = 0,
        callback: Callable[[str, int], Any] | None = None,
    ) -> None:
        self.n_augmented = n_augmented
        self.n_layers = n_layers
        self.width = width
        self.interpolation = interpolation
        self.max_epochs = max_epochs
        self.time_budget = time_budget
        self.random_state = random_state
        self.callback = callback

    def _model(self, n_channels: int, n_inputs: int) -> tuple[Kinematics, Observation]:
        states = np.eye(n_channels, n_channels + self.n_augmented)
        return Kinematics.free(n_channels + self.n_augmented), Observation.linear(
            _names(n_channels), states=states, n_inputs=n_inputs
        )

    def _guess(self, record: Record, kinematics: Kinematics) -> tuple[Array, Array]:
        n_channels = record.y.shape[1]
        observed = Observation.linear(_names(n_channels), states=np.eye(n_channels))
        start = guess(record, observed, 1, n_channels)
        # Augmented states have no data: integrals of the channels, which start at zero as they do
        # and whose rates a function of the other states gives; integrals of these for more.
        columns, rates = list(start.states.T[:n_channels]), list(start.outputs.T)
        for k in range(self.n_augmented):
            rate = columns[k] - columns[k].mean()
            columns.append(cumulative_simpson(rate, x=record.t, initial=0.0))
            rates.append(rate)
        return np.column_stack(columns), np.column_stack(rates)

    def _known(self, record: Record, kinematics: Kinematics) -> Array:
        known = np.full(kinematics.n_states, np.nan)
        known[record.y.shape[1] :] = 0.0
        return known


def _names(n_channels: int) -> Sequence[str]:
    return [f"y{i}" for i in range(n_channels)]
