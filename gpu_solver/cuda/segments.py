"""Kernels for few long sequences: one lane has one segment of time.

`eliminate_rows` takes the inner times of every segment out and `fill` their couplings with the time
before it; what is left for the times between segments is a block-tridiagonal system: a block, a
coupling and a right-hand side for each. Kernels named "blocks" cut that in turn, until "chain"
kernels sweep through what is short. A correction is one pass forward (`forward_rows`,
`forward_blocks`), the chain, and one back. Small kernels compile much faster than one that does it
all: the time grows with the cube of their length.

What a segment leaves ("ends") is by row, lanes side by side: its part of the block of the time
before it (a) and of its last time (b), the coupling of b with a, and right-hand sides of both.
The last segment may reach beyond the end; times there have a diagonal of one and nothing else.
"""

from __future__ import annotations

from gpu_solver.cuda.pieces import KernelWriter
from gpu_solver.fused.sweeps import Sizes

__all__ = [
    "back_blocks",
    "back_rows",
    "eliminate_blocks",
    "eliminate_chain",
    "eliminate_rows",
    "fill",
    "forward_blocks",
    "forward_rows",
    "judge_kernel",
    "rows_of_ends",
    "solve_chain",
]

KEPT = ("lower", "inverse", "gain", "columns", "z")
KEPT_CHAIN = ("lower", "inverse", "gain", "z")


def rows_of_ends(sizes: Sizes) -> dict[str, int]:
    """First row of everything that a segment leaves, and the number of rows."""
    triangle, n = sizes.triangle, sizes.n
    counts = {"a": triangle, "b": triangle, "fill": n * n, "side_a": n, "side_b": n, "total": 0}
    places, at = {}, 0
    for name, count in counts.items():
        places[name] = at
        at += count
    return places


def _leave(w: KernelWriter, **vectors: str) -> None:
    places = rows_of_ends(w.sizes)
    for place, vector in vectors.items():
        w.store_rows(vector, f"ends + lane + {places[place]} * width", "width")


def _inner(w: KernelWriter) -> None:
    """Inner times, none where no lane of the program needs a correction."""
    w.line("take = tl.load(state + whole)")
    w.line("inner = 1 + tl.max((take > 0.0).to(tl.int32), 0) * (length - 1)")


# The problem's own times.


def eliminate_rows(sizes: Sizes, orders: int, adjoint: bool) -> KernelWriter:
    """Eliminate inner times.

    Leaves blocks and couplings, and in ``worst`` two signs of bad pivots and one of bad input.
    """
    arrays = ("c", "s", "governing", "smooth", "initial", "u") + (() if adjoint else ("d",))
    w = KernelWriter(
        sizes, arrays, ("work", "ends", "worst"), ("T", "initial_times"), orders
    )  # fmt: skip
    w.set("check", 1)
    interval = w.let("start < T - 1")
    w.interval("0", interval)
    w.checked(*w.values["s"])
    w.step("open_segment")
    left = w.values["left"]
    _point_of(w, "0", "(segment == 0) & (start < T)", "now", adjoint)
    w.values["left"] = left
    w.values["worst"] = [w.let("zero + float('inf')")] * 2
    _leave(w, a="now", fill="fill")
    with w.loop("for i in range(1, length):", "left", "worst", "check"):
        inside = w.let("start + i < T")
        interval = w.let("start + i < T - 1")
        w.point("i", None, inside)
        w.interval("i", interval)
        w.initial("i", "(start + i < initial_times)", diagonal="left")
        _check(w, "i", inside, adjoint)
        w.checked(*w.values["s"])
        w.pad("left", inside)
        w.step("factor_forward", ["d", "base", "carried"])
        w.keep(KEPT, "i", "lower", "inverse", "gain")
    inside = w.let("start + length < T")
    _point_of(w, "length", inside, "left", adjoint)
    w.pad("left", inside)
    _leave(w, b="left")
    w.store_rows("worst", "worst + lane", "width")
    w.store_rows("check", "worst + lane + 2 * width", "width")
    return w


def _point_of(w: KernelWriter, t: str, mask: str, block: str, adjoint: bool) -> None:
    """Add the rows of one time to a block."""
    mask = w.let(mask)
    absent = w.point(t, None, mask)
    kept = {name: w.values[name] for name in ("carried",) if name in w.values}
    w.step("close_segment", [*absent, "carried"], left=block)
    w.values[block] = w.values["left"]
    w.values |= kept
    w.initial(t, f"{mask} & (start + {t} < initial_times)", diagonal=block)
    _check(w, t, mask, adjoint)


