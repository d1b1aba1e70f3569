"""A mass that is not measured may as well move the other way: the same model with it mirrored.

Only its pull on other masses is seen of such a mass. With ``x -> -x`` springs and dampers between
it and others change their sign, and twice their strengths between the ground and both ends make up
for that: all that is measured stays the same. A search that took the wrong one of the two early has
springs that push apart, and needs more of them than there are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import sympy

from .driving import BASE
from .model import ELONGATION, RATE, ElementModel
from .problem import Point

__all__ = ["backwards", "mirrored"]

LINEAR = (ELONGATION, RATE)


def backwards(point: Point, elements: ElementModel) -> list[int]:
    """Masses, counted from 1, that the springs between them and others on the whole push away.

    Masses that a known force acts on are never among them: it tells which way they go. The ground's
    acceleration tells it of all.
    """
    if BASE in elements.driven:
        return []
    total = np.zeros(elements.n_dof + 1)
    for place, strength in zip(point.support, point.strengths, strict=True):
        element = elements.elements[place]
        if element.first and element.law == ELONGATION:
            total[[element.first, element.second]] += strength
    return [m for m in range(1, elements.n_dof + 1) if total[m] < 0.0 and m not in elements.driven]


def mirrored(point: Point, elements: ElementModel, mass: int) -> Point:
    """The point with the motion of one mass reversed.

    Exact for springs and dampers and for what is between the mass and the ground. Other elements
    between it and other masses have no counterpart and are left out, as are those that would be
    needed at the ground but are no candidates.

    Parameters
    ----------
    point : Point
    elements : ElementModel
        All candidates.
    mass : int
        Counted from 1.
    """
    places = {(e.first, e.second, e.law): k for k, e in enumerate(elements.elements)}
    strengths: dict[int, float] = {}

    def add(place: int | None, strength: float) -> None:
        if place is not None:
            strengths[place] = strengths.get(place, 0.0) + strength

    for place, strength in zip(point.support, point.strengths.tolist(), strict=True):
        element = elements.elements[place]
        if mass not in (element.first, element.second):
            add(place, strength)
        elif not element.first:
            add(place, strength if _odd(element.law) else -strength)
        elif element.law in LINEAR:
            add(place, -strength)
            for end in (element.first, element.second):
                add(places.get((0, end, element.law)), 2.0 * strength)
    support = tuple(sorted(strengths))
    start = point.start.copy()
    start[:, [mass - 1, elements.n_dof + mass - 1]] *= -1.0
    values = np.array([strengths[k] for k in support], dtype=np.float64)
    return replace(point, support=support, strengths=values, start=start)


def _odd(law: sympy.Expr) -> bool:
    flipped = law.xreplace({symbol: -symbol for symbol in LINEAR})
    return bool(sympy.expand(flipped + law) == 0)
