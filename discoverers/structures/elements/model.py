"""Masses on a line and the elements between them, as a model that the integrator understands.

The states are positions and *momenta*: an element's force enters the momenta of its two masses with
opposite signs and one coefficient, whatever the masses are. Their inverses are constant states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.shooting import Column, Observation, StateSpaceModel

from .driving import BASE

__all__ = ["ELONGATION", "RATE", "Element", "ElementModel", "MomentumObservation"]

Array = NDArray[np.float64]

ELONGATION = sympy.Symbol("d")
"""Elongation of an element in its law: position of its second end less that of its first."""

RATE = sympy.Symbol("w")
"""Rate of the elongation."""


@dataclass(frozen=True)
class Element:
    """A force between two masses, or between the ground and a mass, up to its coefficient.

    Attributes
    ----------
    first, second : int
        Numbers of its ends, counted from 1; 0 is the ground. `first` is the smaller one.
    law : sympy.Expr
        Force per coefficient in the elongation d and its rate w; it pulls the ends together.
    """

    first: int
    second: int
    law: sympy.Expr

    @property
    def ends(self) -> str:
        """Between what it sits: ``"ground-1"``, ``"1-2"``."""
        return f"{self.first or 'ground'}-{self.second}"

    @property
    def name(self) -> str:
        """Name in tables: ``"d**3 (1-2)"``."""
        return f"{self.law} ({self.ends})"

    def force(
        self, positions: Sequence[sympy.Expr], velocities: Sequence[sympy.Expr]
    ) -> sympy.Expr:
        """Its force per coefficient, in the positions and velocities of the masses."""

        def difference(of: Sequence[sympy.Expr]) -> sympy.Expr:
            return of[self.second - 1] - (of[self.first - 1] if self.first else 0)

        return self.law.xreplace({ELONGATION: difference(positions), RATE: difference(velocities)})

    def signs(self) -> dict[int, float]:
        """Sign with which the force acts on each mass it is attached to, by its number."""
        signs = {self.second: -1.0}
        if self.first:
            signs[self.first] = 1.0
        return signs


@dataclass(frozen=True, eq=False)
class ElementModel:
    """Masses, forces and candidate elements.

    The states of `model` are positions, momenta, inverse masses; its free columns are the elements
    in their order. In the user's coordinates states are positions and velocities.

    Attributes
    ----------
    n_dof : int
    elements : tuple of Element
    driven : tuple of int
        Number of the mass that each input acts on as a force; `BASE` for the ground's own
        acceleration. Positions and velocities are then those relative to the ground, which every
        mass feels as a force of minus its mass times the input.
    pinned : tuple of int
        Numbers of masses whose motion the elements read from further inputs, position and velocity
        of each, and not from the model's own states.
    """

    n_dof: int
    elements: tuple[Element, ...]
    driven: tuple[int, ...]
    pinned: tuple[int, ...] = ()
    _parts: dict[tuple[int, ...], ElementModel] = field(default_factory=dict, repr=False)

    def _symbols(self, kind: str) -> list[sympy.Symbol]:
        return [sympy.Symbol(f"{kind}{i + 1}") for i in range(self.n_dof)]

    @cached_property
    def model(self) -> StateSpaceModel:
        """The columns: kinematics, known forces, then the elements."""
        x, p, mu = self._symbols("x"), self._symbols("p"), self._symbols("mu")
        velocities = [inverse * momentum for inverse, momentum in zip(mu, p, strict=True)]
        inputs = [f"u{k + 1}" for k in range(len(self.driven))]
        felt, felt_rates = list(x), list(velocities)
        for mass in self.pinned:
            felt[mass - 1] = sympy.Symbol(f"known_x{mass}")
            felt_rates[mass - 1] = sympy.Symbol(f"known_v{mass}")
        columns = [
            Column(velocity, {position.name: 1.0}, value=1.0)
            for position, velocity in zip(x, velocities, strict=True)
        ]
        for name, mass in zip(inputs, self.driven, strict=True):
            force = sympy.Symbol(name)
            acts = (
                {p[mass - 1]: force}
                if mass != BASE
                else {momentum: -force / inverse for momentum, inverse in zip(p, mu, strict=True)}
            )
            columns += [Column(term, {to.name: 1.0}, value=1.0) for to, term in acts.items()]
        columns += [
            Column(
                element.force(felt, felt_rates),
                {f"p{mass}": sign for mass, sign in element.signs().items()},
            )
            for element in self.elements
        ]
        known = [f"known_{kind}{mass}" for mass in self.pinned for kind in "xv"]
        return StateSpaceModel([s.name for s in (*x, *p, *mu)], [*inputs, *known], columns)

    @property
    def n_fixed(self) -> int:
        """Columns before the elements."""
        return self.n_dof + sum(self.n_dof if mass == BASE else 1 for mass in self.driven)

    def select(self, support: Sequence[int]) -> ElementModel:
        """With some of the elements only; kept, for compiling takes as long as integrating."""
        key = tuple(support)
        if key not in self._parts:
            elements = tuple(self.elements[k] for k in key)
            self._parts[key] = replace(self, elements=elements, _parts={})
        return self._parts[key]

    def coefficients(self, strengths: Array) -> Array:
        """Coefficients of all columns (K,) from those of the elements."""
        return np.concatenate([np.ones(self.n_fixed), strengths])

    def internal(self, states: Array, inverse_masses: Array) -> Array:
        """States (..., 3 d) of `model` from positions and velocities (..., 2 d) and 1 / m (d,)."""
        d = self.n_dof
        inverse = np.broadcast_to(inverse_masses, (*states.shape[:-1], d))
        return np.concatenate([states[..., :d], states[..., d:] / inverse, inverse], axis=-1)

    def external(self, states: Array) -> Array:
        """Positions and velocities (..., 2 d) from states (..., 3 d) of `model`."""
        d = self.n_dof
        return np.concatenate(
            [states[..., :d], states[..., d : 2 * d] * states[..., 2 * d :]], axis=-1
        )


class MomentumObservation(Observation):
    """An observation of positions, velocities and their rates, in positions and momenta.

    Parameters
    ----------
    observation : Observation
        Of the states (x1, ..., xd, v1, ..., vd).
    n_dof : int
    n_inputs : int
        Inputs that `observation` knows; further ones come after them.
    """

    def __init__(self, observation: Observation, n_dof: int, n_inputs: int) -> None:
        self.observation = observation
        self.channels = observation.channels
        self.n_dof = n_dof
        self.n_inputs = n_inputs

    def _external(self, X: Array, F: Array) -> tuple[Array, Array]:
        d = self.n_dof
        inverse = X[:, 2 * d :]
        return (
            np.hstack([X[:, :d], X[:, d : 2 * d] * inverse]),
            np.hstack([F[:, :d], F[:, d : 2 * d] * inverse]),
        )

    def values(self, X: Array, F: Array, U: Array) -> Array:
        """Channels, shape (n, C)."""
        return self.observation.values(*self._external(X, F), U[:, : self.n_inputs])

    def jacobians(self, X: Array, F: Array, U: Array) -> tuple[Array, Array]:
        """By the chain rule through ``v = p / m`` and ``v' = p' / m``."""
        d = self.n_dof
        by_state, by_rate = self.observation.jacobians(*self._external(X, F), U[:, : self.n_inputs])
        inverse = X[:, None, 2 * d :]
        by_velocity, by_acceleration = by_state[..., d:], by_rate[..., d:]
        shape = (len(X), len(self.channels), d)
        by_mass = by_velocity * X[:, None, d : 2 * d] + by_acceleration * F[:, None, d : 2 * d]
        zero = np.zeros(shape)
        return (
            np.concatenate(
                [np.broadcast_to(by_state[..., :d], shape), by_velocity * inverse, by_mass], axis=2
            ),
            np.concatenate(
                [np.broadcast_to(by_rate[..., :d], shape), by_acceleration * inverse, zero], axis=2
            ),
        )
