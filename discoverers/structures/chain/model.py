"""The skeleton of a chain: which states there are, and which rates the unknown laws are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from discoverers.shooting import Column, Record, StateSpaceModel, integrate
from discoverers.structures.base import Data, Options

__all__ = ["Chain", "ChainTask", "chain_names", "enough_substeps"]

Array = NDArray[np.float64]

_LETTERS = ("x", "v", "a", "j")


def chain_names(order: int, n_dof: int) -> tuple[str, ...]:
    """Names of the states, dof by dof: ``x, v`` for one mass, ``x1, v1, x2, v2`` for two."""
    letters = [_LETTERS[k] if k < len(_LETTERS) else f"d{k}x" for k in range(order)]
    if n_dof == 1:
        return tuple(letters)
    return tuple(f"{letter}{dof + 1}" for dof in range(n_dof) for letter in letters)


@dataclass(frozen=True)
class Chain:
    """States of n_dof chains ``q, q', ..., q^(order-1)``; each chain's last rate is a law.

    Attributes
    ----------
    order, n_dof : int
    input_names : tuple of str
    """

    order: int
    n_dof: int
    input_names: tuple[str, ...]

    @property
    def state_names(self) -> tuple[str, ...]:
        """All states, dof by dof."""
        return chain_names(self.order, self.n_dof)

    @property
    def lowest(self) -> tuple[int, ...]:
        """Positions of the coordinates q."""
        return tuple(range(0, self.order * self.n_dof, self.order))

    @property
    def highest(self) -> tuple[int, ...]:
        """Positions of the states whose rates are the laws."""
        return tuple(range(self.order - 1, self.order * self.n_dof, self.order))

    @property
    def tops(self) -> tuple[str, ...]:
        """Names of the states whose rates are the laws."""
        return tuple(self.state_names[place] for place in self.highest)

    def kinematics(self) -> list[Column]:
        """Columns of ``q' = v`` and so on, with coefficient 1."""
        names = self.state_names
        return [
            Column(names[place + 1], {names[place]: 1.0}, value=1.0)
            for place in range(len(names))
            if place not in self.highest
        ]

    def model(self, columns: Sequence[Column]) -> StateSpaceModel:
        """Kinematics and then the given columns."""
        return StateSpaceModel(self.state_names, self.input_names, [*self.kinematics(), *columns])


@dataclass(frozen=True, eq=False)
class ChainTask:
    """The data as the stages of the discovery read them.

    Attributes
    ----------
    chain : Chain
    data : Data
    options : Options
    records : tuple of Record
        What the search works on: all of the data, or the head of long runs.
    free_x0 : ndarray of bool, shape (runs, n_s)
        Initial states that are to be estimated.
    shiftable : bool
        Whether coordinates may be counted from anywhere: neither the channels nor the initial
        states fix their level.
    floor : ndarray of shape (C,)
        Errors below this are not noise: interpolation and integration leave as much.
    """

    chain: Chain
    data: Data
    options: Options
    records: tuple[Record, ...]
    free_x0: NDArray[np.bool_]
    shiftable: bool
    floor: Array

    @property
    def known_x0(self) -> Array:
        """Initial states, 0 where they are estimated."""
        return np.where(self.free_x0, 0.0, self.data.x0)

    @property
    def n_observed(self) -> NDArray[np.int64]:
        """Measured values of each channel."""
        return np.sum([(~np.isnan(record.y)).sum(axis=0) for record in self.records], axis=0)


def enough_substeps(
    model: StateSpaceModel,
    theta: Array,
    x0: Array,
    records: tuple[Record, ...],
    tolerance: float,
    most: int,
) -> int:
    """Substeps at which doubling them changes the states by no more than a share of their size.

    Laws that switch (dry friction) never settle to integration's own accuracy: there is a most.
    """
    needed = 1
    for start, record in zip(x0, records, strict=True):
        head = record.head(min(len(record), 400))
        coarse = integrate(model, theta, start, head, substeps=needed)
        while needed < most:
            fine = integrate(model, theta, start, head, substeps=2 * needed)
            n = min(coarse.n_valid, fine.n_valid)
            size = np.abs(fine.X[:n]).max(axis=0, initial=1e-300)
            change = np.abs(fine.X[:n] - coarse.X[:n]).max(axis=0, initial=0.0)
            if coarse.n_valid == fine.n_valid and np.all(change <= tolerance * size):
                break
            needed, coarse = 2 * needed, fine
    return needed
