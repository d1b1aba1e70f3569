"""Baselines that equations have to beat: black boxes with the same ``fit`` and ``predict``."""

from discoverers.baselines.arx import ARXBaseline, NARXBaseline

__all__ = ["ARXBaseline", "NARXBaseline"]
