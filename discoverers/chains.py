"""Equations of higher order, ``x'' = f(x, x', u)`` or ``x''' = ...``, as a first-order system.

Positions need data; velocities, accelerations and so on join the states, measured or not. Their
rows ``x' = v`` are known. Where a derivative was not measured, what the smoother says of it, from
lower derivatives that were, stands in for data in stage 2, and the joint fit of stage 3 does
without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import sympy
from numpy.typing import NDArray

from .constraints import Constraint, Known
from .denoising import Denoised
from .equation_checks import derivative_levels, derivative_names
from .libraries import BoundLibrary, Term
from .noise import RELATIVE_FLOOR
from .smoothing import SMOOTHER_ORDER
from .trajectories import Trajectories

__all__ = ["Chains", "DerivativeColumns", "is_derivative", "measured_columns", "read_chains"]

Array = NDArray[np.float64]

PRIME = "'"


@dataclass(frozen=True)
class DerivativeColumns:
    """Columns of `X` that are states or derivatives of them; see `discoverers.prediction.Observes`.

    Parameters
    ----------
    places : tuple of int
        Where each column stands in the states followed by their derivatives.
    """

    places: tuple[int, ...]

    def values(self, X: Array, F: Array, U: Array) -> Array:
        """Columns (n, C) of states and derivatives (n, N)."""
        return X[:, list(self.places)]


@dataclass(frozen=True)
class Chains:
    """States, their derivatives below the order of their equations, and the columns that tell them.

    Attributes
    ----------
    names : tuple of str
        The user's states, V of them.
    orders : tuple of int
        Order of each equation.
    columns : tuple of int
        Where each column of `X` stands in `state_names`.
    """

    names: tuple[str, ...]
    orders: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def state_names(self) -> tuple[str, ...]:
        """States and derivatives, N of them: x, y, x', y', ..."""
        return derivative_names(self.names, self.orders)

    @property
    def highest(self) -> NDArray[np.intp]:
        """Where the state stands whose rate is the user's equation, (V,)."""
        return np.array([self._place(v, order - 1) for v, order in enumerate(self.orders)])

    def _place(self, state: int, level: int) -> int:
        return derivative_levels(self.orders).index((state, level))

    def levels_of(self, state: int) -> list[int]:
        """Where a state and its derivatives stand, from the lowest."""
        return [self._place(state, level) for level in range(self.orders[state])]

    @property
    def observation(self) -> DerivativeColumns | None:
        """How the columns of `X` follow from the states; None if they are the states."""
        if self.columns == tuple(range(len(self.names))):
            return None
        return DerivativeColumns(self.columns)

    # --- the parts of the problem

    def smoother_orders(self) -> list[int]:
        """R of the smoother of each column of `X`, for the derivatives that are read off it."""
        levels = derivative_levels(self.orders)
        wanted = [self.orders[levels[place][0]] - levels[place][1] for place in self.columns]
        # Two derivatives are read off the common smoother; each further one needs one more, and
        # one that lies above the last is itself continuous.
        return [SMOOTHER_ORDER if k < 3 else k + 2 for k in wanted]

    def trajectories(self, measured: Trajectories) -> Trajectories:
        """The same runs with all derivatives as states, NaN where nothing was measured."""
        columns, size = list(self.columns), len(self.state_names)

        def spread(values: Array) -> Array:
            out = np.full((*values.shape[:-1], size), np.nan)
            out[..., columns] = values
            return out

        runs = tuple(replace(run, X=spread(run.X), x0=spread(run.x0)) for run in measured)
        return replace(measured, runs=runs, state_names=self.state_names)

    def kinematics(self) -> list[Constraint]:
        """``x' = v`` for everything below the highest derivatives, as constraints."""
        names = self.state_names
        return [
            Known(names[low], names[high], only=True)
            for state in range(len(self.names))
            for low, high in zip(self.levels_of(state)[:-1], self.levels_of(state)[1:], strict=True)
        ]

    def library(self, library: BoundLibrary) -> BoundLibrary:
        """The library with every derivative as a term: ``x' = v`` needs it, laws may not use it."""
        derivatives = [name for name in self.state_names if name not in self.names]
        present = {term.expr for term in library.terms}
        missing = [name for name in derivatives if sympy.Symbol(name) not in present]
        if not missing:
            return library
        added = tuple(Term(sympy.Symbol(name), name, 1) for name in missing)
        barred = np.zeros((len(library.state_names), len(added)), dtype=bool)
        return replace(
            library,
            terms=(*library.terms, *added),
            allowed=np.hstack([library.allowed, barred]),
        )

    def denoised(self, columns: Denoised, *, known_noise: bool = False) -> Denoised:
        """Denoised states and derivatives; estimates stand in `data` beside what was measured.

        Of a derivative there are estimates from every column that is a lower one, and its own;
        they are averaged by their variances.

        Parameters
        ----------
        columns : Denoised
            The columns of `X`, smoothed in the orders of `smoother_orders`.
        known_noise : bool, default=False
            Whether the noise levels stay as they are.
        """
        columns = _errors_of_noise(columns)
        if not known_noise:
            columns = self._consistent(columns)
        scale, size = columns.time_scale, len(self.state_names)
        lengths = [len(part) for part in columns.data]
        data, precision, states, slopes = (
            tuple(np.zeros((n, size)) for n in lengths) for _ in range(4)
        )
        measured = tuple((np.zeros((n, size)), np.zeros((n, size))) for n in lengths)
        noise_std, discrepancy = np.zeros(size), np.zeros(size)
        source = []
        for k in range(size):
            told_by = self._told_by(k)
            own = next((column for column, rise in told_by if rise == 0), None)
            source.append(told_by[-1][0])
            for i in range(len(lengths)):
                states[i][:, k], _ = _average(columns, told_by, i)
                rates, _ = _average(columns, [(c, rise + 1) for c, rise in told_by], i)
                slopes[i][:, k] = scale * rates
            if own is None:
                amplitude = float(np.concatenate([part[:, k] for part in states]).std())
                discrepancy[k] = RELATIVE_FLOOR * (amplitude if amplitude > 0.0 else 1.0)
            else:
                discrepancy[k] = columns.discrepancy[own]
                for i, (known, weight) in enumerate(measured):
                    known[:, k] = columns.data[i][:, own]
                    weight[:, k] = columns.precision[i][:, own]
            for i, (known, weight) in enumerate(measured):
                value, variance = _average(columns, [one for one in told_by if one[1] > 0], i)
                inferred = 1.0 / (variance + discrepancy[k] ** 2)
                total = weight[:, k] + inferred
                top = weight[:, k] * known[:, k] + inferred * value
                precision[i][:, k] = total
                data[i][:, k] = np.divide(top, total, out=np.zeros_like(top), where=total > 0)
            every = np.concatenate([part[:, k] for part in precision])
            noise_std[k] = np.sqrt(1.0 / every.mean()) if own is None else columns.noise_std[own]
        return replace(
            columns,
            data=data,
            precision=precision,
            states=states,
            slopes=slopes,
            noise_std=noise_std,
            discrepancy=discrepancy,
            smoothness=columns.smoothness[source],
            freedom=columns.freedom[source],
            fits=(),
            chains=self,
            measured=measured,
        )

    def _told_by(self, place: int) -> list[tuple[int, int]]:
        """Columns that tell a state or derivative, and how often to differentiate them."""
        state, level = derivative_levels(self.orders)[place]
        columns = {place: column for column, place in enumerate(self.columns)}
        return [
            (columns[lower], level - k)
            for k, lower in enumerate(self.levels_of(state)[: level + 1])
            if lower in columns
        ]

    def _consistent(self, columns: Denoised) -> Denoised:
        """Raise the noise of measured derivatives that contradict the slopes of lower ones.

        Few samples of a derivative are told from noise by nothing but those slopes; a noise level
        that is too low would never be raised again.
        """
        for column, place in enumerate(self.columns):
            lower = [one for one in self._told_by(place) if one[1] > 0]
            if not lower:
                continue
            excess, expected = 0.0, 0.0
            for i, (x, precision) in enumerate(zip(columns.data, columns.precision, strict=True)):
                value, variance = _average(columns, lower, i)
                seen = (precision[:, column] > 0) & np.isfinite(variance)
                squared = (x[seen, column] - value[seen]) ** 2
                excess += float((squared - variance[seen]).sum())
                expected += float((1.0 / precision[seen, column]).sum())
            if excess <= expected:
                continue
            ratio = np.ones(len(self.columns))
            ratio[column] = excess / expected
            columns = replace(
                columns,
                precision=tuple(part / ratio for part in columns.precision),
                noise_std=columns.noise_std * np.sqrt(ratio),
                fits=tuple(
                    replace(fit, variances=tuple(one * part for one in fit.variances))
                    for fit, part in zip(columns.fits, ratio, strict=True)
                ),
            )
        return columns


