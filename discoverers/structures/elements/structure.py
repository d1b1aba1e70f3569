"""Several masses on a line, and the elements that join them to each other and to the ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import sympy
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from discoverers.expressions import parse_expression
from discoverers.libraries import resolve_library
from discoverers.structures.base import Data, Options, StructuralFit, Structure

from .driving import BASE, read_force_on

__all__ = ["ElementStructure"]

Array = NDArray[np.float64]

LAWS = ("d", "w", "d**2", "d**3", "d*Abs(d)", "w*Abs(w)", "sign(w)")
"""Springs (linear, quadratic, cubic, odd quadratic), dampers (linear, quadratic), dry friction."""


class ElementStructure(Structure):
    """Masses on a line with unknown elements: which ones there are, how strong, and the masses.

    Every two masses, and every mass and the ground, may be joined by elements: springs, dampers,
    nonlinear springs, friction. An element pulls at both its ends with equal and opposite forces.
    A few accelerometers are enough: the motion of masses without one comes out as well.

    Parameters
    ----------
    n_dof : int or None, default=None
        Number d of masses; None has one per channel.
    force_on : int, "base", sequence of these or None, default=None
        Number of the mass, counted from 1, that each input acts on, as a force in the unit of
        mass times acceleration; None lets the first input act on mass 1, the second on mass 2.
        "base" says that an input is the acceleration of the ground (a shaking table, an
        earthquake): see the notes.
    masses : array-like of shape (d,) or None, default=None
        Known masses, NaN for unknown ones; None knows none. Without a known force (no input, or
        the ground's acceleration only) one must be known, for else forces and masses have no
        scale; ``[1, nan]`` gives all in units of the first mass.
    laws : sequence of str or "auto", default="auto"
        Candidate laws of elements in the elongation d and its rate w; "auto" has ``d``, ``w``,
        ``d**2``, ``d**3``, ``d*Abs(d)``, ``w*Abs(w)`` and ``sign(w)``. A `library` of the estimator
        other than "auto", bound to d and w, takes their place.
    connections : sequence of pairs of int or "all", default="all"
        Which masses elements may join; 0 is the ground.

    Notes
    -----
    States are x1, ..., xd and v1, ..., vd (x and v for one mass). `max_terms` of the estimator is
    the largest number of elements; terms that are `required` or `forbidden` are forces of elements
    in the states, as ``"x1"``, ``"x2 - x1"`` or ``"(x2 - x1)**3"``. The strength of a required
    element is estimated: its coefficient cannot be given.

    The fit has two attributes more: ``elements_``, a table of the elements with their strengths
    and standard errors, and ``masses_``.

    With ``force_on="base"`` positions and velocities are relative to the ground: elements at the
    ground act on these, and every law has minus the input, ``v1' = ... - u0``. Say of each sensor
    which it measures: ``"acceleration 1"`` is relative to the ground, and an accelerometer, which
    feels the ground's acceleration too, is ``"v1' + u0"``.

    Masses are taken to be of similar size, within a factor of about two, until the data say
    otherwise. This decides between structures that no data can tell apart: stretching the motion
    of a mass that neither is measured nor carries the known force changes it into another mass
    with other elements.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers import SKANODERegressor
    >>> from discoverers.datasets import mass_chain, observe
    >>> from discoverers.structures import ElementStructure
    >>> record = observe(mass_chain(2, force_at=1), noise=0.01, seed=0).training()
    >>> structure = ElementStructure(force_on=1, laws=("d", "w", "d**3"))
    >>> model = SKANODERegressor(structure, initial_state="rest")
    >>> model.fit(record.t, record.y, u=record.u).elements_[["ends", "law"]].values.tolist()
    [['ground-1', 'd'], ['ground-1', 'w'], ['ground-1', 'd**3'], ['1-2', 'd'], ['1-2', 'w']]
    >>> bool(np.allclose(model.masses_["mass"], 1.0, rtol=0.01))
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_dof": [Interval(Integral, 1, None, closed="left"), None],
        "force_on": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"base"}),
            "array-like",
            None,
        ],
        "masses": ["array-like", None],
        "laws": [StrOptions({"auto"}), list, tuple],
        "connections": [StrOptions({"all"}), list, tuple],
    }

    def __init__(
        self,
        n_dof: int | None = None,
        *,
        force_on: int | str | Sequence[int | str] | None = None,
        masses: ArrayLike | None = None,
        laws: str | Sequence[str] = "auto",
        connections: str | Sequence[tuple[int, int]] = "all",
    ) -> None:
        self.n_dof = n_dof
        self.force_on = force_on
        self.masses = masses
        self.laws = laws
        self.connections = connections

    def state_names(
        self, channel_names: Sequence[str], input_names: Sequence[str]
    ) -> tuple[str, ...]:
        """Positions, then velocities."""
        d = self.n_dof or len(channel_names)
        driven = read_force_on(self.force_on, d, len(input_names))
        masses = self._masses(d)
        if all(mass == BASE for mass in driven) and np.isnan(masses).all():
            raise ValueError(
                "Without a known force the scale of forces and masses is open"
                + (", and the ground's acceleration is none" if driven else "")
                + ": pass the force as u, or one of the masses as masses=[...] (NaN for unknown "
                "ones; 1 for one of them gives all in its unit)."
            )
        self._pairs(d)
        numbers = [""] if d == 1 else [str(i + 1) for i in range(d)]
        return (*(f"x{number}" for number in numbers), *(f"v{number}" for number in numbers))

    def quantities(
        self, channel_names: Sequence[str], input_names: Sequence[str]
    ) -> Mapping[str, tuple[str, ...]]:
        """Position, velocity and acceleration of each mass."""
        names = self.state_names(channel_names, input_names)
        d = len(names) // 2
        return {
            "position": names[:d],
            "velocity": names[d:],
            "acceleration": tuple(f"{name}'" for name in names[d:]),
        }

    def discover(self, data: Data, options: Options) -> StructuralFit:
        """Find the elements, calibrate their strengths and the masses."""
        from .model import Element, ElementModel
        from .prepare import prepare
        from .report import report
        from .resting import freed, lost

        names = self.state_names(data.channel_names, data.input_names)
        d = len(names) // 2
        x, v = (tuple(map(sympy.Symbol, part)) for part in (names[:d], names[d:]))
        candidates = [
            Element(first, second, law)
            for first, second in self._pairs(d)
            for law in self._candidate_laws(options)
        ]
        forces = [sympy.expand(element.force(x, v)) for element in candidates]
        forbidden = {sympy.expand(term) for term in options.forbidden}
        kept = [
            (element, force)
            for element, force in zip(candidates, forces, strict=True)
            if force not in forbidden and sympy.expand(-force) not in forbidden
        ]
        required = _required(options, [force for _, force in kept])
        driven = read_force_on(self.force_on, d, len(data.input_names))
        model = ElementModel(d, tuple(element for element, _ in kept), driven)
        task = prepare(model, self._masses(d), data, names, options, required)
        found = task.search()
        if np.isnan(data.x0).any() and lost(found):
            quiet = replace(data, x0=np.nan_to_num(data.x0, nan=0.0))
            resting = prepare(model, self._masses(d), quiet, names, options, required).search()
            if not lost(resting):
                found = freed(resting, task)
        return report(task, found, data, names)

    def _masses(self, d: int) -> Array:
        if self.masses is None:
            return np.full(d, np.nan)
        masses = np.array(self.masses, dtype=np.float64)
        if masses.shape != (d,) or not (np.isnan(masses) | (masses > 0.0)).all():
            raise ValueError(
                f"masses must hold {d} positive numbers, NaN where unknown, got {self.masses!r}."
            )
        return masses

    def _pairs(self, d: int) -> list[tuple[int, int]]:
        if isinstance(self.connections, str):
            return [(i, j) for i in range(d) for j in range(i + 1, d + 1)]
        pairs = []
        for pair in self.connections:
            ends = tuple(sorted(int(end) for end in pair))
            if len(ends) != 2 or ends[0] == ends[1] or not 0 <= ends[0] <= ends[1] <= d:
                raise ValueError(
                    f"connections must be pairs of two different numbers from 0 (the ground) to "
                    f"{d}, got {pair!r}."
                )
            pairs.append((ends[0], ends[1]))
        return list(dict.fromkeys(pairs))

    def _candidate_laws(self, options: Options) -> list[sympy.Expr]:
        if not (isinstance(options.library, str) and options.library == "auto"):
            bound = resolve_library(options.library).bind(("d", "w"))
            laws = [term.expr for term in bound.terms if term.expr.free_symbols]
        else:
            texts = LAWS if isinstance(self.laws, str) else self.laws
            laws = [_law(text) for text in texts]
        return [law for law in dict.fromkeys(laws) if options.allows(law)]


