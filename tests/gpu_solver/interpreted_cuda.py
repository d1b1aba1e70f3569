"""The CUDA kernels in Triton's interpreter, on the CPU. `test_cuda` runs this in its own process.

By hand: ``TRITON_INTERPRET=1 pytest tests/gpu_solver/interpreted_cuda.py``. Shapes are tiny: the
interpreter takes some 20 microseconds for what a GPU does in a clock cycle.
"""

import numpy as np
import pytest
import torch

from gpu_solver import LinearODEProblem, SolverStatus, select_backend, solve
from gpu_solver.cuda import DeviceSolver, partition
from gpu_solver.cuda.compiled import is_interpreted

pytestmark = pytest.mark.skipif(not is_interpreted(), reason="needs TRITON_INTERPRET=1")


def parts_of(oracle, seed, sizes, steps, batch=(), n_init=1, orders=1):
    variables, order, equations = sizes
    return list(
        oracle.random_problem(seed, steps, equations, variables, order, n_init, orders, batch)
    )


def tensors(parts, dtype=torch.float64):
    return [torch.tensor(part, dtype=dtype, requires_grad=True) for part in parts]


def incoming_for(y):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(y.shape, dtype=y.dtype, generator=generator)


def by_kernels(inputs, weights=(), **settings):
    problem = LinearODEProblem(*inputs, *weights)
    y, status = DeviceSolver(problem, **settings)(*inputs)
    return y, status, torch.autograd.grad(y, inputs, incoming_for(y))


def close(mine, expected, tolerance=1e-10):
    scale = expected.detach().abs().max()
    torch.testing.assert_close(mine / scale, expected / scale, rtol=0.0, atol=tolerance)


def assert_is_dense(oracle, parts, weights=(), **settings):
    """Answers and gradients against dense QR that torch differentiates."""
    inputs = tensors(parts)
    y, status, gradients = by_kernels(inputs, weights, **settings)
    assert status.max() <= SolverStatus.REFINED
    theirs = tensors(parts)
    expected = oracle.torch_solutions(*theirs, *weights)
    close(y, expected)
    found = torch.autograd.grad(expected, theirs, incoming_for(expected))
    for mine, right in zip(gradients, found, strict=True):
        close(mine, right)


def test_a_lane_for_each_problem_gives_the_dense_answer_and_its_gradients(oracle):
    c, d, u, s = parts_of(oracle, 0, (1, 3, 1), 3, (2,), n_init=2, orders=2)
    u[:, 1, 0, 1] = np.nan
    weights = (0.8, 1.5, np.array([1.0, 0.7, 0.5, 0.2]))
    assert_is_dense(oracle, (c, d, u, s), weights, segment=0)


def test_segments_of_time_give_the_dense_answer_and_its_gradients(oracle):
    parts = parts_of(oracle, 1, (1, 2, 1), 9, (2,), n_init=4, orders=2)
    weights = (np.linspace(0.5, 1.0, 9)[:, None], 1.5, np.array([1.0, 0.7, 0.5]))
    assert_is_dense(oracle, parts, weights, segment=3)  # the last reaches one time too far


def test_times_between_many_segments_are_cut_again(oracle, monkeypatch):
    monkeypatch.setattr(partition, "SHORT_CHAIN", 3)
    assert_is_dense(oracle, parts_of(oracle, 2, (1, 1, 1), 13, (2,)), segment=2)


@pytest.mark.parametrize(("segment", "sizes"), [(0, (2, 1, 3)), (2, (1, 1, 2))])
def test_what_is_shared_or_constant_gets_the_sum_of_its_gradients(oracle, segment, sizes):
    c, d, u, s = parts_of(oracle, 3, sizes, 4, (2,))
    weights = (0.9, 1.1, np.array([1.0, 0.6]))
    assert_is_dense(oracle, (c[0, :1], d[:, :1], u, s[0, :1]), weights, segment=segment)


@pytest.mark.parametrize("segment", [0, 2])
def test_decoupled_variables_are_lanes_and_zeros_of_c_still_get_gradients(oracle, segment):
    c, d, u, s = parts_of(oracle, 4, (2, 1, 2), 4, (2,))
    assert_is_dense(oracle, (c * np.eye(2)[:, :, None], d, u, s), decoupled=True, segment=segment)


