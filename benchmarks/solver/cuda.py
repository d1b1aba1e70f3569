"""On a card: ``python -m benchmarks.solver --device cuda``, each pass forward and backward.

Candidates take turns; a run's time is that between two waits for the device. "solve" is what users
call: it checks the problem and reads the status back. "captured" replays a CUDA graph of the same
work on tensors that are already there. Errors are relative to the CPU's answer by "auto", largest
over y and all gradients, where the case is small enough to wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import say
from benchmarks.results import write_results
from benchmarks.solver.cases import GROUPS, Case, Inputs, cases_of
from benchmarks.solver.measure import interleave, seconds
from gpu_solver import LinearODEProblem, solve

__all__ = ["CANDIDATES", "run_on_card", "time_case"]

#: Larger cases than this, in times of all problems, are not compared with the CPU.
COMPARED = 300_000

#: What one pass computes: y, and the gradients of what varies.
Pass = Callable[[], list[Any]]


def _tensors(inputs: Inputs, device: str, dtype: Any) -> dict[str, Any]:
    import torch

    given = {name: torch.as_tensor(getattr(inputs, name), dtype=dtype) for name in "cdus"}
    return {
        name: tensor.to(device).requires_grad_(name in inputs.varying)
        for name, tensor in given.items()
    }


def by_solve(inputs: Inputs, device: str, method: str, single: bool = False) -> Pass:
    """Build the problem, solve it and differentiate."""
    import torch

    dtype = torch.float32 if single else torch.float64
    tensors = _tensors(inputs, device, dtype)
    upstream = torch.as_tensor(inputs.upstream, dtype=dtype).to(device)
    wanted = [tensors[name] for name in inputs.varying]

    def step() -> list[Any]:
        y = solve(LinearODEProblem(**tensors), method).y
        return [y.detach(), *torch.autograd.grad(y, wanted, upstream)]

    return step


def captured(inputs: Inputs, device: str) -> Pass:
    """Capture a forward and a backward pass once; a pass is then one launch."""
    import torch

    from gpu_solver.cuda import DeviceSolver
    from gpu_solver.cuda.limits import is_decoupled

    tensors = _tensors(inputs, device, torch.float64)
    upstream = torch.as_tensor(inputs.upstream).to(device)
    wanted = [tensors[name] for name in inputs.varying]
    problem = LinearODEProblem(**tensors)
    solver = DeviceSolver(problem, decoupled=is_decoupled(problem.c))

    def work() -> list[Any]:
        y, _ = solver(*(tensors[name] for name in "cdus"))
        return [y.detach(), *torch.autograd.grad(y, wanted, upstream)]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        work()  # compiles
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = work()

    def step() -> list[Any]:
        graph.replay()
        return results

    return step


CANDIDATES: dict[str, Callable[[Inputs, str], Pass]] = {
    "solve": lambda inputs, device: by_solve(inputs, device, "cuda"),
    "solve, float32": lambda inputs, device: by_solve(inputs, device, "cuda", True),
    "captured": captured,
    "cyclic_reduction": lambda inputs, device: by_solve(inputs, device, "cyclic_reduction"),
}


def time_case(
    case: Case, device: str, names: Sequence[str], budget: float, limit: float
) -> dict[str, Any]:
    """Time candidates on one case.

    Parameters
    ----------
    case : Case
    device : str
        Where the tensors are.
    names : sequence of str
        Keys of ``CANDIDATES``.
    budget : float
        Seconds of rounds.
    limit : float
        Candidates whose pass takes longer than this, in seconds, are not timed.

    Returns
    -------
    dict
        The case, its bytes, and for each candidate its times, its error, or why it has none.
    """
    import torch

    inputs = case.inputs()
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    reference = None
    if case.problems * case.steps * case.variables <= COMPARED:
        reference = by_solve(inputs, "cpu", "auto")()
    rows: dict[str, dict[str, Any]] = {}
    steps: dict[str, Callable[[], object]] = {}
    for name in names:
        try:
            step = CANDIDATES[name](inputs, device)
            first = seconds(lambda step=step: (step(), wait()))
            found = step()
            again = seconds(lambda step=step: (step(), wait()))
        except (ValueError, RuntimeError) as error:  # does not fit, or not in memory
            rows[name] = {"refused": str(error).splitlines()[0]}
            continue
        rows[name] = {"first": first}
        if reference is not None:
            pairs = zip(found, reference, strict=True)
            rows[name]["error"] = max(
                float((a.cpu().double() - b).abs().max() / b.abs().max()) for a, b in pairs
            )
        if again <= limit:
            steps[name] = lambda step=step: (step(), wait())
    for name, timing in interleave(steps, budget=budget, known=dict.fromkeys(steps, 0.0)).items():
        rows[name] |= {"median": timing.median, "fastest": timing.fastest}
    moved = inputs.input_bytes + inputs.output_bytes
    return {"case": case.name, **case.to_dict(), "bytes": moved, "candidates": rows}


def _bandwidth() -> float:
    """Bytes a second of copying 256 MiB on the card, read and written."""
    import torch

    source = torch.empty(2**25, dtype=torch.float64, device="cuda")
    target = torch.empty_like(source)

    def copy() -> None:
        for _ in range(10):
            target.copy_(source)
        torch.cuda.synchronize()

    copy()
    return 20 * source.nbytes / min(seconds(copy) for _ in range(5))


def run_on_card(
    groups: Sequence[str], quick: bool, budget: float, limit: float, out: Path | None
) -> dict[str, Any]:
    """Time all cases of these groups on a card; print a table, and write JSON if asked to.

    Raises
    ------
    SystemExit
        If torch sees no CUDA device.
    """
    import torch

    if not torch.cuda.is_available():
        raise SystemExit(
            "--device cuda needs a CUDA device and a build of PyTorch for it; this one "
            f"({torch.__version__}) sees none."
        )
    results: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "bandwidth": _bandwidth(),
        "cases": [],
    }
    say(f"{results['device']}, {results['bandwidth'] / 1e9:.0f} GB/s")
    for group in (name for name in GROUPS if name in groups):
        for case in cases_of(group, quick):
            row = time_case(case, "cuda", list(CANDIDATES), budget, limit)
            row["roofline"] = row["bytes"] / results["bandwidth"]
            results["cases"].append(row)
            say(_line(row))
            if out is not None:
                write_results(results, out)
    return results


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row['case']} (bytes alone: {row['roofline'] * 1e6:.3g} us)"]
    for name, found in row["candidates"].items():
        if "refused" in found:
            parts.append(f"  {name}: {found['refused']}")
            continue
        time = f"{found['median'] * 1e6:.4g} us" if "median" in found else "over the limit"
        error = f", error {found['error']:.1e}" if "error" in found else ""
        parts.append(f"  {name}: {time}{error}, first call {found['first']:.2g} s")
    return "\n".join(parts)
