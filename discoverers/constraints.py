"""What a user knows about the equations before the data speak: values that bind to a library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import sympy
from numpy.typing import NDArray

from .expressions import parse_expression
from .libraries import BoundLibrary

__all__ = [
    "Bounded",
    "Constraint",
    "Forbidden",
    "Known",
    "Required",
    "Rules",
    "Shared",
    "bind_rules",
]

Array = NDArray[np.float64]
Place = tuple[int, int]


@dataclass(frozen=True)
class Known:
    """A coefficient with a known value, such as 1 in ``x' = v``.

    Parameters
    ----------
    state : str
        Whose equation.
    term : str or sympy.Expr
        A term of the library.
    value : float, default=1.0
        0 is the same as `Forbidden`.
    only : bool, default=False
        Whether the equation holds nothing but known terms.

    Examples
    --------
    >>> from discoverers import SMNNDiscoverer
    >>> from discoverers.constraints import Known
    >>> SMNNDiscoverer("poly3", constraints=[Known("x", "v", only=True)])
    SMNNDiscoverer(constraints=[Known(state='x', term='v', value=1.0, only=True)])
    """

    state: str
    term: str | sympy.Expr
    value: float = 1.0
    only: bool = False


@dataclass(frozen=True)
class Required:
    """A term that must be in an equation, whatever its coefficient.

    Parameters
    ----------
    state : str
    term : str or sympy.Expr
    """

    state: str
    term: str | sympy.Expr


@dataclass(frozen=True)
class Forbidden:
    """A term that cannot be in an equation.

    Parameters
    ----------
    state : str or None
        None forbids the term everywhere.
    term : str or sympy.Expr
    """

    state: str | None
    term: str | sympy.Expr


@dataclass(frozen=True)
class Bounded:
    """Bounds, or the sign, of a coefficient if its term is in the equation.

    Parameters
    ----------
    state : str
    term : str or sympy.Expr
    lower, upper : float
        ``upper=0.0`` says that the coefficient is negative. A range without 0 also requires the
        term.
    """

    state: str
    term: str | sympy.Expr
    lower: float = -np.inf
    upper: float = np.inf


@dataclass(frozen=True)
class Shared:
    """Coefficients that are multiples of one unknown: conservation, symmetry, reaction networks.

    Parameters
    ----------
    factors : mapping of (state, term) to float
        ``{("x", "x*y"): -1.0, ("y", "x*y"): 1.0}``: what x loses y gains. The terms enter
        together, as one.
    """

    factors: Mapping[tuple[str, str | sympy.Expr], float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", MappingProxyType(dict(self.factors)))

    def __reduce__(self) -> tuple[type[Shared], tuple[dict[tuple[str, str | sympy.Expr], float]]]:
        return Shared, (dict(self.factors),)


Constraint = Known | Required | Forbidden | Bounded | Shared


@dataclass(frozen=True, eq=False)
class Rules:
    """Constraints in the coordinates of the coefficients (V, K).

    Attributes
    ----------
    required : ndarray of bool, shape (V, K)
    known : ndarray of shape (V, K)
        Values, NaN where the coefficient is free.
    lower, upper : ndarray of shape (V, K)
    ties : tuple of (leader, follower, factor)
        Flat positions: the follower's coefficient is the leader's times the factor.
    """

    required: NDArray[np.bool_]
    known: Array
    lower: Array
    upper: Array
    ties: tuple[tuple[int, int, float], ...] = ()

    @classmethod
    def none(cls, n_states: int, n_terms: int) -> Rules:
        """No constraint at all."""
        shape = (n_states, n_terms)
        return cls(
            np.zeros(shape, dtype=bool),
            np.full(shape, np.nan),
            np.full(shape, -np.inf),
            np.full(shape, np.inf),
        )

    @property
    def fixed(self) -> NDArray[np.bool_]:
        """Coefficients with known values, (V, K)."""
        return ~np.isnan(self.known)

    @property
    def dependent(self) -> NDArray[np.bool_]:
        """Coefficients that are no parameters of their own: known ones and followers, (V, K)."""
        out = self.fixed
        out.flat[[follower for _, follower, _ in self.ties]] = True
        return out

    @property
    def needed(self) -> NDArray[np.bool_]:
        """Terms that the screening must keep, whatever the data say, (K,)."""
        tied = np.zeros(self.required.shape, dtype=bool)
        tied.flat[[place for tie in self.ties for place in tie[:2]]] = True
        return np.asarray((self.required | self.fixed | tied).any(axis=0))

    def restrict(self, kept: NDArray[np.intp]) -> Rules:
        """For some of the terms; `needed` ones must be among them."""
        n_terms = self.known.shape[1]
        place = {int(term): i for i, term in enumerate(kept)}

        def moved(flat: int) -> int:
            state, term = divmod(flat, n_terms)
            return state * len(kept) + place[term]

        return Rules(
            self.required[:, kept],
            self.known[:, kept],
            self.lower[:, kept],
            self.upper[:, kept],
            tuple((moved(a), moved(b), factor) for a, b, factor in self.ties),
        )

    def complete(self, coef: Array) -> Array:
        """Coefficients (V, K) with known values and followers put in."""
        out = np.where(self.fixed, self.known, coef)
        for leader, follower, factor in self.ties:
            out.flat[follower] = factor * out.flat[leader]
        return out

    def gather(self, coef: Array) -> Array:
        """Coefficients whose leaders carry the least-squares value of their whole group."""
        out = coef.copy()
        for leader in dict.fromkeys(leader for leader, _, _ in self.ties):
            weights = {leader: 1.0} | {b: factor for a, b, factor in self.ties if a == leader}
            top = sum(factor * coef.flat[place] for place, factor in weights.items())
            out.flat[leader] = top / sum(factor**2 for factor in weights.values())
        return self.complete(out)

    def errors(self, std: Array) -> Array:
        """Standard errors (V, K) with those of followers put in; known values have none."""
        out = np.where(self.fixed, 0.0, std)
        for leader, follower, factor in self.ties:
            out.flat[follower] = abs(factor) * out.flat[leader]
        return out

    @property
    def active(self) -> bool:
        """Whether there is any constraint that the library's `allowed` does not hold."""
        return bool(self.required.any() or self.fixed.any() or self.ties or self.has_bounds)

    @property
    def has_bounds(self) -> bool:
        """Whether any coefficient is bounded."""
        return bool(np.isfinite(self.lower).any() or np.isfinite(self.upper).any())


