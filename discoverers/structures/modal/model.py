"""Modes as values, and their responses to the recorded inputs with derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from .kernels import linear_mode, nonlinear_mode

if TYPE_CHECKING:
    from discoverers.shooting import Record

__all__ = ["FORCES", "HYSTERESIS", "Drive", "Force", "ModalModel", "Mode", "Sense"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
Sense = Literal["displacement", "velocity", "acceleration"]
SENSES = ("displacement", "velocity", "acceleration")
"""In the order of the kernel's numbers."""

FORCES = ("q**2", "q*|q|", "q**3", "v*|v|", "v**3", "q**2*v")
"""Forces on a mode, in the order of the kernel's numbers."""

HYSTERESIS = "hysteresis"

STEP = 1e-20
"""Imaginary step; there is no subtraction, so it may be this small."""

FINE = 0.3
"""Largest phase, in radians, of a nonlinear mode in one step."""


@dataclass(frozen=True, eq=False)
class Drive:
    """The inputs of one run as cubics between samples.

    Attributes
    ----------
    steps : ndarray of shape (S,)
        The different lengths of the intervals.
    which : ndarray of int, shape (n - 1,)
    cubic : ndarray of shape (n - 1, 4, m)
        Coefficients in powers of the interval's share.
    u : ndarray of shape (N, m)
        Inputs at the samples.
    stride : int
        Intervals between two samples; ``n - 1 == stride * (N - 1)``.
    """

    steps: Array
    which: NDArray[np.int64]
    cubic: Array
    u: Array
    stride: int

    @classmethod
    def make(cls, record: Record, stride: int = 1) -> Drive:
        """Sample the record's inputs four times in every interval."""
        lengths = np.diff(record.t) / stride
        # Rounded, or the last digits of evenly spaced times would make every step another one.
        size = float(lengths.mean())
        steps, which = np.unique(np.round(lengths / size, 9), return_inverse=True)
        n, m = len(lengths), record.u.shape[1]
        shares = np.arange(4) / 3.0
        if record.signal.interpolation == "hold":
            values = np.repeat(record.u[:-1, None, None, :], 4, axis=2)
            values = np.repeat(values, stride, axis=1)
        else:
            left = record.t[:-1, None] + lengths[:, None] * np.arange(stride)
            times = left[:, :, None] + lengths[:, None, None] * shares
            values = record.signal(times.ravel()).reshape(n, stride, 4, m)
        powers = np.linalg.inv(np.vander(shares, increasing=True))
        cubic = np.einsum("jp,npm->njm", powers, values.reshape(n * stride, 4, m))
        return cls(
            steps * size,
            np.repeat(which.ravel(), stride).astype(np.int64),
            np.ascontiguousarray(cubic),
            record.u,
            stride,
        )


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
    """

    log_frequency: float
    log_damping: float
    participation: Array
    start: Array
    forces: tuple[Force, ...] = ()
    joint: bool = False

    @property
    def frequency(self) -> float:
        """Natural frequency in radians per unit of time."""
        return float(np.exp(self.log_frequency))

    @property
    def damping(self) -> float:
        """Damping ratio."""
        return float(np.exp(self.log_damping))

    @property
    def reference(self) -> int:
        """The input whose participation is 1."""
        return int(np.argmax(np.abs(self.participation)))

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
        out = np.zeros(len(self.vector(estimate_start)), dtype=bool)
        out[:2] = True
        at = len(out)
        for force in reversed(self.forces):
            if force.kind == HYSTERESIS:
                out[at - 1] = True
                at -= 1
            at -= 1
        return out

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
            size = len(mode.vector(self.estimate_start))
            modes.append(mode.moved(vector[at : at + size], self.estimate_start))
            at += size
        return self.with_modes(modes)

    def direct(self) -> Array:
        """Columns of the inputs themselves, (senses, N, m)."""
        u = np.concatenate([record.u for record in self.records])
        return np.broadcast_to(u, (len(self.senses), *u.shape))

    def columns(self, mode: Mode) -> Array:
        """What channels may see of a mode, (senses, N, columns): one column if it is joint."""
        return self._response(mode, mode.frequency, mode.damping).real

    def derivatives(self, mode: Mode) -> list[Array]:
        """Derivatives of `columns` by the entries of `Mode.vector`."""
        w, z = mode.frequency, mode.damping
        turn = 1.0 + 1j * STEP
        found = [
            self._response(mode, w * turn, z).imag / STEP,
            self._response(mode, w, z * turn).imag / STEP,
        ]
        if not mode.joint:
            return found
        if not mode.forces:
            basis = self._basis(w, z).real
            m = self.n_inputs
            others = [basis[..., j : j + 1] for j in range(m) if j != mode.reference]
            free = [basis[..., j : j + 1] for j in range(m, basis.shape[2])]
            return found + others + free
        size = len(mode.vector(self.estimate_start))
        return found + [self.derivative(mode, k) for k in range(2, size)]

    def derivative(self, mode: Mode, k: int) -> Array:
        """Derivative of the `columns` of a joint mode by entry k >= 2 of `Mode.vector`."""
        moved = mode.vector(self.estimate_start).astype(np.complex128)
        moved[k] += 1j * STEP
        found = self._nonlinear(mode, mode.frequency, mode.damping, moved[2:])
        return np.asarray(found.imag / STEP)

    def motion(self, mode: Mode) -> list[Array]:
        """q, q', nonlinear force and hysteretic state of a joint mode in each run, each (4, N)."""
        tail = mode.vector(self.estimate_start)[2:].astype(np.complex128)
        return [part.real for part in self._motion(mode, mode.frequency, mode.damping, tail)]

    def _response(self, mode: Mode, w: complex, z: complex) -> Complex:
        if mode.joint and mode.forces:
            return self._nonlinear(mode, w, z, mode.vector(self.estimate_start)[2:])
        basis = self._basis(w, z)
        if not mode.joint:
            return basis
        weights = mode.participation
        if self.estimate_start:
            weights = np.concatenate([weights, mode.start.ravel()])
        return (basis @ weights)[..., None]

    def _basis(self, w: complex, z: complex) -> Complex:
        """Responses to inputs, then to the initial states of each run, (senses, N, m + 2 runs)."""
        m, runs = self.n_inputs, len(self.records)
        codes = np.array([SENSES.index(sense) for sense in self.senses])
        found = [
            linear_mode(
                complex(w), complex(z), drive.steps, drive.which, drive.cubic, drive.u, codes
            )
            for drive in self.drives
        ]
        if not self.estimate_start:
            return np.concatenate([part[..., :m] for part in found], axis=1)
        if runs == 1:
            return np.asarray(found[0])
        total = sum(map(len, self.records))
        out = np.zeros((len(self.senses), total, m + 2 * runs), np.complex128)
        at = 0
        for r, part in enumerate(found):
            rows = slice(at, at + part.shape[1])
            out[:, rows, :m] = part[..., :m]
            out[:, rows, m + 2 * r : m + 2 * r + 2] = part[..., m:]
            at = rows.stop
        return out

    def _nonlinear(self, mode: Mode, w: complex, z: complex, tail: Array | Complex) -> Complex:
        parts = []
        motion = self._motion(mode, w, z, tail)
        participation = _participation(mode, tail)
        for drive, (q, v, force, _) in zip(self.drives, motion, strict=True):
            parts.append(self._seen(w, z, drive.u @ participation, q, v, force))
        return np.concatenate(parts, axis=1)[..., None]

    def _motion(self, mode: Mode, w: complex, z: complex, tail: Array | Complex) -> list[Complex]:
        """`tail` holds the parameters after frequency and damping."""
        participation = _participation(mode, tail)
        at = len(participation) - 1
        start = np.zeros((len(self.records), 2), np.complex128)
        if self.estimate_start:
            start = np.asarray(tail[at : at + start.size], np.complex128).reshape(start.shape)
            at += start.size
        kinds, factors, hold, width = [], [], 0j, 1.0 + 0j
        for force in mode.forces:
            if force.kind == HYSTERESIS:
                hold, width = complex(tail[at]), complex(np.exp(tail[at + 1]))
                at += 2
            else:
                kinds.append(FORCES.index(force.kind))
                factors.append(complex(tail[at]))
                at += 1
        return [
            nonlinear_mode(
                complex(w),
                complex(z),
                start[r],
                np.array(kinds, np.int64),
                np.array(factors, np.complex128),
                hold,
                width,
                any(force.kind == HYSTERESIS for force in mode.forces),
                drive.steps,
                drive.which,
                np.ascontiguousarray(drive.cubic @ participation),
            )[:, :: drive.stride]
            for r, drive in enumerate(self.fine)
        ]

    def _seen(
        self, w: complex, z: complex, u: Complex, q: Complex, v: Complex, force: Complex | float
    ) -> Complex:
        found: dict[Sense, Complex] = {
            "displacement": q,
            "velocity": v / w,
            "acceleration": u - q - 2.0 * z / w * v + force / w**2,
        }
        return np.stack([found[sense] for sense in self.senses])


def _participation(mode: Mode, tail: Array | Complex) -> Complex:
    others = np.asarray(tail[: len(mode.participation) - 1], np.complex128)
    return np.insert(others, mode.reference, 1.0)
