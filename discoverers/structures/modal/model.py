"""Modes as values, and their responses to the recorded inputs with derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from .drive import Drive
from .kernels import linear_mode
from .nonlinear_kernels import (
    BY_DAMPING,
    BY_FACTOR,
    BY_FREQUENCY,
    BY_HOLD,
    BY_INPUT,
    BY_POSITION,
    BY_VELOCITY,
    BY_WIDTH,
    nonlinear_mode,
)

if TYPE_CHECKING:
    from discoverers.shooting import Record

__all__ = ["FORCES", "HYSTERESIS", "Force", "ModalModel", "Mode", "Sense"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Sense = Literal["displacement", "velocity", "acceleration"]
SENSES = ("displacement", "velocity", "acceleration")
"""In the order of the kernel's numbers."""

QUARTER: dict[Sense, Sense] = {
    "displacement": "velocity",
    "velocity": "displacement",
    "acceleration": "velocity",
}
"""What a channel sees of a mode a quarter of a period off what it measures."""

FORCES = ("q**2", "q*|q|", "q**3", "v*|v|", "v**3", "q**2*v")
"""Forces on a mode, in the order of the kernel's numbers."""

HYSTERESIS = "hysteresis"

FINE = 0.3
"""Largest phase, in radians, of a nonlinear mode in one step."""


@dataclass(frozen=True)
class Force:
    """A nonlinear force on one mode, added to its acceleration.

    Attributes
    ----------
    kind : str
        One of `FORCES`, or "hysteresis": the state z of z' = v - |v| z / width.
    factor : float
    width : float
        Displacement over which a hysteretic spring yields; 1 for other forces.
    """

    kind: str
    factor: float = 0.0
    width: float = 1.0


@dataclass(frozen=True, eq=False)
class Mode:
    """One mode q'' = w^2 (g.u - q) - 2 z w q' + forces.

    Attributes
    ----------
    log_frequency, log_damping : float
        Logarithms of w and z.
    participation : ndarray of shape (m,)
        g; the entry at `reference` is 1.
    start : ndarray of shape (runs, 2)
        q and q' / w at the first sample of each run.
    forces : tuple of Force
    joint : bool
        Whether all channels see one response, so that `participation` and `start` are parameters.
        If not, every channel weighs the responses to inputs and initial states as it likes: all
        of these are linear then, and the search needs no start for them.
    complex : bool
        Whether channels also see the mode a quarter of a period off, by weights of their own: where
        damping is not spread as mass and stiffness are, parts of a structure move out of phase.
    """

    log_frequency: float
    log_damping: float
    participation: Array
    start: Array
    forces: tuple[Force, ...] = ()
    joint: bool = False
    complex: bool = False

    @property
    def frequency(self) -> float:
        """Natural frequency in radians per unit of time."""
        return float(np.exp(self.log_frequency))

    @property
    def damping(self) -> float:
        """Damping ratio."""
        return float(np.exp(self.log_damping))

    @cached_property
    def reference(self) -> int:
        """The input whose participation is 1."""
        return int(np.argmax(np.abs(self.participation)))

    def size(self, estimate_start: bool) -> int:
        """Number of nonlinear parameters."""
        return len(self.kinds(estimate_start))

    def kinds(self, estimate_start: bool) -> list[tuple[int, int]]:
        """What each entry of `vector` is: the kernel's number, and which input, run or force."""
        found = [(BY_FREQUENCY, 0), (BY_DAMPING, 0)]
        if self.joint:
            inputs = len(self.participation)
            found += [(BY_INPUT, j) for j in range(inputs) if j != self.reference]
            if estimate_start:
                runs = range(len(self.start))
                found += [(by, r) for r in runs for by in (BY_POSITION, BY_VELOCITY)]
            smooth = 0
            for force in self.forces:
                if force.kind == HYSTERESIS:
                    found += [(BY_HOLD, 0), (BY_WIDTH, 0)]
                else:
                    found.append((BY_FACTOR, smooth))
                    smooth += 1
        return found

    def vector(self, estimate_start: bool) -> Array:
        """Nonlinear parameters."""
        parts = [np.array([self.log_frequency, self.log_damping])]
        if self.joint:
            parts.append(np.delete(self.participation, self.reference))
            if estimate_start:
                parts.append(self.start.ravel())
            for force in self.forces:
                parts.append(np.array([force.factor]))
                if force.kind == HYSTERESIS:
                    parts.append(np.log([force.width]))
        return np.concatenate(parts)

    def logarithms(self, estimate_start: bool) -> NDArray[np.bool_]:
        """Which entries of `vector` are logarithms."""
        logs = (BY_FREQUENCY, BY_DAMPING, BY_WIDTH)
        return np.array([by in logs for by, _ in self.kinds(estimate_start)], dtype=bool)

    def moved(self, vector: Array, estimate_start: bool) -> Mode:
        """The mode with other nonlinear parameters."""
        values = list(vector)
        frequency, damping = values.pop(0), values.pop(0)
        if not self.joint:
            return replace(self, log_frequency=frequency, log_damping=damping)
        others = [values.pop(0) for _ in range(len(self.participation) - 1)]
        participation = np.insert(np.array(others), self.reference, 1.0)
        start = self.start
        if estimate_start:
            start = np.array([values.pop(0) for _ in range(start.size)]).reshape(start.shape)
        forces = []
        for force in self.forces:
            factor = float(values.pop(0))
            width = float(np.exp(values.pop(0))) if force.kind == HYSTERESIS else force.width
            forces.append(replace(force, factor=factor, width=width))
        return replace(
            self,
            log_frequency=frequency,
            log_damping=damping,
            participation=participation,
            start=start,
            forces=tuple(forces),
        )


