"""The library that grows: textbook terms proposed by regression, judged through the ODE."""

from .growth import grow, worth_growing

__all__ = ["grow", "worth_growing"]
