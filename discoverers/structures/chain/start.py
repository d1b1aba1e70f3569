"""Where a discovery starts: states guessed from the channels alone, without any law.

A Kalman smoother carries each coordinate's chain of derivatives, driven by a rough highest one. The
channels, whatever they measure of the chain, are its observations. Integrated accelerations drift;
a weak prior on the size of the lower states holds them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from discoverers.shooting import Observation, Record

from .model import Chain, ChainTask

__all__ = ["Start", "guess_states"]

Array = NDArray[np.float64]

ROUGHNESS = np.logspace(-7, 3, 11)
"""Strengths of the driving noise, per sample and in units of the observation noise, to try."""

LIKELIHOOD_SAMPLES = 400
DIFFUSE = 1e4
LINEARISATIONS = 4


@dataclass(frozen=True, eq=False)
class Start:
    """States and highest rates guessed at every sample.

    Attributes
    ----------
    states, rates : tuple of ndarray of shape (n, n_s)
    noise_std : ndarray of shape (C,)
        What the smoother took for noise.
    """

    states: tuple[Array, ...]
    rates: tuple[Array, ...]
    noise_std: Array


@njit(cache=True, error_model="numpy")
def _filter(
    steps: Array, H: Array, y: Array, R: Array, length: int, dofs: int, q: float, mean: Array,
    cov: Array, weak: Array, smooth: bool,
) -> tuple[Array, float, float, int]:  # fmt: skip
    """Kalman filter and, if asked for, smoother: states, sum v^2/s, sum log s, count."""
    N, C = y.shape
    n = length * dofs
    filtered, predicted = np.zeros((N, n)), np.zeros((N, n))
    P_f, P_p = np.zeros((N, n, n)), np.zeros((N, n, n))
    moves = np.zeros((N, n, n))
    x, P = mean.copy(), cov.copy()
    quadratic, logs, count = 0.0, 0.0, 0
    for i in range(N):
        if i > 0:
            F, Q = np.zeros((n, n)), np.zeros((n, n))
            h = steps[i - 1]
            for dof in range(dofs):
                at = dof * length
                for a in range(length):
                    fact = 1.0
                    for b in range(a, length):
                        if b > a:
                            fact *= h / (b - a)
                        F[at + a, at + b] = fact
                    for b in range(length):
                        power = 2 * length - 1 - a - b
                        bottom = float(power)
                        for k in range(2, length - a):
                            bottom *= k
                        for k in range(2, length - b):
                            bottom *= k
                        Q[at + a, at + b] = q * h**power / bottom
            x = F @ x
            P = F @ P @ F.T + Q
            moves[i] = F
        predicted[i], P_p[i] = x, P
        for c in range(C):
            if np.isnan(y[i, c]):
                continue
            row = H[i, c]
            Ph = P @ row
            s = row @ Ph + R[c]
            v = y[i, c] - row @ x
            x = x + Ph * (v / s)
            P = P - np.outer(Ph, Ph) / s
            quadratic += v * v / s
            logs += np.log(s)
            count += 1
        for k in range(n):
            if weak[k] < np.inf and i > 0:
                Ph = P[:, k].copy()
                s = Ph[k] + weak[k]
                x = x - Ph * (x[k] / s)
                P = P - np.outer(Ph, Ph) / s
        P = 0.5 * (P + P.T)
        filtered[i], P_f[i] = x, P
    if smooth:
        for i in range(N - 2, -1, -1):
            scale = np.sqrt(np.maximum(np.diag(P_p[i + 1]), 1e-300))
            scaled = P_p[i + 1] / np.outer(scale, scale) + 1e-13 * np.eye(n)
            gain = np.linalg.solve(scaled, ((moves[i + 1] @ P_f[i]).T / scale).T).T / scale
            filtered[i] = filtered[i] + gain @ (filtered[i + 1] - predicted[i + 1])
    return filtered, quadratic, logs, count


def guess_states(task: ChainTask) -> Start:
    """Smooth the channels of every run into states.

    Returns
    -------
    Start
    """
    chain, observation = task.chain, task.data.observation(task.chain.state_names)
    noise = np.zeros(len(observation.channels))
    states, rates, total = [], [], 0
    for run, record in enumerate(task.records):
        smoother = _Smoother(chain, observation, record, task.free_x0[run], task.known_x0[run])
        X, F, sigma = smoother.run()
        states.append(X)
        rates.append(F)
        noise += len(record) * sigma**2
        total += len(record)
    return Start(tuple(states), tuple(rates), np.sqrt(noise / max(total, 1)))


@dataclass(frozen=True, eq=False)
class _Smoother:
    """One run. Times count in median steps inside, so that all derivatives have one size."""

    chain: Chain
    observation: Observation
    record: Record
    free: NDArray[np.bool_]
    x0: Array

    def run(self) -> tuple[Array, Array, Array]:
        """States, rates and noise."""
        record = self.record
        n, n_s = len(record), len(self.chain.state_names)
        X, F = np.zeros((n, n_s)), np.zeros((n, n_s))
        sigma = np.ones(len(self.observation.channels))
        rounds = 1 if _is_linear(self.observation) else LINEARISATIONS
        for _ in range(rounds):
            C, D = (
                np.broadcast_to(part, (n, len(sigma), n_s))
                for part in self.observation.jacobians(X, F, record.u)
            )
            shown = self.observation.values(X, F, record.u)
            linear = np.einsum("ncs,ns->nc", C, X) + np.einsum("ncs,ns->nc", D, F)
            X, F, sigma = self.smooth(C, D, record.y - (shown - linear))
        return X, F, sigma

    def smooth(self, C: Array, D: Array, y: Array) -> tuple[Array, Array, Array]:
        chain, record = self.chain, self.record
        unit = float(np.median(np.diff(record.t))) if len(record) > 1 else 1.0
        steps = np.diff(record.t) / unit
        length = chain.order + 2
        places = np.array(
            [dof * length + k for dof in range(chain.n_dof) for k in range(chain.order)]
        )
        powers = np.tile(np.arange(chain.order), chain.n_dof)
        n = length * chain.n_dof
        H = np.zeros((*C.shape[:2], n))
        H[:, :, places] += C * unit ** -powers.astype(float)
        H[:, :, places + 1] += D * unit ** -(powers + 1.0)
        size = np.sqrt(np.nanmean(y**2, axis=0))
        size = np.where(np.isfinite(size) & (size > 0.0), size, 1.0)
        H, y = H / size[:, None], y / size
        norm = float(np.sqrt((H**2).sum(axis=2).mean()))
        H = H / max(norm, 1e-300)
        mean, cov = np.zeros(n), DIFFUSE * np.eye(n)
        mean[places] = np.where(self.free, 0.0, self.x0) * unit**powers * norm
        cov[places, places] = np.where(self.free, DIFFUSE, 0.0)
        free_weak = np.full(n, np.inf)
        R = np.ones(len(size))
        best, ratio, variance = np.inf, ROUGHNESS[0], 1.0
        m = min(len(y), LIKELIHOOD_SAMPLES)
        for rough in ROUGHNESS:
            _, quadratic, logs, count = _filter(
                steps[: m - 1], H[:m], y[:m], R, length, chain.n_dof, rough, mean,
                cov / 1e-4, free_weak, False,
            )  # fmt: skip
            value = count * np.log(max(quadratic / max(count, 1), 1e-12)) + logs
            if value < best:
                best, ratio, variance = value, rough, max(quadratic / max(count, 1), 1e-12)
        held = self.hold(
            lambda weak: _filter(
                steps, H, y, variance * R, length, chain.n_dof, ratio * variance, mean, cov, weak,
                True,
            )[0],
            places, n, steps,
        )  # fmt: skip
        X = held[:, places] / (unit**powers * norm)
        F = held[:, places + 1] / (unit ** (powers + 1.0) * norm)
        return X, F, np.sqrt(variance) * size

    def hold(
        self, smooth: Callable[[Array], Array], places: NDArray[np.intp], n: int, steps: Array
    ) -> Array:
        """Smooth, with a prior on the size of states that drift: what is left after detrending."""
        order = self.chain.order
        times = np.concatenate([[0.0], np.cumsum(steps)])
        weak = np.full(n, np.inf)
        first = smooth(weak)
        if not self.free.any():
            return first
        basis = (2.0 * times / max(times[-1], 1e-300) - 1.0)[:, None] ** np.arange(4)
        for place, free, k in zip(
            places, self.free, np.tile(np.arange(order), self.chain.n_dof), strict=True
        ):
            degree = order - k + 1
            column = first[:, place]
            trend = basis[:, :degree] @ np.linalg.lstsq(basis[:, :degree], column, rcond=None)[0]
            spread = float(np.var(column - trend))
            if free and spread > 0.0:
                weak[place] = 4.0 * spread
        return smooth(weak)


def _is_linear(observation: Observation) -> bool:
    from discoverers.shooting import LinearObservation

    return isinstance(observation, LinearObservation)
