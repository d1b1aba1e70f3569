"""Answers that do not start where they were told to, or were told too little."""

import warnings

import numpy as np
import pytest
import torch

from gpu_solver import LinearODEProblem, SolverStatus, solve

MISSED, OK = SolverStatus.INITIAL_VALUES_MISSED, SolverStatus.OK


def first_order(rate, count=1000, step=0.01, u=1.0, d=0.0):
    """y' = rate y + d."""
    return LinearODEProblem.from_ode(
        [[[[-rate, 1.0]]]], np.atleast_2d(d), [[[u]]], np.full(count, step)
    )


@pytest.mark.parametrize("rate", [1.5, 2.0, 3.0, 5.0, -300.0, -1000.0, -1e4])
@pytest.mark.parametrize("unit", [1.0, 1e5])
def test_growth_and_decay_beyond_the_steps_are_told(rate, unit):
    problem = first_order(rate / unit, step=0.01 * unit)
    with pytest.warns(RuntimeWarning, match="initial_values_missed .*smaller steps"):
        solution = solve(problem)
    exact = np.exp(rate * np.linspace(0, 10, 1001))
    assert np.abs(solution.y[:, 0, 0] - exact).max() > 0.04 * exact.max()  # it is right to warn
    assert solution.status == MISSED
    assert solution.initial_misfit > 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert solve(problem, on_failure="status").status == MISSED


@pytest.mark.parametrize("rate", [1.0, 0.5, 0.0, -0.01, -1.0, -10.0])
@pytest.mark.parametrize("method", ["sweep", "lapack", "qr", "cyclic_reduction"])
def test_answers_that_are_right_are_not_suspected(rate, method):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = solve(first_order(rate), method)
    t = np.linspace(0, 10, 1001)
    np.testing.assert_allclose(solution.y[:, 0, 0], np.exp(rate * t), rtol=1e-3, atol=1e-5)
    assert solution.status <= SolverStatus.REFINED
    assert solution.initial_misfit < 1e-6


def test_what_grows_is_right_again_with_smaller_steps():
    solution = solve(first_order(1.5, count=4000, step=0.0025), "qr")
    assert solution.status <= SolverStatus.REFINED
    assert solution.y[-1, 0, 0] == pytest.approx(np.exp(15.0), rel=1e-3)


@pytest.mark.parametrize("start", [(0.0, 0.0), (1e-12, 0.0), (0.0, 1.0), (1.0, 1e-12)])
def test_starts_from_rest_and_next_to_it_are_not_suspected(start):
    t = np.linspace(0.0, 20.0, 2001)
    d = np.where(t > 5.0, np.sin(t - 5.0) ** 3, 0.0)  # nothing at all happens before
    problem = LinearODEProblem.from_ode(
        [[[[1.0, 0.1, 1.0]]]], d[:, None], [[list(start)]], np.diff(t)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert solve(problem).status <= SolverStatus.REFINED


def test_only_the_problem_that_misses_is_named():
    c = np.array([[-2.0, 1.0], [1.0, 1.0], [1000.0, 1.0]])[:, None, None, None]
    problem = LinearODEProblem.from_ode(c, [[0.0]], [[[1.0]]], np.full(500, 0.02))
    for given in (problem, _tensors(problem)):
        with pytest.warns(RuntimeWarning, match="see the status"):
            solution = solve(given)
        assert solution.status.tolist()[::2] == [MISSED, MISSED]
        assert solution.status[1] <= SolverStatus.REFINED
    text = repr(solution)
    assert "y (3, 501, 1, 4)" in text
    assert "INITIAL_VALUES_MISSED x 2" in text
    assert len(text) < 200


def _tensors(problem):
    parts = (torch.tensor(getattr(problem, name), requires_grad=True) for name in "cdus")
    return LinearODEProblem(
        *parts, problem.weight_governing, problem.weight_initial, problem.weight_smooth
    )


def test_initial_values_beyond_the_order_are_data_and_may_be_missed():
    rng = np.random.default_rng(0)
    t = np.linspace(0.0, 1.0, 101)
    u = (np.exp(-t) + 0.1 * rng.normal(size=t.size))[:, None, None]
    problem = LinearODEProblem.from_ode([[[[1.0, 1.0]]]], [[0.0]], u, np.diff(t))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = solve(problem)
    assert solution.initial_misfit > 1e-3
    assert solution.status <= SolverStatus.REFINED


@pytest.mark.parametrize("u", [[[np.nan, np.nan]], [[1.0, np.nan]], [[1.0]]])
def test_too_few_initial_values_are_told(u):
    problem = LinearODEProblem.from_ode([[[[1.0, 0.0, 1.0]]]], [[0.0]], [u], np.full(100, 0.01))
    with pytest.warns(RuntimeWarning, match="underdetermined .*fewer initial values"):
        solution = solve(problem)
    assert solution.status == SolverStatus.UNDERDETERMINED
    text = repr(solution)
    assert "UNDERDETERMINED" in text
    assert not SolverStatus.UNDERDETERMINED.failed


def test_algebraic_rows_need_no_initial_value():
    # v' + w' = 0 and v - w = 0: one value for the two.
    c = [[[[0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [-1.0, 0.0]]]]
    problem = LinearODEProblem.from_ode(c, [[0.0, 0.0]], [[[2.0], [np.nan]]], np.full(100, 0.01))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = solve(problem)
    np.testing.assert_allclose(solution.y[..., 0], 2.0, atol=1e-9)


def test_repr_of_one_good_answer():
    text = repr(solve(first_order(-1.0)))
    assert text.startswith("Solution(y (1001, 1, 4), ")
    assert "initial values within" in text
    assert "array" not in text