@dataclass(frozen=True, eq=False)
class ModalModel:
    """Modes under the inputs of all runs.

    Attributes
    ----------
    records : tuple of Record
    drives, fine : tuple of Drive
        For linear modes, and with smaller steps for nonlinear ones.
    modes : tuple of Mode
    senses : tuple of Sense
        What channels may measure: q'' / w^2, q' / w or q.
    estimate_start : bool
        Whether initial states are parameters; if not, they are zero.
    """

    records: tuple[Record, ...]
    drives: tuple[Drive, ...]
    fine: tuple[Drive, ...]
    modes: tuple[Mode, ...]
    senses: tuple[Sense, ...]
    estimate_start: bool

    @classmethod
    def make(
        cls,
        records: Sequence[Record],
        senses: Sequence[Sense],
        highest: float,
        estimate_start: bool,
    ) -> ModalModel:
        """Without modes yet; `highest` is the highest frequency expected (radians)."""
        longest = max(float(np.diff(record.t).max()) for record in records)
        stride = int(np.clip(np.ceil(highest * longest / FINE), 1, 20))
        drives = tuple(Drive.make(record) for record in records)
        fine = drives if stride == 1 else tuple(Drive.make(record, stride) for record in records)
        return cls(tuple(records), drives, fine, (), tuple(dict.fromkeys(senses)), estimate_start)

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return int(self.records[0].u.shape[1])

    def new_mode(self, frequency: float, damping: float) -> Mode:
        """A linear mode at a natural frequency (radians) and damping ratio."""
        return Mode(
            float(np.log(frequency)),
            float(np.log(damping)),
            np.ones(self.n_inputs),
            np.zeros((len(self.records), 2)),
        )

    def with_modes(self, modes: Sequence[Mode]) -> ModalModel:
        """The same runs with other modes."""
        return replace(self, modes=tuple(modes))

    def vector(self) -> Array:
        """Nonlinear parameters of all modes."""
        return np.concatenate(
            [np.empty(0), *(mode.vector(self.estimate_start) for mode in self.modes)]
        )

    def moved(self, vector: Array) -> ModalModel:
        """The same model with other nonlinear parameters."""
        modes, at = [], 0
        for mode in self.modes:
            size = mode.size(self.estimate_start)
            modes.append(mode.moved(vector[at : at + size], self.estimate_start))
            at += size
        return self.with_modes(modes)

    def direct(self) -> Array:
        """Columns of the inputs themselves, (senses, N, m)."""
        u = np.concatenate([record.u for record in self.records])
        return np.broadcast_to(u, (len(self.senses), *u.shape))

    def columns(self, mode: Mode) -> Array:
        """What channels may see of a mode, (senses, N, columns): one column if it is joint.

        Of a complex mode there is as much again of the responses to inputs, a quarter of a period
        off; free responses of any phase are among the columns anyway.
        """
        if mode.joint and mode.forces:
            motion = np.concatenate(self.motion(mode), axis=1)
            return self.paired(mode, self._seen(mode, motion)[..., None])
        basis = self._basis(mode, derivatives=False)[0]
        return self.paired(mode, (basis @ self._weights(mode))[..., None] if mode.joint else basis)

    def paired(self, mode: Mode, values: Array) -> Array:
        """Columns from what is seen in phase and, of a complex mode, below it out of phase."""
        if not mode.complex:
            return values
        in_phase, off = np.split(values, 2)
        return np.concatenate([in_phase, off if mode.joint else off[..., : self.n_inputs]], axis=-1)

    def derivatives(self, mode: Mode) -> list[Array]:
        """Derivatives of `columns` by the entries of `Mode.vector`."""
        kinds = mode.kinds(self.estimate_start)
        if mode.joint and mode.forces:
            _, found = self.derivative(mode, kinds)
            return [self.paired(mode, found[..., k : k + 1]) for k in range(len(kinds))]
        basis, *by = self._basis(mode, derivatives=True)
        if not mode.joint:
            return [self.paired(mode, part) for part in by]
        weights = self._weights(mode)
        others = [k for k in range(len(weights)) if k != mode.reference]
        moved = [(part @ weights)[..., None] for part in by]
        return [
            self.paired(mode, part) for part in [*moved, *(basis[..., k, None] for k in others)]
        ]

    def derivative(self, mode: Mode, kinds: Sequence[tuple[int, int]]) -> tuple[Array, Array]:
        """`motion` of all runs, and derivatives of the joint column by some of `Mode.kinds`.

        The shapes are (4, N) and (S, N, T), or (2 S, N, T) of a complex mode.
        """
        motions, seen = zip(*self._forced(mode, kinds), strict=True)
        return np.concatenate(motions, axis=1), np.concatenate(seen, axis=1)

    def motion(self, mode: Mode) -> list[Array]:
        """q, q', nonlinear force and hysteretic state of a joint mode in each run, each (4, N)."""
        return [motion for motion, _ in self._forced(mode, ())]

    def _told(self, mode: Mode) -> list[Sense]:
        """The senses, then of a complex mode those a quarter of a period off."""
        return [*self.senses, *(QUARTER[s] for s in self.senses if mode.complex)]

    def _codes(self, mode: Mode) -> Integers:
        return np.array([SENSES.index(sense) for sense in self._told(mode)])

    def _weights(self, mode: Mode) -> Array:
        """Of the columns of `_basis` in the response of a joint mode."""
        if not self.estimate_start:
            return mode.participation
        return np.concatenate([mode.participation, mode.start.ravel()])

    def _basis(self, mode: Mode, derivatives: bool) -> Array:
        """Responses to inputs, then to the initial states of each run, (., S, N, m + 2 runs).

        There are twice as many senses of a complex mode.
        The first axis has values, then derivatives by the logarithms of frequency and damping.
        """
        m, runs = self.n_inputs, len(self.records)
        w, z = mode.frequency, mode.damping
        found = [
            linear_mode(
                w, z, drive.steps, drive.which, drive.cubic, drive.u, self._codes(mode), derivatives
            )
            for drive in self.drives
        ]
        if not self.estimate_start:
            return np.concatenate([part[..., :m] for part in found], axis=2)
        if runs == 1:
            return np.asarray(found[0])
        total = sum(map(len, self.records))
        out = np.zeros((*found[0].shape[:2], total, m + 2 * runs))
        at = 0
        for r, part in enumerate(found):
            rows = slice(at, at + part.shape[2])
            out[:, :, rows, :m] = part[..., :m]
            out[:, :, rows, m + 2 * r : m + 2 * r + 2] = part[..., m:]
            at = rows.stop
        return out

    def _forced(self, mode: Mode, kinds: Sequence[tuple[int, int]]) -> list[tuple[Array, Array]]:
        """Motion of a joint mode in each run, and derivatives of what channels may see of it."""
        smooth = [force for force in mode.forces if force.kind != HYSTERESIS]
        springs = [force for force in mode.forces if force.kind == HYSTERESIS]
        spring = springs[0] if springs else Force(HYSTERESIS)
        numbers = np.array([FORCES.index(force.kind) for force in smooth], np.int64)
        factors = np.array([force.factor for force in smooth])
        start = mode.start if self.estimate_start else np.zeros_like(mode.start)
        wanted = np.array(kinds, np.int64).reshape(-1, 2)
        own = np.isin(wanted[:, 0], (BY_POSITION, BY_VELOCITY))
        return [
            _masked(
                nonlinear_mode(
                    mode.frequency,
                    mode.damping,
                    start[r],
                    numbers,
                    factors,
                    spring.factor,
                    spring.width,
                    bool(springs),
                    drive.steps,
                    drive.which,
                    drive.cubic,
                    mode.participation,
                    drive.u,
                    drive.stride,
                    self._codes(mode),
                    wanted,
                ),
                own & (wanted[:, 1] != r),
            )
            for r, drive in enumerate(self.fine)
        ]

    def _seen(self, mode: Mode, motion: Array) -> Array:
        """What channels may see of a joint mode in all runs, (S, N) or (2 S, N)."""
        w, z = mode.frequency, mode.damping
        q, v, force, _ = motion
        u = np.concatenate([drive.u for drive in self.drives]) @ mode.participation
        found: dict[Sense, Array] = {
            "displacement": q,
            "velocity": v / w,
            "acceleration": u - q - 2.0 * z / w * v + force / w**2,
        }
        return np.stack([found[sense] for sense in self._told(mode)])


def _masked(found: tuple[Array, Array], strange: NDArray[np.bool_]) -> tuple[Array, Array]:
    """No run depends on the initial state of another."""
    motion, seen = found
    if strange.any():
        seen[..., strange] = 0.0
    return motion, seen
