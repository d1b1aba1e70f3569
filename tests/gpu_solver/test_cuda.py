"""The CUDA kernels: what is chosen and refused, compiling without a card, and runs on one."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from gpu_solver import LinearODEProblem, SolverStatus, select_backend, solve
from gpu_solver.cuda import DeviceSolver, compiled, segments, sweeps
from gpu_solver.cuda.launch import LANES_WANTED, segment_length
from gpu_solver.cuda.layout import flat, folded, whole
from gpu_solver.cuda.limits import LARGEST_BLOCK, LARGEST_PROBLEM
from gpu_solver.cuda.partition import Partition
from gpu_solver.fused.sweeps import Sizes

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton (Linux)")


@needs_triton
def test_the_kernels_are_right_in_tritons_interpreter():
    file = Path(__file__).with_name("interpreted_cuda.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


ONE = Sizes(1, 1, 1)
KERNELS = {
    "factor": (sweeps.factor_kernel, ONE, 1, False),
    "back": (sweeps.back_kernel, ONE),
    "residual": (sweeps.residual_kernel, ONE, 1, True),
    "correct": (sweeps.correct_kernel, ONE),
    "gradients": (sweeps.gradient_kernel, ONE, (True,) * 3, (False, True, False)),
    "eliminate rows": (segments.eliminate_rows, ONE, 1, False),
    "forward rows": (segments.forward_rows, ONE, 1, True),
    "fill": (segments.fill, ONE),
    "back rows": (segments.back_rows, ONE),
    "eliminate blocks": (segments.eliminate_blocks, ONE),
    "forward blocks": (segments.forward_blocks, ONE),
    "back blocks": (segments.back_blocks, ONE),
    "eliminate chain": (segments.eliminate_chain, ONE),
    "solve chain": (segments.solve_chain, ONE),
    "judge": (segments.judge_kernel, ONE),
}


#: One of every kind of loop and branch: seconds. The others are like them.
COMPILED_ALWAYS = {"factor", "correct", "gradients", "fill", "solve chain"}


@needs_triton
@pytest.mark.skipif(compiled.is_interpreted(), reason="the interpreter does not compile")
@pytest.mark.parametrize(
    "name",
    [pytest.param(x, marks=() if x in COMPILED_ALWAYS else pytest.mark.slow) for x in KERNELS],
)
def test_kernels_compile_to_machine_code_without_a_card(name):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.compiler import compile as compile_kernel

    write, *key = KERNELS[name]
    kernel = compiled.compiled(write, *key)
    signature = {
        each: ("i64" if each.endswith(("_b", "_v", "_t")) else "i32")
        if each in kernel.numbers
        else "*fp64"
        for each in kernel.arguments
    }
    source = ASTSource(
        kernel.function, signature | {"BLOCK": "constexpr"}, constexprs={"BLOCK": 32}
    )
    options = {"num_warps": 1, "enable_fp_fusion": True}
    built = compile_kernel(source, target=GPUTarget("cuda", 80, 32), options=options)
    assert built.asm["cubin"]
    assert ".f64" in built.asm["ptx"]


def on_fake_card(sizes, steps=5, decoupled=False):
    """A problem whose tensors claim to be on a card; they have no values."""
    variables, order, equations = sizes
    shapes = {
        "c": (3, steps, equations, variables, order + 1),
        "d": (3, steps, equations),
        "u": (3, 1, variables, 1),
        "s": (3, steps - 1),
    }
    problem = object.__new__(LinearODEProblem)
    for name, shape in shapes.items():
        object.__setattr__(problem, name, torch.empty(shape, device="cuda"))
    for name in ("governing", "initial", "smooth"):
        object.__setattr__(problem, f"weight_{name}", np.ones(()))
    return problem


@pytest.mark.parametrize(
    ("sizes", "triton", "name", "said"),
    [
        ((1, 2, 1), True, "cuda", "on cuda:0 and blocks of 3 unknowns a step suit generated"),
        ((1, 2, 1), False, "cyclic_reduction", "Triton, which 'cuda' needs, is not installed"),
        (
            (1, LARGEST_BLOCK, 1),
            True,
            "cyclic_reduction",
            f"unroll blocks of up to {LARGEST_BLOCK} unknowns",
        ),
    ],
)
def test_the_choice_for_tensors_on_a_card_is_explained(monkeypatch, sizes, triton, name, said):
    monkeypatch.setattr(compiled, "has_triton", lambda: triton)
    with FakeTensorMode():
        choice = select_backend(on_fake_card(sizes))
    assert choice.name == name
    assert said in choice.reason


def test_decoupled_variables_make_smaller_blocks(monkeypatch):
    from gpu_solver.cuda import limits

    monkeypatch.setattr(compiled, "has_triton", lambda: True)
    monkeypatch.setattr(limits, "is_decoupled", lambda c: True)
    with FakeTensorMode():
        choice = select_backend(on_fake_card((3, 2, 3)))
        too_many = select_backend(on_fake_card((9, 2, 9)))
    assert choice.name == "cuda"
    assert "3 unknowns a step" in choice.reason
    assert "3 decoupled variables apart" in choice.reason
    assert too_many.name == "cyclic_reduction"
    assert f"up to {LARGEST_PROBLEM} unknowns" in too_many.reason


def test_decoupling_is_seen_in_the_coefficients(oracle):
    from gpu_solver.cuda.limits import is_decoupled

    c = torch.tensor(oracle.random_problem(0)[0])
    assert not is_decoupled(c)
    assert is_decoupled(c * torch.eye(2)[:, :, None])
    assert not is_decoupled(c[:, :1])
    assert not is_decoupled(c[:, :1, :1])


def test_forcing_it_without_a_card_says_what_is_missing(oracle):
    parts = oracle.random_problem(0, variables=1, equations=1)
    with pytest.raises(ValueError, match=r"'cuda' needs tensors on a CUDA device, got numpy"):
        solve(LinearODEProblem(*parts), "cuda")
    problem = LinearODEProblem(*(torch.tensor(part) for part in parts))
    with pytest.raises(ValueError, match=r"got them on cpu; move them with \.to\('cuda'\)"):
        solve(problem, "cuda")
    with pytest.raises(ValueError, match="needs tensors on a CUDA device"):
        DeviceSolver(problem)
    with pytest.raises(TypeError, match="must hold torch tensors, got numpy"):
        DeviceSolver(LinearODEProblem(*parts))


def test_a_device_solver_refuses_what_it_was_not_made_for(oracle, monkeypatch):
    monkeypatch.setattr("gpu_solver.cuda.solver.is_interpreted", lambda: True)
    monkeypatch.setattr("gpu_solver.cuda.solver.has_triton", lambda: True)
    one = [torch.tensor(part) for part in oracle.random_problem(0, variables=1, equations=1)]
    problem = LinearODEProblem(*one)
    with pytest.raises(ValueError, match="segment must be 0, or 2 or more steps, got 1"):
        DeviceSolver(problem, segment=1)
    solver = DeviceSolver(problem)
    with pytest.raises(ValueError, match=r"c must have shape \(6, 1, 1, 3\) on cpu"):
        solver(one[0][:3], *one[1:])
    with pytest.raises(TypeError, match=r"d must be float32 or float64, got torch\.int64"):
        solver(one[0], one[1].long(), *one[2:])
    large = [torch.tensor(part) for part in oracle.random_problem(0, variables=3, equations=1)]
    with pytest.raises(
        ValueError, match="decoupled needs as many equations as variables, got 1 and 3"
    ):
        DeviceSolver(LinearODEProblem(*large), decoupled=True)
    with pytest.raises(ValueError, match=r"unroll blocks of up to 6 unknowns a step, got 9"):
        DeviceSolver(LinearODEProblem(*large))
    monkeypatch.setattr("gpu_solver.cuda.solver.has_triton", lambda: False)
    with pytest.raises(ValueError, match="needs Triton, which is not installed"):
        DeviceSolver(problem)


def test_tensors_are_read_where_they_are():
    c = torch.arange(2.0 * 5 * 3 * 3 * 2).reshape(2, 5, 3, 3, 2)
    shared = flat(c[0], (4, 2), 4)
    assert shared.shape == (8, 5, 3, 3, 2)
    assert shared.data_ptr() == c.data_ptr()
    assert whole(shared, 3).problem == 0
    step_first = c.transpose(0, 1).contiguous().transpose(0, 1)
    read = whole(step_first, 3)
    assert read.tensor is step_first
    assert (read.problem, read.part, read.time) == (18, 0, 36)
    diagonal = folded(c.diagonal(dim1=2, dim2=3).movedim(-1, 2), 2)
    value = diagonal.tensor.as_strided((1,), (1,), diagonal.tensor.storage_offset())
    assert value.data_ptr() == c.data_ptr()
    assert (diagonal.problem, diagonal.part, diagonal.time) == (90, 8, 18)
    uneven = whole(c.expand(1, 2, 5, 3, 3, 2)[0].transpose(2, 3), 3)
    assert uneven.tensor.is_contiguous()
    torch.testing.assert_close(uneven.tensor, c.transpose(2, 3))


@pytest.mark.parametrize("lanes", [1, 3, 512, 5000, LANES_WANTED])
@pytest.mark.parametrize("steps", [2, 63, 64, 1000, 10**6])
def test_time_is_cut_where_problems_are_few(lanes, steps):
    length = segment_length(lanes, steps)
    if length == 0:
        assert steps < 64 or 2 * lanes >= LANES_WANTED
        return
    cut = Partition(steps, length)
    assert length >= 16
    assert lanes * cut.count <= LANES_WANTED
    assert (cut.count - 1) * length < steps - 1 <= cut.count * length


# On a card.

needs_card = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    needs_triton,
]


def on_card(parts, dtype=torch.float64):
    return [torch.tensor(part, dtype=dtype, device="cuda", requires_grad=True) for part in parts]


def assert_as_on_the_cpu(parts, **settings):
    mine = on_card(parts)
    y, status = DeviceSolver(LinearODEProblem(*mine), **settings)(*mine)
    theirs = [part.detach().cpu().requires_grad_() for part in mine]
    expected = solve(LinearODEProblem(*theirs), "lapack").y
    assert int(status.max()) <= SolverStatus.REFINED
    incoming = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(0))
    found = torch.autograd.grad(y, mine, incoming.cuda())
    right = torch.autograd.grad(expected, theirs, incoming)
    for a, b in zip((y, *found), (expected, *right), strict=True):
        scale = b.detach().abs().max()
        torch.testing.assert_close(a.cpu() / scale, b / scale, rtol=0.0, atol=1e-9)


class TestOnACard:
    pytestmark = needs_card

    @pytest.mark.parametrize("sizes", [(1, 2, 1), (2, 1, 3), (1, 4, 1)])
    @pytest.mark.parametrize(("batch", "steps", "segment"), [(70, 20, 0), (3, 300, 16)])
    def test_answers_and_gradients(self, oracle, sizes, batch, steps, segment):
        variables, order, equations = sizes
        parts = oracle.random_problem(1, steps, equations, variables, order, 2, order, (batch,))
        assert_as_on_the_cpu(parts, segment=segment)

    def test_one_long_sequence_by_nested_segments(self, oracle):
        parts = oracle.random_problem(2, 20_000, 1, 1, 2, 1, 2)
        assert_as_on_the_cpu(parts)

    def test_auto_takes_it_and_gives_back_what_it_got(self, oracle):
        parts = on_card(oracle.random_problem(3, 10, 1, 1, 2, 1, 1, (5,)), torch.float32)
        solution = solve(LinearODEProblem(*parts))
        assert solution.method == "cuda"
        assert solution.y.dtype == torch.float32
        assert solution.y.device.type == "cuda"

    def test_a_bad_problem_is_named(self, oracle):
        c, d, u, s = oracle.random_problem(4, 10, 1, 1, 2, 1, 1, (40,))
        c[7, 3] = np.nan
        solution = solve(LinearODEProblem(*on_card((c, d, u, s))), on_failure="status")
        assert solution.status[7] == SolverStatus.NON_FINITE_INPUT
        assert solution.y[7].isnan().all()
        assert not solution.y[8].isnan().any()

    @pytest.mark.parametrize("segment", [0, 16])
    def test_a_training_step_in_a_cuda_graph_gives_the_same(self, oracle, segment):
        first, second = (
            on_card(oracle.random_problem(seed, 100, 1, 1, 2, 1, 1, (4,))) for seed in (5, 6)
        )
        solver = DeviceSolver(LinearODEProblem(*first), segment=segment)

        def step():
            y, status = solver(*first)
            return y, status, torch.autograd.grad(y.square().sum(), first)

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y, _, gradients = step()
        with torch.no_grad():
            for tensor, new in zip(first, second, strict=True):
                tensor.copy_(new)
        graph.replay()
        expected = solver(*second)[0]
        right = torch.autograd.grad(expected.square().sum(), second)
        torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
        for mine, theirs in zip(gradients, right, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)
