"""The paper's neural route: coefficients by gradient descent through the mechanistic solver.

`SGDEngine` is what ``SMNNDiscoverer(engine="sgd")`` uses. PyTorch is imported when it fits.
"""

from discoverers.mechanistic.engine import SGDEngine

__all__ = ["SGDEngine"]