def _errors_of_noise(columns: Denoised) -> Denoised:
    """Errors of derivatives from noise alone, not from what a right model may miss besides.

    Precisions allow for both. Where the noise is far less, the smoother follows the data closely,
    which would leave derivatives open if these had errors of that size.
    """
    noise = columns.noise_std**2
    share = np.maximum(noise / (noise + columns.discrepancy**2), np.finfo(np.float64).eps)
    fits = tuple(
        replace(fit, variances=tuple(part * one for one in fit.variances))
        for fit, part in zip(columns.fits, share, strict=True)
    )
    return replace(columns, fits=fits)


def _average(
    columns: Denoised, told_by: Sequence[tuple[int, int]], run: int
) -> tuple[Array, Array]:
    """Derivatives of columns averaged by their variances, and the variance of the average."""
    total = np.zeros(len(columns.data[run]))
    top = np.zeros(len(total))
    for column, rise in told_by:
        fit, scale = columns.fits[column], columns.time_scale**rise
        weight = scale**2 / fit.variances[run][:, rise]
        total += weight
        top += weight * fit.derivatives[run][:, rise] / scale
    variance = np.divide(1.0, total, out=np.full_like(total, np.inf), where=total > 0)
    return np.divide(top, total, out=np.zeros_like(top), where=total > 0), variance


