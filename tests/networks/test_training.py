"""Joint integration, derivatives and minimisation, each against an independent computation."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from discoverers.networks import MLP, SplineKAN
from discoverers.networks.first_order import minimise_adam, minimise_lbfgs
from discoverers.networks.gauss_newton import linearise
from discoverers.networks.levenberg_marquardt import levenberg_marquardt
from discoverers.networks.objective import Objective
from discoverers.networks.regression import Regression
from discoverers.networks.start import guess
from discoverers.networks.structured_ode import Kinematics, StructuredODE
from discoverers.networks.training import Clock, Schedule, train
from discoverers.networks.unrolling import unroll
from discoverers.networks.windows import cut
from discoverers.shooting import FunctionObservation, Observation, Record
from tests.networks.oscillators import ACCELERATION, duffing_record


class Known(torch.nn.Module):
    """The Duffing law itself, with its four coefficients as parameters."""

    def __init__(self):
        super().__init__()
        start = torch.tensor([-1.5, -0.1, -10.0, 1.0], dtype=torch.float64)
        self.theta = torch.nn.Parameter(start)

    def forward(self, z):
        x, v, u = z.T
        return (torch.stack([x, v, x**3, u], dim=1) @ self.theta).unsqueeze(1)


def an_objective(network, n=40, window=8, **options):
    record, states = duffing_record(n)
    ode = StructuredODE(network, Kinematics.chain(2), 1)
    windows = cut([record], window, 2)
    free = np.repeat(windows.first[:, None] > 0, 2, axis=1)
    return Objective(ode, ACCELERATION, windows, windows.nodes([states]), free, [1.0], **options)


def test_joint_integration_is_sequential_integration_and_scipys():
    record, states = duffing_record(60)
    ode = StructuredODE(Known(), Kinematics.chain(2), 1)
    windows = cut([record], None, 4)
    off = torch.from_numpy(states + 0.05 * np.cos(np.arange(120)).reshape(60, 2)).unsqueeze(0)
    x0 = torch.zeros((1, 2), dtype=torch.float64)
    X, exact = unroll(ode, x0, windows.stages, windows.dt, off)
    assert exact
    sequential = ode.free_run([0.0, 0.0], record.stages(4), np.diff(record.t))
    np.testing.assert_allclose(X[0].detach().numpy(), sequential, atol=1e-9)
    np.testing.assert_allclose(sequential, states, atol=2e-5)


def test_gradients_of_the_joint_integration_are_those_of_finite_differences():
    record, _ = duffing_record(10)
    ode = StructuredODE(Known(), Kinematics.chain(2), 1)
    windows = cut([record], None, 2)
    x0 = torch.tensor([[0.1, -0.1]], dtype=torch.float64, requires_grad=True)
    nodes = torch.zeros((1, 10, 2), dtype=torch.float64)
    weights = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 10, 2)))

    def total():
        X, exact = unroll(ode, x0, windows.stages, windows.dt, nodes)
        assert exact
        return (X * weights).sum()

    found = torch.autograd.grad(total(), [ode.network.theta, x0])
    for variable, gradient in zip((ode.network.theta, x0), found, strict=True):
        for index in np.ndindex(*variable.shape):
            step = 1e-5
            with torch.no_grad():
                variable[index] += step
                above = float(total().detach())
                variable[index] -= 2.0 * step
                below = float(total().detach())
                variable[index] += step
            assert float(gradient[index]) == pytest.approx((above - below) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("network", [SplineKAN([3, (1, 1), 1], 4, noise=0.2), MLP(3, 1, 2, 8)])
def test_residuals_and_jacobian_belong_to_the_loss(network):
    objective = an_objective(network, smoothness=1e-3)
    loss = objective.loss()
    gradients = torch.autograd.grad(loss, objective.variables())
    flat = np.concatenate([g.numpy().ravel() for g in gradients])
    local = linearise(objective)
    assert float(np.sum(local.residuals**2)) == pytest.approx(float(loss.detach()), rel=1e-9)
    np.testing.assert_allclose(
        2.0 * local.jacobian.T @ local.residuals, flat, atol=1e-6 * np.abs(flat).max()
    )


def test_levenberg_marquardt_finds_the_coefficients_of_a_known_law():
    network = Known()
    with torch.no_grad():
        network.theta.mul_(torch.tensor([1.3, 0.5, 0.8, 1.1]))
    objective = an_objective(network, n=100, window=99)
    losses = []
    outcome = levenberg_marquardt(
        objective, range(30), lambda _, loss: losses.append(loss), tolerance=1e-6
    )
    assert outcome.converged
    assert losses == sorted(losses, reverse=True)
    # Two Runge-Kutta steps per interval are what limits this, not the minimisation.
    np.testing.assert_allclose(network.theta.detach(), [-1.5, -0.1, -10.0, 1.0], rtol=3e-2)


def test_steps_are_those_of_ridge_regression_with_few_and_with_many_parameters():
    random = np.random.default_rng(0)
    for n in (40, 4):
        inputs = torch.from_numpy(random.standard_normal((n, 6)))
        targets = torch.from_numpy(random.standard_normal((n, 1)))
        network = torch.nn.Linear(6, 1, bias=False, dtype=torch.float64)
        problem = Regression(network, inputs, targets, 0.0, 0.01)
        levenberg_marquardt(problem, range(60), lambda *_: False, tolerance=0.0)
        A, b = inputs.numpy(), targets.numpy()[:, 0]
        exact = np.linalg.solve(A.T @ A / n + 0.01 * np.eye(6), A.T @ b / n)
        np.testing.assert_allclose(problem.point(), exact, atol=1e-6)


@pytest.mark.parametrize("method", ["adam", "lbfgs"])
def test_first_order_methods_end_at_the_best_point_and_survive_blow_ups(method):
    point = torch.nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))

    def loss():
        if float(point[0].detach()) < 0.5:
            return None
        return ((point - torch.tensor([1.0, 1.0])) ** 2).sum()

    if method == "adam":
        minimise_adam(loss, [point], range(400), lambda *_: False, 400, 0.1)
    else:
        minimise_lbfgs(loss, [point], range(100), lambda *_: False)
    np.testing.assert_allclose(point.detach(), [1.0, 1.0], atol=1e-3)


def test_windows_hold_every_sample_once_and_put_the_states_back_together():
    record, states = duffing_record(30)
    short = Record.make(record.t[:12], record.y[:12], record.u[:12])
    windows = cut([record, short], 7, 1)
    assert float(windows.weight.sum()) == 30 + 12
    found = windows.gather(windows.nodes([states, states[:12]]).numpy(), [30, 12])
    np.testing.assert_array_equal(found[0], states)
    np.testing.assert_array_equal(found[1], states[:12])
    assert windows.follows.sum() == len(windows.run) - 2


def test_missing_observations_have_no_weight():
    record, _ = duffing_record(30)
    y = record.y.copy()
    y[5:9] = np.nan
    windows = cut([Record.make(record.t, y, record.u)], None, 1)
    assert float(windows.weight.sum()) == 26
    assert bool(torch.isfinite(windows.y).all())


def test_a_function_may_observe():
    function = FunctionObservation(("a",), lambda X, F, U: F[:, 1] + X[:, 0] ** 2)
    record, states = duffing_record(20)
    ode = StructuredODE(Known(), Kinematics.chain(2), 1)
    windows = cut([record], None, 2)
    free = np.ones((1, 2), dtype=bool)
    objective = Objective(ode, function, windows, windows.nodes([states]), free, [1.0])
    loss = objective.loss()
    gradient = torch.autograd.grad(loss, objective.variables())
    local = linearise(objective)
    expected = np.concatenate([g.numpy().ravel() for g in gradient])
    np.testing.assert_allclose(2.0 * local.jacobian.T @ local.residuals, expected, rtol=1e-5)
    exact = ((record.y[:, 0] - states[:, 0] ** 2 - record.y[:, 0]) ** 2).mean()
    assert float(loss.detach()) == pytest.approx(exact, rel=1e-2)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_guessed_states_of_exact_channels_are_their_integrals(order):
    t = np.linspace(0.0, 4.0 * np.pi, 200)
    # The order-th derivative of a function whose integrals are known, and have no drift.
    top = [np.cos(t), -np.sin(t), -np.cos(t), np.sin(t)][order]
    rates = np.zeros((1, order))
    rates[0, -1] = 1.0
    found = guess(Record.make(t, top), Observation.linear(["y"], rates=rates), order, 1)
    assert found.states.shape == (200, order)
    np.testing.assert_allclose(found.outputs[:, 0], top, atol=1e-9)
    assert np.corrcoef(found.states[:, 0], np.cos(t))[0, 1] > 0.95


def test_a_position_is_differentiated():
    t = np.linspace(0.0, 10.0, 300)
    position = Observation.linear(["x"], states=[[1.0, 0.0]])
    found = guess(Record.make(t, np.sin(t)), position, 2, 1)
    middle = slice(20, -20)
    np.testing.assert_allclose(found.states[middle, 1], np.cos(t)[middle], atol=1e-2)
    np.testing.assert_allclose(found.outputs[middle, 0], -np.sin(t)[middle], atol=5e-2)


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e3])
def test_differentiation_does_not_depend_on_the_unit_of_time(unit):
    """A smoothing that is searched for in the user's units makes a line of fast records."""
    t = np.linspace(0.0, 20.0, 201)
    noise = 0.01 * np.random.default_rng(0).standard_normal(201)
    position = Observation.linear(["x"], states=[[1.0, 0.0]])
    x, v = np.sin(3.0 * t) + 0.3 * np.sin(7.0 * t), 3.0 * np.cos(3.0 * t) + 2.1 * np.cos(7.0 * t)
    found = guess(Record.make(unit * t, x + noise), position, 2, 1)
    assert np.corrcoef(found.states[:, 1] * unit, v)[0, 1] > 0.995
    a = -9.0 * np.sin(3.0 * t) - 14.7 * np.sin(7.0 * t)
    assert np.corrcoef(found.outputs[:, 0] * unit**2, a)[0, 1] > 0.95


