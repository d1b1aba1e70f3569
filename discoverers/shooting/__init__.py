"""Integrate structured ODEs with exact sensitivities, and calibrate them to what was observed."""

from .calibration import Calibration, calibrate
from .lifted import lifted
from .lifted_tangent import lifted_tangent
from .model import Column, StateSpaceModel
from .observation import FunctionObservation, LinearObservation, Observation
from .paths import Path, integrate, nodes
from .program import Spline, spline_values
from .signal import InputSignal, Record
from .tangent import tangent

__all__ = [
    "Calibration",
    "Column",
    "FunctionObservation",
    "InputSignal",
    "LinearObservation",
    "Observation",
    "Path",
    "Record",
    "Spline",
    "StateSpaceModel",
    "calibrate",
    "integrate",
    "lifted",
    "lifted_tangent",
    "nodes",
    "spline_values",
    "tangent",
]
