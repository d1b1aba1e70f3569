"""Terms that the user writes: callables, SymPy expressions, text."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import combinations, permutations
from typing import Any

import numpy as np
import sympy

from discoverers.expressions import CONSTANTS, FUNCTIONS, canonical, needs_alias, parse_expression
from discoverers.libraries.base import Candidates, Library, Variables

__all__ = ["CustomLibrary"]

# functions with a SymPy counterpart are taken as that, so that they differentiate and print
_KNOWN: dict[Any, Any] = {
    **{
        getattr(module, name): getattr(sympy, name)
        for module in (np, math)
        for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "log", "sqrt")
    },
    np.arcsin: sympy.asin,
    np.arccos: sympy.acos,
    np.arctan: sympy.atan,
    np.arcsinh: sympy.asinh,
    np.arccosh: sympy.acosh,
    np.arctanh: sympy.atanh,
    np.abs: sympy.Abs,
    np.sign: sympy.sign,
    abs: sympy.Abs,
    **{function: function for function in FUNCTIONS.values() if isinstance(function, type)},
}


class CustomLibrary(Library):
    """Terms from callables, SymPy expressions or text.

    Parameters
    ----------
    functions : sequence of callable, sympy.Expr or str
        A callable of one argument is applied to each state and input; a callable of several to
        each combination of different variables. It must work element by element on NumPy arrays.
        Expressions and text (such as ``"x/(1 + y**2)"``) are single terms, taken as they stand;
        text is parsed over a whitelist, never evaluated, and may call the named callables.
    names : sequence of str or None, optional
        Name of each callable, for printing; None for expressions. Default: the callable's own name,
        and ``f0``, ``f1``, ... for those without (lambdas).
    ordered : bool, default=False
        Whether a callable of several arguments is applied to them in every order. By default it is
        applied once to each combination, in the order of the variables, which is right for
        symmetric functions.
    arity : int or sequence of int or None, optional
        Number of arguments of the callables, where it cannot be read from the signature (the
        number of positional parameters without default).

    Raises
    ------
    TypeError
        On binding, if an entry is none of the three kinds.
    ValueError
        On binding, if names repeat or hide a variable or known function, text cannot be read, an
        expression holds unknown symbols, or the number of arguments is unknown.

    Notes
    -----
    NumPy's functions with a SymPy counterpart (``np.sin``) become that one. Other callables appear
    in expressions as applications of a function of their name; derivatives of such terms are
    central differences. To pickle the library, use named functions of a module, not lambdas.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.libraries import CustomLibrary
    >>> def hill(x):
    ...     return x**2 / (1 + x**2)
    >>> bound = CustomLibrary([hill, np.tanh, "x/(1 + y)"]).bind(["x", "y"])
    >>> bound.names
    ('hill(x)', 'tanh(x)', 'hill(y)', 'tanh(y)', 'x/(1 + y)')
    """

    def __init__(
        self,
        functions: Sequence[Callable[..., Any] | sympy.Expr | str],
        names: Sequence[str | None] | None = None,
        ordered: bool = False,
        arity: int | Sequence[int | None] | None = None,
    ) -> None:
        self.functions = functions
        self.names = names
        self.ordered = ordered
        self.arity = arity

    def candidates(self, variables: Variables) -> Candidates:
        """The terms, entry by entry."""
        entries = self._entries()
        symbols = variables.all
        names = self._checked_names(entries, {symbol.name for symbol in symbols})
        table = {name: entries[k] for k, name in names.items() if not _counterpart(entries[k])}
        exprs: list[sympy.Expr] = []
        for k, entry in enumerate(entries):
            if isinstance(entry, str):
                exprs.append(parse_expression(entry, [s.name for s in symbols], table))
            elif isinstance(entry, sympy.Expr):
                exprs.append(_known_symbols(canonical(entry), symbols, table))
            else:
                symbolic = _counterpart(entry) or sympy.Function(names[k])
                arrange = permutations if self.ordered else combinations
                arity = self._arity(k, entry, names[k])
                if arity > len(symbols):
                    raise ValueError(
                        f"function '{names[k]}' takes {arity} arguments, but there are only "
                        f"{len(symbols)} variables"
                    )
                exprs += [symbolic(*chosen) for chosen in arrange(symbols, arity)]
        return Candidates(tuple(exprs), functions=table)

    def _entries(self) -> list[Any]:
        if isinstance(self.functions, (str, sympy.Basic)) or not isinstance(
            self.functions, Iterable
        ):
            raise TypeError(
                f"functions of CustomLibrary must be a sequence, got {self.functions!r}; wrap a "
                "single entry in a list"
            )
        entries = list(self.functions)
        if not entries:
            raise ValueError("functions of CustomLibrary is empty; give at least one")
        for entry in entries:
            plain = callable(entry) and not isinstance(entry, (sympy.Basic, type))
            if not (isinstance(entry, (str, sympy.Expr)) or plain or _counterpart(entry)):
                raise TypeError(
                    "functions of CustomLibrary must hold callables, SymPy expressions or text, "
                    f"got {entry!r}"
                )
        return entries

    def _checked_names(self, entries: list[Any], variables: set[str]) -> dict[int, str]:
        """Position of each callable to its name."""
        given: list[str | None] = [None] * len(entries)
        if self.names is not None:
            given = [self.names] if isinstance(self.names, str) else list(self.names)
            if len(given) != len(entries):
                raise ValueError(
                    f"names of CustomLibrary has {len(given)} entries for {len(entries)} functions"
                )
        names: dict[int, str] = {}
        unnamed = 0
        for k, entry in enumerate(entries):
            if isinstance(entry, (str, sympy.Expr)):
                if given[k] is not None:
                    raise ValueError(
                        f"names[{k}] of CustomLibrary is {given[k]!r}, but functions[{k}] is an "
                        "expression, which prints as it stands; use None"
                    )
                continue
            name = given[k]
            counterpart = _counterpart(entry)
            if name is None and counterpart is not None:
                name = counterpart.__name__
            elif name is None:
                name = getattr(entry, "__name__", "")
                if not name.isidentifier():
                    name = f"f{unnamed}"
                    unnamed += 1
            reserved = counterpart is None and (name in FUNCTIONS or name in CONSTANTS)
            if (
                not isinstance(name, str)
                or reserved
                or (name not in FUNCTIONS and needs_alias(name))
            ):
                raise ValueError(
                    f"a function of CustomLibrary cannot be named {name!r}: names must be "
                    "identifiers and none of the known functions; choose others with names="
                )
            if name in variables:
                raise ValueError(
                    f"function '{name}' of CustomLibrary has the name of a variable; choose "
                    "another with names="
                )
            if name in names.values():
                raise ValueError(
                    f"two functions of CustomLibrary are named '{name}'; choose names with names="
                )
            names[k] = name
        return names

    def _arity(self, k: int, function: Callable[..., Any], name: str) -> int:
        arity = self.arity
        if arity is not None and not isinstance(arity, int):
            if len(arity) != len(self.functions):
                raise ValueError(
                    f"arity of CustomLibrary has {len(arity)} entries for {len(self.functions)} "
                    "functions"
                )
            arity = arity[k]
        if arity is None:
            arity = 1 if _counterpart(function) else _read_arity(function, name)
        if isinstance(arity, bool) or not isinstance(arity, int) or arity < 1:
            raise ValueError(f"function '{name}' must take at least one argument, got {arity!r}")
        return arity


def _counterpart(entry: Any) -> Any:
    return _KNOWN.get(entry) if isinstance(entry, Hashable) else None


def _read_arity(function: Callable[..., Any], name: str) -> int:
    if isinstance(function, np.ufunc):
        return function.nin
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"cannot read how many arguments function '{name}' takes; give arity="
        ) from error
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.kind in kinds and p.default is p.empty]
    if not required:
        raise ValueError(f"function '{name}' has no required positional argument; give arity=")
    return len(required)


def _known_symbols(
    expr: sympy.Expr, symbols: Sequence[sympy.Symbol], functions: Iterable[str]
) -> sympy.Expr:
    names = {symbol.name for symbol in symbols}
    unknown = sorted(s.name for s in expr.free_symbols if s.name not in names)
    unknown += sorted(
        applied.func.__name__
        for applied in expr.atoms(sympy.core.function.AppliedUndef)
        if applied.func.__name__ not in set(functions)
    )
    if unknown:
        raise ValueError(
            f"'{expr}' in CustomLibrary holds {unknown}; variables are {sorted(names)}"
        )
    return expr
