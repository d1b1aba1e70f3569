"""Whether the data tell the terms of the chosen equations apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

__all__ = ["entangled_terms"]

Array = NDArray[np.float64]

INTERVAL = 3.29
"""Half a 99.9 % interval: 95 % ones are too short where a law is far from linear in its terms, and
where a term that was selected is less certain the systems without it tie anyway."""

CORRELATED = 0.9
"""Terms whose errors correlate less than this are uncertain each for itself."""

CERTAIN = 0.999
"""Terms are said to be entangled where chance alone would do it once in a thousand times."""

LEAST_EIGENVALUE = 1e-13


def entangled_terms(coef: Array, information: Array, inflation: float = 1.0) -> NDArray[np.bool_]:
    """Terms of unknown sign that the data ask for together: only a combination of them is told.

    Each of them could be 0 or have the other sign, as its 99.9 % interval says, but not all of
    them: a Wald test of all at once rejects that. A term that is merely not needed is not among
    them, nor is one whose error does not go with another's.

    Parameters
    ----------
    coef : ndarray of shape (k,)
        Fitted coefficients.
    information : ndarray of shape (k, k)
        Their normal matrix, the inverse of their covariance; it may be singular.
    inflation : float, default=1.0
        Factor on the covariance.

    Returns
    -------
    ndarray of bool, shape (k,)

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.identifiability import entangled_terms
    >>> entangled_terms(np.array([1.0, 2.0]), 100.0 * np.array([[1.0, 0.1], [0.1, 1.0]]))
    array([False, False])
    >>> entangled_terms(np.array([1.0, 2.0]), 1e4 * np.array([[1.0, 0.99999], [0.99999, 1.0]]))
    array([ True,  True])
    """
    none = np.zeros(len(coef), dtype=bool)
    norms = np.sqrt(np.diagonal(information))
    if len(coef) < 2 or not (np.isfinite(norms).all() and (norms > 0).all()):
        return none
    scaled, sizes = information / np.outer(norms, norms), coef * norms
    values, vectors = np.linalg.eigh(scaled)
    values = np.maximum(values, LEAST_EIGENVALUE)
    covariance = inflation * (vectors / values) @ vectors.T
    spread = np.sqrt(np.diagonal(covariance))
    unknown = np.abs(sizes) < INTERVAL * spread
    alike = np.abs(covariance) > CORRELATED * np.outer(spread, spread)
    np.fill_diagonal(alike, False)
    unknown &= (alike & unknown).any(axis=1)
    if unknown.sum() < 2:
        return none
    own, cross = scaled[np.ix_(unknown, unknown)], scaled[np.ix_(~unknown, unknown)]
    if cross.size:
        others = scaled[np.ix_(~unknown, ~unknown)]
        own = own - cross.T @ np.linalg.lstsq(others, cross, rcond=None)[0]
    together = float(sizes[unknown] @ own @ sizes[unknown]) / inflation
    return unknown if together > 2.0 * gammaincinv(0.5 * unknown.sum(), CERTAIN) else none