def bind_rules(
    constraints: Sequence[Constraint], library: BoundLibrary
) -> tuple[BoundLibrary, Rules]:
    """Bring constraints into a library's coordinates.

    Parameters
    ----------
    constraints : sequence of Known, Required, Forbidden, Bounded or Shared
    library : BoundLibrary

    Returns
    -------
    library : BoundLibrary
        With `allowed` reduced.
    rules : Rules

    Raises
    ------
    TypeError
        If an entry is no constraint.
    ValueError
        If a state or term is unknown, or constraints contradict each other; the text names them.
    """
    rules = Rules.none(len(library.state_names), len(library))
    allowed = library.allowed.copy()
    binder = _Binder(library)
    groups: list[list[tuple[int, int, float]]] = []
    for constraint in constraints:
        match constraint:
            case Known(state, term, value, only):
                place = binder.place(state, term)
                if only:
                    allowed[place[0]] &= rules.fixed[place[0]]
                if rules.fixed[place] and rules.known[place] != value:
                    raise ValueError(
                        f"constraints: {term} in {state}' is Known twice, as "
                        f"{rules.known[place]:g} and {value:g}. Remove one of the two."
                    )
                rules.known[place] = value
            case Required(state, term):
                rules.required[binder.place(state, term)] = True
            case Forbidden(None, term):
                allowed[:, binder.term(term)] = False
            case Forbidden(str() as state, term):
                allowed[binder.place(state, term)] = False
            case Bounded(state, term, lower, upper):
                if not lower < upper:
                    raise ValueError(
                        f"constraints: the bounds of {term} in {state}' must be lower < upper, "
                        f"got {lower} and {upper}."
                    )
                place = binder.place(state, term)
                rules.lower[place] = max(rules.lower[place], lower)
                rules.upper[place] = min(rules.upper[place], upper)
                rules.required[place] |= lower > 0.0 or upper < 0.0
            case Shared(factors):
                groups.append(list(binder.ties(factors)))
            case _:
                raise TypeError(
                    f"constraints must hold Known, Required, Forbidden, Bounded or Shared, got "
                    f"{type(constraint).__name__}."
                )
    for place in zip(*np.nonzero(rules.fixed), strict=True):
        # A known term stays although `only` took its equation's other terms away.
        allowed[place] = True
    _check_consistent(rules, groups, allowed, binder)
    ties = tuple(tie for group in groups for tie in group)
    return replace(library, allowed=allowed), replace(rules, ties=ties)


