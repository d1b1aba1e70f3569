"""The original MNN against its quadratic programme, solved independently."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from gpu_solver import LinearODEProblem, SolverError, SolverStatus, factorize, solve


def kkt(g, b, gamma=0.5, alpha=0.1):
    """Multipliers of min gamma/2 |p|^2 + b.p subject to G^T p = alpha e_0."""
    rows, unknowns = g.shape
    system = np.block([[gamma * np.eye(rows), -g], [g.T, np.zeros((unknowns, unknowns))]])
    rhs = np.concatenate([-b, [alpha], np.zeros(unknowns - 1)])
    return np.linalg.solve(system, rhs)[rows:]


@settings(max_examples=25, deadline=None)
@given(
    variables=st.integers(1, 2),
    order=st.integers(1, 3),
    steps=st.integers(2, 6),
    seed=st.integers(0, 10**6),
)
def test_dense_solves_the_kkt_system_of_the_quadratic_programme(
    oracle, variables, order, steps, seed
):
    c, d, u, s = oracle.random_problem(
        seed, steps=steps, variables=variables, equations=variables, order=order, n_init=1
    )
    g, b = oracle.mnn(c, d, u, s)
    singular = np.linalg.svd(g, compute_uv=False)
    if len(g) < g.shape[1] or singular[-1] < 1e-3 * singular[0]:
        return
    expected = kkt(g, b)
    op = factorize(c, s, n_initial_orders=2, method="mnn_dense")
    y = op.solve(d, u)
    np.testing.assert_allclose(y.ravel(), expected[1:], atol=1e-8 * (1 + np.abs(expected).max()))
    assert op.slack(d, u) == pytest.approx(expected[0], abs=1e-8)


def test_dense_agrees_with_a_general_purpose_optimiser(oracle):
    c, d, u, s = oracle.random_problem(1, steps=3, variables=1, equations=1, order=2, n_init=1)
    g, b = oracle.mnn(c, d, u, s)
    result = minimize(
        lambda p: 0.25 * p @ p + b @ p,
        np.zeros(len(b)),
        jac=lambda p: 0.5 * p + b,
        constraints={
            "type": "eq",
            "fun": lambda p: g.T @ p - 0.1 * np.eye(g.shape[1])[0],
            "jac": lambda p: g.T,
        },
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 200},
    )
    # Stationarity, gamma p + b = G z, gives the multipliers.
    z = np.linalg.lstsq(g, 0.5 * result.x + b, rcond=None)[0]
    np.testing.assert_allclose(
        solve(LinearODEProblem(c, d, u, s), "mnn_dense").y.ravel(), z[1:], atol=1e-6
    )


def test_without_alpha_it_is_least_squares_with_a_slack(oracle):
    c, d, u, s = oracle.random_problem(2)
    g, b = oracle.mnn(c, d, u, s)
    expected = np.linalg.lstsq(g, b, rcond=None)[0][1:]
    y = solve(LinearODEProblem(c, d, u, s), "mnn_dense", alpha=0.0).y
    np.testing.assert_allclose(y.ravel(), expected, atol=1e-9)


def test_conjugate_gradients_converge_to_the_dense_answer_and_report_it(oracle):
    c, d, u, s = oracle.random_problem(3, batch=(3,))
    problem = LinearODEProblem(c, d, u, s)
    dense = solve(problem, "mnn_dense")
    iterative = solve(problem, "mnn_conjugate_gradient", max_iterations=5000)
    np.testing.assert_allclose(iterative.y, dense.y, atol=1e-6)
    assert iterative.status.tolist() == [0, 0, 0]
    assert (iterative.iterations > 1).all()
    assert (iterative.iterations < 5000).all()
    assert (iterative.residual < 1e-10).all()
    assert dense.iterations is None


def test_conjugate_gradients_say_when_they_did_not_converge(oracle):
    problem = LinearODEProblem(*oracle.random_problem(4))
    with pytest.warns(
        RuntimeWarning, match=r"mnn_conjugate_gradient did not converge .*max_iterations"
    ):
        solution = solve(problem, "mnn_conjugate_gradient", max_iterations=3)
    assert solution.status == SolverStatus.NOT_CONVERGED
    assert solution.iterations == 3
    assert solution.residual > 1e-3
    assert np.isfinite(solution.y).all()
    assert "Allow more iterations" in solution.advice[0]


def test_operators_warn_when_they_did_not_converge(oracle):
    c, d, u, s = oracle.random_problem(4)
    op = factorize(
        c,
        s,
        n_initial_steps=2,
        n_initial_orders=2,
        method="mnn_conjugate_gradient",
        max_iterations=3,
    )
    with pytest.warns(RuntimeWarning, match="did not converge for 1 of 1"):
        op.solve(d, u)
    with pytest.warns(RuntimeWarning, match="adjoint iteration did not converge"):
        op.adjoint(np.ones((6, 2, 3)))


def test_close_to_the_true_solution_on_a_smooth_ode():
    # y'' = -y on a window of 50 times, as the discovery baseline uses it.
    s = np.full(49, 0.05)
    problem = LinearODEProblem([[[[1.0, 0.0, 1.0]]]], [[0.0]], [[[1.0, 0.0]]], s)
    exact = np.cos(0.05 * np.arange(50))
    for method, options in (
        ("mnn_dense", {}),
        ("mnn_conjugate_gradient", {"max_iterations": 5000}),
    ):
        y = solve(problem, method, **options).y[:, 0, 0]
        assert np.abs(y - exact).max() < 5e-3


def test_memory_is_checked_before_it_is_taken(oracle):
    problem = LinearODEProblem(
        np.ones((1, 1, 1, 3)), np.zeros((1, 1)), np.ones((1, 1, 2)), np.full(10**6, 0.01)
    )
    with pytest.raises(ValueError, match=r"needs 2.16e\+05 GB for 1 dense .*use method 'sweep'"):
        solve(problem, "mnn_dense")
    small = LinearODEProblem(*oracle.random_problem(5))
    with pytest.raises(ValueError, match="over the limit of 1e-06 GB"):
        solve(small, "mnn_dense", memory_limit=1e3)


def test_a_bad_problem_leaves_its_neighbours_alone(oracle):
    c, d, u, s = oracle.random_problem(6, batch=(3,))
    good = solve(LinearODEProblem(c, d, u, s), "mnn_dense").y
    c[0] = 0.0
    u[0, 0] = np.nan  # nothing pins the first problem down
    u[0, 1] = np.nan
    d[1, 0, 0] = np.inf
    with pytest.raises(SolverError):
        solve(LinearODEProblem(c, d, u, s), "mnn_dense")
    solution = solve(LinearODEProblem(c, d, u, s), "mnn_dense", on_failure="status")
    assert solution.status.tolist()[1:] == [SolverStatus.NON_FINITE_INPUT, 0]
    assert solution.status[0] in (SolverStatus.NOT_POSITIVE_DEFINITE, SolverStatus.ILL_CONDITIONED)
    np.testing.assert_allclose(solution.y[2], good[2], rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 0.0}, "gamma must be a positive number, got 0.0"),
        ({"alpha": np.inf}, "alpha must be a finite number"),
        ({"tolerance": -1.0}, "tolerance must be a positive number"),
        ({"max_iterations": 0}, "max_iterations must be a whole number >= 1, got 0"),
    ],
)
def test_options_are_checked(oracle, options, message):
    with pytest.raises(ValueError, match=message):
        solve(LinearODEProblem(*oracle.random_problem(7)), "mnn_conjugate_gradient", **options)


def test_an_order_zero_problem_is_refused(oracle):
    parts = oracle.random_problem(8, order=0, orders=1)
    with pytest.raises(ValueError, match="c must have R >= 1"):
        solve(LinearODEProblem(*parts), "mnn_dense")
