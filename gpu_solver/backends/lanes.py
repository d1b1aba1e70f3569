"""Small dense matrices eight at a time: every entry is a SIMD register with one lane per matrix.

A matrix of lanes is memory in which an entry is a row of ``LANES`` float64; it is given by an
address and by strides in bytes. The vector instructions are written out for tiles of up to 4 x 4
entries, whatever the size of the matrices, so one compilation serves all sizes and does not
depend on the mood of a loop vectoriser.
"""

# ruff: noqa: ANN001

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["LANES", "ROW", "TILE", "calling", "instruction"]

#: Matrices side by side.
LANES = 8
#: Bytes of one entry of all lanes.
ROW = 8 * LANES
#: Largest side of a tile.
TILE = 4

_DOUBLE = ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_INTEGER = ir.IntType(64)
_FUSED = ["contract"]


def _address(builder: Any, base: Any, *terms: tuple[Any, int]) -> Any:
    """Pointer to base + the sum of stride * count."""
    for stride, count in terms:
        if isinstance(stride, int):
            base = builder.add(base, _INTEGER(stride * count))
        elif count:
            base = builder.add(base, builder.mul(stride, _INTEGER(count)))
    return builder.inttoptr(base, ir.PointerType())


def _get(builder: Any, base: Any, *terms: tuple[Any, int]) -> Any:
    return builder.load(_address(builder, base, *terms), align=8, typ=_VECTOR)


def _put(builder: Any, value: Any, base: Any, *terms: tuple[Any, int]) -> None:
    builder.store(value, _address(builder, base, *terms), align=8)


def _all(number: float) -> Any:
    return ir.Constant(_VECTOR, [ir.Constant(_DOUBLE, number)] * LANES)


def _less(builder: Any, value: Any, a: Any, b: Any) -> Any:
    """``value - a * b``, rounded once where the machine can."""
    return builder.fsub(value, builder.fmul(a, b, flags=_FUSED), flags=_FUSED)


def _multiply_tile(rows: int, columns: int) -> tuple[Callable[..., None], str]:
    """``c[i, j] -= sum_k a[i, k] b[j, k]`` for a tile of c, which stays in registers."""

    def write(builder: Any, c, ci, cj, a, ai, ak, b, bj, bk, depth) -> None:
        tile = [(i, j) for i in range(rows) for j in range(columns)]
        sums = {at: cgutils.alloca_once(builder, _VECTOR) for at in tile}
        for i, j in tile:
            builder.store(_get(builder, c, (ci, i), (cj, j)), sums[i, j])
        with cgutils.for_range(builder, depth) as loop:
            left = builder.add(a, builder.mul(loop.index, ak))
            right = builder.add(b, builder.mul(loop.index, bk))
            of_a = [_get(builder, left, (ai, i)) for i in range(rows)]
            of_b = [_get(builder, right, (bj, j)) for j in range(columns)]
            for i, j in tile:
                total = builder.load(sums[i, j], typ=_VECTOR)
                builder.store(_less(builder, total, of_a[i], of_b[j]), sums[i, j])
        for i, j in tile:
            _put(builder, builder.load(sums[i, j], typ=_VECTOR), c, (ci, i), (cj, j))

    return write, "c ci cj a ai ak b bj bk depth"


def _factor_tile(size: int, _: int) -> tuple[Callable[..., None], str]:
    """Cholesky factor of a tile, in place, with inverse pivots on its diagonal.

    ``worst`` holds the smallest pivot so far, the smallest pivot minus a share of the entry of
    ``origin`` that it came from, and that share.
    """

    def write(builder: Any, d, row, origin, worst) -> None:
        kind = ir.FunctionType(_VECTOR, [_VECTOR])
        root = cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.v{LANES}f64")
        smallest, margin, share = (_get(builder, worst, (ROW, k)) for k in range(3))
        known: dict[tuple[int, int], Any] = {}
        for j in range(size):
            pivot = _get(builder, d, (row, j), (ROW, j))
            for k in range(j):
                pivot = _less(builder, pivot, known[j, k], known[j, k])
            left = _less(builder, pivot, share, _get(builder, origin, (ROW, j)))
            lower = builder.fcmp_ordered("<", pivot, smallest)
            smallest = builder.select(lower, pivot, smallest)
            lower = builder.fcmp_ordered("<", left, margin)
            margin = builder.select(lower, left, margin)
            inverse = builder.fdiv(_all(1.0), builder.call(root, [pivot]))
            known[j, j] = inverse
            _put(builder, inverse, d, (row, j), (ROW, j))
            for i in range(j + 1, size):
                value = _get(builder, d, (row, i), (ROW, j))
                for k in range(j):
                    value = _less(builder, value, known[i, k], known[j, k])
                known[i, j] = builder.fmul(value, inverse)
                _put(builder, known[i, j], d, (row, i), (ROW, j))
        _put(builder, smallest, worst)
        _put(builder, margin, worst, (ROW, 1))

    return write, "d row origin worst"