@pytest.mark.parametrize("segment", [0, 2])
def test_a_bad_problem_is_named_and_leaves_its_neighbours_alone(oracle, segment):
    c, d, u, s = parts_of(oracle, 5, (1, 1, 1), 5, (6,))
    clean = by_kernels(tensors((c, d, u, s)), segment=segment)
    c[0, 2, 0, 0, 0] = np.inf
    d[1, 4, 0] = np.nan
    u[2, 0, 0, 0] = np.inf
    s[3, 1] = np.nan
    c[4], u[4] = 0.0, np.nan
    y, status, gradients = by_kernels(tensors((c, d, u, s)), segment=segment)
    assert status[:4].tolist() == [SolverStatus.NON_FINITE_INPUT] * 4
    assert status[4] in (SolverStatus.NOT_POSITIVE_DEFINITE, SolverStatus.ILL_CONDITIONED)
    assert y[:4].isnan().all()
    assert status[5] == clean[1][5]
    torch.testing.assert_close(y[5], clean[0][5], rtol=0.0, atol=0.0)
    for mine, right in zip(gradients, clean[2], strict=True):
        torch.testing.assert_close(mine[5], right[5], rtol=0.0, atol=0.0)
        assert (mine[:4] == 0).all()


@pytest.mark.parametrize("segment", [0, 3])
def test_corrections_restore_what_the_normal_matrix_loses(segment):
    t = 0.01 * np.arange(6)  # y'' = -y, y(0) = 1: 3e-13 off without corrections
    problem = LinearODEProblem.from_ode(
        torch.tensor([[[[1.0, 0.0, 1.0]]]]).double(),
        torch.zeros(1, 1).double(),
        torch.tensor([[[1.0, 0.0]]]).double(),
        torch.tensor(np.diff(t)),
        preset="paper",
    )
    y, status = DeviceSolver(problem, segment=segment)(problem.c, problem.d, problem.u, problem.s)
    exact = solve(problem, "qr").y
    assert status == solve(problem, "lapack").status
    torch.testing.assert_close(y[:, 0, :2], exact[:, 0, :2], rtol=0.0, atol=5e-14)


def test_only_what_needs_a_gradient_gets_one(oracle):
    c, d, u, s = (torch.tensor(part) for part in parts_of(oracle, 10, (1, 1, 1), 3, (2,)))
    c, s = c[:1], s[0]  # one left-hand side
    found = []
    for answer in (
        lambda *parts: solve(LinearODEProblem(*parts), "cuda").y,
        oracle.torch_solutions,
    ):
        right = [d.clone().requires_grad_(), u.clone().requires_grad_()]
        y = answer(c, *right, s)
        found.append(torch.autograd.grad(y.square().sum(), right))
    for mine, expected in zip(*found, strict=True):
        close(mine, expected)


def test_two_live_solves_of_one_shape_keep_their_own_buffers(oracle):
    one, two = (tensors(parts_of(oracle, seed, (1, 1, 1), 3, (2,))) for seed in (6, 7))
    solver = DeviceSolver(LinearODEProblem(*one))
    first, second = solver(*one)[0], solver(*two)[0]
    found = [torch.autograd.grad(y.square().sum(), x) for y, x in ((first, one), (second, two))]
    for inputs, gradients in zip((one, two), found, strict=True):
        y = oracle.torch_solutions(*inputs)
        for mine, right in zip(
            gradients, torch.autograd.grad(y.square().sum(), inputs), strict=True
        ):
            close(mine, right)


def test_the_entry_point_takes_any_layout_and_float32_and_differentiates_once(oracle):
    parts = parts_of(oracle, 8, (1, 1, 1), 3, (2,))
    c, d, u, s = tensors(parts, torch.float32)
    odd = c.transpose(0, 1).contiguous().transpose(0, 1)  # step first in memory
    wide = d[:1].expand(2, *d.shape[1:])
    problem = LinearODEProblem(odd, wide, u, s)
    solution = solve(problem, "cuda")
    assert (solution.method, solution.reason) == ("cuda", "asked for")
    assert solution.y.dtype == torch.float32
    expected = solve(problem, "lapack").y
    torch.testing.assert_close(solution.y, expected)
    found = torch.autograd.grad(solution.y.sum(), (c, d, u, s), create_graph=True)
    for mine, right in zip(found, torch.autograd.grad(expected.sum(), (c, d, u, s)), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-4)
    with pytest.raises(RuntimeError, match=r'differentiated once only.*"cyclic_reduction"'):
        found[0].sum().backward()


def test_auto_gives_what_lost_digits_to_qr_and_says_so(oracle):
    c, d, u, s = parts_of(oracle, 9, (1, 1, 1), 3, (2,))
    c[0], u[0] = 0.0, np.nan
    from gpu_solver.cuda.solver import solve_on_device

    inputs = tensors((c, d, u, s))
    y, status, count = solve_on_device(LinearODEProblem(*inputs), False, True)
    assert count == 1
    expected = solve(LinearODEProblem(*inputs), "qr", on_failure="status")
    assert status.tolist() == [SolverStatus.NOT_POSITIVE_DEFINITE, SolverStatus.OK]
    assert status[0] == expected.status[0]
    torch.testing.assert_close(y[1], expected.y[1])
    assert select_backend(LinearODEProblem(*inputs)).name != "cuda"  # the tensors are on the CPU
