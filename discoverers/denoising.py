"""Stage 1 over all states and runs: denoised states, derivatives, and what each datum is worth."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .noise import NoiseModel, estimate_noise
from .outliers import find_outliers
from .smoothing import ChannelFit, smooth_channels
from .trajectories import Trajectories, Trajectory

if TYPE_CHECKING:
    from .chains import Chains

__all__ = ["Denoised", "denoise", "known_noise"]

Array = NDArray[np.float64]

KNOWN_START_WEIGHT = 1e8
"""Weight of an initial state that the user knows, against one measurement, in the first pass."""


@dataclass(frozen=True)
class Denoised:
    """States as the smoother sees them.

    Attributes
    ----------
    data : tuple of ndarray of shape (n, V)
        What was measured, known initial states put in; finite everywhere (0 where precision is 0).
    precision : tuple of ndarray of shape (n, V)
        Inverse noise variance of every datum, 0 where there is none.
    states, slopes : tuple of ndarray of shape (n, V)
        Smoothed states, and their derivatives per step.
    steps : tuple of ndarray of shape (n - 1,)
        Time steps divided by `time_scale`.
    time_scale : float
        Median step, in the user's unit of time.
    noise_std : ndarray of shape (V,)
        Root mean square of the noise's standard deviation over the measurements.
    discrepancy : ndarray of shape (V,)
        Standard deviation of what a right model may miss, contained in the precision.
    smoothness : ndarray of shape (V,)
        Weights chosen by cross-validation.
    freedom : ndarray of shape (V,)
        Effective degrees of freedom of the smoothed states.
    fits : tuple of ChannelFit
        The smoothed states with all derivatives, per step, and their variances.
    chains : Chains or None
        Which states are derivatives of which, where equations are of higher order.
    measured : tuple of (data, precision), each of shape (n, V)
        What was measured of it, where `data` holds values that are inferred from other states too.
    outliers : tuple of ndarray of bool, shape (n, V)
        Measurements that were left out as gross errors.
    seconds : float
    """

    data: tuple[Array, ...]
    precision: tuple[Array, ...]
    states: tuple[Array, ...]
    slopes: tuple[Array, ...]
    steps: tuple[Array, ...]
    time_scale: float
    noise_std: Array
    discrepancy: Array
    smoothness: Array
    freedom: Array
    fits: tuple[ChannelFit, ...] = ()
    chains: Chains | None = None
    measured: tuple[tuple[Array, Array], ...] = ()
    outliers: tuple[NDArray[np.bool_], ...] = ()
    seconds: float = 0.0

    @property
    def inferred(self) -> NDArray[np.bool_]:
        """States of which nothing was measured, (V,)."""
        return ~np.any([(part > 0).any(axis=0) for _, part in self.measurements], axis=0)

    @property
    def measurements(self) -> tuple[tuple[Array, Array], ...]:
        """What was measured and how precisely, per run: nothing that others tell."""
        return self.measured or tuple(zip(self.data, self.precision, strict=True))


def denoise(
    trajectories: Trajectories,
    noise_std: Array | None = None,
    *,
    keep_outliers: bool = False,
    orders: Sequence[int] | None = None,
) -> Denoised:
    """Smooth all states, estimate their noise, and smooth again with the weights it implies.

    Parameters
    ----------
    trajectories : Trajectories
    noise_std : ndarray of shape (V,), optional
        Standard deviation of the noise where it is known; estimated by default.
    keep_outliers : bool, default=False
        Whether gross errors stay in the data.
    orders : sequence of int, optional
        R of the smoother by state, see `smooth_channels`.

    Returns
    -------
    Denoised
    """
    began = time.perf_counter()
    runs = trajectories.runs
    time_scale = float(np.median(np.concatenate([np.diff(run.t) for run in runs])))
    steps = tuple(np.diff(run.t) / time_scale for run in runs)
    data, weight = _given(runs)
    fits = smooth_channels(steps, data, weight, orders)
    outliers = tuple(np.zeros_like(run.measured) for run in runs)
    if not keep_outliers:
        outliers = _gross_errors(runs, steps, data, weight, fits)
    if any(mask.any() for mask in outliers):
        weight = [np.where(mask, 0.0, w) for w, mask in zip(weight, outliers, strict=True)]
        fits = smooth_channels(steps, data, weight, orders)
    measured = [run.measured & ~mask for run, mask in zip(runs, outliers, strict=True)]
    models = _noise_models(runs, data, measured, fits, noise_std)
    precision = _precisions(runs, weight, models, fits)
    unit = np.ones(trajectories.n_states)
    if any(not _proportional(p, w) for p, w in zip(precision, weight, strict=True)):
        fits = smooth_channels(steps, data, precision, orders)
    else:
        unit = sum(p.sum(axis=0) for p in precision) / sum(w.sum(axis=0) for w in weight)
    rms = [
        _noise_rms(measured, fit.values, model, v)
        for v, (fit, model) in enumerate(zip(fits, models, strict=True))
    ]
    return Denoised(
        data=tuple(data),
        precision=tuple(precision),
        states=_columns([fit.values for fit in fits]),
        slopes=_columns([fit.slopes for fit in fits]),
        steps=steps,
        time_scale=time_scale,
        noise_std=np.array(rms),
        discrepancy=np.sqrt([model.discrepancy for model in models]),
        smoothness=np.array([fit.smoothness for fit in fits]),
        freedom=np.array([sum(float(h.sum()) for h in fit.leverage) for fit in fits]),
        fits=tuple(
            replace(fit, variances=tuple(part / scale for part in fit.variances))
            for fit, scale in zip(fits, unit, strict=True)
        ),
        outliers=outliers,
        seconds=time.perf_counter() - began,
    )


def _given(runs: Sequence[Trajectory]) -> tuple[list[Array], list[Array]]:
    """Data, known initial states put in, and their weights in the first pass."""
    data = [np.where(run.measured, run.X, 0.0) for run in runs]
    weight = [run.measured * run.weight[:, None] for run in runs]
    for run, x, w in zip(runs, data, weight, strict=True):
        known = ~np.isnan(run.x0)
        x[0, known] = run.x0[known]
        w[0, known] = KNOWN_START_WEIGHT
    return data, weight


def _gross_errors(
    runs: Sequence[Trajectory],
    steps: Sequence[Array],
    data: Sequence[Array],
    weight: Sequence[Array],
    fits: Sequence[ChannelFit],
) -> tuple[NDArray[np.bool_], ...]:
    """Measurements that are outliers; what the user knows of a start is none."""
    outliers = find_outliers(steps, data, weight, fits)
    for run, mask in zip(runs, outliers, strict=True):
        mask[0, ~np.isnan(run.x0)] = False
    return outliers


def _noise_models(
    runs: Sequence[Trajectory],
    data: Sequence[Array],
    measured: Sequence[NDArray[np.bool_]],
    fits: Sequence[ChannelFit],
    noise_std: Array | None,
) -> list[NoiseModel]:
    """The noise of every state, from its measurements only: known starts have none."""
    models = []
    for v, fit in enumerate(fits):
        sampled = [
            np.where(np.isnan(run.x0[v]) | (run.t > run.t[0]), run.weight, 0.0) for run in runs
        ]
        counted = [w * seen[:, v] for w, seen in zip(sampled, measured, strict=True)]
        model = estimate_noise(
            [run.t for run in runs], [x[:, v] for x in data], counted, fit.values, fit.leverage
        )
        if noise_std is not None:
            model = NoiseModel(float(noise_std[v]) ** 2, 0.0, 0.0, model.discrepancy)
        models.append(model)
    return models


def _precisions(
    runs: Sequence[Trajectory],
    weight: Sequence[Array],
    models: Sequence[NoiseModel],
    fits: Sequence[ChannelFit],
) -> list[Array]:
    """Inverse variances (n, V) of the data around a right model, per run."""
    discrepancy = np.array([model.discrepancy for model in models])
    precision = []
    for i, (run, w) in enumerate(zip(runs, weight, strict=True)):
        measurement = np.stack(
            [model.measurement(fit.values[i]) for model, fit in zip(models, fits, strict=True)],
            axis=1,
        )
        seen = w > 0
        # A weight makes a measurement more exact, not the model.
        part = np.where(seen, 1.0 / (measurement / np.where(seen, w, 1.0) + discrepancy), 0.0)
        known = ~np.isnan(run.x0)
        part[0, known] = 1.0 / discrepancy[known]
        precision.append(part)
    return precision


def _columns(parts: Sequence[tuple[Array, ...]]) -> tuple[Array, ...]:
    """From one tuple over runs per state to one array (n, V) per run."""
    return tuple(np.stack(run, axis=1) for run in zip(*parts, strict=True))


def known_noise(noise_std: float | ArrayLike | None, n_columns: int) -> NDArray[np.float64] | None:
    """Check the parameter `noise_std` and spread it over the measured columns.

    Raises
    ------
    ValueError
        If there is neither one value nor one per column, or a value is not positive and finite.
    """
    if noise_std is None:
        return None
    values = np.asarray(noise_std, dtype=np.float64)
    if values.shape not in ((), (n_columns,)):
        raise ValueError(
            f"noise_std must be a number or hold one number per measured column ({n_columns}), got "
            f"shape {values.shape}."
        )
    if not np.isfinite(values).all() or (values <= 0).any():
        raise ValueError(f"noise_std must be positive and finite, got {noise_std!r}.")
    return np.broadcast_to(values, (n_columns,))


def _noise_rms(
    measured: Sequence[NDArray[np.bool_]], values: tuple[Array, ...], model: NoiseModel, v: int
) -> float:
    variance = [model.measurement(y)[seen[:, v]] for seen, y in zip(measured, values, strict=True)]
    return float(np.sqrt(np.mean(np.concatenate(variance))))


def _proportional(precision: Array, weight: Array) -> bool:
    """Whether each column of one is a multiple of the other's: the first pass then stands."""
    seen = weight > 0
    for v in range(weight.shape[1]):
        ratio = precision[seen[:, v], v] / weight[seen[:, v], v]
        if ratio.size and np.ptp(ratio) > 1e-12 * ratio.max():
            return False
    return True
