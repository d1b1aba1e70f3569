"""Partial differential equations from measured fields: weak form, sparse selection, simulation."""

from .discoverer import PDEDiscoverer
from .equations import PDEEquations

__all__ = ["PDEDiscoverer", "PDEEquations"]