def _solve_tile(size: int, _: int, transposed: bool = False) -> tuple[Callable[..., None], str]:
    """Overwrite ``count`` vectors x, ``apart`` from each other, by ``L^-1 x`` or ``L^-T x``."""

    def write(builder: Any, x, step, apart, count, l, row) -> None:  # noqa: E741
        order = list(reversed(range(size))) if transposed else list(range(size))
        tile: dict[tuple[int, int], Any] = {}
        for at, j in enumerate(order):
            for k in (*order[:at], j):
                high, low = max(j, k), min(j, k)
                tile[j, k] = _get(builder, l, (row, high), (ROW, low))
        with cgutils.for_range(builder, count) as loop:
            here = builder.add(x, builder.mul(loop.index, apart))
            known: dict[int, Any] = {}
            for at, j in enumerate(order):
                value = _get(builder, here, (step, j))
                for k in order[:at]:
                    value = _less(builder, value, known[k], tile[j, k])
                known[j] = builder.fmul(value, tile[j, j])
                _put(builder, known[j], here, (step, j))

    return write, "x step apart count l row"


def _solve_transposed_tile(size: int, _: int) -> tuple[Callable[..., None], str]:
    return _solve_tile(size, 1, True)


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Eight vectors as an 8 x 8 matrix, transposed."""
    integer = ir.IntType(32)
    for distance in (1, 2, 4):
        out = list(rows)
        for i in range(LANES):
            if i & distance:
                continue
            low = [k - distance + LANES if k & distance else k for k in range(LANES)]
            high = [k + LANES if k & distance else k + distance for k in range(LANES)]
            for place, pattern in ((i, low), (i + distance, high)):
                mask = ir.Constant(ir.VectorType(integer, LANES), pattern)
                out[place] = builder.shuffle_vector(rows[i], rows[i + distance], mask)
        rows = out
    return rows


def _places(builder: Any, addresses: Any, offset: Any) -> list[Any]:
    """The address of each lane's own memory, plus an offset."""
    found = []
    for lane in range(LANES):
        pointer = builder.inttoptr(builder.add(addresses, _INTEGER(8 * lane)), ir.PointerType())
        found.append(builder.add(builder.load(pointer, align=8, typ=_INTEGER), offset))
    return found


def _gather_eight() -> tuple[Callable[..., None], str]:
    """Eight numbers in a row of every lane's own memory become eight rows of lanes.

    ``bad`` (a row) becomes NaN where one is not finite.
    """

    def write(builder: Any, addresses, offset, to, bad) -> None:
        rows = [_get(builder, place) for place in _places(builder, addresses, offset)]
        check = _get(builder, bad)
        for k, value in enumerate(_transposed(builder, rows)):
            product = builder.fmul(value, _all(0.0), flags=_FUSED)
            check = builder.fadd(check, product, flags=_FUSED)
            _put(builder, value, to, (ROW, k))
        _put(builder, check, bad)

    return write, "addresses offset to bad"


def _scatter_eight() -> tuple[Callable[..., None], str]:
    """The reverse: eight rows of lanes go to every lane's own memory."""

    def write(builder: Any, addresses, offset, source) -> None:
        rows = _transposed(builder, [_get(builder, source, (ROW, k)) for k in range(LANES)])
        for value, place in zip(rows, _places(builder, addresses, offset), strict=True):
            _put(builder, value, place)

    return write, "addresses offset source"


