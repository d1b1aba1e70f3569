"""Fields of the Korteweg-de Vries equation from random smooth starts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from discoverers.pde.equations import PDEEquations
from discoverers.pde.exponential import ExponentialStep

__all__ = ["FieldRecord", "integrate_kdv", "kdv"]

_WAVES = 10
_EASY = 0.5


@dataclass(frozen=True, eq=False)
class FieldRecord:
    """A sampled field whose equation is known.

    Attributes
    ----------
    equations : PDEEquations
        The truth.
    t : ndarray of shape (n_times,)
        Times.
    x : ndarray of shape (n_space,)
        Positions on a ring.
    X : ndarray of shape (n_times, n_space)
        The field, with noise.
    clean : ndarray of shape (n_times, n_space)
        The field before noise was added.
    noise_std : float
        Standard deviation of the noise of a cell.
    """

    equations: PDEEquations
    t: NDArray[np.float64]
    x: NDArray[np.float64]
    X: NDArray[np.float64]
    clean: NDArray[np.float64]
    noise_std: float


def kdv(
    n_runs: int = 1,
    *,
    n_space: int = 256,
    n_times: int = 250,
    n_kept: int = 140,
    easy: bool = False,
    noise: float = 0.0,
    seed: int | None = 0,
    substeps: int = 20,
) -> tuple[FieldRecord, ...]:
    """Solve ``u_t = -u u_x - u_xxx`` on a ring from sums of ten random sines.

    Length 128 and duration 100 are drawn within 10 % for each run; amplitudes from -0.5 to 0.5,
    phases from 0 to 2 pi, wave numbers 1 or 2. Waves steepen and break up into solitons.

    Parameters
    ----------
    n_runs : int, default=1
        Number of fields; all are integrated at once.
    n_space : int, default=256
        Positions.
    n_times : int, default=250
        Times from the start to the end.
    n_kept : int, default=140
        Of these, how many of the last are kept.
    easy : bool, default=False
        Half the duration.
    noise : float, default=0.0
        Standard deviation of the noise as a share of each field's own.
    seed : int or None, default=0
        Of starts and noise.
    substeps : int, default=20
        Steps of the integrator from one time to the next; the error is about 1e-8 with 20.

    Returns
    -------
    tuple of FieldRecord
        One per run.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    Brandstetter, Welling, Worrall: Lie point symmetry data augmentation for neural PDE solvers,
    ICML 2022.

    Examples
    --------
    >>> from discoverers.datasets.kdv import kdv
    >>> record = kdv(noise=0.05)[0]
    >>> record.X.shape, record.equations
    ((140, 256), u_t = -u_xxx - u u_x)
    """
    for name, value, least in (
        ("n_runs", n_runs, 1),
        ("n_space", n_space, 8),
        ("n_times", n_times, 2),
        ("n_kept", n_kept, 1),
        ("substeps", substeps, 1),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if n_kept > n_times:
        raise ValueError(f"n_kept={n_kept} is more than n_times={n_times}")
    if noise < 0:
        raise ValueError(f"noise must not be negative, got {noise}")
    random = np.random.default_rng(seed)
    length = 128.0 * random.uniform(0.9, 1.1, n_runs)
    duration = 100.0 * (_EASY if easy else 1.0) * random.uniform(0.9, 1.1, n_runs)
    x = length[:, None] * np.arange(n_space) / n_space
    shape = (n_runs, _WAVES, 1)
    amplitude, phase = random.uniform(-0.5, 0.5, shape), random.uniform(0.0, 2.0 * np.pi, shape)
    number = random.integers(1, 3, shape)
    waves = np.sin(2.0 * np.pi * number * np.arange(n_space) / n_space + phase)
    start = (amplitude * waves).sum(axis=1)
    step = duration / (n_times - 1)
    fields = integrate_kdv(start, length, step, n_times, substeps)[:, -n_kept:]
    times = step[:, None] * np.arange(n_times)[-n_kept:]
    truth = PDEEquations(["-u*u_x - u_xxx"])
    records = []
    for i in range(n_runs):
        std = noise * float(fields[i].std())
        noisy = fields[i] + std * random.standard_normal(fields[i].shape)
        records.append(FieldRecord(truth, times[i], x[i], noisy, fields[i], std))
    return tuple(records)


def integrate_kdv(
    start: NDArray[np.float64],
    length: NDArray[np.float64],
    step: NDArray[np.float64],
    n_times: int,
    substeps: int,
) -> NDArray[np.float64]:
    """Integrate ``u_t = -u u_x - u_xxx`` on rings, all runs at once.

    Fourier modes up to two thirds of the highest, so that products do not alias; dispersion
    exactly, advection by ETDRK4. The mean of a field, its mass, does not change at all.

    Parameters
    ----------
    start : ndarray of shape (runs, n_space)
        Fields at the start.
    length, step : ndarray of shape (runs,)
        Length of each ring, and time from one field to the next.
    n_times : int
        Fields to return, the start among them.
    substeps : int
        Steps from one field to the next.

    Returns
    -------
    ndarray of shape (runs, n_times, n_space)
    """
    n = start.shape[1]
    wave = 2.0j * np.pi * np.arange(n // 2 + 1) / length[:, None]
    kept = np.arange(n // 2 + 1) <= n // 3
    advance = ExponentialStep.make(-(wave**3), step[:, None] / substeps)

    def advection(v: NDArray[np.complex128]) -> NDArray[np.complex128]:
        return np.where(kept, -0.5 * wave * np.fft.rfft(np.fft.irfft(v, n) ** 2), 0.0)

    fields = np.empty((len(start), n_times, n))
    fields[:, 0] = start
    v = np.fft.rfft(start)
    for i in range(1, n_times):
        for _ in range(substeps):
            v = advance(v, advection)
        fields[:, i] = np.fft.irfft(v, n)
    return fields
