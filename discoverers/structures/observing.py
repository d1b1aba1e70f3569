"""What `observe` says of the measured columns, read into channels by names of states."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from discoverers.coercion import check_finite, to_float
from discoverers.expressions import parse_expression
from discoverers.structures.base import Channel, Measure

__all__ = ["Observed", "read_observe"]

Quantities = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Observed:
    """Channels, or names of channels and the user's function that gives them."""

    channels: tuple[Channel, ...]
    measure: Measure | None = None


def read_observe(
    observe: str | Sequence[str] | Mapping[str, str] | Callable[..., Any] | Any,
    channel_names: Sequence[str],
    state_names: Sequence[str],
    input_names: Sequence[str],
    quantities: Quantities,
) -> Observed:
    """Read the parameter `observe` of `SKANODERegressor`, which documents its forms.

    Raises
    ------
    ValueError
        If a column is left without meaning, or a meaning cannot be read; the text names both.
    """
    if callable(observe):
        _takes_three(observe)
        return Observed(tuple(map(Channel, channel_names)), observe)
    reader = _Reader(tuple(state_names), tuple(input_names), quantities)
    if isinstance(observe, str):
        texts = _one_for_all(_synonym(observe, state_names), channel_names, quantities)
    elif isinstance(observe, Mapping):
        if set(observe) != set(channel_names):
            raise ValueError(
                f"observe has entries for {list(observe)}, but the measured columns are "
                f"{list(channel_names)}. Say of each of them what it measures."
            )
        texts = [observe[name] for name in channel_names]
    elif len(observe) and all(isinstance(entry, str) for entry in observe):
        texts = list(observe)
        if len(texts) != len(channel_names):
            raise ValueError(
                f"observe has {len(texts)} entries, but {len(channel_names)} column(s) were "
                f"measured: {list(channel_names)}. Pass one entry per column."
            )
    else:
        return Observed(reader.matrix(observe, channel_names))
    odd = [text for text in texts if not isinstance(text, str)]
    if odd:
        raise ValueError(
            f"observe must say in words what a column measures, as 'acceleration' or \"x1\"; got "
            f"{odd[0]!r} ({type(odd[0]).__name__})."
        )
    texts = [_synonym(text, state_names) for text in texts]
    _numbered(texts, quantities)
    return Observed(
        tuple(reader.channel(name, text) for name, text in zip(channel_names, texts, strict=True))
    )


def _synonym(text: str, state_names: Sequence[str]) -> str:
    """A position by its other name."""
    if "displacement" in state_names:
        return text
    return re.sub(r"^displacement\b", "position", text)


