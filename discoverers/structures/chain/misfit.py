"""Whether the best law of the library is as good as the data deserve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from discoverers.shooting import Calibration, Observation, Record

__all__ = ["is_white", "not_expressible", "whiteness"]

Array = NDArray[np.float64]

NETWORK_RATIO = 1.15
"""Ratio of the law's residual to the network's from which the library is called short."""

LAGS = 5
ENOUGH = 50
"""Of fewer residuals autocorrelations say nothing."""

CORRELATED = 30.0
"""Portmanteau statistic over 5 lags above this is no chance: white noise gets there in 1e-5."""

ABOVE_FLOOR = 3.0
"""Residuals below this many floors are integration's, not the law's."""


def whiteness(residuals: Array) -> float:
    """Box-Pierce statistic ``n sum_k r_k^2`` of the first lags' autocorrelations.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.structures.chain.misfit import whiteness
    >>> whiteness(np.random.default_rng(0).normal(size=400)) < 20.0
    True
    >>> whiteness(np.sin(np.arange(400.0) / 5.0)) > 100.0
    True
    """
    centred = residuals[~np.isnan(residuals)] - np.nanmean(residuals)
    energy = float(centred @ centred)
    if energy == 0.0 or len(centred) <= 2 * LAGS:
        return 0.0
    lags = [float(centred[k:] @ centred[:-k]) / energy for k in range(1, LAGS + 1)]
    return len(centred) * float(np.sum(np.square(lags)))


def is_white(residuals: Array) -> bool:
    """Whether residuals (n, C) of a run are as uncorrelated as noise, and enough to tell.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.structures.chain.misfit import is_white
    >>> noise = np.random.default_rng(0).normal(size=(400, 1))
    >>> is_white(noise), is_white(noise[:20]), is_white(noise.cumsum(axis=0))
    (True, False, False)
    """
    enough = (~np.isnan(residuals)).sum(axis=0) >= ENOUGH
    return bool(enough.all()) and all(whiteness(channel) <= CORRELATED for channel in residuals.T)


def not_expressible(
    fit: Calibration,
    records: tuple[Record, ...],
    observation: Observation,
    network_std: Array | None,
    floor: Array,
) -> str | None:
    """Why the law falls short of the data, or None.

    Parameters
    ----------
    fit : Calibration
        Of the law.
    records : tuple of Record
    observation : Observation
    network_std : ndarray of shape (C,) or None
        Residuals of the network, if it is trained on the same records.
    floor : ndarray of shape (C,)
    """
    n = np.maximum(fit.n_observed - len(fit.normal) / len(floor), 1.0)
    law = np.sqrt(fit.rss / n + floor**2)
    if network_std is not None:
        ratio = float(np.max(law / np.sqrt(network_std**2 + floor**2)))
        limit = max(NETWORK_RATIO, 1.0 + 4.0 / np.sqrt(float(fit.n_observed.sum())))
        if ratio > limit:
            return f"it leaves {ratio:.2g} times the residual of the spline network"
    for channel in range(len(floor)):
        if law[channel] <= ABOVE_FLOOR * floor[channel]:
            continue
        values = [
            whiteness(
                record.y[:, channel] - observation.values(path.X, path.F, record.u)[:, channel]
            )
            for record, path in zip(records, fit.paths, strict=True)
        ]
        if max(values) > CORRELATED:
            return "what it leaves is correlated from sample to sample, as noise is not"
    return None