def _check(w: KernelWriter, t: str, mask: str, adjoint: bool) -> None:
    if adjoint:
        return
    d = w.load("d", w.sizes.equations, f"d_at + {t} * d_t", mask)
    w.checked(*w.values["c"], *d)
    for k in range(w.sizes.variables * w.orders):
        near = f"{mask} & (start + {t} < initial_times)"
        value = w.let(f"tl.load(u_at + {t} * u_t + {k}, mask={near}, other=0.0).to(tl.float64)")
        w.checked(w.let(f"tl.where({value} == {value}, {value}, zero)"))


def forward_rows(sizes: Sizes, orders: int, adjoint: bool) -> KernelWriter:
    """Substitute the residual of y forward; leaves right-hand sides."""
    right = "base" if adjoint else "d"
    arrays = ("c", right, "s", "governing", "smooth", "initial", "u", "y")
    w = KernelWriter(sizes, arrays, ("work", "ends", "state"), ("T", "initial_times"), orders)
    _inner(w)
    interval = w.let("start < T - 1")
    w.interval("0", interval)
    w.load("y", w.n, "y_at")
    w.load("after", w.n, "y_at + y_t", interval)
    w.step("residual_open")
    w.set("carried", w.n)
    following = w.values["next_"]
    _side_of(w, "0", "(segment == 0) & (start < T)", "rhs", adjoint)
    w.values["next_"] = following
    w.values["y"] = w.values["after"]
    with w.loop("for i in range(1, inner):", "y", "carried", "next_", "rhs"):
        inside = w.let("start + i < T")
        interval = w.let("start + i < T - 1")
        absent = w.point("i", adjoint, inside)
        w.interval("i", interval)
        near = "(start + i < initial_times)"
        w.initial("i", near, side="carried", adjoint=adjoint, y="y")
        w.load("after", w.n, "y_at + (i + 1) * y_t", interval)
        w.recall(KEPT, "i", "lower", "inverse", "gain", "columns")
        w.step("residual_forward", absent)
        w.step("couple_a")
        w.keep(KEPT, "i", "z")
        w.values["y"] = w.values["after"]
    inside = w.let("start + length < T")
    w.load("y", w.n, "y_at + length * y_t", inside)
    w.add("carried", "next_")
    _side_of(w, "length", inside, "carried", adjoint)
    _leave(w, side_a="rhs", side_b="carried")
    return w


def _side_of(w: KernelWriter, t: str, mask: str, side: str, adjoint: bool) -> None:
    """Add the residual of one time's own rows to a right-hand side."""
    mask = w.let(mask)
    absent = w.point(t, adjoint, mask)
    kept = w.values["carried"]
    w.step("residual_close", [*absent, "next_"], carried=side)
    result = w.values["carried"]
    w.values["carried"] = kept
    w.values[side] = result
    near = f"{mask} & (start + {t} < initial_times)"
    w.initial(t, near, side=side, adjoint=adjoint, y="y")


def back_rows(sizes: Sizes) -> KernelWriter:
    """Substitute back from the corrections at the times between segments, and correct y."""
    w = KernelWriter(sizes, ("y",), ("work", "ends_x", "moved", "state"), ("T", "width_x"))
    n = w.n
    _inner(w)
    w.values["take"] = ["take"]
    at = w.let("ends_x + whole * (segments + 1) + segment")
    x_a = w.load_rows("x_a", n, at, "width_x")
    w.load_rows("x", n, f"{at} + 1", "width_x")
    w.set("change", n)
    w.set("size", n)
    _correct_end(w, "x_a", "0", "ok & (segment == 0) & (take > 0.0)")
    _correct_end(w, "x", "length", "ok & (start + length < T) & (take > 0.0)")
    w.values["x_a"] = x_a
    with w.loop("for i in range(1, inner):", "x", "change", "size"):
        w.line("t = length - i")
        inside = w.let("start + t < T")
        w.recall(KEPT, "t", *KEPT)
        w.load("y", n, "y_at + t * y_t", inside)
        w.step("couple", fill="columns", x="x_a", carried="z")
        w.step("back_correct", z="carried")
        w.store("y", "y_at + t * y_t", f"ok & {inside}")
    w.store_rows("change", "moved + lane", "width")
    w.store_rows("size", f"moved + lane + {n} * width", "width")
    return w


