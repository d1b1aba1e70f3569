import pickle

import numpy as np
import pytest
import torch

from gpu_solver import LinearODEProblem, SolverError, factorize, solve

METHODS = ["auto", "lapack", "qr", "mnn_dense"]


@pytest.fixture(params=METHODS)
def setting(request, oracle):
    c, d, u, s = oracle.random_problem(0)
    op = factorize(c, s, n_initial_steps=2, n_initial_orders=2, method=request.param)
    return op, c, d, u, s, request.param


def test_many_right_hand_sides_match_one_by_one(setting):
    op, c, _, _, s, method = setting
    rng = np.random.default_rng(1)
    many_d, many_u = rng.normal(size=(5, 1, 6, 2)), rng.normal(size=(3, 2, 2, 2))
    y = op.solve(many_d, many_u)
    assert y.shape == (5, 3, 6, 2, 3)
    for i, j in np.ndindex(5, 3):
        one = solve(LinearODEProblem(c, many_d[i, 0], many_u[j], s), method).y
        np.testing.assert_allclose(y[i, j], one, atol=1e-10)


def test_adjoint_is_the_transpose_of_solve(setting):
    op, _, d, u, _, _ = setting
    rng = np.random.default_rng(2)
    g = rng.normal(size=(6, 2, 3))
    dd, du = op.adjoint(g)
    linear = op.solve(d, u) - op.solve(0 * d, 0 * u)
    assert np.sum(dd * d) + np.sum(du * u) == pytest.approx(np.sum(g * linear), rel=1e-9)
    assert dd.shape == d.shape
    assert du.shape == u.shape


def test_operators_survive_pickling(setting):
    op, _, d, u, _, _ = setting
    again = pickle.loads(pickle.dumps(op))
    np.testing.assert_array_equal(again.solve(d, u), op.solve(d, u))


def test_green_operator_is_the_solution_operator(setting):
    op, _, d, u, _, _ = setting
    green = op.green()
    np.testing.assert_allclose(green.apply(d, u), op.solve(d, u), atol=1e-9)
    with pytest.raises(ValueError, match=r"d must have shape .*got \(5, 2\)"):
        green.apply(d[:5], u)
    with pytest.raises(ValueError, match=r"Green operator for T = 6 needs .*memory_limit"):
        op.green(memory_limit=1.0)


@pytest.mark.parametrize("method", METHODS)
def test_batched_left_hand_sides(oracle, method):
    c, d, u, s = oracle.random_problem(3, batch=(2,))
    op = factorize(c, s, n_initial_steps=2, n_initial_orders=2, method=method)
    y = op.solve(d[:, None][0], u)
    green = op.green()
    for i in range(2):
        one = solve(LinearODEProblem(c[i], d[0], u[i], s[i]), method).y
        np.testing.assert_allclose(y[i], one, atol=1e-10)
    np.testing.assert_allclose(green.apply(d, u), op.solve(d, u), atol=1e-9)


def test_initial_orders_default_to_the_order_of_the_ode(oracle):
    c, d, u, s = (*oracle.validation_odes["harmonic"][:3], np.full(50, 0.01))
    padded = np.reshape([*c, 0.0, 0.0], (1, 1, 1, 5))
    y = factorize(padded, s).solve(np.array([[d]]), np.reshape(u, (1, 1, 2)))
    expected = solve(LinearODEProblem(padded, [[d]], np.reshape(u, (1, 1, 2)), s)).y
    # "auto" may take generated code if that is on disk.
    np.testing.assert_allclose(y, expected, rtol=0.0, atol=1e-9)


def test_unmeasured_initial_values_are_declared(oracle):
    c, d, u, s = oracle.random_problem(4)
    u[1, 0, 0] = np.nan
    op = factorize(c, s, n_initial_steps=2, n_initial_orders=2, measured=~np.isnan(u))
    np.testing.assert_allclose(op.solve(d, u), solve(LinearODEProblem(c, d, u, s)).y, rtol=1e-12)
    undeclared = factorize(c, s, n_initial_steps=2, n_initial_orders=2)
    with pytest.raises(ValueError, match=r"u is NaN where .*measured=~np.isnan"):
        undeclared.solve(d, u)