def _check_consistent(
    rules: Rules,
    groups: Sequence[Sequence[tuple[int, int, float]]],
    allowed: NDArray[np.bool_],
    binder: _Binder,
) -> None:
    absent = rules.required & ~allowed
    if absent.any():
        raise ValueError(
            f"constraints: {binder.describe(absent)} is required, but forbidden by another "
            f"constraint or by the library. Remove one of the two."
        )
    for wrong, text in (
        (rules.lower >= rules.upper, "has bounds with no value between them"),
        (rules.known < rules.lower, "is Known as a value below its bound"),
        (rules.known > rules.upper, "is Known as a value above its bound"),
    ):
        if wrong.any():
            raise ValueError(f"constraints: {binder.describe(wrong)} {text}. Remove one of them.")
    seen: set[int] = set()
    for group in groups:
        members = {place for tie in group for place in tie[:2]}
        mask = np.zeros(allowed.shape, dtype=bool)
        mask.flat[list(members)] = True
        if members & seen:
            raise ValueError(
                f"constraints: {binder.describe(mask)} overlaps another Shared; write one Shared "
                f"with all of its terms."
            )
        if (mask & (rules.fixed | ~allowed)).any():
            raise ValueError(
                f"constraints: {binder.describe(mask & (rules.fixed | ~allowed))} is shared, and "
                f"known or forbidden too. Remove one of the two."
            )
        seen |= members


class _Binder:
    """Finds states and terms by what the user calls them."""

    def __init__(self, library: BoundLibrary) -> None:
        self.library = library
        self.names = {term.name: i for i, term in enumerate(library.terms)}
        self.exprs = {term.expr: i for i, term in enumerate(library.terms)}

    def state(self, name: str) -> int:
        if name not in self.library.state_names:
            raise ValueError(
                f"constraints: there is no state {name!r}; the states are "
                f"{list(self.library.state_names)}."
            )
        return self.library.state_names.index(name)

    def term(self, term: str | sympy.Expr) -> int:
        if isinstance(term, str) and term in self.names:
            return self.names[term]
        expr = term
        if isinstance(term, str):
            try:
                expr = parse_expression(term, [v.name for v in self.library.variables])
            except ValueError as error:
                raise ValueError(f"constraints: {error}") from error
        expr = sympy.sympify(expr)
        if expr not in self.exprs:
            shown = list(self.names)[:12]
            raise ValueError(
                f"constraints: the library has no term {term}; it has {', '.join(shown)}"
                f"{', ...' if len(self.names) > 12 else ''}. Add it to `library`."
            )
        return self.exprs[expr]

    def place(self, state: str, term: str | sympy.Expr) -> Place:
        return self.state(state), self.term(term)

    def ties(
        self, factors: Mapping[tuple[str, str | sympy.Expr], float]
    ) -> Iterator[tuple[int, int, float]]:
        if len(factors) < 2 or 0.0 in factors.values():
            raise ValueError(
                f"constraints: Shared needs two terms or more with factors other than 0, got "
                f"{dict(factors)}."
            )
        places = [
            (s * len(self.library) + k, factor)
            for (state, term), factor in factors.items()
            for s, k in [self.place(state, term)]
        ]
        leader, unit = places[0]
        for follower, factor in places[1:]:
            yield leader, follower, factor / unit

    def describe(self, mask: NDArray[np.bool_]) -> str:
        return ", ".join(
            f"{self.library.terms[k].name} in {self.library.state_names[s]}'"
            for s, k in zip(*np.nonzero(mask), strict=True)
        )
