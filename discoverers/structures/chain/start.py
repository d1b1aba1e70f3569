"""Where a discovery starts: states guessed from the channels alone, without any law.

A Kalman smoother carries each coordinate's chain of derivatives, driven by a rough highest one. The
channels, whatever they measure of the chain, are its observations. Integrated accelerations drift;
a weak prior on the size of the lower states holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from discoverers.shooting import LinearObservation, Observation, Record

from .driven import input_gains, input_responses, seen_responses
from .model import Chain, ChainTask

__all__ = ["Start", "guess_states"]

Array = NDArray[np.float64]

ROUGHNESS = np.logspace(-7, 3, 11)
"""Strengths of the driving noise, per sample and in units of the observation noise, to try."""

LIKELIHOOD_SAMPLES = 400
DIFFUSE = 1e4
LINEARISATIONS = 4

ROUGH = 0.5
"""Inputs are rough if without their part a smoother takes no more than this share for noise."""


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
def _move(h: float, length: int, dofs: int, q: float, F: Array, Q: Array) -> None:
    """Transition and its noise over a step, of chains of integrators driven by white noise."""
    n = F.shape[0]
    for a in range(n):
        for b in range(n):
            F[a, b] = 0.0
            Q[a, b] = 0.0
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


@njit(cache=True, error_model="numpy")
def _update(x: Array, P: Array, row: Array, value: float, variance: float) -> tuple[float, float]:
    """Measure ``row @ x``, in place; the innovation and its variance."""
    n = x.shape[0]
    Ph = np.empty(n)
    s, v = variance, value
    for a in range(n):
        Ph[a] = 0.0
        for b in range(n):
            Ph[a] += P[a, b] * row[b]
        v -= row[a] * x[a]
    for a in range(n):
        s += row[a] * Ph[a]
    for a in range(n):
        x[a] += Ph[a] * (v / s)
        for b in range(n):
            P[a, b] -= Ph[a] * Ph[b] / s
    return v, s


@njit(cache=True, error_model="numpy")
def _gain(P: Array, F: Array, predicted: Array, G: Array) -> None:
    """Smoother's gain ``G = P F^T predicted^-1`` by Cholesky of the scaled matrix."""
    n = P.shape[0]
    L, scale, b = np.zeros((n, n)), np.empty(n), np.empty(n)
    for a in range(n):
        scale[a] = np.sqrt(max(predicted[a, a], 1e-300))
    for c in range(n):
        for r in range(c, n):
            value = predicted[r, c] / (scale[r] * scale[c]) + (1e-13 if r == c else 0.0)
            for j in range(c):
                value -= L[r, j] * L[c, j]
            L[r, c] = np.sqrt(max(value, 1e-14)) if r == c else value / L[c, c]
    for row in range(n):
        for a in range(n):
            b[a] = 0.0
            for j in range(n):
                b[a] += P[row, j] * F[a, j]
            b[a] /= scale[a]
            for j in range(a):
                b[a] -= L[a, j] * b[j]
            b[a] /= L[a, a]
        for a in range(n - 1, -1, -1):
            for j in range(a + 1, n):
                b[a] -= L[j, a] * b[j]
            b[a] /= L[a, a]
        for a in range(n):
            G[row, a] = b[a] / scale[a]


@njit(cache=True, error_model="numpy")
def _filter(
    steps: Array, H: Array, y: Array, R: Array, length: int, dofs: int, q: float, mean: Array,
    cov: Array, weak: Array, pull: Array, smooth: bool,
) -> tuple[Array, float, float, int]:  # fmt: skip
    """Kalman filter and, if asked for, smoother: states, sum v^2/s, sum log s, count.

    Loops, because numba compiles seconds for every matrix product, slice and solve.
    """
    N, C = y.shape
    n = length * dofs
    filtered, predicted = np.zeros((N, n)), np.zeros((N, n))
    P_f, P_p = np.zeros((N, n, n)), np.zeros((N, n, n))
    moves = np.zeros((N, n, n))
    x, P = np.empty(n), np.empty((n, n))
    Q, FP, G, unit = np.empty((n, n)), np.empty((n, n)), np.empty((n, n)), np.zeros(n)
    quadratic, logs, count = 0.0, 0.0, 0
    for a in range(n):
        x[a] = mean[a]
        for b in range(n):
            P[a, b] = cov[a, b]
    for i in range(N):
        F = moves[i]
        if i > 0:
            _move(steps[i - 1], length, dofs, q, F, Q)
            for a in range(n):
                for b in range(n):
                    predicted[i, a] += F[a, b] * x[b]
                    FP[a, b] = 0.0
                    for c in range(n):
                        FP[a, b] += F[a, c] * P[c, b]
            for a in range(n):
                x[a] = predicted[i, a]
                for b in range(n):
                    P[a, b] = Q[a, b]
                    for c in range(n):
                        P[a, b] += FP[a, c] * F[b, c]
        for a in range(n):
            predicted[i, a] = x[a]
            for b in range(n):
                P_p[i, a, b] = P[a, b]
        for c in range(C):
            if np.isnan(y[i, c]):
                continue
            v, s = _update(x, P, H[i, c], y[i, c], R[c])
            quadratic += v * v / s
            logs += np.log(s)
            count += 1
        for k in range(n):
            if weak[k] < np.inf and i > 0:
                unit[k] = 1.0
                _update(x, P, unit, pull[i, k], weak[k])
                unit[k] = 0.0
        for a in range(n):
            filtered[i, a] = x[a]
            for b in range(a + 1):
                even = 0.5 * (P[a, b] + P[b, a])
                P[a, b] = even
                P[b, a] = even
        for a in range(n):
            for b in range(n):
                P_f[i, a, b] = P[a, b]
    if smooth:
        for i in range(N - 2, -1, -1):
            _gain(P_f[i], moves[i + 1], P_p[i + 1], G)
            for a in range(n):
                for b in range(n):
                    filtered[i, a] += G[a, b] * (filtered[i + 1, b] - predicted[i + 1, b])
    return filtered, quadratic, logs, count


