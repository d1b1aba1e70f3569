"""The solution against a least-squares oracle written out from equations 5 to 8."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_solver import BlockTridiagonal, LinearODEProblem, SolverStatus, solve
from gpu_solver.assembly import dense_system, rows_of

METHODS = ["sweep", "lapack", "qr", "cyclic_reduction"]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_shape_and_weighting_solves_the_least_squares_problem(oracle, data):
    variables = data.draw(st.integers(1, 3), label="V")
    order = data.draw(st.integers(0, 3), label="R")
    equations = data.draw(st.integers(1, 3), label="Q")
    steps = data.draw(st.integers(2, 6), label="T")
    n_init = data.draw(st.integers(1, steps), label="T_init")
    orders = data.draw(st.integers(1, order + 1), label="R_init + 1")
    method = data.draw(st.sampled_from(METHODS), label="method")
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6), label="seed"))
    c = rng.normal(size=(data.draw(st.sampled_from([1, steps])), equations, variables, order + 1))
    d = rng.normal(size=(data.draw(st.sampled_from([1, steps])), equations))
    u = rng.normal(size=(n_init, variables, orders))
    if data.draw(st.booleans(), label="NaN in u"):
        u[rng.uniform(size=u.shape) < 0.3] = np.nan
        u[0] = rng.normal(size=u[0].shape)
    s = rng.uniform(0.3, 0.9, size=steps - 1)
    # Enough initial values to pin the free polynomials keep the problem well posed.
    weights = (
        data.draw(st.sampled_from([1.0, 0.5])),
        rng.uniform(0.5, 2.0, size=u.shape),
        rng.uniform(0.5, 2.0, size=(order + 1,)),
    )
    a, w, _ = oracle.smnn(c, d, u, s, *weights)
    singular = np.linalg.svd(w[:, None] * a, compute_uv=False)
    problem = LinearODEProblem(c, d, u, s, *weights)
    if len(singular) < a.shape[1] or singular[-1] < 1e-4 * singular[0]:
        solution = solve(problem, method, on_failure="status")
        code = SolverStatus(int(solution.status))
        assert code not in (SolverStatus.NON_FINITE_INPUT, SolverStatus.NOT_CONVERGED)
        assert code.failed == bool(np.isnan(solution.y).any())
        return
    solution = solve(problem, method)
    expected = oracle.least_squares(c, d, u, s, *weights)
    assert solution.y.shape == (steps, variables, order + 1)
    np.testing.assert_allclose(solution.y, expected, atol=1e-9 * (1 + np.abs(expected).max()))


def test_blocks_and_dense_rows_are_those_of_the_equations(oracle):
    c, d, u, s = oracle.random_problem(0, variables=3, order=3)
    weights = 0.7, np.full(u.shape, 1.5), np.array([1.0, 2.0, 0.5, 0.1])
    a, w, b = oracle.smnn(c, d, u, s, *weights)
    problem = LinearODEProblem(c, d, u, s, *weights)
    got_a, got_w, got_b = dense_system(problem)
    for mine, theirs in ((got_a, a), (got_w, w), (got_b, b)):
        np.testing.assert_allclose(mine, theirs, atol=1e-14)
    blocks = BlockTridiagonal(*rows_of(problem)[0].normal_blocks())
    np.testing.assert_allclose(blocks.dense(), a.T @ (w[:, None] ** 2 * a), atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_batches_and_broadcasting_match_one_by_one(oracle, method):
    c, _, u, _ = oracle.random_problem(1, batch=(3, 1))
    _, d, _, s = oracle.random_problem(2, batch=(4,))
    u[1, 0, 1, 0, 1] = np.nan
    smooth = np.random.default_rng(3).uniform(0.5, 2.0, size=(4, 1, 1, 3))
    y = solve(LinearODEProblem(c, d, u, s[:1], weight_smooth=smooth), method).y
    assert y.shape == (3, 4, 6, 2, 3)
    for i, j in np.ndindex(3, 4):
        expected = oracle.least_squares(c[i, 0], d[j], u[i, 0], s[0], 1.0, 1.0, smooth[j])
        np.testing.assert_allclose(y[i, j], expected, atol=1e-9)


def test_nan_in_u_means_not_measured(oracle):
    c, d, u, s = oracle.random_problem(4)
    u[1, 0, 0] = np.nan
    weight = np.ones(u.shape)
    weight[1, 0, 0] = 0.0
    by_weight = solve(LinearODEProblem(c, d, np.nan_to_num(u), s, weight_initial=weight)).y
    np.testing.assert_array_equal(solve(LinearODEProblem(c, d, u, s)).y, by_weight)


def test_constant_step_and_constant_coefficients_broadcast_in_time(oracle):
    c, d, u, s = oracle.random_problem(5)
    c, s = c[:1], s[:1]
    full = solve(LinearODEProblem(np.repeat(c, 6, 0), d, u, np.repeat(s, 5))).y
    np.testing.assert_array_equal(solve(LinearODEProblem(c, d, u, s)).y, full)


def test_inputs_are_left_untouched(oracle):
    before = oracle.random_problem(6)
    values = tuple(part.copy() for part in before)
    values[2][0, 0, 0] = np.nan
    solve(LinearODEProblem(*values))
    assert np.isnan(values[2][0, 0, 0])
    values[2][0, 0, 0] = before[2][0, 0, 0]
    for now, then in zip(values, before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_whole_numbers_are_accepted():
    y = solve(LinearODEProblem([[[[1, 1, 0]]]], [[0]], [[[1]]], [1, 1])).y
    assert y.dtype == np.float64
    assert y.shape == (3, 1, 3)
