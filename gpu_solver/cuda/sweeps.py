"""Kernels for many problems: one lane sweeps through all times of one, refinement included."""

from __future__ import annotations

from gpu_solver.cuda.pieces import KernelWriter
from gpu_solver.fused.limits import MAX_CORRECTIONS, WORRYING
from gpu_solver.fused.sweeps import Sizes

__all__ = ["gradient_kernel", "sweep_kernel"]

_KEPT = ("lower", "inverse", "gain", "z")


def sweep_kernel(sizes: Sizes, orders: int, adjoint: bool) -> KernelWriter:
    """Solve ``M y = A^T W^2 b``, or ``M y = base`` for an adjoint; correct y by A's residual."""
    right = "base" if adjoint else "d"
    arrays = ("c", right, "s", "governing", "smooth", "initial", "u", "y")
    w = KernelWriter(sizes, arrays, ("work", "status"), ("T", "initial_times"), orders)
    w.line("last = T - 1")
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
    w.step("back_last")
    w.store("y", "y_at + last * y_t", "ok")
    w.barrier()
    with w.loop("for i in range(1, T):", "y"):
        w.line("t = last - i")
        w.recall(_KEPT, "t", *_KEPT)
        w.step("back", after="y")
        w.store("y", "y_at + t * y_t", "ok")
    step = w.let(f"{w.values['total'][0]} / last")
    _correct(w, adjoint, absent, step)
    if not adjoint:
        _judge_all(w)
    return w


def _initial(w: KernelWriter, t: str, adjoint: bool, diagonal: str = "", y: str = "") -> None:
    mask = w.let(f"start + {t} < initial_times")
    w.initial(t, mask, diagonal=diagonal, side="carried", adjoint=adjoint, y=y)


def _correct(w: KernelWriter, adjoint: bool, absent: list[str], step: str) -> None:
    """Corrections, as long as they shrink for any lane of the program."""
    for name in ("take", "own", "shift", "remaining"):
        w.set(name, 1, "one")
    w.set("code", 1)
    finite = w.values.pop("check", None)
    w.line("again = tl.max(every.to(tl.int32), 0)")
    w.line("count = 0")
    with w.loop(
        f"while (again > 0) & (count < {MAX_CORRECTIONS}):",
        "take", "own", "shift", "remaining", "code",
    ):  # fmt: skip
        w.barrier()
        for name in ("carried", "next_", "change", "size"):
            w.set(name, w.n)
        w.load("y", w.n, "y_at")
        with w.loop("for t in range(0, last):", "y", "carried", "next_"):
            w.point("t", adjoint)
            w.interval("t")
            _initial(w, "t", adjoint, y="y")
            w.recall(_KEPT, "t", "lower", "gain")
            w.load("after", w.n, "y_at + (t + 1) * y_t")
            w.step("residual_forward", absent)
            w.keep(_KEPT, "t", "z")
            w.values["y"] = w.values["after"]
        w.point("last", adjoint)
        _initial(w, "last", adjoint, y="y")
        w.recall(_KEPT, "last", "lower", "inverse")
        w.step("residual_forward_last", absent)
        w.step("back_correct_last")
        w.store("y", "y_at + last * y_t", "ok")
        w.barrier()
        with w.loop("for i in range(1, T):", "x", "change", "size"):
            w.line("t = last - i")
            w.recall(_KEPT, "t", *_KEPT)
            w.load("y", w.n, "y_at + t * y_t")
            w.step("back_correct")
            w.store("y", "y_at + t * y_t", "ok")
        w.judge("count", step)
        w.line(f"again = tl.max((ok & ({w.values['take'][0]} > 0.0)).to(tl.int32), 0)")
        w.line("count += 1")
    if finite is not None:
        w.values["check"] = finite


def _judge_all(w: KernelWriter) -> None:
    """Write every lane's status code."""
    w.barrier()
    w.load("y", w.n, "y_at")  # what is not finite anywhere is not finite at the first time
    remaining, code, check = (w.values[k][0] for k in ("remaining", "code", "check"))
    margin, inverse = w.values["worst"]
    finite = " + ".join(f"{y} * 0.0" for y in w.values["y"])
    sound = w.let(f"({remaining} < {WORRYING}) & ({margin} > 0.0)")
    code = w.let(f"tl.where({sound}, {code}, one + one)")
    sound = w.let(f"(({finite}) == 0.0) & ({inverse} > 0.0) & ({remaining} < 1e300)")
    code = w.let(f"tl.where({sound}, {code}, one + 2.0)")
    code = w.let(f"tl.where({check} == 0.0, {code}, one + 3.0)")
    w.line(f"tl.store(status + whole, {code}, mask=ok)")


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
