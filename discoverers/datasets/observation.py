"""Records of forced systems of which only some quantities are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd
import sympy
from numpy.typing import ArrayLike, NDArray

from discoverers.datasets.forced import ForcedSystem
from discoverers.datasets.ode45 import ode45
from discoverers.datasets.switching import integrate_exactly

__all__ = ["ForcedRecord", "Integrator", "observe"]

Integrator = Literal["accurate", "ode45"]


@dataclass(frozen=True)
class ForcedRecord:
    """What was measured of a `ForcedSystem`, and what was hidden.

    Parameters
    ----------
    system : ForcedSystem
        Where the samples come from.
    t : ndarray of shape (n,)
        Sampling times.
    u : ndarray of shape (n, 1)
        The force at `t`.
    y : ndarray of shape (n, C)
        The measured channels, with noise.
    channels : tuple of str
        Their names.
    clean : ndarray of shape (n, C)
        The same channels before noise was added.
    states : ndarray of shape (n, V)
        All states, without noise.
    rates : ndarray of shape (n, V)
        Their time derivatives; those of the velocities are the accelerations.
    noise_std : float
        Standard deviation of the noise, in the channels' own unit.

    Examples
    --------
    >>> from discoverers.datasets import duffing_forced, observe
    >>> record = observe(duffing_forced(), noise=0.01, seed=0)
    >>> record.y.shape, record.training().t[-1].item()
    ((601, 1), 20.0)
    """

    system: ForcedSystem
    t: NDArray[np.float64]
    u: NDArray[np.float64]
    y: NDArray[np.float64]
    channels: tuple[str, ...]
    clean: NDArray[np.float64]
    states: NDArray[np.float64]
    rates: NDArray[np.float64]
    noise_std: float

    def rows(self, start: int | None, stop: int | None) -> ForcedRecord:
        """Return the record of a range of samples, as ``[start:stop]`` counts them."""
        part = slice(start, stop)
        cut = {name: getattr(self, name)[part] for name in ("t", "u", "y", "clean")}
        return replace(self, **cut, states=self.states[part], rates=self.rates[part])

    def training(self) -> ForcedRecord:
        """Return the first samples, which the system's reference setting trains on."""
        return self.rows(None, self.system.n_train)

    def channel(self, name: str) -> NDArray[np.float64]:
        """Return one channel without noise, measured or not, shape (n,).

        Parameters
        ----------
        name : str
            One of ``system.channels``.

        Raises
        ------
        ValueError
            If there is no such channel.
        """
        (index,) = _channel_indices(self.system, (name,))
        return _all_channels(self.system, self.states, self.rates)[:, index]

    def to_frame(self) -> pd.DataFrame:
        """Table with a column ``t``, the input, and one column for each measured channel."""
        frame = pd.DataFrame(self.y, columns=list(self.channels))
        for name, values in zip(self.system.input_names[::-1], self.u.T[::-1], strict=True):
            frame.insert(0, name, values)
        frame.insert(0, "t", self.t)
        return frame


