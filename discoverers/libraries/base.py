"""What every library is: clonable parameters that can be bound to names, added and multiplied."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from discoverers.equation_checks import checked_names
from discoverers.expressions import canonical
from discoverers.formatting import term_name
from discoverers.libraries.bound import BoundLibrary, Term
from discoverers.terms import degree, sort_key, split_term

__all__ = ["Candidates", "Library", "ProductLibrary", "SumLibrary", "Variables"]

_LARGEST_LIBRARY = 50_000


@dataclass(frozen=True)
class Variables:
    """The symbols that a library may build terms from.

    Attributes
    ----------
    states, inputs : tuple of sympy.Symbol
        In the order of the data's columns.
    """

    states: tuple[sympy.Symbol, ...]
    inputs: tuple[sympy.Symbol, ...] = ()

    @property
    def all(self) -> tuple[sympy.Symbol, ...]:
        """States, then inputs."""
        return self.states + self.inputs


@dataclass(frozen=True)
class Candidates:
    """Terms before they are merged and ordered.

    Attributes
    ----------
    exprs : tuple of sympy.Expr
        The terms, K of them, possibly repeated.
    allowed : (V, K) bool ndarray or None
        Which term may enter which state's equation; None means all.
    functions : mapping of str to callable
        Implementations of the functions in `exprs` that are not SymPy's.
    """

    exprs: tuple[sympy.Expr, ...]
    allowed: NDArray[np.bool_] | None = None
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def mask(self, n_states: int) -> NDArray[np.bool_]:
        """The mask (V, K), written out."""
        full = np.ones((n_states, len(self.exprs)), dtype=bool)
        return full if self.allowed is None else self.allowed


class Library(BaseEstimator, ABC):
    """Base of all libraries; a subclass stores its parameters and implements `candidates`.

    Libraries follow scikit-learn: `get_params`, `set_params` and `clone` work, so that a search may
    go over ``library__degree``. Parameters are checked when the library is bound.
    """

    @abstractmethod
    def candidates(self, variables: Variables) -> Candidates:
        """Terms in the given symbols; parameters are checked here."""

    def bind(self, state_names: Iterable[str], input_names: Iterable[str] = ()) -> BoundLibrary:
        """Make the terms in the given names.

        Parameters
        ----------
        state_names : iterable of str
            Names of the states, one per column of X.
        input_names : iterable of str, default=()
            Names of the inputs, one per column of u.

        Returns
        -------
        BoundLibrary
            Terms ordered by degree (constant, linear, quadratic ...; polynomials before others),
            then by the order of the variables. Terms that differ by a number only are merged.

        Raises
        ------
        ValueError
            If names repeat, a parameter of the library is invalid, or there are no terms.
        """
        states, inputs = _checked_names(state_names, input_names)
        variables = Variables(tuple(map(sympy.Symbol, states)), tuple(map(sympy.Symbol, inputs)))
        found = self.candidates(variables)
        exprs, allowed = _merge(found, len(states))
        if not exprs:
            raise ValueError(f"{self!r} has no terms for states {states}; choose a larger library")
        # without the text, the last part of the key: terms of one grade stay in the library's order
        grades = [sort_key(expr, variables.all)[:-1] for expr in exprs]
        order = sorted(range(len(exprs)), key=grades.__getitem__)
        mask = allowed[:, order]
        mask.setflags(write=False)  # a value, shared by all who hold it
        return BoundLibrary(
            state_names=states,
            input_names=inputs,
            terms=tuple(
                Term(exprs[k], term_name(exprs[k], variables.all), degree(exprs[k])) for k in order
            ),
            allowed=mask,
            functions=dict(found.functions),
        )

    def __add__(self, other: Any) -> SumLibrary:
        return _combined(SumLibrary, self, other)

    def __radd__(self, other: Any) -> SumLibrary:
        return _combined(SumLibrary, other, self)

    def __mul__(self, other: Any) -> ProductLibrary:
        return _combined(ProductLibrary, self, other)

    def __rmul__(self, other: Any) -> ProductLibrary:
        return _combined(ProductLibrary, other, self)


class _Combination(Library):
    """Several libraries as one; ``part0__degree`` reaches the parameters of the first."""

    def __init__(self, libraries: Sequence[Library | str]) -> None:
        self.libraries = libraries

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters; with `deep` also the parts, ``part0``, ``part0__degree`` and so on."""
        params: dict[str, Any] = {"libraries": self.libraries}
        if deep:
            for index, part in enumerate(self.libraries):
                params[f"part{index}"] = part
                if isinstance(part, Library):
                    for name, value in part.get_params().items():
                        params[f"part{index}__{name}"] = value
        return params

    def set_params(self, **params: Any) -> _Combination:
        """Set ``libraries``, a part (``part0``) or a parameter of a part (``part0__degree``)."""
        if "libraries" in params:
            self.libraries = params.pop("libraries")
        for index in range(len(self.libraries)):
            if f"part{index}" in params:
                parts = list(self.libraries)
                parts[index] = params.pop(f"part{index}")
                self.libraries = tuple(parts)
        super().set_params(**params)
        return self

    def _parts(self, variables: Variables) -> list[Candidates]:
        from discoverers.libraries.shorthand import resolve_library  # shorthand makes libraries

        if isinstance(self.libraries, (str, Library)) or not len(self.libraries):
            raise ValueError(
                f"libraries must be a non-empty sequence of libraries, got {self.libraries!r}"
            )
        return [resolve_library(part).candidates(variables) for part in self.libraries]


