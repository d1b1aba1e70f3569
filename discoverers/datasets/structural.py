"""Forced oscillators and chains as the literature on structural dynamics sets them.

Every function takes the parameters as keyword arguments and returns a `ForcedSystem`; `observe`
samples it. Displacements are x, velocities v, accelerations a, the known force u (per unit of
mass), hysteretic forces z. Units are those of the sources, mostly none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.datasets.forced import ForcedSystem, Tones, make_forced_system

__all__ = [
    "bouc_wen",
    "dahl",
    "duffing_forced",
    "mass_chain",
    "maxwell",
    "van_der_pol_forced",
]

_X, _V, _Z, _U = sympy.symbols("x v z u")
_K, _C = sympy.symbols("k c")

# Two tones that never meet again within a record: the amplitude swells and falls, so that loops of
# many sizes are passed through.
_FREQUENCIES = (0.9, 2.3)


def duffing_forced(
    *,
    stiffness: float = 1.5,
    damping: float = 0.1,
    cubic: float = 10.0,
    amplitude: float = 1.0,
) -> ForcedSystem:
    """Duffing's oscillator under a sine, in the setting of the SKANODE paper.

    ``x'' = -1.5 x - 0.1 x' - 10 x^3 + sin(pi t)`` from rest, 10 samples a unit of time for 60
    units, the first 20 for training. The paper's own record was made by MATLAB's ode45:
    ``observe(duffing_forced(), integrator="ode45")``.

    Parameters
    ----------
    stiffness, damping, cubic : float, default=1.5, 0.1, 10.0
        Coefficients of -x, -x' and -x^3.
    amplitude : float, default=1.0
        Amplitude of the force.

    Returns
    -------
    ForcedSystem
        States x, v.

    Examples
    --------
    >>> from discoverers.datasets import duffing_forced
    >>> duffing_forced().equations["v"]
    u - 0.1*v - 10.0*x**3 - 1.5*x
    """
    k3 = sympy.Symbol("k3")
    return make_forced_system(
        "duffing_forced",
        {"x": _V, "v": -_K * _X - _C * _V - k3 * _X**3 + _U},
        force=Tones((amplitude,), (math.pi,)),
        parameters={"k": stiffness, "c": damping, "k3": cubic},
        source="Liu et al., SKANODE, section 4.1; Duffing 1918",
    )


def van_der_pol_forced(*, mu: float = 1.0, amplitude: float = 1.0) -> ForcedSystem:
    """Van der Pol's oscillator under a sine.

    ``x'' = mu (1 - x^2) x' - x + sin(pi t)`` from rest, sampled as `duffing_forced`.

    Parameters
    ----------
    mu : float, default=1.0
        Strength of the nonlinear damping.
    amplitude : float, default=1.0
        Amplitude of the force.

    Returns
    -------
    ForcedSystem
        States x, v.

    Examples
    --------
    >>> from discoverers.datasets import van_der_pol_forced
    >>> van_der_pol_forced(mu=0.5).equations["v"]
    u - 0.5*v*x**2 + 0.5*v - x
    """
    m = sympy.Symbol("mu")
    return make_forced_system(
        "van_der_pol_forced",
        {"x": _V, "v": m * (1 - _X**2) * _V - _X + _U},
        force=Tones((amplitude,), (math.pi,)),
        parameters={"mu": mu},
        source="Liu et al., SKANODE, section 4.2; van der Pol 1926, Phil. Mag. 2:978",
    )


def bouc_wen(
    *,
    stiffness: float = 1.0,
    damping: float = 0.1,
    rate: float = 1.0,
    beta: float = 0.5,
    gamma: float = 0.5,
    exponent: int = 1,
    amplitude: float = 1.0,
) -> ForcedSystem:
    """Oscillator with Bouc and Wen's hysteretic force z.

    ``x'' = -k x - c x' - z + u`` and ``z' = A x' - beta |x'| |z|^(n-1) z - gamma x' |z|^n``, so
    that z saturates at ``(A / (beta + gamma))^(1/n)``. The default is the softening loop with
    saturation 1 of the textbooks, A = 1, beta = gamma = 1/2, n = 1.

    Parameters
    ----------
    stiffness, damping : float, default=1.0, 0.1
        Of the elastic spring and the viscous damper beside the hysteretic one.
    rate : float, default=1.0
        A, the stiffness of the hysteretic spring near z = 0.
    beta, gamma : float, default=0.5, 0.5
        Shape of the loop.
    exponent : int, default=1
        n: the larger, the sharper the change from elastic to plastic.
    amplitude : float, default=1.0
        Amplitude of each of the two tones of the force.

    Returns
    -------
    ForcedSystem
        States x, v, z.

    Raises
    ------
    ValueError
        If `exponent` is no integer of at least 1.

    Examples
    --------
    >>> from discoverers.datasets import bouc_wen
    >>> bouc_wen().equations["z"]
    -0.5*v*Abs(z) + 1.0*v - 0.5*z*Abs(v)
    """
    if exponent < 1 or exponent != int(exponent):
        raise ValueError(f"exponent={exponent!r}: an integer of at least 1 is needed")
    A, b, g = sympy.symbols("A beta gamma")
    n = int(exponent)
    power = sympy.Abs(_Z) ** n if n % 2 else _Z**n
    loop = sympy.Abs(_V) * (_Z**n if n % 2 else sympy.Abs(_Z) ** (n - 1) * _Z)
    return _hysteretic(
        "bouc_wen",
        A * _V - b * loop - g * _V * power,
        stiffness,
        damping,
        {"A": rate, "beta": beta, "gamma": gamma},
        amplitude,
        "Wen 1976, J. Eng. Mech. Div. ASCE 102:249; Ismail et al. 2009, "
        "Arch. Comput. Methods Eng. 16:161",
    )


def dahl(
    *,
    stiffness: float = 1.0,
    damping: float = 0.1,
    rate: float = 2.0,
    limit: float = 0.5,
    amplitude: float = 1.0,
) -> ForcedSystem:
    """Oscillator with Dahl's friction force z.

    ``x'' = -k x - c x' - z + u`` and ``z' = sigma (x' - |x'| z / F)``: an elastic contact of
    stiffness sigma whose force never exceeds F.

    Parameters
    ----------
    stiffness, damping : float, default=1.0, 0.1
        Of the elastic spring and the viscous damper beside the contact.
    rate : float, default=2.0
        sigma, stiffness of the contact.
    limit : float, default=0.5
        F, the force of full sliding.
    amplitude : float, default=1.0
        Amplitude of each of the two tones of the force.

    Returns
    -------
    ForcedSystem
        States x, v, z.

    Examples
    --------
    >>> from discoverers.datasets import dahl
    >>> dahl().equations["z"]
    2.0*v - 4.0*z*Abs(v)
    """
    sigma, limit_ = sympy.symbols("sigma F")
    return _hysteretic(
        "dahl",
        sigma * (_V - sympy.Abs(_V) * _Z / limit_),
        stiffness,
        damping,
        {"sigma": rate, "F": limit},
        amplitude,
        "Dahl 1976, AIAA Journal 14:1675",
    )


def maxwell(
    *,
    stiffness: float = 1.0,
    damping: float = 0.1,
    rate: float = 1.0,
    relaxation: float = 1.0,
    amplitude: float = 1.0,
) -> ForcedSystem:
    """Oscillator with Maxwell's viscoelastic force z, a spring and a dashpot in series.

    ``x'' = -k x - c x' - z + u`` and ``z' = k1 x' - z / tau``. It is linear.

    Parameters
    ----------
    stiffness, damping : float, default=1.0, 0.1
        Of the spring and the damper beside the Maxwell element.
    rate : float, default=1.0
        k1, stiffness of the element's spring.
    relaxation : float, default=1.0
        tau, time in which the element's force relaxes.
    amplitude : float, default=1.0
        Amplitude of each of the two tones of the force.

    Returns
    -------
    ForcedSystem
        States x, v, z.

    Examples
    --------
    >>> from discoverers.datasets import maxwell
    >>> maxwell(relaxation=0.5).equations["z"]
    1.0*v - 2.0*z
    """
    k1, tau = sympy.symbols("k1 tau")
    return _hysteretic(
        "maxwell",
        k1 * _V - _Z / tau,
        stiffness,
        damping,
        {"k1": rate, "tau": relaxation},
        amplitude,
        "Maxwell 1867, Phil. Trans. R. Soc. 157:49",
    )


def _hysteretic(
    name: str,
    rate: sympy.Expr,
    stiffness: float,
    damping: float,
    parameters: dict[str, float],
    amplitude: float,
    source: str,
) -> ForcedSystem:
    """Mass, spring and damper beside a force z with its own rate."""
    return make_forced_system(
        name,
        {"x": _V, "v": -_K * _X - _C * _V - _Z + _U, "z": rate},
        force=Tones((amplitude, amplitude), _FREQUENCIES),
        parameters={"k": stiffness, "c": damping, **parameters},
        source=source,
    )


def mass_chain(
    n_dof: int = 3,
    *,
    masses: float | Sequence[float] = 1.0,
    stiffness: float | Sequence[float] = 10.0,
    damping: float | Sequence[float] = 0.1,
    cubic: float = 10.0,
    cubic_at: int | None = 1,
    force_at: int = -1,
    amplitude: float = 1.0,
) -> ForcedSystem:
    """Masses in a row, each held by a spring and a damper to the one before it.

    Element i joins mass i to mass i - 1, element 1 joins mass 1 to the ground; the last mass is
    free. One element may have a cubic spring as well. Forces of an element act on both its ends,
    equal and opposite.

    Parameters
    ----------
    n_dof : int, default=3
        Number d of masses.
    masses, stiffness, damping : float or sequence of d floats, default=1.0, 10.0, 0.1
        Of each mass and of each element.
    cubic : float, default=10.0
        Coefficient of the cube of the elongation.
    cubic_at : int or None, default=1
        Element with the cubic spring, counted from the ground; None for a linear chain.
    force_at : int, default=-1
        Mass that the force acts on, counted from 1 at the ground, or -1 for the last.
    amplitude : float, default=1.0
        Amplitude of each of the force's three tones, which lie between the first and the third
        natural frequency of the default chain.

    Returns
    -------
    ForcedSystem
        States x1, ..., xd, v1, ..., vd, sampled 20 times a unit of time; x and v for one mass.

    Raises
    ------
    ValueError
        If a number of masses, a place or a length is out of range.

    Examples
    --------
    >>> from discoverers.datasets import mass_chain
    >>> chain = mass_chain(2, damping=0.0, cubic_at=2)
    >>> chain.state_names, chain.accelerations
    (('x1', 'x2', 'v1', 'v2'), ('a1', 'a2'))
    >>> mass_chain(2, damping=0.0, cubic_at=None).equations["v1"]
    -20.0*x1 + 10.0*x2
    """
    if n_dof < 1:
        raise ValueError(f"n_dof={n_dof!r}: at least one mass is needed")
    if cubic_at is not None and not 1 <= cubic_at <= n_dof:
        raise ValueError(f"cubic_at={cubic_at!r}: elements are numbered 1 to {n_dof}; or give None")
    if force_at != -1 and not 1 <= force_at <= n_dof:
        raise ValueError(f"force_at={force_at!r}: masses are numbered 1 to {n_dof}; -1 is the last")
    numbers = [""] if n_dof == 1 else [str(i + 1) for i in range(n_dof)]
    x = [sympy.Symbol(f"x{number}") for number in numbers]
    v = [sympy.Symbol(f"v{number}") for number in numbers]
    m = _each(masses, n_dof, "masses")
    k = _each(stiffness, n_dof, "stiffness")
    c = _each(damping, n_dof, "damping")
    forces = [sympy.Integer(0)] * n_dof
    for i in range(n_dof):
        stretch = x[i] - (x[i - 1] if i else 0)
        force = k[i] * stretch + c[i] * (v[i] - (v[i - 1] if i else 0))
        if cubic_at == i + 1:
            force += cubic * stretch**3
        forces[i] -= force
        if i:
            forces[i - 1] += force
    forces[force_at - 1 if force_at > 0 else -1] += _U
    named = {"masses": m, "stiffness": k, "damping": c}
    parameters = {
        f"{key}{n}": value for key, row in named.items() for n, value in enumerate(row, 1)
    }
    return make_forced_system(
        "mass_chain",
        {
            **{str(xi): vi for xi, vi in zip(x, v, strict=True)},
            **{str(vi): force / mi for vi, force, mi in zip(v, forces, m, strict=True)},
        },
        force=Tones((amplitude,) * 3, (1.7, 3.3, 5.1)),
        parameters={**parameters, "cubic": 0.0 if cubic_at is None else cubic},
        source="Worden & Tomlinson 2001, Nonlinearity in Structural Dynamics, section 3.12",
        n_dof=n_dof,
        step=0.05,
        duration=40.0,
    )


def _each(value: float | Sequence[float], count: int, argument: str) -> NDArray[np.float64]:
    values = np.asarray(value, dtype=float)
    if values.ndim == 0:
        values = np.full(count, float(values))
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ValueError(f"{argument}={value!r}: one finite number or {count} of them are needed")
    return values
