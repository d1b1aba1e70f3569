"""What the CUDA kernels have in common: where lanes read and write, and when corrections end.

A lane is one problem, one variable of a decoupled problem ("part"), or one segment of these. Every
input is a pointer with strides over problems, parts and times; entries of one time are contiguous.
What a program keeps for later lies in ``work``, by time and row, lanes side by side.
"""

from __future__ import annotations

from gpu_solver.cuda.writer import Writer
from gpu_solver.fused.limits import NEGLIGIBLE, NOTICEABLE
from gpu_solver.fused.sweeps import Sizes

__all__ = ["BLOCK", "KernelWriter"]

#: Lanes of a program: one warp, whose registers hold what is carried through time.
BLOCK = 32


class KernelWriter(Writer):
    """A kernel over lanes.

    Parameters
    ----------
    sizes : Sizes
        Of the problem.
    arrays : tuple of str
        Inputs and outputs with strides: ``x``, ``x_b``, ``x_v`` and ``x_t`` become arguments.
    pointers, numbers : tuple of str
        Further arguments.
    orders : int
        Derivatives that initial rows may have.
    """

    def __init__(
        self,
        sizes: Sizes,
        arrays: tuple[str, ...],
        pointers: tuple[str, ...],
        numbers: tuple[str, ...],
        orders: int = 1,
    ) -> None:
        super().__init__(sizes)
        self.n, self.orders, self.arrays = sizes.n, orders, arrays
        strides = [f"{array}_{axis}" for array in arrays for axis in "bvt"]
        self.numbers = ("lanes", "parts", "segments", "length", *numbers, *strides)
        self.arguments = (*arrays, *pointers, *self.numbers)
        for text in (
            "lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)",
            "every = lane >= 0",
            "ok = lane < lanes",
            "width = tl.num_programs(0).to(tl.int64) * BLOCK",
            # Lanes that are left over do again what the last one does, and write none of it.
            "here = tl.minimum(lane, lanes - 1).to(tl.int64)",
            "whole = here // segments",
            "segment = here % segments",
            "problem = whole // parts",
            "part = whole % parts",
            "start = segment * length",
            "zero = tl.zeros([BLOCK], tl.float64)",
            "one = zero + 1.0",
        ):
            self.line(text)
        for x in arrays:
            self.line(f"{x}_at = {x} + problem * {x}_b + part * {x}_v + start * {x}_t")
        counts = {"lower": self.n * (self.n - 1) // 2, "inverse": self.n, "gain": self.n**2}
        counts |= {"z": self.n, "columns": self.n**2}
        self.kept = counts

    @property
    def triangle(self) -> int:
        """Entries of a symmetric block."""
        return self.sizes.triangle

    def source(self, name: str) -> str:
        """Return the whole kernel."""
        return self.text(name, self.arguments)

    def barrier(self) -> None:
        """Let every thread of the program see what the others wrote."""
        self.line("tl.debug_barrier()")

    def point(self, t: str, adjoint: bool | None, mask: str = "") -> list[str]:
        """Read what the governing rows of a time need; say which arguments of a step are absent.

        ``adjoint`` takes a right-hand side as it is ("base") in place of d; None takes neither.
        """
        q, n = self.sizes.equations, self.n
        self.load("c", q * n, f"c_at + {t} * c_t", mask)
        self.load("governing", q, f"governing_at + {t} * governing_t", mask)
        if adjoint is None:
            return ["d", "base"]
        if adjoint:
            self.load("base", n, f"base_at + {t} * base_t", mask)
            return ["d"]
        self.load("d", q, f"d_at + {t} * d_t", mask)
        return ["base"]

    def interval(self, t: str, mask: str = "") -> None:
        """Read what the interval after a time needs."""
        self.load("s", 1, f"s_at + {t} * s_t", mask)
        self.load("smooth", self.n, f"smooth_at + {t} * smooth_t", mask)

    def initial(
        self,
        t: str,
        mask: str,
        *,
        diagonal: str = "",
        side: str = "",
        adjoint: bool = False,
        y: str = "",
    ) -> None:
        """Add a time's initial rows to a lower triangle, to a right-hand side, or to both.

        With ``y``, a vector, the right-hand side gets the residual. NaN in u is no row.
        """
        size = self.sizes.order + 1
        for k in range(self.sizes.variables * self.orders):
            i = k // self.orders * size + k % self.orders
            weight, value = (
                self.let(f"tl.load({x}_at + {t} * {x}_t + {k}, mask={mask}, other=0.0)"
                         ".to(tl.float64)")
                for x in ("initial", "u")
            )  # fmt: skip
            weight = self.let(f"tl.where({value} == {value}, {weight}, zero)")
            if diagonal:
                entry = i * (i + 1) // 2 + i
                self._add(diagonal, entry, weight)
            if not side:
                continue
            known = "" if adjoint else self.let(f"tl.where({value} == {value}, {value}, zero)")
            if known:
                self.checked(known)
            mine = f"-{self.values[y][i]}" if y else ""
            if known or mine:
                self._add(side, i, f"{weight} * ({known}{' ' + mine if mine else ''})")

    def _add(self, name: str, k: int, text: str) -> None:
        entries = list(self.values[name])
        entries[k] = self.let(f"{entries[k]} + {text}")
        self.values[name] = entries

    def checked(self, *values: str) -> None:
        """Make ``check`` NaN where a value is not finite, in kernels that have it."""
        if "check" in self.values:
            for value in values:
                self._add("check", 0, f"{value} * 0.0")

    def add(self, to: str, what: str) -> None:
        """Add a vector to a vector."""
        pairs = zip(self.values[to], self.values[what], strict=True)
        self.values[to] = [self.let(f"{a} + {b}") for a, b in pairs]

    def pad(self, name: str, inside: str) -> None:
        """Give times that are not there a diagonal of one, so that they change nothing."""
        one = self.let(f"tl.where({inside}, zero, one)")
        for i in range(self.n):
            self._add(name, i * (i + 1) // 2 + i, one)

    def offsets(self, names: tuple[str, ...]) -> tuple[dict[str, int], int]:
        """Rows of ``work`` where vectors start, and how many a time has."""
        places, total = {}, 0
        for name in names:
            places[name] = total
            total += self.kept[name]
        return places, total

    def keep(self, layout: tuple[str, ...], t: str, *names: str) -> None:
        """Write vectors to ``work``."""
        places, total = self.offsets(layout)
        at = self.let(f"work + lane + ({t}) * {total} * width")
        for name in names:
            self.store_rows(name, f"{at} + {places[name]} * width", "width")

    def recall(self, layout: tuple[str, ...], t: str, *names: str) -> None:
        """Read vectors from ``work``."""
        places, total = self.offsets(layout)
        at = self.let(f"work + lane + ({t}) * {total} * width")
        for name in names:
            self.load_rows(name, self.kept[name], f"{at} + {places[name]} * width", "width")

    def judge(self, count: str, step: str) -> None:
        """Look at a correction, as `judge` in `gpu_solver.fused.loops` does for each lane.

        ``change`` and ``size`` are the largest correction and value of every unknown; ``take``,
        ``own``, ``shift``, ``remaining`` and ``code`` are updated.
        """
        size = self.sizes.order + 1
        power = ["one"]
        for _ in range(size - 1):
            power.append(self.let(f"{power[-1]} * {step}"))
        weights = [power[k % size] for k in range(self.n)]
        moved, mine = (
            [self.let(f"{x} * {w}") for x, w in zip(self.values[name], weights, strict=True)]
            for name in ("change", "size")
        )
        largest = "zero"
        for x in mine:
            largest = self.let(f"tl.where({x} > {largest}, {x}, {largest})")
        floor = self.let(f"{largest} * 1e-12")
        own, whole = "zero", "zero"
        for a, b in zip(moved, mine, strict=True):
            part = self.let(f"{a} / tl.where({b} > {floor}, {b}, {floor})")
            own = self.let(f"tl.where(({a} != 0.0) & ({own} < {part}), {part}, {own})")
            part = self.let(f"{a} / {largest}")
            whole = self.let(f"tl.where(({a} != 0.0) & ({whole} < {part}), {part}, {whole})")
        (take,), (last_own,), (last_whole,) = (self.values[k] for k in ("take", "own", "shift"))
        (left,), (code,) = self.values["remaining"], self.values["code"]
        active = self.let(f"{take} > 0.0")
        first = self.let(f"here * 0 + {count} == 0")
        code = self.let(f"tl.where({active} & {first} & ({whole} > {NOTICEABLE}), one, {code})")
        shrunk = self.let(f"{own} / {last_own}")
        ratio = self.let(f"{whole} / {last_whole}")
        ratio = self.let(f"tl.where({ratio} < 1.0, {ratio}, one)")
        expected = self.let(f"tl.where({whole} > 0.0, {whole} * {ratio}, zero)")
        # An overflow is no correction that shrinks.
        expected = self.let(f"tl.where({largest} * 0.0 == 0.0, {expected}, {largest})")
        left = self.let(f"tl.where({active}, {expected}, {left})")
        useful = self.let(f"({first} | ({shrunk} < 0.5)) & ({own} * {shrunk} > {NEGLIGIBLE})")
        self.values |= {
            "take": [self.let(f"tl.where({active} & {useful}, one, zero)")],
            "own": [self.let(f"tl.where({active}, {own}, {last_own})")],
            "shift": [self.let(f"tl.where({active}, {whole}, {last_whole})")],
            "remaining": [left],
            "code": [code],
        }
