"""One unknown law, or several: spline network, symbols, calibration."""

from .structure import ChainStructure

__all__ = ["ChainStructure"]
