"""The same ODE in other units of time, against closed forms."""

import numpy as np
import pytest
import torch

from gpu_solver import LinearODEProblem, SolverStatus, solve

UNITS = [1e-6, 3e-4, 0.02, 1.0, 70.0, 1e4, 1e6]


def oscillator(unit, count=1000):
    """y'' = -y over 10 seconds in that unit of time: problem and answer y, y'."""
    w, t = unit, np.linspace(0.0, 10.0, count + 1) / unit
    problem = LinearODEProblem.from_ode(
        [[[[w * w, 0.0, 1.0]]]], [[0.0]], [[[0.6, -0.8 * w]]], np.diff(t)
    )
    exact = 0.6 * np.cos(w * t) - 0.8 * np.sin(w * t)
    return problem, exact, -0.6 * np.sin(w * t) - 0.8 * np.cos(w * t)


@pytest.mark.parametrize("unit", UNITS)
def test_an_oscillator_is_as_accurate_in_every_unit(unit):
    problem, y, slope = oscillator(unit)
    solution = solve(problem)
    assert solution.status <= SolverStatus.REFINED
    assert solution.method != "qr"
    assert np.abs(solution.y[:, 0, 0] - y).max() < 1e-9
    assert np.abs(solution.y[:, 0, 1] / unit - slope).max() < 1e-9


@pytest.mark.parametrize("unit", UNITS)
def test_a_decay_is_as_accurate_in_every_unit(unit):
    t = np.linspace(0.0, 10.0, 1001)
    parts = [[[[unit, 1.0]]]], [[unit / 2]], [[[3.0]]], np.diff(t / unit)
    solution = solve(LinearODEProblem.from_ode(*parts))  # y' = -unit (y - 1/2)
    assert solution.status <= SolverStatus.REFINED
    assert np.abs(solution.y[:, 0, 0] - 0.5 - 2.5 * np.exp(-t)).max() < 1e-9


def test_units_that_differ_by_a_power_of_two_give_the_same_answer():
    one, _, _ = oscillator(1.0)
    other, _, _ = oscillator(2.0**20)
    power = 2.0 ** (20 * np.arange(5))
    np.testing.assert_allclose(solve(other).y / power, solve(one).y, rtol=0, atol=1e-12)


def test_a_problem_of_a_batch_has_the_weights_of_its_own_steps():
    units = np.array([1e-3, 1.0, 1e3])
    parts = [oscillator(unit, count=500)[0] for unit in units]
    stacked = LinearODEProblem.from_ode(
        np.stack([part.c[..., :3] for part in parts]),
        [[0.0]],
        np.stack([part.u for part in parts]),
        np.stack([part.s for part in parts]),
    )
    assert stacked.weight_governing.shape == (3, 1, 1)
    y = solve(stacked).y[..., 0, 0]
    for k, unit in enumerate(units):
        assert np.abs(y[k] - oscillator(unit, count=500)[1]).max() < 2e-8


def test_rows_of_lower_order_are_weighed_by_their_own_order():
    # x' = -k x and, algebraically, z = 2 x: over long steps a row without derivatives stays as is.
    c = np.array([[[[1e-5, 1.0], [0.0, 0.0]], [[-2.0, 0.0], [1.0, 0.0]]]])
    u = np.array([[[1.0], [np.nan]]])
    problem = LinearODEProblem.from_ode(c, [[0.0, 0.0]], u, np.full(100, 0.01 * 2.0**17))
    np.testing.assert_array_equal(problem.weight_governing, [2.0**17, 1.0])
    x = np.exp(-1e-5 * 0.01 * 2.0**17 * np.arange(101))
    np.testing.assert_allclose(solve(problem).y[..., 0], np.stack([x, 2 * x], -1), atol=1e-9)


