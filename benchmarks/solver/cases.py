"""What is measured: the shapes of the paper's Table 1, long sequences, and their data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["GROUPS", "Case", "Inputs", "cases_of"]

Array = NDArray[np.float64]

#: (batch, T) of the paper's Table 1.
TABLE_1 = ((512, 50), (512, 5), (512, 500), (64, 50), (4096, 50))

GROUPS = {
    "shared": "Table 1, one left-hand side for all problems (Lorenz: 3 variables a problem)",
    "varying": "Table 1, everything varies by problem and step; gradients of c, d, u and s",
    "coupled": "3 coupled variables, everything varies",
    "sst": "sea surface temperature: 12,960 sequences of 208 weeks",
    "sequence": "one sequence of 1e2 to 1e6 steps, everything varies: how time grows with T",
}


@dataclass(frozen=True)
class Inputs:
    """Data of one case; arrays are float64 and broadcast as `LinearODEProblem` documents.

    Attributes
    ----------
    c, d, u, s : array
        The problem.
    upstream : array (batch..., T, V, R+1)
        dl/dy, given to the backward pass.
    varying : tuple of str
        Which of c, d, u, s need gradients.
    """

    c: Array
    d: Array
    u: Array
    s: Array
    upstream: Array
    varying: tuple[str, ...]

    @property
    def input_bytes(self) -> int:
        """Bytes of the data and of dl/dy."""
        return sum(a.nbytes for a in (self.c, self.d, self.u, self.s, self.upstream))

    @property
    def output_bytes(self) -> int:
        """Bytes of y and of the gradients."""
        return self.upstream.nbytes + sum(getattr(self, name).nbytes for name in self.varying)


@dataclass(frozen=True)
class Case:
    """One shape of problem.

    Attributes
    ----------
    group : str
        A key of ``GROUPS``.
    batch : tuple of int
        Leading axes.
    steps : int
        T.
    variables : int
        V, with as many governing equations.
    order : int
        R.
    shared : bool
        Whether c and s are the same for the whole batch and at every step.
    """

    group: str
    batch: tuple[int, ...]
    steps: int
    variables: int = 1
    order: int = 2
    shared: bool = False

    @property
    def name(self) -> str:
        """Group and shape, for tables."""
        problems = "1" if not self.batch else str(self.batch[0])
        return f"{self.group} ({problems}, {self.steps})"

    @property
    def problems(self) -> int:
        """Problems in the batch."""
        return int(np.prod(self.batch, dtype=np.int64))

    def smaller(self, batch: int | None = None, steps: int | None = None) -> Case:
        """Return the same case with fewer problems or steps."""
        lead = self.batch
        if batch is not None and lead:
            lead = (min(batch, lead[0]), *lead[1:])
        count = self.steps if steps is None else min(steps, self.steps)
        return Case(self.group, lead, count, self.variables, self.order, self.shared)

    def inputs(self, seed: int = 0) -> Inputs:
        """Draw the data: stable first-order equations ``k y + y' = d`` on a grid of about 0.01.

        k and d swing slowly, so that the steps resolve the solutions.
        """
        rng = np.random.default_rng(seed)
        T, V, R = self.steps, self.variables, self.order
        shape = (1,) if self.shared else (*self.batch, T)
        c = np.zeros((*shape, V, V, R + 1))
        if self.shared:
            c[..., 0, 0, 1] = 1.0  # y' = d, as in the published Lorenz experiment
        else:
            swing = _swings(rng, self.batch, T, 1)[..., None]
            mixing = 0.2 * rng.standard_normal((*self.batch, 1, V, V)) + np.eye(V)
            c[..., 0] = mixing * (1.0 + 0.5 * swing)
            c[..., 1] = np.eye(V) + 0.05 * rng.standard_normal((*self.batch, 1, V, V)) * swing
        steps = (1,) if self.shared else (*self.batch, T - 1)
        s = np.full(steps, 0.01) if self.shared else 0.01 * rng.uniform(0.8, 1.2, steps)
        d = _swings(rng, self.batch, T, V)
        u = rng.standard_normal((*self.batch, 1, V, 1))
        upstream = rng.standard_normal((*self.batch, T, V, R + 1))
        return Inputs(c, d, u, s, upstream, ("d", "u") if self.shared else ("c", "d", "u", "s"))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Case:
        """Rebuild a case from `to_dict`."""
        return cls(**{**fields, "batch": tuple(fields["batch"])})


def _swings(rng: np.random.Generator, batch: tuple[int, ...], n: int, variables: int) -> Array:
    """Sines of random frequency and phase on a grid of 0.01, shape (batch..., n, variables)."""
    frequency = rng.uniform(0.5, 2.0, (*batch, 1, variables))
    phase = rng.uniform(0.0, 2.0 * np.pi, (*batch, 1, variables))
    return np.sin(0.01 * np.arange(n)[:, None] * frequency + phase)


def cases_of(group: str, quick: bool = False) -> tuple[Case, ...]:
    """Return the cases of a group.

    Parameters
    ----------
    group : str
        A key of ``GROUPS``.
    quick : bool, default False
        A tenth of the SST shape, and sequences up to 1e5 steps only.

    Raises
    ------
    ValueError
        If group is unknown.
    """
    if group == "shared":
        # The published experiment treats Lorenz's 3 variables as a batch axis: so do both sides.
        return tuple(Case(group, (batch, 3), steps, shared=True) for batch, steps in TABLE_1)
    if group == "varying":
        return tuple(Case(group, (batch,), steps) for batch, steps in TABLE_1)
    if group == "coupled":
        return (Case(group, (64,), 50, variables=3), Case(group, (512,), 50, variables=3))
    if group == "sst":
        return (Case(group, (1296 if quick else 12960,), 208),)
    if group == "sequence":
        return tuple(Case(group, (), 10**power) for power in range(2, 6 if quick else 7))
    raise ValueError(f"group must be one of {sorted(GROUPS)}, got {group!r}.")