class SumLibrary(_Combination):
    """All terms of several libraries; ``a + b`` makes it.

    Parameters
    ----------
    libraries : sequence of Library or str
        The summands; text is shorthand, see `resolve_library`.

    Examples
    --------
    >>> from discoverers.libraries import FourierLibrary, PolynomialLibrary
    >>> (PolynomialLibrary(1) + FourierLibrary()).bind(["x"]).names
    ('1', 'x', 'sin(x)', 'cos(x)')
    """

    def candidates(self, variables: Variables) -> Candidates:
        """The terms of every part, one part after the other."""
        parts = self._parts(variables)
        return Candidates(
            exprs=tuple(expr for part in parts for expr in part.exprs),
            allowed=np.concatenate([part.mask(len(variables.states)) for part in parts], axis=1),
            functions=merge_functions(part.functions for part in parts),
        )


class ProductLibrary(_Combination):
    """All products of one term from each of several libraries; ``a * b`` makes it.

    Parameters
    ----------
    libraries : sequence of Library or str
        The factors; text is shorthand, see `resolve_library`.

    Notes
    -----
    A product may enter an equation if all its factors may.

    Examples
    --------
    >>> from discoverers.libraries import FourierLibrary, PolynomialLibrary
    >>> (PolynomialLibrary(1) * FourierLibrary()).bind(["x"]).names
    ('sin(x)', 'cos(x)', 'x*sin(x)', 'x*cos(x)')
    """

    def candidates(self, variables: Variables) -> Candidates:
        """The products, the last part running fastest."""
        parts = self._parts(variables)
        size = int(np.prod([float(len(part.exprs)) for part in parts]))
        check_size(size, self)
        allowed = parts[0].mask(len(variables.states))
        for part in parts[1:]:
            mask = part.mask(len(variables.states))
            allowed = (allowed[:, :, None] & mask[:, None, :]).reshape(len(allowed), -1)
        return Candidates(
            exprs=tuple(sympy.Mul(*chosen) for chosen in product(*(p.exprs for p in parts))),
            allowed=allowed,
            functions=merge_functions(part.functions for part in parts),
        )


def check_size(size: int, library: Library) -> None:
    """Refuse libraries that would take minutes to write down.

    Raises
    ------
    ValueError
        If there would be more than 50 000 terms.
    """
    if size > _LARGEST_LIBRARY:
        raise ValueError(
            f"{library!r} would have {size} terms, more than {_LARGEST_LIBRARY}; choose a lower "
            "degree or fewer variables"
        )


def merge_functions(
    parts: Iterable[Mapping[str, Callable[..., Any]]],
) -> dict[str, Callable[..., Any]]:
    """One table of implementations; the same name for different functions is an error."""
    merged: dict[str, Callable[..., Any]] = {}
    for part in parts:
        for name, function in part.items():
            if merged.setdefault(name, function) is not function:
                raise ValueError(
                    f"two different functions are named '{name}'; name them apart with "
                    "CustomLibrary(functions, names=...)"
                )
    return merged


def _combined(kind: type, first: Any, second: Any) -> Any:
    parts: list[Library | str] = []
    for part in (first, second):
        if not isinstance(part, (Library, str)):
            return NotImplemented
        # a + b + c is one sum of three
        parts += part.libraries if isinstance(part, _Combination) and type(part) is kind else [part]
    return kind(tuple(parts))


def _merge(found: Candidates, n_states: int) -> tuple[list[sympy.Expr], NDArray[np.bool_]]:
    """Each term once; columns that differ by a factor only would make the regression singular."""
    position: dict[sympy.Expr, int] = {}
    exprs: list[sympy.Expr] = []
    columns: list[NDArray[np.bool_]] = []
    for expr, column in zip(map(canonical, found.exprs), found.mask(n_states).T, strict=True):
        factor = split_term(expr)[1]
        if expr == 0:
            continue
        if factor in position:
            columns[position[factor]] = columns[position[factor]] | column
        else:
            position[factor] = len(exprs)
            exprs.append(sympy.Integer(1) if factor == 1 else expr)
            columns.append(column)
    allowed = np.array(columns, dtype=bool).reshape(len(exprs), n_states).T
    return exprs, np.ascontiguousarray(allowed)


def _checked_names(
    state_names: Iterable[str], input_names: Iterable[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    states = checked_names(state_names, "state_names")
    inputs = checked_names(input_names, "input_names")
    if not states:
        raise ValueError("state_names is empty; give one name per state")
    repeated = sorted(name for name, count in Counter(states + inputs).items() if count > 1)
    if repeated:
        raise ValueError(f"names of states and inputs must differ; repeated: {repeated}")
    return states, inputs