def _correct_end(w: KernelWriter, x: str, t: str, mask: str) -> None:
    mask = w.let(mask)
    y = w.load("y", w.n, f"y_at + {t} * y_t", mask)
    new, change, size = [], [], []
    for a, b, c, s in zip(w.values[x], y, w.values["change"], w.values["size"], strict=True):
        new.append(w.let(f"{b} + tl.where({mask}, take * {a}, zero)"))
        moved = w.let(f"tl.where({mask}, tl.abs({a}), zero)")
        change.append(w.let(f"tl.where({c} > {moved}, {c}, {moved})"))
        value = w.let(f"tl.abs({b})")
        size.append(w.let(f"tl.where({s} > {value}, {s}, {value})"))
    w.values |= {"y": new, "change": change, "size": size}
    w.store("y", f"y_at + {t} * y_t", mask)


# A system of blocks: what segments leave.


def _block(w: KernelWriter, k: str, mask: str = "") -> None:
    """Block and coupling of a time: parts of the segment after it and of the one before."""
    places = rows_of_ends(w.sizes)
    extra = f" & {mask}" if mask else ""
    at = w.let(f"before + {places['a']} * width_b + first + {k}")
    w.load_rows("block", w.triangle, at, "width_b", f"({k} < N - 1){extra}")
    at = w.let(f"before + {places['b']} * width_b + first + {k} - 1")
    w.load_rows("other", w.triangle, at, "width_b", f"({k} > 0) & ({k} < N){extra}")
    w.add("block", "other")


def _below(w: KernelWriter, k: str, name: str) -> None:
    at = w.let(f"before + {rows_of_ends(w.sizes)['fill']} * width_b + first + {k}")
    w.load_rows(name, w.n**2, at, "width_b", f"({k} < N - 1)")


def _side(w: KernelWriter, k: str, name: str, mask: str = "") -> None:
    places = rows_of_ends(w.sizes)
    extra = f" & {mask}" if mask else ""
    at = w.let(f"before + {places['side_a']} * width_b + first + {k}")
    w.load_rows(name, w.n, at, "width_b", f"({k} < N - 1){extra}")
    at = w.let(f"before + {places['side_b']} * width_b + first + {k} - 1")
    w.load_rows("other", w.n, at, "width_b", f"({k} > 0) & ({k} < N){extra}")
    w.add(name, "other")


def _blocks_writer(sizes: Sizes, *pointers: str, numbers: tuple[str, ...] = ()) -> KernelWriter:
    w = KernelWriter(sizes, (), pointers, ("N", "width_b", *numbers))
    w.line("first = whole * (N - 1)")
    return w


def eliminate_blocks(sizes: Sizes) -> KernelWriter:
    """As `eliminate_rows`, for the system that segments left in ``before``."""
    w = _blocks_writer(sizes, "before", "work", "ends", "worst")
    w.line("k = start")
    _block(w, "k", "(segment == 0)")
    w.values["now"] = w.values["block"]
    _below(w, "k", "fill")
    _leave(w, a="now", fill="fill")
    w.set("left", w.triangle)
    w.values["worst"] = [w.let("zero + float('inf')")] * 2
    with w.loop("for i in range(1, length):", "left", "worst"):
        w.line("k = start + i")
        _block(w, "k")
        w.pad("block", "k < N")
        _below(w, "k", "below")
        w.step("eliminate_chain")
        w.keep(KEPT, "i", "lower", "inverse", "gain")
    w.line("k_b = start + length")
    _block(w, "k_b")
    w.pad("block", "k_b < N")
    w.add("left", "block")
    _leave(w, b="left")
    w.store_rows("worst", "worst + lane", "width")
    return w


def fill(sizes: Sizes) -> KernelWriter:
    """Carry couplings with the time before a segment through it, whatever it is a segment of."""
    w = KernelWriter(sizes, (), ("work", "ends"), ())
    places = rows_of_ends(sizes)
    w.load_rows("now", w.triangle, f"ends + lane + {places['a']} * width", "width")
    w.load_rows("fill", w.n**2, f"ends + lane + {places['fill']} * width", "width")
    with w.loop("for i in range(1, length):", "fill", "now"):
        w.recall(KEPT, "i", "lower", "inverse", "gain")
        w.step("fill_columns")
        w.keep(KEPT, "i", "columns")
    _leave(w, a="now", fill="fill")
    return w


