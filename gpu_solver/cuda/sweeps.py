"""Kernels for many problems: one lane sweeps through all times of one.

A sweep is several kernels, since the time to compile one grows with the cube of its length.
"""

from __future__ import annotations

from gpu_solver.cuda.pieces import KernelWriter
from gpu_solver.fused.limits import WORRYING
from gpu_solver.fused.sweeps import Sizes

__all__ = [
    "STATE",
    "back_kernel",
    "correct_kernel",
    "factor_kernel",
    "gradient_kernel",
    "residual_kernel",
]

_KEPT = ("lower", "inverse", "gain", "z")


def factor_kernel(sizes: Sizes, orders: int, adjoint: bool) -> KernelWriter:
    """Eliminate and substitute forward; ``state`` gets what judging needs."""
    w = _writer(sizes, orders, adjoint, (), ("work", "state"))
    _factor(w, adjoint)
    w.values["step"] = [w.let(f"{w.values['total'][0]} / last")]
    w.values.setdefault("check", ["zero"])
    _start(w)
    _state(w, "store", *STATE)
    return w


def back_kernel(sizes: Sizes) -> KernelWriter:
    """Substitute back for the first answer."""
    w = KernelWriter(sizes, ("y",), ("work",), ("T",))
    w.line("last = T - 1")
    _back(w)
    return w


def residual_kernel(sizes: Sizes, orders: int, adjoint: bool) -> KernelWriter:
    """Substitute the residual forward, in programs with a lane that needs a correction."""
    w = _writer(sizes, orders, adjoint, ("y",), ("work", "state"))
    _state(w, "load", "take")
    with w.loop(f"if {_any_taken(w)}:"):
        _residual(w, adjoint)
    return w


def correct_kernel(sizes: Sizes) -> KernelWriter:
    """Substitute a correction back, add it to y, judge it and tell the status."""
    w = KernelWriter(sizes, ("y",), ("work", "state", "status"), ("T", "count"))
    w.line("last = T - 1")
    _state(w, "load", *STATE)
    with w.loop(f"if {_any_taken(w)}:"):
        _back_correct(w)
        w.judge("count", w.values["step"][0])
        w.barrier()
        _tell(w)
        _state(w, "store", *_JUDGED)
    return w


_JUDGED = ("take", "own", "shift", "remaining", "code")
#: Rows of ``state``, one number for every lane each.
STATE = (*_JUDGED, "margin", "smallest", "check", "step")


def _writer(
    sizes: Sizes, orders: int, adjoint: bool, arrays: tuple[str, ...], pointers: tuple[str, ...]
) -> KernelWriter:
    right = "base" if adjoint else "d"
    inputs = ("c", right, "s", "governing", "smooth", "initial", "u")
    w = KernelWriter(sizes, (*inputs, *arrays), pointers, ("T", "initial_times"), orders)
    w.line("last = T - 1")
    return w


def _any_taken(w: KernelWriter) -> str:
    return f"tl.max((ok & ({w.values['take'][0]} > 0.0)).to(tl.int32), 0) > 0"


def _state(w: KernelWriter, access: str, *names: str) -> None:
    for name in names:
        at = f"state + here + {STATE.index(name)} * lanes"
        if access == "load":
            w.load_rows(name, 1, at, "lanes")
        else:
            w.line(f"tl.store({at}, {w.values[name][0]}, mask=ok)")


def _start(w: KernelWriter) -> None:
    """Nothing is judged yet."""
    for name in ("take", "own", "shift", "remaining"):
        w.set(name, 1, "one")
    w.set("code", 1)


def _factor(w: KernelWriter, adjoint: bool) -> None:
    right = "base" if adjoint else "d"
    w.set("left", w.triangle)
    w.set("carried", w.n)
    w.values["worst"] = [w.let("zero + float('inf')")] * 2
    w.set("total", 1)
    carried = ["left", "worst", "carried", "total"]
    if not adjoint:
        w.set("check", 1)
        carried.append("check")
    with w.loop("for t in range(0, last):", *carried):
        absent = w.point("t", adjoint)
        w.interval("t")
        _initial(w, "t", adjoint, diagonal="left")
        w.checked(*w.values["c"], *w.values[right], *w.values["s"])
        w.add("total", "s")
        w.step("factor_forward", absent)
        w.keep(_KEPT, "t", *_KEPT)
    absent = w.point("last", adjoint)
    _initial(w, "last", adjoint, diagonal="left")
    w.checked(*w.values["c"], *w.values[right])
    w.step("factor_forward_last", absent)
    w.keep(_KEPT, "last", "lower", "inverse", "z")
    w.values["margin"], w.values["smallest"] = ([each] for each in w.values["worst"])


def _initial(w: KernelWriter, t: str, adjoint: bool, diagonal: str = "", y: str = "") -> None:
    mask = w.let(f"start + {t} < initial_times")
    w.initial(t, mask, diagonal=diagonal, side="carried", adjoint=adjoint, y=y)