def guess_states(task: ChainTask) -> Start:
    """Smooth the channels of every run into states.

    Where inputs are so rough that the rates they cause read as noise, their part is taken out
    before, by multiples that the channels' steps from sample to sample show, and added again.

    Returns
    -------
    Start
    """
    observation = task.data.observation(task.chain.state_names)
    nothing = [np.zeros((len(record), len(task.chain.state_names))) for record in task.records]
    plain = _smoothed(task, observation, [record.y for record in task.records], nothing)
    if not isinstance(observation, LinearObservation) or not task.chain.input_names:
        return plain
    responses = [input_responses(task.chain, record) for record in task.records]
    seen = [seen_responses(observation, *response) for response in responses]
    gains = input_gains([record.y for record in task.records], seen)
    rest = [record.y - part @ gains for record, part in zip(task.records, seen, strict=True)]
    taken = [X @ gains for X, _ in responses]
    smooth = _smoothed(task, observation, rest, taken)
    measured = (plain.noise_std > 0.0) & (smooth.noise_std > 0.0)
    if not measured.any() or np.any(smooth.noise_std > plain.noise_std):
        return plain
    if np.log(smooth.noise_std[measured] / plain.noise_std[measured]).mean() > np.log(ROUGH):
        return plain
    return Start(
        tuple(X + part for X, part in zip(smooth.states, taken, strict=True)),
        tuple(F + part @ gains for F, (_, part) in zip(smooth.rates, responses, strict=True)),
        smooth.noise_std,
    )


def _smoothed(
    task: ChainTask, observation: Observation, channels: Sequence[Array], taken: Sequence[Array]
) -> Start:
    noise = np.zeros(len(observation.channels))
    states, rates, total = [], [], 0
    for run, (record, y, away) in enumerate(zip(task.records, channels, taken, strict=True)):
        smoother = _Smoother(
            task.chain, observation, replace(record, y=y), task.free_x0[run], task.known_x0[run],
            away,
        )  # fmt: skip
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
    taken: Array
    """Parts of the states (n, n_s) that were taken out of the channels."""

    def run(self) -> tuple[Array, Array, Array]:
        """States, rates and noise."""
        record = self.record
        n, n_s = len(record), len(self.chain.state_names)
        X, F = np.zeros((n, n_s)), np.zeros((n, n_s))
        sigma = np.ones(len(self.observation.channels))
        rounds = 1 if isinstance(self.observation, LinearObservation) else LINEARISATIONS
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
        free_weak, no_pull = np.full(n, np.inf), np.zeros((len(y), n))
        taken = np.zeros_like(no_pull)
        taken[:, places] = self.taken * unit**powers * norm
        R = np.ones(len(size))
        best, ratio, variance = np.inf, ROUGHNESS[0], 1.0
        m = min(len(y), LIKELIHOOD_SAMPLES)
        for rough in ROUGHNESS:
            _, quadratic, logs, count = _filter(
                steps[: m - 1], H[:m], y[:m], R, length, chain.n_dof, rough, mean,
                cov / 1e-4, free_weak, no_pull, False,
            )  # fmt: skip
            value = count * np.log(max(quadratic / max(count, 1), 1e-12)) + logs
            if value < best:
                best, ratio, variance = value, rough, max(quadratic / max(count, 1), 1e-12)
        held = self.hold(
            lambda weak: _filter(
                steps, H, y, variance * R, length, chain.n_dof, ratio * variance, mean, cov, weak,
                -taken, True,
            )[0],
            places, taken, steps,
        )  # fmt: skip
        X = held[:, places] / (unit**powers * norm)
        F = held[:, places + 1] / (unit ** (powers + 1.0) * norm)
        return X, F, np.sqrt(variance) * size

    def hold(
        self, smooth: Callable[[Array], Array], places: NDArray[np.intp], taken: Array,
        steps: Array,
    ) -> Array:  # fmt: skip
        """Smooth, with a prior on the size of states that drift: what is left after detrending."""
        order, n = self.chain.order, taken.shape[1]
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
            column = first[:, place] + taken[:, place]
            trend = basis[:, :degree] @ np.linalg.lstsq(basis[:, :degree], column, rcond=None)[0]
            spread = float(np.var(column - trend))
            if free and spread > 0.0:
                weak[place] = 4.0 * spread
        return smooth(weak)
