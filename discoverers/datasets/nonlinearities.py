"""The classical nonlinearities of one mass: stiffness and damping laws, one function for all."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import sympy

from discoverers.datasets.forced import ForcedSystem, Tones, make_forced_system

__all__ = ["NONLINEARITIES", "nonlinear_oscillator"]

_X, _V, _U = sympy.symbols("x v u")
_K, _C, _E, _GAP = sympy.symbols("k c e gap")

# Force in a clearance: nothing within the gap, e times the penetration beyond it.
_CLEARANCE = _E * (_X - (sympy.Abs(_X + _GAP) - sympy.Abs(_X - _GAP)) / 2)

# Acceleration without the input, and the parameters. The amplitudes of the responses are such that
# each law leaves its linear range.
_LAWS: Mapping[str, tuple[sympy.Expr, Mapping[str, float]]] = MappingProxyType(
    {
        "cubic": (-_K * _X - _C * _V - _E * _X**3, {"k": 1.0, "c": 0.1, "e": 1.0}),
        "quadratic": (-_K * _X - _C * _V - _E * _X**2, {"k": 3.0, "c": 0.1, "e": 0.5}),
        "signed_square": (
            -_K * _X - _C * _V - _E * sympy.Abs(_X) * _X,
            {"k": 1.0, "c": 0.1, "e": 1.0},
        ),
        "quadratic_damping": (
            -_K * _X - _C * _V - _E * sympy.Abs(_V) * _V,
            {"k": 1.0, "c": 0.1, "e": 0.3},
        ),
        "sine": (-_C * _V - _E * sympy.sin(_X), {"c": 0.2, "e": 4.0}),
        "tanh": (-_C * _V - _E * sympy.tanh(_X), {"c": 0.2, "e": 3.0}),
        "coulomb": (
            -_K * _X - _C * _V - _E * sympy.sign(_V),
            {"k": 2.0, "c": 0.1, "e": 0.3},
        ),
        "clearance": (
            -_K * _X - _C * _V - _CLEARANCE,
            {"k": 1.0, "c": 0.1, "e": 2.0, "gap": 0.5},
        ),
        "van_der_pol": (-_K * _X + _E * (1 - _X**2) * _V, {"k": 1.0, "e": 1.0}),
        "rayleigh": (-_K * _X + _E * (_V - _V**3 / 3), {"k": 1.0, "e": 1.0}),
    }
)

NONLINEARITIES: tuple[str, ...] = tuple(_LAWS)
"""Names of the laws: stiffness cubic, quadratic, signed square |x|x, sine, tanh and with a
clearance (piecewise linear); damping quadratic |v|v, dry (Coulomb), van der Pol's, Rayleigh's."""

_SOURCE = "Worden & Tomlinson 2001, Nonlinearity in Structural Dynamics, section 2.2"


def nonlinear_oscillator(law: str, *, amplitude: float = 1.0, **parameters: float) -> ForcedSystem:
    """One mass with one of the classical nonlinearities, under two tones.

    Parameters
    ----------
    law : str
        One of `NONLINEARITIES`.
    amplitude : float, default=1.0
        Amplitude of each of the force's two tones. A law shows itself only where the response
        reaches: several amplitudes tell laws apart that one does not. At the default, displacements
        reach 1 to 3; beyond 1.5 the pendulum of the law "sine" may turn over, and then its motion
        is chaotic.
    **parameters : float
        Other values than the law's own: k (stiffness), c (damping), e (strength of the
        nonlinearity) and gap (half the clearance), as far as the law has them.

    Returns
    -------
    ForcedSystem
        States x, v; 10 samples a unit of time for 60 units from rest, the first 20 for training.

    Raises
    ------
    ValueError
        If the law, or a parameter of it, is not known.

    Examples
    --------
    >>> from discoverers.datasets import nonlinear_oscillator
    >>> nonlinear_oscillator("coulomb", e=0.5).equations["v"]
    u - 0.1*v - 2.0*x - 0.5*sign(v)
    """
    if law not in _LAWS:
        raise ValueError(f"law={law!r} is not known; use one of {', '.join(NONLINEARITIES)}")
    acceleration, usual = _LAWS[law]
    unknown = sorted(set(parameters) - set(usual))
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)}: the law {law!r} has the parameters {', '.join(usual)}"
        )
    return make_forced_system(
        law,
        {"x": _V, "v": acceleration + _U},
        force=Tones((amplitude, amplitude), (0.9, 2.3)),
        parameters={**usual, **parameters},
        source=_SOURCE,
    )