def _law(text: str) -> sympy.Expr:
    try:
        law = parse_expression(text, ["d", "w"])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"laws holds {text!r}, which cannot be read ({error}). Write laws in the elongation d "
            f"of an element and its rate w, as 'd**3' or 'w*Abs(w)'."
        ) from error
    if not law.free_symbols:
        raise ValueError(
            f"laws holds {text!r}, a constant force; write laws in the elongation d of an element "
            f"and its rate w."
        )
    return law


def _required(options: Options, forces: Sequence[sympy.Expr]) -> tuple[int, ...]:
    """Positions of the required elements among the candidates' forces."""
    places = []
    for term, value in options.required.items():
        if value is not None:
            raise ValueError(
                f"required gives {term} the coefficient {value:g}, but strengths of elements are "
                f"estimated, as masses are; require it without a coefficient."
            )
        ways = (sympy.expand(term), sympy.expand(-term))
        found = [place for place, force in enumerate(forces) if force in ways]
        if not found:
            shown = ", ".join(map(str, forces[:6])) + (", ..." if len(forces) > 6 else "")
            raise ValueError(
                f"required holds {term}, which is the force of no candidate element; these are "
                f"{shown}. Write such a force, or widen laws and connections."
            )
        places.append(found[0])
    return tuple(sorted(places))