def test_weights_given_are_factors_and_the_papers_preset_has_none():
    s = np.full(4, 0.08)
    c, d, u = np.ones((1, 1, 1, 3)), [[0.0]], [[[1.0, 0.0]]]
    problem = LinearODEProblem.from_ode(
        c, d, u, s, weight_governing=torch.tensor(3.0), weight_initial=[1.0, 5.0]
    )
    np.testing.assert_array_equal(problem.weight_governing, [3.0 * 64])
    np.testing.assert_array_equal(problem.weight_initial, [1.0, 40.0])
    paper = LinearODEProblem.from_ode(c, d, u, s, preset="paper")
    usual = LinearODEProblem.from_ode(c, d, u, np.full(4, 0.01))
    for given in (paper, usual):
        assert given.weight_governing == given.weight_initial == 1.0


@pytest.mark.parametrize("step", [3.7e-5, 25.0])
def test_gradients_with_weights_in_steps_agree_with_differences(step):
    def y(c, u, s):
        return solve(LinearODEProblem.from_ode(c, [[0.1 / step**2]], u, s)).y[..., :2] * scale

    scale = torch.tensor([1.0, step], dtype=torch.float64)
    c = torch.tensor([[[[0.03 / step**2, 0.1 / step, 1.0]]]], dtype=torch.float64)
    u = torch.tensor([[[0.7, 0.2 / step]]], dtype=torch.float64)
    s = step * torch.tensor([0.9, 1.0, 1.2, 1.1], dtype=torch.float64)
    inputs = [part.requires_grad_() for part in (c, u, s)]
    analytic = torch.autograd.grad(y(*inputs).square().sum(), inputs)
    for k, part in enumerate(inputs):
        for at in np.ndindex(*part.shape):
            change = 1e-5 * abs(part[at].item())
            values = []
            for sign in (1.0, -1.0):
                moved = [other.detach().clone() for other in inputs]
                moved[k][at] += sign * change
                values.append(y(*moved).square().sum().item())
            numeric = (values[0] - values[1]) / (2 * change)
            assert analytic[k][at].item() == pytest.approx(numeric, rel=1e-6)


def test_weights_that_require_a_gradient_and_bad_steps_are_refused_as_before():
    c, d, u = np.ones((1, 1, 1, 2)), [[0.0]], [[[1.0]]]
    with pytest.raises(ValueError, match="weight_governing must not require a gradient"):
        LinearODEProblem.from_ode(
            c, d, u, np.ones(4), weight_governing=torch.ones((), requires_grad=True)
        )
    with pytest.raises(ValueError, match=r"weight_initial must be .*got shape \(3, 2\)"):
        LinearODEProblem.from_ode(c, d, u, np.ones(4), weight_initial=np.ones((3, 2)))
    with pytest.raises(TypeError, match="weight_initial must be real numbers"):
        LinearODEProblem.from_ode(c, d, u, np.ones(4), weight_initial="strong")
    for s, message in (
        (np.float64(1.0), r"s must have shape .*got \(\)"),
        (torch.tensor(0.5), r"s must have shape .*got \(\)"),
        (np.array([1.0, -1.0]), "s must be positive"),
        (np.zeros(0), "may be empty"),
    ):
        with pytest.raises(ValueError, match=message):
            LinearODEProblem.from_ode(c, d, u, s)
    with pytest.raises(ValueError, match=r"u must have shape .*got \(\)"):
        LinearODEProblem.from_ode(c, d, np.float64(1.0), np.ones(4))
    s = np.array([1.0, np.nan, 1.0])
    solution = solve(LinearODEProblem.from_ode(c, d, u, s), on_failure="status")
    assert solution.status == SolverStatus.NON_FINITE_INPUT


def test_two_times_are_enough():
    for rate, order in ((1.0, 1), (1.0, 2)):
        c = [[[[rate, 1.0]]]] if order == 1 else [[[[rate, 0.0, 1.0]]]]
        u = [[[1.0]]] if order == 1 else [[[1.0, 0.0]]]
        solution = solve(LinearODEProblem.from_ode(c, [[0.0]], u, [0.1]))
        exact = np.exp(-0.1) if order == 1 else np.cos(0.1)
        assert solution.y.shape == (2, 1, order + 2)
        assert abs(solution.y[1, 0, 0] - exact) < 1e-4
