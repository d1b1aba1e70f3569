import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solveh_banded

from gpu_solver import BlockTridiagonal, SolverError, SolverStatus

METHODS = ["auto", "segments", "sweep", "blocked", "lapack", "cyclic_reduction"]


def dense(diagonal, lower):
    steps, n = diagonal.shape[0], diagonal.shape[1]
    out = np.zeros((steps * n, steps * n))
    for t in range(steps):
        out[t * n : (t + 1) * n, t * n : (t + 1) * n] = diagonal[t]
        if t < steps - 1:
            out[(t + 1) * n : (t + 2) * n, t * n : (t + 1) * n] = lower[t]
            out[t * n : (t + 1) * n, (t + 1) * n : (t + 2) * n] = lower[t].T
    return out


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25, deadline=None)
@given(
    steps=st.integers(1, 9),
    n=st.integers(1, 5),
    columns=st.integers(1, 4),
    seed=st.integers(0, 10**6),
)
def test_solve_agrees_with_dense_and_scipy(oracle, method, steps, n, columns, seed):
    diagonal, lower = oracle.random_system(seed, steps=steps, n=n)
    rhs = np.random.default_rng(seed).normal(size=(steps, n, columns))
    matrix = dense(diagonal, lower)
    factor = BlockTridiagonal(diagonal, lower).factorize(method)
    x = factor.solve(rhs, columns=True).reshape(steps * n, columns)
    np.testing.assert_allclose(x, np.linalg.solve(matrix, rhs.reshape(-1, columns)), atol=1e-12)
    bands = np.zeros((min(2 * n, steps * n), steps * n))
    for k in range(len(bands)):
        bands[k, : steps * n - k] = np.diagonal(matrix, -k)
    np.testing.assert_allclose(
        x, solveh_banded(bands, rhs.reshape(-1, columns), lower=True), atol=1e-12
    )
    assert factor.log_determinant() == pytest.approx(
        np.linalg.slogdet(matrix)[1], rel=1e-12, abs=1e-12
    )


