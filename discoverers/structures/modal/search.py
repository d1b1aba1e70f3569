"""Where a further mode may start, which modes a record can tell apart, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.signal import welch

from .model import ModalModel
from .projection import Channels, DampingPrior, Fitted, evaluate, fit_modes

if TYPE_CHECKING:
    from discoverers.shooting import Record

__all__ = [
    "Band",
    "Grid",
    "Search",
    "input_band",
    "mode_starts",
    "recount",
    "with_some_mode",
    "without_modes",
]

Array = NDArray[np.float64]

POWER = 0.99
"""Share of the inputs' power inside their band."""

MARGIN = 1.25
"""Modes are looked for so far outside of the band: their flanks reach into it."""

DAMPINGS = (0.3, 1.0, 3.0)
"""Damping ratios tried at each frequency, in units of the prior's median."""

GRID = 240
GRID_NUMBERS = 30_000_000
"""Most numbers that the grid's responses may hold (240 MB)."""

STARTS = 8
"""Places for a further mode, at most."""

JOINED = 4
"""Iterations after which two modes that the record cannot tell apart are not told apart again."""

SAME = 0.1
"""Distance of frequencies, as a share of what the record resolves, of fits that are the same."""


@dataclass(frozen=True)
class Band:
    """Where the inputs have power, in cycles per unit of time.

    Attributes
    ----------
    lower, upper : float
    span : float
        Length of the longest run.
    total : float
        Length of all runs together.
    """

    lower: float
    upper: float
    span: float
    total: float

    @property
    def independent(self) -> float:
        """Independent samples of a signal that fills the band: twice its width times the time."""
        return 2.0 * (self.upper - self.lower) * self.total

    @property
    def resolution(self) -> float:
        """Two modes closer than this are one to the record."""
        return 1.0 / self.span

    def grid(self, most: int) -> Array:
        """Frequencies where a further mode may start, at most so many."""
        lower = max(self.lower / MARGIN, self.resolution / 2.0)
        upper = max(self.upper * MARGIN, 2.0 * lower)
        points = int(np.clip(np.ceil(4.0 * (upper - lower) * self.span), 16, min(GRID, most)))
        return np.linspace(lower, upper, points)


def input_band(records: Sequence[Record], limits: tuple[float, float] | None = None) -> Band:
    """The band that holds 99 % of the power of every input, over all runs.

    Inputs are read at even times for this (only), and tapered.
    """
    span = max(float(record.t[-1] - record.t[0]) for record in records)
    total = sum(float(record.t[-1] - record.t[0]) for record in records)
    if limits is not None:
        return Band(limits[0], limits[1], span, total)
    lower, upper = np.inf, 0.0
    for record in records:
        n = len(record)
        even = np.linspace(record.t[0], record.t[-1], n)
        u = record.signal(even)
        taper = np.hanning(n)[:, None]
        u = (u - (taper * u).sum(axis=0) / taper.sum()) * taper
        power = np.abs(np.fft.rfft(u, axis=0)) ** 2
        frequency = np.fft.rfftfreq(n, even[1] - even[0])
        for column in power.T[power.sum(axis=0) > 0.0]:
            share = np.cumsum(column) / column.sum()
            ends = np.searchsorted(share, [0.5 - POWER / 2.0, 0.5 + POWER / 2.0])
            lower = min(lower, float(frequency[ends[0]]))
            upper = max(upper, float(frequency[min(ends[1], len(frequency) - 1)]))
    if upper == 0.0:
        raise ValueError(
            "u never changes: modes are seen by how they answer an input; give the force or the "
            "acceleration that drives them."
        )
    # A single tone has no width, yet two numbers (or a line of the spectrum) a record.
    return Band(lower, max(upper, lower + 1.0 / span), span, total)