def test_training_learns_a_linear_law_from_its_velocity_alone():
    t = 0.1 * np.arange(40)
    truth = solve_ivp(lambda _, s: [-0.5 * s[0]], (0, t[-1]), [2.0], t_eval=t, rtol=1e-10).y.T
    observed = Observation.linear(["v"], rates=[[1.0]])
    record = Record.make(t, -0.5 * truth[:, 0])
    ode = StructuredODE(SplineKAN([1, 1], 4), Kinematics.chain(1), 0)
    first = guess(record, observed, 1, 1)
    trained = train(
        ode,
        [record],
        observed,
        [first.states],
        np.array([[2.0]]),
        schedule=Schedule(windows=(10,), epochs=8),
        targets=[first.outputs],
    )
    np.testing.assert_allclose(trained.states[0], truth, atol=5e-3)
    assert trained.history.columns.tolist() == ["phase", "window", "epoch", "loss", "seconds"]


def test_a_spent_budget_stops_the_training():
    record, states = duffing_record(40)
    ode = StructuredODE(MLP(3, 1, 1, 4), Kinematics.chain(2), 1)
    trained = train(
        ode,
        [record],
        ACCELERATION,
        [states],
        np.zeros((1, 2)),
        schedule=Schedule(),
        targets=[record.y],
        clock=Clock(1e-9),
    )
    assert not trained.converged
    assert len(trained.history) <= 1
