"""Triton source from tapes: every scalar of a step becomes one value of all lanes of a program.

Values have names of their own, so nothing is carried round a loop but what is said to be. The
interpreter and the compiler of Triton read the same text, and it is kept to what all versions know:
loads, stores, arithmetic, comparisons and plain loops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gpu_solver.cuda.steps import tape_of
from gpu_solver.fused.sweeps import Sizes

__all__ = ["Writer"]

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


def _of_lanes(value: str) -> str:
    """A value as every lane has it: numbers of the tape are plain ones."""
    return value if value[0].isalpha() else f"zero + {value}"


class Writer:
    """The text of one kernel, as far as it is written.

    Parameters
    ----------
    sizes : Sizes
        Of the problem.

    Attributes
    ----------
    values : dict of str to list of str
        What each vector's entries are called now.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.values: dict[str, list[str]] = {}
        self._lines: list[str] = []
        self._depth = 1
        self._count = 0

    def text(self, name: str, arguments: Sequence[str]) -> str:
        """Return the whole kernel."""
        listed = ", ".join([*arguments, "BLOCK: tl.constexpr"])
        return "\n".join([f"def {name}({listed}):", *self._lines, ""])

    def line(self, text: str) -> None:
        """Write a line as it is."""
        self._lines.append("    " * self._depth + text)

    def let(self, expression: str) -> str:
        """Give an expression a name."""
        self._count += 1
        self.line(f"v{self._count} = {expression}")
        return f"v{self._count}"

    def set(self, name: str, count: int, value: str = "zero") -> None:
        """Make all entries of a vector one value."""
        self.values[name] = [value] * count

    @contextmanager
    def loop(self, header: str, *carried: str) -> Iterator[None]:
        """Write a loop; vectors in ``carried`` keep their values from one turn to the next."""
        fixed = {}
        for name in carried:
            fixed[name] = [f"{name}_{self._depth}_{k}" for k in range(len(self.values[name]))]
            self._assign(fixed[name], self.values[name])
            self.values[name] = list(fixed[name])
        outside = dict(self.values)
        self.line(header)
        self._depth += 1
        yield
        for name in carried:
            self._assign(fixed[name], self.values[name])
        self._depth -= 1
        self.values = outside

    def _assign(self, names: list[str], values: list[str]) -> None:
        # All at once where an entry may be another's old value.
        changed = [(a, b) for a, b in zip(names, values, strict=True) if a != b]
        if changed:
            left, right = zip(*changed, strict=True)
            self.line(f"{', '.join(left)} = {', '.join(_of_lanes(x) for x in right)}")

    def load(self, name: str, count: int, address: str, mask: str = "") -> list[str]:
        """Read a vector's entries, one after the other from an address; 0 outside the mask."""
        return self._load(name, [f"{address} + {k}" for k in range(count)], mask)

    def load_rows(self, name: str, count: int, address: str, row: str, mask: str = "") -> list[str]:
        """Read a vector whose entries are a row apart."""
        return self._load(name, [f"{address} + {k} * {row}" for k in range(count)], mask)

    def _load(self, name: str, addresses: list[str], mask: str) -> list[str]:
        suffix = f", mask={mask}, other=0.0" if mask else ""
        self.values[name] = [self.let(f"tl.load({a}{suffix}).to(tl.float64)") for a in addresses]
        return self.values[name]

    def store(self, name: str, address: str, mask: str) -> None:
        """Write a vector's entries one after the other."""
        for k, value in enumerate(self.values[name]):
            self.line(f"tl.store({address} + {k}, {_of_lanes(value)}, mask={mask})")

    def store_rows(self, name: str, address: str, row: str) -> None:
        """Write a vector, its entries a row apart; every lane has a place of its own."""
        for k, value in enumerate(self.values[name]):
            self.line(f"tl.store({address} + {k} * {row}, {_of_lanes(value)})")

    def step(self, name: str, absent: Sequence[str] = (), **renamed: str) -> None:
        """Do a step on the vectors named like its arguments, or as ``renamed`` says.

        Results go to the vectors of their names; arguments in ``absent`` are zero.
        """
        tape = tape_of(name, self.sizes, frozenset(absent))
        places: list[str] = []
        for operation, a, b in tape.operations:
            if operation == "input":
                places.append(self.values[renamed.get(a, a)][b])
            elif operation == "constant":
                places.append(repr(a))
            elif operation in _INFIX:
                places.append(self.let(f"{places[a]} {_INFIX[operation]} {places[b]}"))
            elif operation == "neg":
                places.append(self.let(f"-{places[a]}"))
            elif operation == "abs":
                places.append(self.let(f"tl.abs({places[a]})"))
            else:
                sign = "<" if operation == "min" else ">"
                x, y = places[a], places[b]
                places.append(self.let(f"tl.where({x} {sign} {y}, {x}, {y})"))
        for name_out, placed in tape.outputs.items():
            self.values[name_out] = [places[k] for k in placed]