def recount(channels: Channels, fitted: Fitted, records: Sequence[Record], band: Band) -> Channels:
    """Count independent samples by the bandwidth of the residuals, no fewer than the input's."""
    counts = []
    for c, residual in enumerate(fitted.residuals):
        at, width = 0, 0.0
        for r, record in enumerate(records):
            seen = channels.seen[_rows(records, r), c]
            part, t = residual[at : at + seen.sum()], record.t[seen]
            at += len(part)
            if len(part) < 16:
                continue
            even = np.linspace(t[0], t[-1], len(part))
            length = max(16, min(len(part), max(64, len(part) // 8)))
            frequency, power = welch(
                np.interp(even, t, part), 1.0 / (even[1] - even[0]), nperseg=length
            )
            if power.sum() > 0.0:
                bandwidth = frequency[1] * power.sum() ** 2 / np.sum(power**2)
                width += 2.0 * bandwidth * float(t[-1] - t[0])
        counts.append(width)
    return channels.counting(
        float(np.clip(np.median(counts), _fewest(channels, band), len(channels.y)))
    )


def _fewest(channels: Channels, band: Band) -> float:
    return min(band.independent, float(len(channels.y)))


def _rows(records: Sequence[Record], run: int) -> slice:
    start = sum(len(record) for record in records[:run])
    return slice(start, start + len(records[run]))


@dataclass(frozen=True, eq=False)
class Grid:
    """Responses of modes on a grid of frequencies and damping ratios, computed once.

    Attributes
    ----------
    frequency : ndarray of shape (G,)
        Cycles per unit of time.
    damping : ndarray of shape (G,)
    columns : tuple of ndarray of shape (N, G, width)
        Each channel's weighted rows, columns of norm 1.
    gram : tuple of ndarray of shape (G, width, width)
    """

    frequency: Array
    damping: Array
    columns: tuple[Array, ...]
    gram: tuple[Array, ...]

    @classmethod
    def make(cls, model: ModalModel, channels: Channels, band: Band, prior: DampingPrior) -> Grid:
        """Respond at every point of the grid."""
        width = model.columns(model.new_mode(1.0, 0.1)).shape[2]
        most = GRID_NUMBERS // (len(channels.y) * channels.y.shape[1] * width * len(DAMPINGS))
        pairs = [
            (frequency, ratio * prior.median)
            for frequency in band.grid(max(most, 16))
            for ratio in DAMPINGS
        ]
        found: list[list[Array]] = [[] for _ in channels.sense]
        for frequency, damping in pairs:
            block = model.columns(model.new_mode(2.0 * np.pi * frequency, damping))
            for c, sense in enumerate(channels.sense):
                B = channels.rows(block[sense], c)
                found[c].append(B / np.linalg.norm(B, axis=0).clip(1e-300))
        columns = tuple(np.stack(blocks, axis=1) for blocks in found)
        gram = tuple(np.einsum("ngi,ngj->gij", C, C) for C in columns)
        frequencies, dampings = np.array(pairs).T
        return cls(frequencies, dampings, columns, gram)

    def gains(self, fitted: Fitted, channels: Channels, prior: DampingPrior) -> Array:
        """How much the objective falls at once with a mode at each point."""
        total = -((np.log(self.damping / prior.median) / prior.spread) ** 2)
        for c, (C, gram) in enumerate(zip(self.columns, self.gram, strict=True)):
            Q, r = fitted.bases[c], fitted.residuals[c]
            flat = C.reshape(len(C), -1)
            known = (Q.T @ flat).reshape(-1, *C.shape[1:])
            left = gram - np.einsum("kgi,kgj->gij", known, known)
            # What the model has already leaves columns of rounding errors.
            left = left + 1e-6 * np.eye(C.shape[2])
            shared = (r @ flat).reshape(C.shape[1:])
            explained = np.einsum(
                "gi,gi->g", shared, np.linalg.solve(left, shared[..., None])[..., 0]
            )
            rss = fitted.rss[c] + channels.floor[c]
            rest = np.maximum(rss - explained, max(channels.floor[c], 1e-12 * rss))
            total = total + channels.share[c] * channels.independent * np.log(rss / rest)
        return np.asarray(total)


@dataclass(frozen=True, eq=False)
class Search:
    """Everything that the steps of a search share.

    Attributes
    ----------
    channels : Channels
    prior : DampingPrior
    band : Band
    grid : Grid
    separation : float
        Distance that two modes must keep, in units of what the record and their dampings resolve.
    path : list of Fitted
        Every model that was fitted, in that order.
    """

    channels: Channels
    prior: DampingPrior
    band: Band
    grid: Grid
    separation: float = 1.0
    path: list[Fitted] = field(default_factory=list)

    def fit(self, model: ModalModel, others: Sequence[Fitted] = ()) -> Fitted | None:
        """Fit a model; None if it then holds modes that the record cannot tell apart.

        Two modes must be apart by 1 / length of the record, and by half of both half-power
        bandwidths. Pairs that are closer imitate one mode whose frequency depends on the
        amplitude, and forecast badly.

        Parameters
        ----------
        model : ModalModel
        others : sequence of Fitted
            Fits of models of the same form; a descent that comes to one of them is given up.
        """
        joined = 0

        def given_up(at: Fitted) -> bool:
            nonlocal joined
            joined = 0 if self.separate(at.model) else joined + 1
            return joined == JOINED or any(self._same(at, other) for other in others)

        found = fit_modes(
            model, self.channels, self.prior, acceptable=self._inside, given_up=given_up
        )
        if found is None or not self.separate(found.model):
            return None
        self.path.append(found)
        return found

    def _same(self, one: Fitted, other: Fitted) -> bool:
        """Whether two fits of the same form are about to be one."""
        first, second = (
            np.sort([mode.frequency for mode in fitted.model.modes]) / (2.0 * np.pi)
            for fitted in (one, other)
        )
        near = np.all(np.abs(first - second) < SAME * self.band.resolution)
        return bool(near and abs(one.objective - other.objective) < 1.0)

    def _inside(self, model: ModalModel) -> bool:
        """Whether all modes are between a drift and far beyond the band."""
        frequencies = np.array([mode.frequency for mode in model.modes]) / (2.0 * np.pi)
        lowest, highest = self.band.resolution / 2.0, 2.0 * MARGIN * self.band.upper
        return bool(np.all((frequencies > lowest) & (frequencies < highest)))

    def separate(self, model: ModalModel) -> bool:
        """Whether the record can tell all modes apart."""
        modes = sorted(model.modes, key=lambda mode: mode.log_frequency)
        frequencies = np.array([mode.frequency for mode in modes]) / (2.0 * np.pi)
        reach = frequencies * np.array([mode.damping for mode in modes])
        needed = self.separation * np.maximum(self.band.resolution, reach[1:] + reach[:-1])
        return bool(np.all(np.diff(frequencies) > needed))


def mode_starts(search: Search, fitted: Fitted) -> list[ModalModel]:
    """Models with a further mode at the best places for it."""
    model, grid = fitted.model, search.grid
    taken = np.array([mode.frequency for mode in model.modes]) / (2.0 * np.pi)
    reach = np.array([mode.damping for mode in model.modes]) * taken
    needed = reach + (grid.damping * grid.frequency)[:, None]
    needed = search.separation * np.maximum(search.band.resolution, needed)
    free = np.all(np.abs(taken - grid.frequency[:, None]) > needed, axis=1)
    gains = np.where(free, grid.gains(fitted, search.channels, search.prior), -np.inf)
    chosen: list[int] = []
    for k in np.argsort(-gains, kind="stable"):
        frequency = grid.frequency[k]
        apart = max(search.band.resolution, 0.05 * frequency)
        if free[k] and all(abs(frequency - grid.frequency[other]) > apart for other in chosen):
            chosen.append(int(k))
        if len(chosen) == STARTS:
            break
    return [
        model.with_modes(
            [*model.modes, model.new_mode(2.0 * np.pi * grid.frequency[k], grid.damping[k])]
        )
        for k in chosen
    ]


def without_modes(search: Search, model: ModalModel) -> Fitted:
    """The inputs alone, without modes."""
    found = evaluate(model, search.channels, search.prior)
    if found is None:
        raise ValueError("u holds infinite values or NaN; leave those rows out.")
    return found


def with_some_mode(search: Search, fitted: Fitted) -> Fitted:
    """The model itself, or with the best start where no mode could be fitted."""
    if fitted.model.modes:
        return fitted
    start = mode_starts(search, fitted)[0]
    found = evaluate(start, search.channels, search.prior)
    return fitted if found is None else replace(found, converged=False)