def _copy_row(negative: bool = False) -> tuple[Callable[..., None], str]:
    def write(builder: Any, to, source) -> None:
        value = _get(builder, source)
        _put(builder, builder.fneg(value) if negative else value, to)

    return write, "to source"


def _zero_row() -> tuple[Callable[..., None], str]:
    def write(builder: Any, to) -> None:
        _put(builder, _all(0.0), to)

    return write, "to"


def _load() -> tuple[Callable[..., Any], str]:
    def write(builder: Any, address) -> Any:
        return builder.load(_address(builder, address), align=8, typ=_DOUBLE)

    return write, "address"


def _load_integer() -> tuple[Callable[..., Any], str]:
    def write(builder: Any, address) -> Any:
        return builder.load(_address(builder, address), align=8, typ=_INTEGER)

    return write, "address"


def _store() -> tuple[Callable[..., Any], str]:
    def write(builder: Any, address, value) -> None:
        builder.store(value, _address(builder, address), align=8)

    return write, "address value"


#: Operations on tiles, and how many sides of the tile each is told.
_TILED: dict[str, tuple[Callable[..., tuple[Callable[..., Any], str]], int]] = {
    "multiply_tile": (_multiply_tile, 2),
    "factor_tile": (_factor_tile, 1),
    "solve_tile": (_solve_tile, 1),
    "solve_transposed_tile": (_solve_transposed_tile, 1),
}
_PLAIN: dict[str, Callable[[], tuple[Callable[..., Any], str]]] = {
    "gather_eight": _gather_eight,
    "scatter_eight": _scatter_eight,
    "copy_row": _copy_row,
    "negate_row": lambda: _copy_row(negative=True),
    "zero_row": _zero_row,
    "load": _load,
    "load_integer": _load_integer,
    "store": _store,
}


def _cases(name: str) -> tuple[Callable[..., Any], str]:
    """An operation for every size of tile, chosen when it runs by its first argument or two."""
    make, sides = _TILED[name]
    sizes = [(i, j) for i in range(1, TILE + 1) for j in range(1, TILE + 1 if sides == 2 else 2)]
    _, names = make(1, 1)
    one = _INTEGER(1)

    def write(builder: Any, *arguments: Any) -> None:
        key = builder.sub(arguments[0], one)
        if sides == 2:
            key = builder.add(builder.mul(key, _INTEGER(TILE)), builder.sub(arguments[1], one))
        end = builder.append_basic_block(f"{name}.end")
        choice = builder.switch(key, end)
        for number, size in enumerate(sizes):
            case = builder.append_basic_block(f"{name}.{number}")
            choice.add_case(_INTEGER(number), case)
            builder.position_at_end(case)
            make(*size)[0](builder, *arguments[sides:])
            builder.branch(end)
        builder.position_at_end(end)

    return write, ("rows columns " if sides == 2 else "size ") + names


def calling(count: int) -> Any:
    """Return a call of a compiled function of ``count`` integers at an address, for numba code.

    What is called is compiled once, and not again with everything that calls it.
    """
    names = ["address", *(f"argument_{k}" for k in range(count))]

    def typed(typing_context: Any, *given: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            kind = ir.FunctionType(ir.VoidType(), [_INTEGER] * count)
            builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
            return context.get_dummy_value()

        return types.void(*[types.intp] * len(names)), generate

    return _with_names(typed, "calling", names)


def instruction(name: str) -> Any:
    """Return one of this file's operations for numba code."""
    write, names = _cases(name) if name in _TILED else _PLAIN[name]()
    arguments = names.split()
    kinds = [types.float64 if each == "value" else types.intp for each in arguments]
    result = {"load": types.float64, "load_integer": types.intp}.get(name, types.void)

    def typed(typing_context: Any, *given: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            found = write(builder, *values)
            return context.get_dummy_value() if found is None else found

        return result(*kinds), generate

    return _with_names(typed, name, arguments)


def _with_names(typed: Any, name: str, arguments: list[str]) -> Any:
    """Make an intrinsic of a function of ``*given``, whose names numba wants to know."""
    kind = Parameter.POSITIONAL_OR_KEYWORD
    parameters = [Parameter(each, kind) for each in ["typing_context", *arguments]]
    typed.__signature__ = Signature(parameters)
    typed.__name__ = name
    return intrinsic(typed)
