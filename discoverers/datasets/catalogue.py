"""Textbook systems: their equations, the usual parameters, and where they come from.

Every function takes the parameters as keyword arguments and returns a `System`; `t` and `x0` of the
result are a setting that shows what the system does. Time is in the system's own unit.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import sympy

from discoverers.datasets.system import System, make_system


def lorenz(*, sigma: float = 10.0, rho: float = 28.0, beta: float = 8.0 / 3.0) -> System:
    """Lorenz's model of convection, chaotic, in the setting of the S-MNN paper.

    10,000 steps of 0.01 from (1, 1, 1). The paper integrates with ``scipy.integrate.odeint``:
    ``generate(lorenz(), method="odeint")`` is its record.

    Parameters
    ----------
    sigma : float, default=10.0
        Prandtl number.
    rho : float, default=28.0
        Rayleigh number, relative to its critical value.
    beta : float, default=8/3
        Geometric factor.

    Returns
    -------
    System
        States x, y, z.

    Examples
    --------
    >>> from discoverers.datasets import lorenz
    >>> lorenz().t.size
    10000
    """
    x, y, z, s, r, b = sympy.symbols("x y z sigma rho beta")
    return make_system(
        "lorenz",
        {"x": s * (y - x), "y": x * (r - z) - y, "z": x * y - b * z},
        t=0.01 * np.arange(10_000),
        x0=[1.0, 1.0, 1.0],
        parameters={"sigma": sigma, "rho": rho, "beta": beta},
        source="Lorenz 1963, J. Atmos. Sci. 20:130; setting of Chen et al., S-MNN, section 5.2",
    )


def rossler(*, a: float = 0.2, b: float = 0.2, c: float = 5.7) -> System:
    """Rössler's simplest chaotic flow.

    Parameters
    ----------
    a, b, c : float, default=0.2, 0.2, 5.7
        The parameters of the original paper.

    Returns
    -------
    System
        States x, y, z; 1000 samples of 0.05 from (1, 1, 1).

    Examples
    --------
    >>> from discoverers.datasets import rossler
    >>> rossler().state_names
    ('x', 'y', 'z')
    """
    x, y, z, a_, b_, c_ = sympy.symbols("x y z a b c")
    return make_system(
        "rossler",
        {"x": -y - z, "y": x + a_ * y, "z": b_ + z * (x - c_)},
        t=0.05 * np.arange(1000),
        x0=[1.0, 1.0, 1.0],
        parameters={"a": a, "b": b, "c": c},
        source="Rössler 1976, Phys. Lett. A 57:397",
    )


def lotka_volterra(
    *, alpha: float = 1.0, beta: float = 0.5, gamma: float = 1.0, delta: float = 0.25
) -> System:
    """Lotka and Volterra's prey x and predators y.

    Parameters
    ----------
    alpha : float, default=1.0
        Growth rate of the prey.
    beta : float, default=0.5
        Rate at which one predator takes prey.
    gamma : float, default=1.0
        Death rate of the predators.
    delta : float, default=0.25
        Rate at which prey turns into predators.

    Returns
    -------
    System
        States x, y; 1000 samples of 0.02 from (4, 4).

    Examples
    --------
    >>> from discoverers.datasets import lotka_volterra
    >>> lotka_volterra().parameters["delta"]
    0.25
    """
    x, y, a, b, c, d = sympy.symbols("x y alpha beta gamma delta")
    return make_system(
        "lotka_volterra",
        {"x": a * x - b * x * y, "y": d * x * y - c * y},
        t=0.02 * np.arange(1000),
        x0=[4.0, 4.0],
        parameters={"alpha": alpha, "beta": beta, "gamma": gamma, "delta": delta},
        source="Lotka 1925, Elements of Physical Biology; Volterra 1926, Nature 118:558",
    )


def van_der_pol(*, mu: float = 1.0) -> System:
    """Van der Pol's oscillator, written as two equations of first order.

    Parameters
    ----------
    mu : float, default=1.0
        Strength of the nonlinear damping.

    Returns
    -------
    System
        States x, y; 1000 samples of 0.02 from (0.5, 0).

    Examples
    --------
    >>> from discoverers.datasets import van_der_pol
    >>> van_der_pol().x0
    array([0.5, 0. ])
    """
    x, y, m = sympy.symbols("x y mu")
    return make_system(
        "van_der_pol",
        {"x": y, "y": m * (1 - x**2) * y - x},
        t=0.02 * np.arange(1000),
        x0=[0.5, 0.0],
        parameters={"mu": mu},
        source="van der Pol 1926, Phil. Mag. 2:978",
    )


def duffing(*, delta: float = 0.2, alpha: float = 1.0, beta: float = 1.0) -> System:
    """Duffing's oscillator, damped and without a driving force.

    Parameters
    ----------
    delta : float, default=0.2
        Damping.
    alpha : float, default=1.0
        Linear stiffness.
    beta : float, default=1.0
        Cubic stiffness.

    Returns
    -------
    System
        States x, y; 1000 samples of 0.02 from (2, 0).

    Examples
    --------
    >>> from discoverers.datasets import duffing
    >>> duffing().state_names
    ('x', 'y')
    """
    x, y, d, a, b = sympy.symbols("x y delta alpha beta")
    return make_system(
        "duffing",
        {"x": y, "y": -d * y - a * x - b * x**3},
        t=0.02 * np.arange(1000),
        x0=[2.0, 0.0],
        parameters={"delta": delta, "alpha": alpha, "beta": beta},
        source="Duffing 1918, Erzwungene Schwingungen bei veränderlicher Eigenfrequenz",
    )


def pendulum(*, damping: float = 0.1, stiffness: float = 1.0) -> System:
    """Pendulum with large swings: its restoring force is the sine of the angle.

    Parameters
    ----------
    damping : float, default=0.1
        Friction, per unit of time.
    stiffness : float, default=1.0
        Gravity divided by length.

    Returns
    -------
    System
        States theta (radian), omega (radian per unit of time); 1000 samples of 0.02 from (2.5, 0).

    Examples
    --------
    >>> from discoverers.datasets import pendulum
    >>> pendulum().equations["omega"]
    -0.1*omega - 1.0*sin(theta)
    """
    theta, omega, b, k = sympy.symbols("theta omega damping stiffness")
    return make_system(
        "pendulum",
        {"theta": omega, "omega": -b * omega - k * sympy.sin(theta)},
        t=0.02 * np.arange(1000),
        x0=[2.5, 0.0],
        parameters={"damping": damping, "stiffness": stiffness},
        source="Strogatz 2015, Nonlinear Dynamics and Chaos, section 6.7",
    )


def logistic(*, rate: float = 1.0, capacity: float = 1.0) -> System:
    """Verhulst's logistic growth.

    The solution from x0 is ``K / (1 + (K / x0 - 1) exp(-r t))``.

    Parameters
    ----------
    rate : float, default=1.0
        Growth rate r of a small population.
    capacity : float, default=1.0
        Population K at which growth ends.

    Returns
    -------
    System
        State x; 1000 samples of 0.01 from 0.05 of the capacity.

    Examples
    --------
    >>> from discoverers.datasets import logistic
    >>> logistic().equations
    x' = 1.0 x - 1.0 x^2
    """
    x, r, k = sympy.symbols("x rate capacity")
    return make_system(
        "logistic",
        {"x": r * x * (1 - x / k)},
        t=0.01 * np.arange(1000),
        x0=[0.05 * capacity],
        parameters={"rate": rate, "capacity": capacity},
        source="Verhulst 1838, Corresp. Math. Phys. 10:113",
    )


def sir(*, beta: float = 0.5, gamma: float = 0.1) -> System:
    """Kermack and McKendrick's epidemic: shares s susceptible and i infected.

    Parameters
    ----------
    beta : float, default=0.5
        Contacts that infect, per day.
    gamma : float, default=0.1
        Recovery rate, per day.

    Returns
    -------
    System
        States s, i; 1000 samples of 0.06 days from (0.99, 0.01).

    Examples
    --------
    >>> from discoverers.datasets import sir
    >>> sir().equations["s"]
    -0.5*i*s
    """
    s, i, b, g = sympy.symbols("s i beta gamma")
    return make_system(
        "sir",
        {"s": -b * s * i, "i": b * s * i - g * i},
        t=0.06 * np.arange(1000),
        x0=[0.99, 0.01],
        parameters={"beta": beta, "gamma": gamma},
        source="Kermack & McKendrick 1927, Proc. R. Soc. A 115:700",
    )


def brusselator(*, a: float = 1.0, b: float = 3.0) -> System:
    """Prigogine and Lefever's chemical oscillator.

    Parameters
    ----------
    a, b : float, default=1.0, 3.0
        Concentrations that are kept constant; it oscillates for ``b > 1 + a**2``.

    Returns
    -------
    System
        States x, y; 1000 samples of 0.02 from (1, 1).

    Examples
    --------
    >>> from discoverers.datasets import brusselator
    >>> brusselator().parameters["b"]
    3.0
    """
    x, y, a_, b_ = sympy.symbols("x y a b")
    return make_system(
        "brusselator",
        {"x": a_ - (b_ + 1) * x + x**2 * y, "y": b_ * x - x**2 * y},
        t=0.02 * np.arange(1000),
        x0=[1.0, 1.0],
        parameters={"a": a, "b": b},
        source="Prigogine & Lefever 1968, J. Chem. Phys. 48:1695",
    )


def selkov(*, a: float = 0.08, b: float = 0.6) -> System:
    """Sel'kov's model of glycolysis.

    Parameters
    ----------
    a, b : float, default=0.08, 0.6
        Rate of the slow reaction and supply; these lie on the limit cycle of Strogatz's book.

    Returns
    -------
    System
        States x (ADP), y (F6P); 1000 samples of 0.05 from (1, 1).

    Examples
    --------
    >>> from discoverers.datasets import selkov
    >>> selkov().step
    0.05
    """
    x, y, a_, b_ = sympy.symbols("x y a b")
    return make_system(
        "selkov",
        {"x": -x + a_ * y + x**2 * y, "y": b_ - a_ * y - x**2 * y},
        t=0.05 * np.arange(1000),
        x0=[1.0, 1.0],
        parameters={"a": a, "b": b},
        source="Sel'kov 1968, Eur. J. Biochem. 4:79; Strogatz 2015, section 7.3",
    )


def fitzhugh_nagumo(
    *, a: float = 0.7, b: float = 0.8, tau: float = 12.5, current: float = 0.5
) -> System:
    """FitzHugh and Nagumo's model of a firing nerve: voltage v and recovery w.

    Parameters
    ----------
    a, b : float, default=0.7, 0.8
        Offset and slope of the recovery.
    tau : float, default=12.5
        Time scale of the recovery relative to the voltage's.
    current : float, default=0.5
        Current into the nerve.

    Returns
    -------
    System
        States v, w; 1000 samples of 0.1 from (-1, 1).

    Examples
    --------
    >>> from discoverers.datasets import fitzhugh_nagumo
    >>> fitzhugh_nagumo().state_names
    ('v', 'w')
    """
    v, w, a_, b_, t_, c_ = sympy.symbols("v w a b tau current")
    return make_system(
        "fitzhugh_nagumo",
        {"v": v - v**3 / 3 - w + c_, "w": (v + a_ - b_ * w) / t_},
        t=0.1 * np.arange(1000),
        x0=[-1.0, 1.0],
        parameters={"a": a, "b": b, "tau": tau, "current": current},
        source="FitzHugh 1961, Biophys. J. 1:445; Nagumo et al. 1962, Proc. IRE 50:2061",
    )


SYSTEMS: Mapping[str, Callable[..., System]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            lorenz,
            rossler,
            lotka_volterra,
            van_der_pol,
            duffing,
            pendulum,
            logistic,
            sir,
            brusselator,
            selkov,
            fitzhugh_nagumo,
        )
    }
)
"""All systems of the catalogue, by name."""
