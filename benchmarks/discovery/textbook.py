"""Textbook systems of one to four states, with parameters and initial states of our own choice.

Sources: Strogatz, Nonlinear Dynamics and Chaos (S); Murray, Mathematical Biology I (M);
Edelstein-Keshet, Mathematical Models in Biology (E); Jordan & Smith, Nonlinear Ordinary
Differential Equations (J). Dimensions and kinds are mixed roughly as in ODEBench (d'Ascoli et al.
2024). Every second system is held out: methods may be mended on the others only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import sympy
from numpy.typing import NDArray

from benchmarks.discovery.paths import exact_path

__all__ = ["SYSTEMS", "TextbookSystem", "half"]

Array = NDArray[np.float64]
Kind = Literal["polynomial", "rational", "transcendental"]
Half = Literal["development", "held-out"]

END = 10.0
N_SAMPLES = 150


@dataclass(frozen=True)
class TextbookSystem:
    """A system and two initial states: one to learn from, one to generalise to.

    Attributes
    ----------
    name, source : str
    kind : {"polynomial", "rational", "transcendental"}
    laws : tuple of str
        Right-hand sides in x, y, z, w.
    start, other : tuple of float
        Initial state of the measured run, and of the one that tests generalisation.
    """

    name: str
    source: str
    kind: Kind
    laws: tuple[str, ...]
    start: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the states."""
        return ("x", "y", "z", "w")[: len(self.laws)]

    @property
    def truth(self) -> tuple[sympy.Expr, ...]:
        """The right-hand sides."""
        symbols = {name: sympy.Symbol(name) for name in self.state_names}
        return tuple(sympy.sympify(law, locals=symbols) for law in self.laws)

    def path(self, start: tuple[float, ...], t: Array) -> Array:
        """States (n, V) at times t from an initial state at time 0, converged to 1e-9."""
        return exact_path(self.name, self.state_names, self.truth, start, t)


def _system(
    name: str, source: str, kind: Kind, laws: str, start: str, other: str
) -> TextbookSystem:
    return TextbookSystem(
        name, source, kind, tuple(part.strip() for part in laws.split(";")),
        tuple(map(float, start.split())), tuple(map(float, other.split())),
    )  # fmt: skip


P: Kind = "polynomial"
R: Kind = "rational"
T: Kind = "transcendental"