@settings(max_examples=25, deadline=None)
@given(steps=st.integers(1, 7), n=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_selected_inverse_holds_the_blocks_of_the_dense_inverse(oracle, steps, n, seed):
    diagonal, lower = oracle.random_system(seed, steps=steps, n=n)
    inverse = np.linalg.inv(dense(diagonal, lower)).reshape(steps, n, steps, n)
    got, got_lower = BlockTridiagonal(diagonal, lower).factorize().selected_inverse()
    for t in range(steps):
        np.testing.assert_allclose(got[t], inverse[t, :, t, :], atol=1e-13)
        if t < steps - 1:
            np.testing.assert_allclose(got_lower[t], inverse[t + 1, :, t, :], atol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_batch_axes_broadcast_and_match_one_by_one(oracle, method):
    diagonal, lower = oracle.random_system(1, (2, 3))
    lower = lower[:, :1]  # shared by the second batch axis
    rhs = np.random.default_rng(2).normal(size=(4, 1, 3, 5, 3))
    x = BlockTridiagonal(diagonal, lower).factorize(method).solve(rhs)
    assert x.shape == (4, 2, 3, 5, 3)
    for k, i, j in np.ndindex(4, 2, 3):
        expected = np.linalg.solve(dense(diagonal[i, j], lower[i, 0]), rhs[k, 0, j].ravel())
        np.testing.assert_allclose(x[k, i, j].ravel(), expected, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_one_bad_problem_leaves_its_neighbours_alone(oracle, method):
    diagonal, lower = oracle.random_system(3, (4,))
    good = BlockTridiagonal(diagonal, lower).factorize(method)
    bad = diagonal.copy()
    bad[1, 2] = -np.eye(3)
    bad[2, 0, 0, 0] = np.nan
    factor = BlockTridiagonal(bad, lower).factorize(method)
    assert factor.status.tolist() == [0, 3, 4, 0]
    rhs = np.ones((5, 3))
    x = factor.solve(rhs, on_failure="status")
    assert np.isnan(x[[1, 2]]).all()
    np.testing.assert_allclose(x[[0, 3]], good.solve(rhs)[[0, 3]], rtol=1e-14)
    assert np.isnan(factor.log_determinant(on_failure="status")).tolist() == [0, 1, 1, 0]
    with pytest.raises(SolverError, match=r"2 of 4 .*\(1,\), \(2,\).*not_positive_definite") as e:
        factor.solve(rhs)
    assert e.value.status.tolist() == [0, 3, 4, 0]
    with pytest.raises(SolverError, match=r"log_determinant|factorisation"):
        factor.log_determinant()
    assert pickle.loads(pickle.dumps(e.value)).status.tolist() == [0, 3, 4, 0]


@pytest.mark.parametrize("method", METHODS)
def test_a_nearly_singular_system_is_called_ill_conditioned(method):
    diagonal = np.array([[[[1.0, 1.0], [1.0, 1.0 + 4e-16]]]])
    factor = BlockTridiagonal(diagonal, np.zeros((1, 0, 2, 2))).factorize(method)
    assert factor.status.tolist() == [SolverStatus.ILL_CONDITIONED]
    assert "digits were lost" in SolverStatus(int(factor.status[0])).advice


def test_overflowing_blocks_are_a_status_not_a_nan():
    diagonal = np.array([[[1e200]], [[1e-300]]])
    factor = BlockTridiagonal(diagonal, np.array([[[1e200]]])).factorize()
    assert factor.status == SolverStatus.NOT_POSITIVE_DEFINITE


def test_refinement_reduces_the_residual_of_an_ill_conditioned_system():
    n = 8
    hilbert = 1.0 / (np.arange(n)[:, None] + np.arange(n) + 1.0)
    system = BlockTridiagonal(hilbert[None], np.zeros((0, n, n)))
    rhs = np.ones((1, n))
    factor = system.factorize()
    plain = np.abs(rhs - system.matmul(factor.solve(rhs))).max()
    refined = np.abs(rhs - system.matmul(factor.solve(rhs, refine=2))).max()
    assert refined <= plain


def test_inputs_are_left_untouched(oracle):
    diagonal, lower = oracle.random_system(5)
    rhs = np.ones((5, 3))
    copies = diagonal.copy(), lower.copy(), rhs.copy()
    factor = BlockTridiagonal(diagonal, lower).factorize()
    factor.solve(rhs)
    factor.selected_inverse()
    for now, before in zip((diagonal, lower, rhs), copies, strict=True):
        np.testing.assert_array_equal(now, before)


def test_dense_and_matmul_are_the_same_matrix(oracle):
    diagonal, lower = oracle.random_system(6, (2,))
    system = BlockTridiagonal(diagonal, lower)
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    for p in range(2):
        matrix = dense(diagonal[p], lower[p])
        np.testing.assert_array_equal(system.dense()[p], matrix)
        np.testing.assert_allclose(system.matmul(x)[p].ravel(), matrix @ x[p].ravel(), atol=1e-12)


def test_shapes_that_could_mean_two_things_are_settled_by_axes_or_refused(oracle):
    diagonal, lower = oracle.random_system(7, steps=3, n=3)
    factor = BlockTridiagonal(diagonal, lower).factorize()
    rhs = np.random.default_rng(1).normal(size=(3, 3, 3))
    matrix = dense(diagonal, lower)
    as_columns = np.linalg.solve(matrix, rhs.reshape(9, 3)).reshape(3, 3, 3)
    np.testing.assert_allclose(factor.solve(rhs), as_columns, atol=1e-12)
    as_batch = factor.solve(rhs, columns=False)
    np.testing.assert_allclose(as_batch[1].ravel(), np.linalg.solve(matrix, rhs[1].ravel()))
    with pytest.raises(ValueError, match="columns=False or columns=True"):
        factor.solve(np.zeros((2, 3, 3, 3)))


@pytest.mark.parametrize(
    ("diagonal", "lower", "error", "message"),
    [
        (np.zeros((3, 2)), np.zeros((2, 2, 2)), ValueError, r"diagonal must have shape"),
        (np.zeros((3, 2, 2)), np.zeros((3, 2, 2)), ValueError, r"lower must have shape .*2, 2, 2"),
        (np.zeros((2, 3, 1, 1)), np.zeros((3, 2, 1, 1)), ValueError, r"batch axes .*broadcast"),
        (np.array([[[1.0, 2.0], [0.0, 1.0]]]), np.zeros((0, 2, 2)), ValueError, "symmetric"),
        (np.zeros((1, 1, 1), complex), np.zeros((0, 1, 1)), TypeError, "diagonal .*complex128"),
    ],
)
def test_wrong_systems_are_refused_with_the_argument_named(diagonal, lower, error, message):
    with pytest.raises(error, match=message):
        BlockTridiagonal(diagonal, lower)


def test_wrong_calls_are_refused_with_the_argument_named(oracle):
    system = BlockTridiagonal(*oracle.random_system(8))
    factor = system.factorize()
    with pytest.raises(ValueError, match=r"rhs must have shape .*\(5, 3\), got \(4, 3\)"):
        factor.solve(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="rhs must be finite"):
        factor.solve(np.full((5, 3), np.nan))
    with pytest.raises(ValueError, match="refine must be a whole number"):
        factor.solve(np.zeros((5, 3)), refine=-1)
    with pytest.raises(ValueError, match="on_failure must be 'raise' or 'status', got 'ignore'"):
        factor.solve(np.zeros((5, 3)), on_failure="ignore")
    with pytest.raises(ValueError, match=r"method must be 'auto'.*got 'magic'"):
        system.factorize("magic")
    with pytest.raises(ValueError, match="'lapack' has no selected inverse"):
        system.factorize("lapack").selected_inverse()
