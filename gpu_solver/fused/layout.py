"""Where a group of lanes keeps what in its memory, and how much it needs; imports no compiler."""

from __future__ import annotations

from dataclasses import dataclass

from gpu_solver.fused.sweeps import Sizes

__all__ = ["LANES", "ROW", "Layout"]

#: Problems side by side in a register.
LANES = 8
#: Bytes of one scalar of all lanes.
ROW = 8 * LANES
#: Blocks of more unknowns fill the registers with one group of lanes.
LARGEST_PAIR = 4


@dataclass(frozen=True)
class Layout:
    """Numbers of rows, a row being one scalar of every lane."""

    sizes: Sizes

    @property
    def low(self) -> int:
        """Entries below the diagonal of a block."""
        return self.sizes.n * (self.sizes.n - 1) // 2

    @property
    def gradients(self) -> int:
        """Of a time's gradients of c, d and s."""
        return self.sizes.equations * self.sizes.n + self.sizes.equations + 1

    @property
    def eliminated(self) -> int:
        """Of a time's elimination, whose place its gradients take later."""
        n = self.sizes.n
        return max(self.low + n + n * n + n, self.gradients)

    @property
    def state(self) -> int:
        """Of what is kept from one time to the next."""
        return self.sizes.triangle + 2 + 5 * self.sizes.n + 1

    @property
    def kept(self) -> int:
        """Of what a segment keeps besides."""
        n = self.sizes.n
        return self.state + self.sizes.triangle + n * n + 5 * n

    def a_time(self) -> int:
        """Of all that belongs to one time."""
        n, equations = self.sizes.n, self.sizes.equations
        return equations * n + equations + n + 1 + equations + n + n + self.eliminated + n

    def workspace(self, times: int, initial_times: int, entries: int) -> int:
        """Numbers that a group needs, the y and the zeros of its adjoint included."""
        rows = times * (self.a_time() + self.sizes.n) + 3 * initial_times * entries
        rows += self.state + self.gradients + self.sizes.equations + 2
        return (rows + BOOKKEEPING + 1) * LANES

    def uniform_workspace(self, times: int, initial_times: int, entries: int) -> int:
        """Numbers that a group of right-hand sides of one left-hand side needs."""
        n, equations = self.sizes.n, self.sizes.equations
        rows = times * (n + 2 * n + equations) + 3 * initial_times * entries
        rows += 2 * n + 5 * n + 1 + 3 * equations
        return (rows + BOOKKEEPING + 1) * LANES

    @property
    def side_by_side(self) -> int:
        """Groups of such right-hand sides at a time: as many as registers have room for."""
        return 2 if self.sizes.n <= LARGEST_PAIR else 1

    def segment_workspace(self, times: int, initial_times: int, entries: int) -> int:
        """Numbers that a group of segments needs."""
        more = self.kept + 2
        return self.workspace(times, initial_times, entries) + more * LANES


#: Rows of integers and numbers that every group has before the rest: see `gpu_solver.fused.loops`.
BOOKKEEPING = 14