def _takes_three(function: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # Compiled functions may not tell.
    try:
        signature.bind(None, None, None)
    except TypeError as error:
        raise ValueError(
            f"observe is called with three arrays, observe(states, rates, inputs), but the "
            f"function has the arguments {signature} ({error})."
        ) from error


def _one_for_all(word: str, channel_names: Sequence[str], quantities: Quantities) -> list[str]:
    meanings = quantities.get(word)
    if meanings is None:
        if len(channel_names) == 1:
            return [word]
        raise ValueError(
            f"observe={word!r} is said of {len(channel_names)} columns {list(channel_names)}; it "
            f"must be one of {sorted(quantities)}, or one entry per column."
        )
    if len(meanings) != len(channel_names):
        several = [f"{word} 1"] * 2 if len(meanings) > 1 else [word] * len(channel_names)
        raise ValueError(
            f"observe={word!r} needs one column per degree of freedom: the structure has "
            f"{len(meanings)}, the data have {len(channel_names)} {list(channel_names)}. If the "
            f"columns are of {len(channel_names)} masses, set n_dof={len(channel_names)} in the "
            f"structure; if some measure the same mass, say what each measures, one entry per "
            f"column: observe={several}, or words such as 'acceleration', 'position', \"v'\"."
        )
    return list(meanings)


def _numbered(texts: list[str], quantities: Quantities) -> None:
    """Words without a number, one after the other, mean the degrees of freedom in order."""
    for word, meanings in quantities.items():
        places = [place for place, text in enumerate(texts) if text == word]
        if not places:
            continue
        if len(meanings) == 1:
            # Several sensors on the only mass.
            for place in places:
                texts[place] = meanings[0]
            continue
        if len(places) != len(meanings):
            raise ValueError(
                f"observe says {word!r} of {len(places)} column(s), but the structure has "
                f"{len(meanings)} degrees of freedom. Number them, as in '{word} 2'."
            )
        for place, meaning in zip(places, meanings, strict=True):
            texts[place] = meaning


@dataclass(frozen=True)
class _Reader:
    state_names: tuple[str, ...]
    input_names: tuple[str, ...]
    quantities: Quantities

    def channel(self, name: str, text: str) -> Channel:
        """Read "acceleration 2", "v2'", or a sum such as "v' + 0.5*u0"."""
        word, _, number = text.partition(" ")
        meanings = self.quantities.get(word, ())
        if number.isdigit() and 1 <= int(number) <= len(meanings):
            text = meanings[int(number) - 1]
        aliases = {state: state for state in self.state_names}
        aliases |= {entry: entry for entry in self.input_names}
        plain = text
        # Longest first, so that v1' is not found in v11'.
        for place, state in sorted(
            enumerate(self.state_names), key=lambda item: len(item[1]), reverse=True
        ):
            alias = f"rate_of_state_{place}"
            plain, count = re.subn(rf"(?<!\w){re.escape(state)}'", alias, plain)
            if count:
                aliases[alias] = f"{state}'"
        help_ = (
            f"Write one of {sorted(self.quantities)}, a state of {list(self.state_names)}, the "
            f"rate of one (as {self.state_names[-1]}'), or a sum of such."
        )
        if "'" in plain:
            raise ValueError(
                f"observe: cannot read {text!r}, which column {name!r} is said to measure: one "
                f"apostrophe is the rate of a state, of {list(self.state_names)}. {help_}"
            )
        try:
            expr = sympy.expand(parse_expression(plain, aliases))
        except ValueError as error:
            raise ValueError(
                f"observe: cannot read {text!r}, which column {name!r} is said to measure "
                f"({error}). {help_}"
            ) from error
        symbols = sorted(expr.free_symbols, key=str)
        weights = {symbol.name: expr.coeff(symbol) for symbol in symbols}
        rest = sympy.expand(expr - sum(w * sympy.Symbol(n) for n, w in weights.items()))
        if rest != 0 or not weights or any(w.free_symbols for w in weights.values()):
            raise ValueError(
                f"observe: {text!r} (column {name!r}) is no weighted sum of states, rates and "
                f"inputs. For anything else pass a function observe(states, rates, inputs)."
            )
        rates = {f"{state}'": state for state in self.state_names}
        return Channel(
            name,
            states={n: float(w) for n, w in weights.items() if n in self.state_names},
            rates={rates[n]: float(w) for n, w in weights.items() if n in rates},
            inputs={n: float(w) for n, w in weights.items() if n in self.input_names},
        )

    def matrix(self, observe: Any, channel_names: Sequence[str]) -> tuple[Channel, ...]:
        """Read a matrix whose columns weigh states, then their rates, then the inputs."""
        weights = to_float(observe, "observe")
        n, m, C = len(self.state_names), len(self.input_names), len(channel_names)
        if weights.ndim != 2 or len(weights) != C or weights.shape[1] not in (n, 2 * n, 2 * n + m):
            raise ValueError(
                f"observe must have one row per measured column ({C}) and {n} columns of weights "
                f"(states), {2 * n} (states, then their rates) or {2 * n + m} (and inputs), got "
                f"shape {weights.shape}."
            )
        check_finite(weights, "observe")
        full = np.zeros((C, 2 * n + m))
        full[:, : weights.shape[1]] = weights

        def named(names: Sequence[str], values: Any) -> dict[str, float]:
            return {
                name: float(value) for name, value in zip(names, values, strict=True) if value != 0
            }

        return tuple(
            Channel(
                name,
                states=named(self.state_names, row[:n]),
                rates=named(self.state_names, row[n : 2 * n]),
                inputs=named(self.input_names, row[2 * n :]),
            )
            for name, row in zip(channel_names, full, strict=True)
        )
