"""Inputs that run otherwise between samples than assumed, or come late: told on a misfit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.equations import Equations
from discoverers.exceptions import MisfitWarning

from .base import Data, Note, StructuralFit

if TYPE_CHECKING:
    from discoverers.shooting import Calibration, Record, StateSpaceModel

__all__ = ["timing_notes"]

Array = NDArray[np.float64]
Interpolation = Literal["cubic", "linear", "hold"]

KINDS: tuple[Interpolation, ...] = ("cubic", "linear", "hold")

LESS = 0.85
"""The same law with another interpolation has to leave less than this share of the residual."""

MUCH_LESS = 0.7
"""The same with a shift in time, which makes up for more of what a law may lack."""

MOST = 0.5
"""What leaves more than this share has to leave white noise: else something else is wrong as well,
and a little of it is made up for."""

DELAYS = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)
"""Delays that are tried, in samples."""

SAMPLES = 1500
"""Longer runs are looked at up to here."""

ITERATIONS = 12


def timing_notes(found: StructuralFit, data: Data, interpolation: Interpolation) -> Iterator[Note]:
    """Say that another course of the inputs would explain a misfit, where it would.

    A force that is held between samples and taken for a smooth one, or a channel that is recorded
    half a sample later than another, leave residuals many times the noise whatever the law. So the
    law that was found is calibrated again, with other interpolations and with inputs that are
    shifted in time, and the residuals compared.

    Parameters
    ----------
    found : StructuralFit
        Equations with their fitted states.
    data : Data
        What was measured.
    interpolation : {"cubic", "linear", "hold"}
        How the inputs were taken to run.

    Yields
    ------
    Note
        At most one.
    """
    misfit = any(note.category is MisfitWarning for note in found.notes)
    names = found.equations.input_names
    used = {symbol.name for side in found.equations for symbol in side.free_symbols}
    if not misfit or not used.intersection(names) or not _smooth(found.equations):
        return
    records = tuple(record.head(min(len(record), SAMPLES)) for record in data.records)
    if any(callable(record.signal.interpolation) for record in records):
        return
    trial = _Trial(found, data, records)
    step = float(np.median(np.concatenate([np.diff(record.t) for record in records])))
    here = trial.residual(interpolation, 0.0)
    delays = {0.0: here}
    delays |= {share * step: trial.residual(interpolation, share * step) for share in DELAYS}
    between = _parabola(delays, step)
    if between is not None:
        delays[between] = trial.residual(interpolation, between)
    delay = min(delays, key=lambda one: delays[one])
    kinds: dict[Interpolation, float] = {
        kind: trial.residual(kind, 0.0) for kind in KINDS if kind != interpolation
    }
    kind = min(kinds, key=lambda one: kinds[one])
    shifted = delays[delay] < kinds[kind]
    least = min(delays[delay], kinds[kind])
    if not least < (MUCH_LESS if shifted else LESS) * here:
        return
    remedy = (interpolation, delay) if shifted else (kind, 0.0)
    if least > MOST * here and not trial.leaves_white(*remedy):
        return
    if not shifted:
        cause = f"with interpolation={kind!r} between the samples of u"
        advice = f"If the inputs run so, fit again with interpolation={kind!r}."
    else:
        way = "later" if delay > 0.0 else "earlier"
        cause = f"with u {abs(delay):.3g} {way} ({abs(delay) / step:.2g} samples)"
        advice = (
            f"If the channels lag behind each other, fit again with u as it was "
            f"{abs(delay):.3g} {'before' if delay > 0.0 else 'after'} each time."
        )
    yield Note(
        f"The same law leaves {least / here:.2g} times the residual {cause}. {advice}",
        MisfitWarning,
    )


class _Trial:
    """The law that was found, calibrated again under other courses of the inputs."""

    def __init__(self, found: StructuralFit, data: Data, records: tuple[Record, ...]) -> None:
        self.found, self.records = found, records
        self.free = np.isnan(data.x0)
        states = len(found.equations.state_names)
        if self.free.shape[1] < states:
            extra = np.zeros((len(records), states - self.free.shape[1]), dtype=bool)
            self.free = np.hstack([self.free, extra])
        self.model, self.theta = _freed(found.equations)
        self.scale = np.maximum(found.noise_std, 1e-12)

    def residual(self, interpolation: Interpolation, delay: float) -> float:
        """Root mean square, in units of the noise, after a calibration from the fit."""
        fit, _ = self._calibrated(interpolation, delay)
        count = max(int(fit.n_observed.sum()), 1)
        return float(np.sqrt(fit.cost / count)) if np.isfinite(fit.cost) else np.inf

    def leaves_white(self, interpolation: Interpolation, delay: float) -> bool:
        """Whether nothing but white noise is left then."""
        from .chain.misfit import is_white

        fit, records = self._calibrated(interpolation, delay)
        return bool(np.isfinite(fit.cost)) and all(
            is_white(record.y - self.found.observation.values(path.X, path.F, record.u))
            for record, path in zip(records, fit.paths, strict=True)
        )

    def _calibrated(
        self, interpolation: Interpolation, delay: float
    ) -> tuple[Calibration, list[Record]]:
        from discoverers.shooting import calibrate

        records = [_shifted(record, interpolation, delay) for record in self.records]
        with np.errstate(all="ignore"):
            fit: Calibration = calibrate(
                self.model,
                self.theta,
                self.found.x0,
                records,
                self.found.observation,
                self.scale,
                free_x0=self.free,
                max_iterations=ITERATIONS,
            )
        return fit, records


def _shifted(record: Record, interpolation: Interpolation, delay: float) -> Record:
    from discoverers.shooting import InputSignal, Record

    signal = InputSignal(record.signal.t, record.signal.u, interpolation)
    if delay == 0.0:
        return Record(record.t, record.y, record.u, record.weight, signal)
    late = InputSignal(record.signal.t + delay, record.signal.u, interpolation)
    return Record(record.t, record.y, late(record.t), record.weight, late)


def _freed(equations: Equations) -> tuple[StateSpaceModel, Array]:
    """The equations with the coefficients of all but kinematic terms free."""
    from discoverers.shooting import Column, StateSpaceModel

    states = {sympy.Symbol(name) for name in equations.state_names}
    columns, theta = [], []
    for state, terms in equations.terms().items():
        kinematic = len(terms) == 1 and all(
            term in states and coefficient == 1.0 for term, coefficient in terms.items()
        )
        for term, coefficient in terms.items():
            value = float(coefficient) if kinematic else None
            columns.append(Column(term, {state: 1.0}, value=value))
            theta.append(float(coefficient))
    model = StateSpaceModel(equations.state_names, equations.input_names, columns)
    return model, np.array(theta)


def _smooth(equations: Equations) -> bool:
    """Whether the law has no jumps, which a calibration does not get over."""
    return not any(side.has(sympy.sign) for side in equations)


def _parabola(residuals: dict[float, float], step: float) -> float | None:
    """Delay at the bottom of the parabola through the best delay and its neighbours."""
    known = sorted(delay for delay, value in residuals.items() if np.isfinite(value))
    place = min(range(len(known)), key=lambda k: residuals[known[k]], default=0)
    if not 0 < place < len(known) - 1:
        return None
    x = np.array(known[place - 1 : place + 2])
    squares = np.array([residuals[delay] ** 2 for delay in x])
    a, b, _ = np.polyfit(x / step, squares, 2)
    return float(np.clip(-b / (2.0 * a) * step, x[0], x[2])) if a > 0.0 else None