def _back(w: KernelWriter) -> None:
    w.recall(_KEPT, "last", "lower", "inverse", "z")
    w.step("back_last")
    w.store("y", "y_at + last * y_t", "ok")
    with w.loop("for i in range(1, T):", "y"):
        w.line("t = last - i")
        w.recall(_KEPT, "t", *_KEPT)
        w.step("back", after="y")
        w.store("y", "y_at + t * y_t", "ok")


def _residual(w: KernelWriter, adjoint: bool) -> None:
    for name in ("carried", "next_"):
        w.set(name, w.n)
    w.load("y", w.n, "y_at")
    with w.loop("for t in range(0, last):", "y", "carried", "next_"):
        absent = w.point("t", adjoint)
        w.interval("t")
        _initial(w, "t", adjoint, y="y")
        w.recall(_KEPT, "t", "lower", "gain")
        w.load("after", w.n, "y_at + (t + 1) * y_t")
        w.step("residual_forward", absent)
        w.keep(_KEPT, "t", "z")
        w.values["y"] = w.values["after"]
    w.point("last", adjoint)
    _initial(w, "last", adjoint, y="y")
    w.recall(_KEPT, "last", "lower")
    w.step("residual_forward_last", absent)
    w.keep(_KEPT, "last", "z")


def _back_correct(w: KernelWriter) -> None:
    for name in ("change", "size"):
        w.set(name, w.n)
    w.recall(_KEPT, "last", "lower", "inverse", "z")
    w.load("y", w.n, "y_at + last * y_t")
    w.step("back_correct_last")
    w.store("y", "y_at + last * y_t", "ok")
    with w.loop("for i in range(1, T):", "x", "change", "size"):
        w.line("t = last - i")
        w.recall(_KEPT, "t", *_KEPT)
        w.load("y", w.n, "y_at + t * y_t")
        w.step("back_correct")
        w.store("y", "y_at + t * y_t", "ok")


def _tell(w: KernelWriter) -> None:
    """Write every lane's status code."""
    y = w.load("y", w.n, "y_at")  # what is not finite anywhere is not finite at the first time
    names = ("remaining", "code", "check", "margin", "smallest")
    remaining, code, check, margin, inverse = (w.values[name][0] for name in names)
    finite = " + ".join(f"{each} * 0.0" for each in y)
    sound = w.let(f"({remaining} < {WORRYING}) & ({margin} > 0.0)")
    code = w.let(f"tl.where({sound}, {code}, one + one)")
    sound = w.let(f"(({finite}) == 0.0) & ({inverse} > 0.0) & ({remaining} < 1e300)")
    code = w.let(f"tl.where({sound}, {code}, one + 2.0)")
    code = w.let(f"tl.where({check} == 0.0, {code}, one + 3.0)")
    w.line(f"tl.store(status + here, {code}, mask=ok)")


def gradient_kernel(
    sizes: Sizes, wanted: tuple[bool, bool, bool], summed: tuple[bool, bool, bool]
) -> KernelWriter:
    """Gradients of c, d and s from y and g = M^-1 dl/dy: a lane has ``length`` times of a problem.

    Those that are ``summed`` over time are written once for each lane, the others at every time.
    Problems whose status says that they have no answer get zeros.
    """
    q, n = sizes.equations, sizes.n
    results = {"dc": q * n, "dd": q, "ds": 1}
    outputs = tuple(x for x, want in zip(results, wanted, strict=True) if want)
    total = {x for x, want, is_sum in zip(results, wanted, summed, strict=True) if want and is_sum}
    inputs = ("c", "d", "s", "governing", "smooth", "y", "g")
    w = KernelWriter(sizes, (*inputs, *outputs), ("status",), ("T",))
    w.line("solved = tl.load(status + whole) < 3.0")
    sums = [f"sum_{x}" for x in results if x in total]
    for x in sorted(total):
        w.set(f"sum_{x}", results[x])
    points, steps = bool({"dc", "dd"} & set(outputs)), "ds" in outputs
    with w.loop("for i in range(0, length):", *sums):
        w.line("here_t = start + i")
        w.line("inside = solved & (here_t < T)")
        w.load("y", n, "y_at + i * y_t", "inside")
        w.load("g", n, "g_at + i * g_t", "inside")
        if points:
            w.point("i", False, "inside")
            w.step("gradient")
        if steps:
            w.line("before_last = solved & (here_t < T - 1)")
            w.interval("i", "before_last")
            w.load("after", n, "y_at + (i + 1) * y_t", "before_last")
            w.load("g_after", n, "g_at + (i + 1) * g_t", "before_last")
            w.step("gradient_step")
        for x in outputs:
            if x in total:
                w.add(f"sum_{x}", x)
            else:
                limit = "T - 1" if x == "ds" else "T"
                w.store(x, f"{x}_at + i * {x}_t", f"ok & (here_t < {limit})")
    for x in outputs:
        if x in total:
            w.values[x] = w.values[f"sum_{x}"]
            # A lane's sum has the place of a time: start is segment * length.
            w.store(x, f"{x} + problem * {x}_b + segment * {x}_t", "ok")
    return w