def is_derivative(name: str, names: Sequence[str]) -> bool:
    """Whether a column is named as the derivative of another: x' beside x."""
    return name != name.rstrip(PRIME) and name.rstrip(PRIME) in names


def measured_columns(trajectories: Trajectories) -> tuple[Trajectories, NDArray[np.bool_]]:
    """The columns of which anything was measured, and which they are, (C,)."""
    seen = np.any([run.measured.any(axis=0) for run in trajectories], axis=0)
    if seen.all():
        return trajectories, seen
    runs = tuple(replace(run, X=run.X[:, seen], x0=run.x0[seen]) for run in trajectories)
    names = tuple(np.array(trajectories.state_names)[seen].tolist())
    return replace(trajectories, runs=runs, state_names=names), seen


def read_chains(
    order: int | Sequence[int] | Mapping[str, int], columns: Sequence[str]
) -> Chains | None:
    """What `order` says about the columns of `X`; None for a system of first order.

    Parameters
    ----------
    order : int, sequence of int or mapping of str to int
        Of all equations; of each state; or by name, 1 for those that are left out.
    columns : sequence of str
        Names of the columns of `X`: states, and derivatives named ``x'``.

    Returns
    -------
    Chains or None

    Raises
    ------
    ValueError
        If orders do not fit the states, or a derivative is measured that no equation has.
    """
    if isinstance(order, int) and order == 1:
        return None
    states = tuple(name for name in columns if not is_derivative(name, columns))
    lost = [name for name in states if name.endswith(PRIME)]
    if lost:
        raise ValueError(
            f"X has the column(s) {lost}, but not {[name.rstrip(PRIME) for name in lost]}. A "
            "position that is never measured is known up to a constant only, so no law in it can "
            "be told: measure it, or write the equations for the derivative alone, under a name "
            "without primes and of an order lower by one."
        )
    orders = _orders(order, states)
    if max(orders) == 1 and states == tuple(columns):
        return None
    levels = derivative_names(states, orders)
    beyond = [name for name in columns if name not in levels]
    if beyond:
        raise ValueError(
            f"X has the column(s) {beyond}, derivatives of the order of their equations or more: "
            f"with order={order!r} the columns may be {list(levels)}. Leave the others out, or "
            "raise the order."
        )
    return Chains(states, orders, tuple(levels.index(name) for name in columns))


def _orders(
    order: int | Sequence[int] | Mapping[str, int], states: tuple[str, ...]
) -> tuple[int, ...]:
    if isinstance(order, Mapping):
        unknown = sorted(set(order) - set(states))
        if unknown:
            raise ValueError(f"order names {unknown}, but the states are {list(states)}.")
        orders = [order.get(name, 1) for name in states]
    elif isinstance(order, (str, bytes)) or not isinstance(order, (int, Sequence, np.ndarray)):
        raise ValueError(f"order must be an integer, one per state, or a mapping, got {order!r}.")
    else:
        orders = [order] * len(states) if isinstance(order, int) else list(order)
    if len(orders) != len(states):
        raise ValueError(
            f"order has {len(orders)} entries, but there are {len(states)} states: {list(states)} "
            "(columns named as derivatives of others do not count)."
        )
    whole = [isinstance(one, (int, np.integer)) and not isinstance(one, bool) for one in orders]
    if not all(whole) or min(orders) < 1:
        raise ValueError(f"order must hold integers of at least 1, got {order!r}.")
    return tuple(int(one) for one in orders)