def observe(
    system: ForcedSystem,
    measured: str | Sequence[str] = "acceleration",
    *,
    noise: float = 0.0,
    seed: int | None = None,
    t: ArrayLike | None = None,
    x0: ArrayLike | None = None,
    integrator: Integrator = "accurate",
) -> ForcedRecord:
    """Integrate a forced system and measure some of its channels, with noise if wanted.

    Parameters
    ----------
    system : ForcedSystem
        What to integrate.
    measured : str or sequence of str, default="acceleration"
        "acceleration", "velocity" or "displacement" of every mass, or names of channels out of
        ``system.channels``, such as ``("a1", "a3")``.
    noise : float, default=0.0
        Standard deviation of independent Gaussian noise in the channels' own unit, the same for
        each.
    seed : int, optional
        Seed of the noise. The same seed gives the same record; None draws a new one each time.
    t : array-like of shape (n,), optional
        Sampling times instead of the system's own, increasing.
    x0 : array-like of shape (V,), optional
        State at the first time instead of the system's own.
    integrator : {"accurate", "ode45"}, default="accurate"
        Dormand-Prince of order 8 at a relative tolerance of 1e-11, stopping at every corner of the
        law; or MATLAB's ode45 at its default tolerances, whose errors of some parts in a thousand
        are part of published records. ode45 does not know of corners.

    Returns
    -------
    ForcedRecord
        Times, force, measured channels with and without noise, and all states.

    Raises
    ------
    ValueError
        If an argument cannot be used, or if the solution leaves every bound within the record.

    Examples
    --------
    >>> from discoverers.datasets import observe, van_der_pol_forced
    >>> record = observe(van_der_pol_forced(mu=2.0), ("x", "a"), noise=0.005, seed=1)
    >>> record.channels
    ('x', 'a')
    """
    if not np.isfinite(noise) or noise < 0:
        raise ValueError(f"noise={noise!r}: a finite number of at least 0 is needed")
    if integrator not in get_args(Integrator):
        raise ValueError(f"integrator={integrator!r} is not known; use {get_args(Integrator)}")
    times = system.t.copy() if t is None else np.array(t, dtype=float)
    if times.ndim != 1 or times.size < 2 or not (np.diff(times) > 0).all():
        raise ValueError(f"t has shape {times.shape}: at least two increasing times are needed")
    start = system.x0 if x0 is None else np.atleast_1d(np.asarray(x0, dtype=float))
    if start.shape != system.x0.shape or not np.isfinite(start).all():
        raise ValueError(
            f"x0={x0!r}: {system.x0.size} finite values are needed, one for each of the states "
            f"{', '.join(system.state_names)}"
        )
    names = _measured(system, measured)
    states, rates = _integrate(system, times, start, integrator)
    clean = _all_channels(system, states, rates)[:, _channel_indices(system, names)]
    disturbance = noise * np.random.default_rng(seed).standard_normal(clean.shape)
    return ForcedRecord(
        system=system,
        t=times,
        u=np.asarray(system.force(times), dtype=float).reshape(times.size, 1),
        y=clean + disturbance,
        channels=names,
        clean=clean,
        states=states,
        rates=rates,
        noise_std=float(noise),
    )


def _measured(system: ForcedSystem, measured: str | Sequence[str]) -> tuple[str, ...]:
    """Names of the channels that are asked for."""
    every = {
        "displacement": system.state_names[: system.n_dof],
        "velocity": system.state_names[system.n_dof : 2 * system.n_dof],
        "acceleration": system.accelerations,
    }
    if isinstance(measured, str):
        return every.get(measured, (measured,))
    return tuple(measured)


def _channel_indices(system: ForcedSystem, names: Sequence[str]) -> list[int]:
    unknown = [name for name in names if name not in system.channels]
    if unknown or not names:
        raise ValueError(
            f"measured={tuple(names)!r}: {system.name!r} has the channels "
            f"{', '.join(system.channels)}; name some of them, or say 'acceleration', 'velocity' "
            "or 'displacement'"
        )
    return [system.channels.index(name) for name in names]


def _all_channels(
    system: ForcedSystem, states: NDArray[np.float64], rates: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.hstack([states, rates[:, system.n_dof : 2 * system.n_dof]])


def _integrate(
    system: ForcedSystem, t: NDArray[np.float64], x0: NDArray[np.float64], integrator: Integrator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """States and rates at the times `t`, shape (n, V) each."""
    if integrator == "ode45":
        names = [*system.state_names, *system.input_names]
        sides = sympy.lambdify(
            [sympy.Symbol(name) for name in names], list(system.equations), modules="numpy"
        )

        def rhs(time: float, x: NDArray[np.float64]) -> list[float]:
            return sides(*x, float(system.force(time)))

        X, _ = ode45(rhs, t, x0)
        return X, np.array([rhs(float(time), x) for time, x in zip(t, X, strict=True)])
    longest = max(float(np.diff(t).max()), float(system.t[1] - system.t[0]))
    return integrate_exactly(
        system.equations, t, x0, lambda time: (float(system.force(time)),), max_step=longest
    )