def test_the_factor_does_not_follow_later_changes_of_its_inputs(oracle):
    c, d, u, s = oracle.random_problem(5)
    op = factorize(c, s, n_initial_steps=2, n_initial_orders=2)
    before = op.solve(d, u)
    c *= 3.0
    s *= 2.0
    np.testing.assert_array_equal(op.solve(d, u), before)


def test_selected_inverse_is_the_covariance_of_the_estimate(oracle):
    c, d, u, s = oracle.random_problem(6)
    a, w, _ = oracle.smnn(c, d, u, s)
    covariance = np.linalg.inv(a.T @ (w[:, None] ** 2 * a)).reshape(6, 6, 6, 6)
    op = factorize(c, s, n_initial_steps=2, n_initial_orders=2)
    diagonal, lower = op.factor.selected_inverse()
    for t in range(6):
        np.testing.assert_allclose(diagonal[t], covariance[t, :, t], rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(lower[2], covariance[3, :, 2], rtol=1e-7, atol=1e-10)


def test_wrong_calls_are_refused_with_the_argument_named(oracle):
    c, d, u, s = oracle.random_problem(7)
    op = factorize(c, s, n_initial_steps=2, n_initial_orders=2)
    with pytest.raises(ValueError, match=r"d must have shape .*Q = 2, got \(6, 3\)"):
        op.solve(np.zeros((6, 3)), u)
    with pytest.raises(ValueError, match=r"u must have shape .*got \(1, 2, 2\)"):
        op.solve(d, u[:1])
    with pytest.raises(ValueError, match=r"g must have shape .*got \(6, 2\)"):
        op.adjoint(np.zeros((6, 2)))
    with pytest.raises(ValueError, match="g must be finite"):
        op.adjoint(np.full((6, 2, 3), np.inf))
    with pytest.raises(ValueError, match="n_initial_steps must be a whole number >= 1, got 0"):
        factorize(c, s, n_initial_steps=0)
    with pytest.raises(ValueError, match="c must have shape"):
        factorize(c[0], s)
    with pytest.raises(ValueError, match=r"measured must broadcast .*got \(3,\)"):
        factorize(c, s, n_initial_orders=2, measured=[True, False, True])
    with pytest.raises(ValueError, match=r"method must be 'auto', 'sweep'.*got 'cyclic_reduction'"):
        factorize(c, s, method="cyclic_reduction")
    with pytest.raises(TypeError, match=r"takes no options, got \['gamma'\]"):
        factorize(c, s, gamma=1.0)
    batched = factorize(np.stack([c, c]), s, n_initial_steps=2, n_initial_orders=2)
    with pytest.raises(ValueError, match=r"batch axes of d \(3,\) do not broadcast"):
        batched.solve(np.zeros((3, 6, 2)), u)


def test_a_system_without_enough_rows_raises_with_advice(oracle):
    c, d, _, s = oracle.random_problem(8)
    op = factorize(0 * c, s, n_initial_orders=1)
    with pytest.raises(SolverError, match=r"not_positive_definite: .*Add initial conditions"):
        op.solve(d, np.zeros((1, 2, 1)))
    assert np.isnan(op.solve(d, np.zeros((1, 2, 1)), on_failure="status")).all()
    with pytest.raises(SolverError):
        op.adjoint(np.zeros((6, 2, 3)))


def test_tensors_are_accepted(oracle):
    c, d, u, s = oracle.random_problem(9)
    op = factorize(torch.tensor(c), torch.tensor(s), n_initial_steps=2, n_initial_orders=2)
    expected = solve(LinearODEProblem(c, d, u, s)).y
    np.testing.assert_allclose(op.solve(torch.tensor(d), torch.tensor(u)), expected, rtol=1e-10)
