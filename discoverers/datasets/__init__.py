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
from discoverers.datasets.files import (
    F16_PERIOD,
    SILVERBOX_RATE,
    load_bouc_wen,
    load_f16,
    load_nino,
    load_pendulum,
    load_silverbox,
)
from discoverers.datasets.forced import ForcedSystem, Tones, make_forced_system
from discoverers.datasets.kdv import FieldRecord, kdv
from discoverers.datasets.measured import data_file, lynx_hare
from discoverers.datasets.nonlinearities import NONLINEARITIES, nonlinear_oscillator
from discoverers.datasets.observation import ForcedRecord, observe
from discoverers.datasets.structural import (
    bouc_wen,
    dahl,
    duffing_forced,
    mass_chain,
    maxwell,
    van_der_pol_forced,
)
from discoverers.datasets.system import Record, System, generate, make_system

__all__ = [
    "F16_PERIOD",
    "NONLINEARITIES",
    "SILVERBOX_RATE",
    "SYSTEMS",
    "FieldRecord",
    "ForcedRecord",
    "ForcedSystem",
    "Record",
    "System",
    "Tones",
    "bouc_wen",
    "brusselator",
    "dahl",
    "data_file",
    "duffing",
    "duffing_forced",
    "fitzhugh_nagumo",
    "generate",
    "kdv",
    "load_bouc_wen",
    "load_f16",
    "load_nino",
    "load_pendulum",
    "load_silverbox",
    "logistic",
    "lorenz",
    "lotka_volterra",
    "lynx_hare",
    "make_forced_system",
    "make_system",
    "mass_chain",
    "maxwell",
    "nonlinear_oscillator",
    "observe",
    "pendulum",
    "rossler",
    "selkov",
    "sir",
    "van_der_pol",
    "van_der_pol_forced",
]