SYSTEMS: tuple[TextbookSystem, ...] = tuple(
    _system(*row)
    for row in [
        # One state.
        ("RC circuit", "S 2.2", P, "0.63 - 0.45*x", "7", "0.5"),
        ("logistic growth", "M 1.1", P, "0.65*x - 0.013*x**2", "3.5", "80"),
        ("strong Allee effect", "S 2.3", P, "-0.7*x + 0.11*x**2 - 0.0025*x**3", "9.5", "40"),
        ("fall with drag", "S 2.2", P, "9.81 - 0.021*x**2", "1", "35"),
        ("bistable reaction (Schloegl)", "M 6", P, "0.35 - 1.8*x + 2.1*x**2 - 0.6*x**3",
         "0.95", "2.6"),
        ("constant harvest", "E 4", P, "-0.9 + 0.85*x - 0.09*x**2", "1.6", "12"),
        ("subcritical pitchfork", "S 3.4", P, "0.15*x + 1.2*x**3 - 0.8*x**5", "0.25", "-1.7"),
        ("radiative cooling", "J 1", P, "0.3 - 0.03*x**4", "3.2", "0.4"),
        ("saturating harvest", "S 3.7.4", R, "0.8*x - 0.1*x**2 - 1.1*x/(0.7 + x)", "3.2", "7.5"),
        ("spruce budworm", "S 3.7", R, "0.52*x*(1 - x/17.5) - x**2/(1 + x**2)", "5", "16.5"),
        ("gene switch", "S 3.7.5", R, "0.04 - 0.42*x + x**2/(1 + x**2)", "3.6", "0.75"),
        ("Michaelis-Menten elimination", "M 6.1", R, "-1.15*x/(0.8 + x)", "6", "2.5"),
        ("Gompertz growth", "E 6.1", T, "1.6*x - 0.4*x*log(x)", "2", "85"),
        ("overdamped pendulum", "S 4.4", T, "0.55 - 0.95*sin(x)", "-2.2", "2.2"),
        ("bead on a hoop, overdamped", "S 3.5", T, "1.9*sin(x)*cos(x) - 1.1*sin(x)", "0.15",
         "2.6"),
        ("Kermack-McKendrick", "S 3.7.6", T, "1.05 - 0.3*x - exp(-x)", "0.4", "5"),
        ("von Bertalanffy growth", "E 6", T, "1.9*x**(2/3) - 0.55*x", "1.5", "60"),
        ("draining tank", "J 1", T, "0.5 - 0.62*sqrt(x)", "11", "4"),
        # Two states.
        ("damped oscillator", "S 5.1", P, "y; -1.9*x - 0.25*y", "1.6 0", "-0.5 1.5"),
        ("Lotka-Volterra", "M 3.1", P, "1.3*x - 0.55*x*y; 0.28*x*y - 0.9*y", "2.5 1.2", "5 3"),
        ("rabbits and sheep", "S 6.4", P, "3*x - x**2 - 2*x*y; 2*y - x*y - y**2", "0.3 0.25",
         "2.2 1.6"),
        ("van der Pol", "S 7.1", P, "y; 1.2*y - 1.2*x**2*y - x", "0.8 0", "-2.5 1"),
        ("double well, damped", "S 12.5", P, "y; 1.1*x - 0.9*x**3 - 0.15*y", "0.2 1.1",
         "-1.9 0.4"),
        ("FitzHugh-Nagumo", "M 7.5", P, "x - 0.3333*x**3 - y + 0.6; 0.3*x - 0.24*y + 0.21",
         "-1.2 -0.4", "1.5 1.2"),
        ("Brusselator", "S 8.3", P, "1.1 - 3.6*x + x**2*y; 2.6*x - x**2*y", "0.7 2.8", "2 1"),
        ("glycolysis (Selkov)", "S 7.3", P, "-x + 0.09*y + x**2*y; 0.58 - 0.09*y - x**2*y",
         "0.4 1.9", "1.3 0.7"),
        ("SIR", "M 10.2", P, "-0.022*x*y; 0.022*x*y - 0.55*y", "95 2", "60 8"),
        ("predator-prey, limited prey", "E 6.2", P, "1.2*x - 0.12*x**2 - 0.5*x*y; -0.7*y + 0.2*x*y",
         "2 1", "7 0.6"),
        ("limit cycle by a Hopf bifurcation", "S 8.2", P,
         "0.6*x - 1.7*y - x**3 - x*y**2; 1.7*x + 0.6*y - x**2*y - y**3", "0.1 0.1", "1.4 0.5"),
        ("dipole fixed point", "S 6.8", P, "2*x*y; y**2 - x**2", "0.9 -0.4", "1.2 -0.9"),
        ("predator-prey, saturated predators", "M 3.3", R,
         "1.1*x - 0.22*x**2 - x*y/(0.6 + x); -0.3*y + 0.65*x*y/(0.6 + x)", "1.5 0.5", "3.5 1.2"),
        ("chlorine dioxide and iodine", "S 8.3", R,
         "8.5 - x - 4*x*y/(1 + x**2); 1.6*x - 1.6*x*y/(1 + x**2)", "1 3", "3 7"),
        ("toggle switch", "M 6", R, "2.6/(1 + y**2) - 0.9*x; 2.2/(1 + x**2) - 0.9*y", "0.6 1.1",
         "2.4 2.2"),
        ("pendulum, damped", "S 6.7", T, "y; -1.7*sin(x) - 0.2*y", "2.6 0", "-1.2 1.5"),
        ("Josephson junction", "S 8.5", T, "y; 0.8 - sin(x) - 0.5*y", "-1.4 0.3", "1.5 1.2"),
        ("glider", "S 6.5", T, "-sin(y) - 0.25*x**2; x - cos(y)/x", "2.4 0.4", "0.9 -0.6"),
        ("Morse oscillator", "J 2", T, "y; 1.5*exp(-2*x) - 1.5*exp(-x) - 0.12*y", "1.1 0",
         "-0.4 0.2"),
        ("predator-prey (Ivlev)", "M 3.3", T,
         "1.2*x - 0.2*x**2 - y*(1 - exp(-0.8*x)); -0.5*y + 0.8*y*(1 - exp(-0.8*x))", "2.5 0.8",
         "4.5 1.8"),
        ("excitation and inhibition", "M 7", T,
         "-x + tanh(2.4*x - 2.0*y); -0.6*y + 0.6*tanh(2.6*x)", "0.4 0", "-0.6 0.5"),
        # Three states.
        ("Lorenz", "S 9", P, "10*(y - x); 28*x - y - x*z; x*y - 2.6667*z", "2 3 15", "-6 -7 22"),
        ("Roessler", "S 12.3", P, "-y - z; x + 0.2*y; 0.2 + x*z - 5.7*z", "3 -4 0.3", "-5 2 0.1"),
        ("rigid body", "J 8", P, "0.7*y*z; -1.2*x*z; 0.45*x*y", "1.1 0.3 0.9", "0.5 1.3 -0.4"),
        ("virus in the body", "M 10", P, "1 - 0.12*x - 0.15*x*z; 0.15*x*z - 0.6*y; 2.5*y - 1.9*z",
         "8 0.2 0.4", "4 1.5 2"),
        ("SEIR", "M 10", P, "-0.9*x*z; 0.9*x*z - 0.8*y; 0.8*y - 0.35*z", "2.2 0.1 0.15",
         "1.5 0.5 0.4"),
        ("cyclic competition (May-Leonard)", "M 3.5", P,
         "x - x**2 - 0.8*x*y - 1.5*x*z; y - y**2 - 0.8*y*z - 1.5*x*y; z - z**2 - 0.8*x*z - 1.5*y*z",
         "0.7 0.2 0.15", "0.1 0.6 0.4"),
        ("repressilator", "M 7", R,
         "3.2/(1 + z**3) - 0.8*x; 3.2/(1 + x**3) - 0.8*y; 3.2/(1 + y**3) - 0.8*z", "1.5 0.6 0.3",
         "0.4 2 1.2"),
        ("cyclic sine flow (Thomas)", "S 9", T,
         "sin(y) - 0.2*x; sin(z) - 0.2*y; sin(x) - 0.2*z", "1.1 -0.6 2", "-1.5 2.2 0.5"),
        # Four states.
        ("Henon-Heiles", "J 8", P, "z; w; -x - 2*x*y; -y - x**2 + y**2", "0.3 -0.1 0.1 0.35",
         "-0.2 0.3 0.3 0.1"),
        ("two pendulums with a spring", "J 8", T,
         "z; w; -1.4*sin(x) - 0.5*x + 0.5*y; -1.4*sin(y) + 0.5*x - 0.5*y", "1.9 -0.3 0 0.6",
         "0.5 1.4 0.3 -0.4"),
    ]
)  # fmt: skip


def half(which: Half) -> tuple[TextbookSystem, ...]:
    """One half: the first, third ... of the list, which is in order of dimension and kind."""
    return SYSTEMS[0 if which == "development" else 1 :: 2]
