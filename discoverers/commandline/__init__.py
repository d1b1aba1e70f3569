"""What the command line does, apart from parsing its arguments."""

from discoverers.commandline.errors import CommandLineError
from discoverers.commandline.fitting import FitRequest, run_fit
from discoverers.commandline.measurements import Measurements, read_measurements

__all__ = ["CommandLineError", "FitRequest", "Measurements", "read_measurements", "run_fit"]
