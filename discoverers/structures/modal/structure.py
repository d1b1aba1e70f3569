"""`ModalStructure`: vibration modes driven by the inputs, found one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from discoverers.structures.base import Data, Options, StructuralFit, Structure

if TYPE_CHECKING:
    from .growth import Growth
    from .model import ModalModel, Sense
    from .projection import Channels, DampingPrior, Fitted
    from .search import Search

__all__ = ["ModalStructure"]

FORCES = ("q**2", "q*|q|", "q**3", "v*|v|", "v**3", "q**2*v", "hysteresis")

FLOOR = 1e-3
"""Share of a channel's rms that counts as noise in any case: integration and rounding."""

POLISH = 1e-7
"""Last decrease of the objective in the final fit."""

NOISE_LIKE = 0.5
"""Share of independent rows from which on residuals are measurement noise, not missing modes."""


class ModalStructure(Structure):
    """Vibration modes, as many as the record supports, each an oscillator driven by the inputs.

    ``q_i'' = w_i^2 (g_i.u - q_i) - 2 z_i w_i q_i'``, and channels see sums over modes: an
    accelerometer ``y = d.u + sum_i c_i q_i'' / w_i^2``. That is a structure shaken at its base
    (u is the base's acceleration, -q / w^2 the relative displacement) or by forces (u are forces).
    Nonlinear forces on single modes (stiffness, damping, hysteresis) are added where a score test
    asks for them. Remove the means of inputs and channels before: there is no constant term.

    Parameters
    ----------
    n_modes : int or "auto", default="auto"
        Number of modes; "auto" adds modes as long as Schwarz's criterion falls, counting
        independent samples and not rows.
    max_modes : int, default=12
        Most modes that "auto" adds.
    frequency_range : (float, float) or None, default=None
        Where to look for modes, in cycles per unit of time; None looks where the inputs have
        power. Samples count as independent by this bandwidth.
    damping_prior : (float, float), default=(0.02, 1.0)
        Median of the damping ratios, and standard deviation of their logarithms. Short records
        say little of damping; the default allows 0.3 % to 15 %.
    separation : float, default=1.0
        How far apart two modes must be, in units of what the record (1 / length) and their
        half-power bandwidths resolve. With 0 modes may coincide, and imitate nonlinear ones.
    forces : "auto", "none" or sequence of str, default="auto"
        Nonlinear forces that are candidates on every mode. "auto" is all of "q**2", "q*|q|",
        "q**3", "v*|v|", "v**3", "q**2*v" and "hysteresis" (a spring that yields, with a state of
        its own: z' = v - |v| z / width, at rest in the beginning).
    significance : float, default=0.01
        Probability that a force, or a mode out of phase, is fitted by chance, all candidates
        considered.
    shapes : {"auto", "real"}, default="auto"
        "real": all parts of the structure move in phase in a mode, as with damping that is spread
        like mass and stiffness. "auto" lets channels see modes out of phase (complex modes) where
        that pays: a damper in one place does it, and left out it passes for nonlinear damping.

    Notes
    -----
    Several channels see the same modes and initial states; several inputs move a mode by weights
    of its own. Steps between samples are exact for linear modes (the input is a cubic, or what
    ``interpolation`` says), so the sampling may be coarse and irregular. Only frequencies and
    dampings are searched, weights and initial states are eliminated (variable projection).

    `SKANODERegressor` gets the further attributes ``modes_`` (frequencies and damping ratios with
    standard errors), ``score_tests_`` (one row per candidate force), ``hysteresis_`` (what the
    record says of it, in words) and ``independent_samples_``.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers import SKANODERegressor
    >>> from discoverers.structures import ModalStructure
    >>> t = np.arange(0, 10, 0.02)
    >>> u = np.random.default_rng(0).normal(size=(len(t) // 5, 1)).repeat(5, axis=0)[:, 0]
    >>> from scipy.signal import lsim
    >>> y = lsim(([400.0, 0, 0], [1, 0.4, 400.0]), u, t, interp=False)[1] / 400.0
    >>> model = SKANODERegressor(ModalStructure(), interpolation="hold").fit(t, y, u=u)
    >>> len(model.modes_)
    1
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_modes": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_modes": [Interval(Integral, 1, None, closed="left")],
        "frequency_range": [tuple, list, None],
        "damping_prior": [tuple, list],
        "separation": [Interval(Real, 0, None, closed="left")],
        "forces": [StrOptions({"auto", "none"}), list, tuple],
        "significance": [Interval(Real, 0, 1, closed="neither")],
        "shapes": [StrOptions({"auto", "real"})],
    }

    def __init__(
        self,
        n_modes: int | str = "auto",
        *,
        max_modes: int = 12,
        frequency_range: tuple[float, float] | None = None,
        damping_prior: tuple[float, float] = (0.02, 1.0),
        separation: float = 1.0,
        forces: str | Sequence[str] = "auto",
        significance: float = 0.01,
        shapes: Literal["auto", "real"] = "auto",
    ) -> None:
        self.n_modes = n_modes
        self.max_modes = max_modes
        self.frequency_range = frequency_range
        self.damping_prior = damping_prior
        self.separation = separation
        self.forces = forces
        self.significance = significance
        self.shapes = shapes

    def state_names(
        self, channel_names: Sequence[str], input_names: Sequence[str]
    ) -> tuple[str, ...]:
        """``q1, v1, q2, v2, ...`` with one mode per channel: how many there are, the data say."""
        if not input_names:
            raise ValueError(
                "u is needed: modes are told by how they answer an input. Pass the force or the "
                "base's acceleration as u= or as further columns of t."
            )
        taken = [name for name in input_names if name[:1] in "qvz" and name[1:].isdigit()]
        if taken:
            raise ValueError(
                f"input(s) {taken} have names that modal states may get (q1, v1, z1, ...); rename "
                f"the column(s)."
            )
        return tuple(f"{letter}{i + 1}" for i in range(len(channel_names)) for letter in "qv")

    def quantities(
        self, channel_names: Sequence[str], input_names: Sequence[str]
    ) -> Mapping[str, tuple[str, ...]]:
        """Words for what a channel measures; each channel sees all modes."""
        count = range(1, len(channel_names) + 1)
        return {
            "position": tuple(f"q{i}" for i in count),
            "velocity": tuple(f"v{i}" for i in count),
            "acceleration": tuple(f"v{i}'" for i in count),
        }

    def discover(self, data: Data, options: Options) -> StructuralFit:
        """Find the modes, and the forces on them."""
        from .growth import prune, swap
        from .report import report
        from .search import recount, without_modes

        began = time.perf_counter()
        senses = self._senses(data)
        growth = self._growth(options)
        search, model = self._search(data, options, senses)
        budget = growth.exactly or growth.most

        def rounds() -> Iterator[int]:
            return options.iterations("mode", 2 * budget)

        best = _grown(search, without_modes(search, model), growth, rounds)
        counted = recount(search.channels, best, data.records, search.band)
        if counted.independent > NOISE_LIKE * len(counted.y) > search.channels.independent:
            search = replace(search, channels=counted)
            again = search.fit(best.model) or best
            best = _grown(search, again, growth, rounds)
        grown = best
        best, others = swap(search, grown, growth)
        if best is not grown:
            best = prune(search, best, growth)
        final, channels = self._polished(search, best, data)
        seconds = time.perf_counter() - began
        return report(data, search, final, channels, others, growth, senses, seconds)

    # --- what the user asked

    def _senses(self, data: Data) -> tuple[Sense, ...]:
        """What each channel measures: displacement, velocity or acceleration of the modes."""
        if data.measure is not None:
            raise ValueError(
                "observe must not be a function with ModalStructure: how channels see the modes is "
                "estimated. Say 'acceleration', 'velocity' or 'position'."
            )
        found: list[Sense] = []
        for channel in data.channels:
            names = [*channel.states, *(f"{name}'" for name in channel.rates), *channel.inputs]
            if len(names) != 1 or channel.inputs:
                raise ValueError(
                    f"observe: column {channel.name!r} is a sum of {names}, but with "
                    f"ModalStructure the weights of modes and inputs are estimated. Say "
                    f"'acceleration', 'velocity' or 'position'."
                )
            if channel.rates:
                found.append("acceleration" if names[0].startswith("v") else "velocity")
            else:
                found.append("velocity" if names[0].startswith("v") else "displacement")
        return tuple(found)

    def _growth(self, options: Options) -> Growth:
        from .growth import Growth

        if options.library != "auto" or options.required or options.forbidden:
            raise ValueError(
                "library, required and forbidden do not apply to ModalStructure: its equations are "
                "modes. Leave them out, and choose forces by ModalStructure(forces=[...])."
            )
        kinds = {"auto": FORCES, "none": ()}.get(
            self.forces if isinstance(self.forces, str) else "", self.forces
        )
        unknown = [kind for kind in kinds if kind not in FORCES]
        if unknown:
            raise ValueError(f"forces holds {unknown}; known are {list(FORCES)}.")
        if options.parity == "odd":
            kinds = [kind for kind in kinds if kind != "q**2"]
        exactly = None if isinstance(self.n_modes, str) else int(self.n_modes)
        return Growth(
            self.max_modes, exactly, self.significance, tuple(map(str, kinds)), options.gamma,
            self.shapes == "auto",
        )  # fmt: skip

    def _pair(self, name: str) -> tuple[float, float]:
        values = [float(value) for value in getattr(self, name)]
        if len(values) != 2 or not np.all(np.isfinite(values)) or min(values) < 0.0:
            raise ValueError(f"{name} must be two finite numbers >= 0, got {values}.")
        return values[0], values[1]

    def _search(
        self, data: Data, options: Options, senses: tuple[Sense, ...]
    ) -> tuple[Search, ModalModel]:
        from .model import ModalModel
        from .projection import DampingPrior
        from .search import Grid, Search, input_band

        estimate = options.initial_state == "estimate"
        if estimate and np.isfinite(data.x0).any():
            raise ValueError(
                "x0 cannot be given with ModalStructure, whose states are modes yet to be found. "
                "Leave it out, or say initial_state='rest'."
            )
        limits = None
        if self.frequency_range is not None:
            limits = self._pair("frequency_range")
            if limits[0] >= limits[1]:
                raise ValueError(f"frequency_range must increase, got {list(limits)}.")
        median, spread = self._pair("damping_prior")
        if median == 0.0 or spread == 0.0:
            raise ValueError(f"damping_prior must be positive, got {[median, spread]}.")
        prior: DampingPrior = DampingPrior(median, spread)
        band = input_band(data.records, limits)
        highest = 2.0 * np.pi * band.upper
        model = ModalModel.make(data.records, senses, highest, estimate)
        channels = _channels(data, model, senses, band.independent)
        grid = Grid.make(model, channels, band, prior)
        return Search(channels, prior, band, grid, float(self.separation)), model

    def _polished(self, search: Search, best: Fitted, data: Data) -> tuple[Fitted, Channels]:
        """All channels see one response of each mode; fitted to the last digit."""
        from .estimates import by_frequency
        from .forces import as_joint_model
        from .projection import evaluate, fit_modes
        from .search import recount, with_some_mode

        best = with_some_mode(search, best)
        ordered = evaluate(by_frequency(best), search.channels, search.prior) or best
        joint, _ = as_joint_model(ordered)
        separate = search.separate if search.separate(joint) else None
        final = fit_modes(joint, search.channels, search.prior, 100, separate, POLISH)
        if final is None:
            # The starts of badly seen modes may be enormous: from rest instead.
            calm = [replace(mode, start=np.zeros_like(mode.start)) for mode in joint.modes]
            final = fit_modes(joint.with_modes(calm), search.channels, search.prior, 100) or best
        return final, recount(search.channels, final, data.records, search.band)


def _grown(
    search: Search, start: Fitted, growth: Growth, rounds: Callable[[], Iterator[int]]
) -> Fitted:
    """The better of two ways: modes that may be complex from the first, and only in the end.

    What parts out of phase leave passes for forces, and forces for parts out of phase: neither way
    gets out of where the other does not get into.
    """
    from .growth import grow, prune

    real = replace(growth, complex=False)
    found = prune(search, grow(search, start, real, rounds()), real)
    if not growth.complex:
        return found
    turned = [
        prune(search, grow(search, each, growth, rounds()), growth)
        for each in ((found, start) if found is not start else (found,))
    ]
    return min([found, *turned], key=lambda one: one.criterion)


def _channels(
    data: Data, model: ModalModel, senses: tuple[Sense, ...], independent: float
) -> Channels:
    from .projection import Channels

    y = np.concatenate([record.y for record in data.records])
    weight = np.concatenate([record.weight for record in data.records])
    seen = np.isfinite(y) & (weight > 0.0)[:, None]
    y = np.where(seen, y, 0.0)
    power = (weight[:, None] * y**2).sum(axis=0)
    floor = FLOOR**2 * power
    if data.noise_std is not None:
        floor = np.maximum(floor, (weight[:, None] * seen).sum(axis=0) * data.noise_std**2)
    return Channels(
        y,
        seen,
        np.sqrt(weight),
        np.array([model.senses.index(sense) for sense in senses]),
        # A channel that is zero throughout has no scale of its own.
        np.where(floor > 0.0, floor, 1e-300),
        min(independent, float(len(y))),
    )