def forward_blocks(sizes: Sizes) -> KernelWriter:
    """As `forward_rows`, for the right-hand sides in ``before``."""
    w = _blocks_writer(sizes, "before", "work", "ends", "state")
    _inner(w)
    w.line("k = start")
    _side(w, "k", "rhs", "(segment == 0)")
    w.set("carried", w.n)
    with w.loop("for i in range(1, inner):", "carried", "rhs"):
        w.line("k = start + i")
        _side(w, "k", "side")
        w.add("carried", "side")
        w.recall(KEPT, "i", "lower", "inverse", "gain", "columns")
        w.step("forward_chain")
        w.step("couple_a")
        w.keep(KEPT, "i", "z")
    w.line("k_b = start + length")
    _side(w, "k_b", "side")
    w.add("carried", "side")
    _leave(w, side_a="rhs", side_b="carried")
    return w


def back_blocks(sizes: Sizes) -> KernelWriter:
    """Answers at the inner times of segments from those between them; writes all of them."""
    w = _blocks_writer(sizes, "work", "ends_x", "x_out", "state", numbers=("width_x", "width_o"))
    n = w.n
    _inner(w)
    at = w.let("ends_x + whole * (segments + 1) + segment")
    w.load_rows("x_a", n, at, "width_x")
    w.load_rows("x", n, f"{at} + 1", "width_x")
    w.line("out = x_out + whole * N + start")
    _write_x(w, "x_a", "out", "ok & (segment == 0)")
    _write_x(w, "x", "out + length", "ok & (start + length < N)")
    with w.loop("for i in range(1, inner):", "x"):
        w.line("t = length - i")
        w.recall(KEPT, "t", *KEPT)
        w.step("couple", fill="columns", x="x_a", carried="z")
        w.step("back", z="carried", after="x")
        w.values["x"] = w.values["y"]
        _write_x(w, "x", "out + t", "ok & (start + t < N)")
    return w


def _write_x(w: KernelWriter, name: str, at: str, mask: str) -> None:
    for k, value in enumerate(w.values[name]):
        w.line(f"tl.store({at} + {k} * width_o, {value}, mask={mask})")


def eliminate_chain(sizes: Sizes) -> KernelWriter:
    """Factorise the system that segments left, one time after the other."""
    w = _blocks_writer(sizes, "before", "work", "worst")
    w.set("left", w.triangle)
    w.values["worst"] = [w.let("zero + float('inf')")] * 2
    with w.loop("for i in range(0, N):", "left", "worst"):
        w.line("k = start + i")
        _block(w, "k")
        _below(w, "k", "below")
        w.step("eliminate_chain")
        w.keep(KEPT_CHAIN, "i", "lower", "inverse", "gain")
    w.store_rows("worst", "worst + lane", "width")
    return w


def solve_chain(sizes: Sizes) -> KernelWriter:
    """Solve the factorised system for the right-hand sides that segments left."""
    w = _blocks_writer(sizes, "before", "work", "x_out", "state", numbers=("width_o",))
    w.line("take = tl.load(state + whole)")
    w.line("times = tl.max((take > 0.0).to(tl.int32), 0) * N")
    w.line("out = x_out + whole * N")
    w.set("carried", w.n)
    with w.loop("for i in range(0, times):", "carried"):
        w.line("k = start + i")
        _side(w, "k", "side")
        w.add("carried", "side")
        w.recall(KEPT_CHAIN, "i", "lower", "gain")
        w.step("forward_chain")
        w.keep(KEPT_CHAIN, "i", "z")
    w.barrier()
    w.set("x", w.n)
    with w.loop("for i in range(0, times):", "x"):
        w.line("k = N - 1 - i")
        w.recall(KEPT_CHAIN, "k", *KEPT_CHAIN)
        w.step("back", after="x")
        w.values["x"] = w.values["y"]
        _write_x(w, "x", "out + k", "ok")
    return w


def judge_kernel(sizes: Sizes) -> KernelWriter:
    """Look at the corrections of all segments of every lane's problem."""
    w = KernelWriter(sizes, (), ("moved", "state", "step"), ("count",))
    w.load_rows("change", w.n, "moved + here", "lanes")
    w.load_rows("size", w.n, f"moved + here + {w.n} * lanes", "lanes")
    w.line("mean = tl.load(step + problem)")
    names = ("take", "own", "shift", "remaining", "code")
    for k, name in enumerate(names):
        w.load_rows(name, 1, f"state + here + {k} * lanes", "lanes")
    w.judge("count", "mean")
    for k, name in enumerate(names):
        w.line(f"tl.store(state + here + {k} * lanes, {w.values[name][0]}, mask=ok)")
    return w
