import numpy as np
import pytest
import torch

from gpu_solver import LinearODEProblem, SolverStatus, solve

FAST = ["fused", "sweep", "lapack", "qr", "mnn_dense"]


def tensors(oracle, seed, *, order=2, **shape):
    parts = oracle.random_problem(seed, steps=4, order=order, **shape)
    return tuple(torch.tensor(part, requires_grad=True) for part in parts)


@pytest.mark.parametrize("method", [*FAST, "cyclic_reduction"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_gradients_for_c_d_u_s_agree_with_differences(oracle, method, order):
    def y(*parts):
        return solve(LinearODEProblem(*parts, 0.8, 1.5, 0.7), method).y

    assert torch.autograd.gradcheck(y, tensors(oracle, order, order=order))


@pytest.mark.parametrize("method", [*FAST, "cyclic_reduction"])
def test_broadcast_inputs_get_summed_gradients(oracle, method):
    rng = np.random.default_rng(0)
    c = torch.tensor(rng.normal(size=(2, 1, 1, 2, 1, 3)), requires_grad=True)  # constant in time
    d = torch.tensor(rng.normal(size=(3, 1, 2)), requires_grad=True)
    u = torch.tensor(rng.normal(size=(2, 1, 2)), requires_grad=True)
    s = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)

    def y(c, d, u, s):
        steps = s.expand(3)
        return solve(LinearODEProblem(c, d, u, steps), method).y

    def y_short(c, d, u, s):
        return solve(LinearODEProblem(c, d.expand(3, 4, 2), u, s), method).y

    assert torch.autograd.gradcheck(y, (c, d, u, s))
    assert torch.autograd.gradcheck(y_short, (c, d, u, s))


def test_nan_in_u_has_no_gradient(oracle):
    c, d, u, s = tensors(oracle, 1)
    with torch.no_grad():
        u[1, 0, 0] = torch.nan
    for method in ("sweep", "cyclic_reduction"):
        (gradient,) = torch.autograd.grad(solve(LinearODEProblem(c, d, u, s), method).y.sum(), u)
        assert gradient[1, 0, 0] == 0.0
        assert torch.isfinite(gradient).all()
        assert (gradient[0] != 0.0).any()


def test_cyclic_reduction_differentiates_twice(oracle):
    def y(*parts):
        return solve(LinearODEProblem(*parts), "cyclic_reduction").y

    assert torch.autograd.gradgradcheck(y, tensors(oracle, 2, variables=1))


@pytest.mark.parametrize("method", FAST)
def test_second_derivative_of_the_fast_solve_explains_itself(oracle, method):
    c, d, u, s = tensors(oracle, 3)
    loss = solve(LinearODEProblem(c, d, u, s), method).y.square().sum()
    (gradient,) = torch.autograd.grad(loss, c, create_graph=True)
    with pytest.raises(RuntimeError, match='method="cyclic_reduction"'):
        gradient.sum().backward()


def test_two_live_solves_of_one_shape_both_differentiate_exactly(oracle):
    first, second = tensors(oracle, 4), tensors(oracle, 5)
    alone = []
    for parts in (first, second):
        loss = solve(LinearODEProblem(*parts)).y.square().sum()
        alone.append(torch.autograd.grad(loss, parts))
    losses = [solve(LinearODEProblem(*parts)).y.square().sum() for parts in (first, second)]
    together = [torch.autograd.grad(losses[k], (first, second)[k]) for k in (0, 1)]
    for one, both in zip(alone, together, strict=True):
        for expected, got in zip(one, both, strict=True):
            assert torch.equal(expected, got)


def test_gradients_agree_between_methods_on_an_ill_conditioned_problem(oracle):
    c, d, u, _ = oracle.validation_odes["harmonic"]
    results = []
    for method in ("sweep", "lapack"):
        parts = [
            torch.tensor(np.reshape(c, (1, 1, 1, -1)), requires_grad=True),
            torch.tensor([[d]], requires_grad=True),
            torch.tensor(np.reshape(u, (1, 1, -1)), requires_grad=True),
            torch.full((999,), 0.01, dtype=torch.float64, requires_grad=True),
        ]
        y = solve(LinearODEProblem.from_ode(*parts), method).y
        results.append(torch.autograd.grad(y[-1, 0, 0], parts))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)
    # Closed form: d/du0 of u0 cos(w t) + u1 sin(w t) / w at the last time, and d/ds through t.
    w, t = np.sqrt(2.1), 9.99
    np.testing.assert_allclose(results[0][2].ravel(), [np.cos(w * t), np.sin(w * t) / w], atol=1e-6)
    slope = -0.4 * w * np.sin(w * t) - 0.03 * np.cos(w * t)
    np.testing.assert_allclose(results[0][3].sum(), slope * 999, rtol=1e-5)


@pytest.mark.parametrize("method", [*FAST, "cyclic_reduction"])
def test_float32_comes_in_and_goes_out_with_float64_inside(oracle, method):
    double = tensors(oracle, 6)
    single = tuple(part.detach().float().requires_grad_() for part in double)
    exact = tuple(part.detach().double().requires_grad_() for part in single)
    y, y_exact = (solve(LinearODEProblem(*p), method).y for p in (single, exact))
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, y_exact.float())
    gradients = torch.autograd.grad(y.sum(), single)
    expected = torch.autograd.grad(y_exact.sum(), exact)
    for got, want in zip(gradients, expected, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, want.float())


@pytest.mark.parametrize("method", [*FAST, "cyclic_reduction"])
def test_a_bad_problem_does_not_spoil_the_gradients_of_the_others(oracle, method):
    c, d, u, s = tensors(oracle, 7, batch=(3,))
    clean = torch.autograd.grad(solve(LinearODEProblem(c, d, u, s), method).y[[0, 2]].sum(), (c, s))
    with torch.no_grad():
        c[1, 0, 0, 0, 0] = torch.nan
    solution = solve(LinearODEProblem(c, d, u, s), method, on_failure="status")
    assert solution.status[1] == SolverStatus.NON_FINITE_INPUT
    assert torch.isnan(solution.y[1]).all()
    got = torch.autograd.grad(solution.y[[0, 2]].sum(), (c, s))
    for mine, expected in zip(got, clean, strict=True):
        torch.testing.assert_close(mine, expected)


def test_changing_an_input_before_backward_is_noticed(oracle):
    c, d, u, s = tensors(oracle, 8)
    loss = solve(LinearODEProblem(c, d, u, s)).y.sum()
    with torch.no_grad():
        c.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_numpy_and_torch_agree_and_mix(oracle):
    c, d, u, s = oracle.random_problem(9)
    expected = solve(LinearODEProblem(c, d, u, s)).y
    mixed = solve(LinearODEProblem(torch.tensor(c), d, u, s)).y
    assert isinstance(mixed, torch.Tensor)
    np.testing.assert_array_equal(mixed.numpy(), expected)
