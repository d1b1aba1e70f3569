"""The hidden-force question posed: columns, charges and settings of both kinds of law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.shooting import Column, Record, StateSpaceModel
from discoverers.structures.base import Data, Options
from discoverers.structures.chain.dictionary import Dictionary, make_dictionary, term_weight
from discoverers.structures.chain.model import Chain

from .rates import RateTerm, is_even, rate_terms
from .search import Candidate, Search, Setting
from .start import Scales, difference_noise, noise_floor, period_samples

__all__ = ["HiddenTask"]

Array = NDArray[np.float64]

WORKING_SAMPLES = 3000
"""The search works on the heads of longer records."""

KEPT = 2.0
"""Charge of the linear spring and damper (Akaike's): kept unless prediction does without them.

Extended BIC charges a term for having been picked out of a dictionary, and a prior under which it
is as likely absent as any. No mass is without spring or damper for that reason: where a hidden
force can take over a damper's part, leaving it out costs little and bends the hidden force.
"""


@dataclass(frozen=True, eq=False)
class HiddenTask:
    """One mass, whose law may hold a hidden force.

    Attributes
    ----------
    data : Data
    options : Options
    """

    data: Data
    options: Options

    @cached_property
    def chain(self) -> Chain:
        """Position and velocity."""
        return Chain(2, 1, self.data.input_names)

    @cached_property
    def names(self) -> tuple[str, str, str]:
        """Names of position, velocity and hidden force."""
        taken = {*self.chain.state_names, *self.data.input_names}
        force = next(name for name in ("z", "z_hidden", "z_hidden_") if name not in taken)
        return (*self.chain.state_names[:2], force)  # type: ignore[return-value]

    @cached_property
    def symbols(self) -> tuple[sympy.Symbol, sympy.Symbol, sympy.Symbol]:
        """Position, velocity, hidden force."""
        x, v, z = (sympy.Symbol(name) for name in self.names)
        return x, v, z

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """What the search works on."""
        records = self.data.records
        if sum(map(len, records)) <= WORKING_SAMPLES:
            return records
        share = max(WORKING_SAMPLES // len(records), 50)
        return tuple(record.head(min(len(record), share)) for record in records)

    @cached_property
    def noise_std(self) -> Array:
        """Noise of the channels: the user's, or that of differences; errors of integration too."""
        if self.data.noise_std is None:
            return difference_noise(self.records)
        return np.maximum(self.data.noise_std, noise_floor(self.records))

    @cached_property
    def free_x0(self) -> NDArray[np.bool_]:
        """Which initial states of position, velocity and hidden force are estimated."""
        free = np.isnan(self.data.x0[:, :2])
        hidden = np.full((len(free), 1), self.options.initial_state != "rest")
        return np.concatenate([free, hidden], axis=1)

    @cached_property
    def odd(self) -> bool:
        """Whether terms that are even in the motion are left out.

        Where nothing fixes the level from which the position counts, even terms trade with it.
        """
        return self.shiftable or self.options.parity == "odd"

    @cached_property
    def shiftable(self) -> bool:
        """Whether neither channels nor initial states fix the level of the position."""
        seen = any(self.names[0] in channel.states for channel in self.data.channels)
        return bool(self.free_x0[:, 0].all() and not seen and self.data.measure is None)

    @cached_property
    def dictionary(self) -> Dictionary:
        """Candidates of the acceleration, as without hidden force."""
        return make_dictionary(self.chain, self.options)

    @cached_property
    def law(self) -> tuple[list[sympy.Expr], Array, list[float | None], list[bool]]:
        """Terms of the acceleration, their weights, fixed values, and which are required."""
        inputs = [sympy.Symbol(name) for name in self.data.input_names]
        dictionary = self.dictionary
        moving = [*self.symbols[:2], *inputs]
        keep = [
            k
            for k, term in enumerate(dictionary.terms)
            if dictionary.required[k] or not (self.odd and is_even(term, moving))
        ]
        return (
            [dictionary.terms[k] for k in keep],
            dictionary.weights[keep],
            [dictionary.values[k] for k in keep],
            [bool(dictionary.required[k]) for k in keep],
        )

    @cached_property
    def rates(self) -> tuple[RateTerm, ...]:
        """Candidates of the hidden force's rate."""
        return tuple(term for term in rate_terms(*self.names) if not (self.odd and term.even))

    @cached_property
    def n_rows(self) -> int:
        """Measured values that the search works on."""
        return int(sum((~np.isnan(record.y)).sum() for record in self.records))

    def law_charges(
        self, free: Sequence[int], added: Sequence[sympy.Expr], weights: Array
    ) -> tuple[Array, tuple[int, ...]]:
        """Of the free terms of the acceleration and further ones; and which are required."""
        terms, _, _, required = self.law
        charges = self.charge(weights, len(weights))
        for place, term in enumerate([*(terms[k] for k in free), *added]):
            if term in self.symbols[:2]:
                charges[place] = KEPT
        locked = tuple(place for place, k in enumerate(free) if required[k])
        charges[list(locked)] = 0.0
        return charges, locked

    def charge(self, weights: Array, competitors: int) -> Array:
        """Extended BIC of terms, graded by complexity."""
        unit = np.log(max(self.n_rows, 2)) + 2.0 * self.options.gamma * np.log(max(competitors, 1))
        return weights * unit

    def static_search(self, further: Sequence[sympy.Expr] = ()) -> Search:
        """Over laws without hidden force, of the library and further terms."""
        terms, weights, values, _ = self.law
        x, v, _ = self.names
        columns = [Column(v, {x: 1.0}, value=1.0)]
        columns += [
            Column(term, {v: 1.0}, value=value) for term, value in zip(terms, values, strict=True)
        ]
        columns += [Column(term, {v: 1.0}) for term in further]
        free = [k for k, value in enumerate(values) if value is None]
        added = np.array([term_weight(term) for term in further])
        charges, locked = self.law_charges(free, further, np.concatenate([weights[free], added]))
        model = StateSpaceModel((x, v), self.data.input_names, columns)
        x0 = np.nan_to_num(self.data.x0[:, :2])
        setting = Setting(
            self.records, self.data.observation((x, v)), self.noise_std, x0,
            self.free_x0[:, :2], 100,
        )  # fmt: skip
        groups = np.zeros(len(charges), dtype=np.intp)
        return Search(model, charges, setting, locked, groups, self.options.max_terms)

    def hidden_search(self, start: Candidate, scales: Scales) -> Search:
        """Over laws with a hidden force and its rates, from the static law's initial states."""
        terms, weights, values, _ = self.law
        x, v, z = self.names
        columns = [Column(v, {x: 1.0}, value=1.0), Column(z, {v: -1.0}, value=1.0)]
        columns += [
            Column(term, {v: 1.0}, value=value) for term, value in zip(terms, values, strict=True)
        ]
        columns += [Column(term.expr, {z: 1.0}) for term in self.rates]
        free = [k for k, value in enumerate(values) if value is None]
        law, locked = self.law_charges(free, (), weights[free])
        rate = self.charge(np.array([term.weight for term in self.rates]), len(self.rates))
        model = StateSpaceModel(self.names, self.data.input_names, columns)
        x0 = np.concatenate([start.x0, np.zeros((len(start.x0), 1))], axis=1)
        setting = Setting(
            self.records, self.data.observation(self.names), self.noise_std, x0, self.free_x0,
            period_samples(self.records, scales),
        )  # fmt: skip
        groups = np.repeat([0, 1], [len(law), len(rate)])
        charges = np.concatenate([law, rate])
        return Search(model, charges, setting, locked, groups, self.options.max_terms)
