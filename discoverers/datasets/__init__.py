"""Records to try the estimators on: textbook systems with known equations, and measured ones."""

from discoverers.datasets.catalogue import (
    SYSTEMS,
    brusselator,
    duffing,
    fitzhugh_nagumo,
    logistic,
    lorenz,
    lotka_volterra,
    pendulum,
    rossler,
    selkov,
    sir,
    van_der_pol,
)
from discoverers.datasets.measured import data_file, lynx_hare, measured_pendulum, nino_weekly
from discoverers.datasets.system import Record, System, generate, make_system

__all__ = [
    "SYSTEMS",
    "Record",
    "System",
    "brusselator",
    "data_file",
    "duffing",
    "fitzhugh_nagumo",
    "generate",
    "logistic",
    "lorenz",
    "lotka_volterra",
    "lynx_hare",
    "make_system",
    "measured_pendulum",
    "nino_weekly",
    "pendulum",
    "rossler",
    "selkov",
    "sir",
    "van_der_pol",
]
