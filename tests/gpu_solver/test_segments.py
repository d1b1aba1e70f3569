"""Eight problems, or segments of time, at once: against dense algebra, for every way to cut."""

from concurrent.futures import ThreadPoolExecutor

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_solver import BlockTridiagonal, SolverError, SolverStatus
from gpu_solver.backends import segments as module
from gpu_solver.backends.segments import FEWEST_SEGMENTS, cut


def random_system(seed, batch=(), *, steps, n):
    """A positive definite system, however long."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(*batch, steps, n, n)) / np.sqrt(n)
    diagonal = root @ np.swapaxes(root, -1, -2) + 10.0 * np.eye(n)
    return diagonal, rng.normal(size=(*batch, steps - 1, n, n)) / np.sqrt(n)


def inverse_blocks(system):
    """Blocks of the dense inverse, (..., T, n, T, n)."""
    steps, n = system.n_steps, system.block_size
    return np.linalg.inv(system.dense()).reshape(*system.batch_shape, steps, n, steps, n)


def assert_agrees_with_dense(system, factor, rhs):
    """Compare all that a factor offers with dense algebra."""
    steps, n = system.n_steps, system.block_size
    dense = system.dense()
    flat = rhs.reshape(*system.batch_shape, steps * n, -1)
    x = factor.solve(rhs, columns=True)
    np.testing.assert_allclose(x.reshape(flat.shape), np.linalg.solve(dense, flat), atol=1e-12)
    slogdet = np.linalg.slogdet(dense)[1]
    np.testing.assert_allclose(factor.log_determinant(), slogdet, rtol=1e-12, atol=1e-12)
    inverse = inverse_blocks(system)
    diagonal, lower = factor.selected_inverse()
    own = np.arange(steps)
    expected = np.moveaxis(inverse[..., own, :, own, :], 0, -3)
    np.testing.assert_allclose(diagonal, expected, atol=1e-13)
    np.testing.assert_array_equal(diagonal, np.swapaxes(diagonal, -1, -2))
    below = np.moveaxis(inverse[..., own[1:], :, own[:-1], :], 0, -3)
    np.testing.assert_allclose(lower, below, atol=1e-13)
    variances = np.diagonal(diagonal, axis1=-2, axis2=-1)
    np.testing.assert_allclose(factor.variances(), variances, rtol=1e-13)


@settings(max_examples=40, deadline=None)
@given(
    problems=st.integers(1, 17),
    steps=st.integers(1, 70),
    n=st.integers(1, 9),
    columns=st.integers(1, 9),
    seed=st.integers(0, 10**6),
)
def test_everything_agrees_with_dense_algebra(problems, steps, n, columns, seed):
    steps = min(steps, 600 // n)
    diagonal, lower = random_system(seed, (problems,), steps=steps, n=n)
    rhs = np.random.default_rng(seed).normal(size=(problems, steps, n, columns))
    system = BlockTridiagonal(diagonal, lower)
    assert_agrees_with_dense(system, system.factorize("segments"), rhs)


@pytest.mark.parametrize("method", ["segments", "blocked", "auto"])
@pytest.mark.parametrize("n", [12, 13, 24, 33, 60])
def test_large_blocks(method, n):
    diagonal, lower = random_system(n, (1,), steps=22, n=n)
    system = BlockTridiagonal(diagonal, lower)
    assert_agrees_with_dense(
        system, system.factorize(method), np.random.default_rng(1).normal(size=(1, 22, n, 5))
    )


@settings(max_examples=100, deadline=None)
@given(
    problems=st.integers(1, 40), steps=st.integers(1, 10**6), groups=st.sampled_from([1, 2, 5, 16])
)
def test_segments_and_the_times_between_them_are_all_times_once(problems, steps, groups):
    plan = cut(problems, steps, groups)
    each = max(len(plan.stays) - 1, 1)
    used = plan.problems.ravel()
    np.testing.assert_array_equal(used[: problems * each], np.repeat(np.arange(problems), each))
    assert (used[problems * each :] == -1).all()
    first = plan.starts.ravel()[:each]
    last = first + plan.times - plan.lags.ravel()[:each]  # one past the last
    assert set(plan.lags.ravel()) <= {0, 1}
    if len(plan.stays):
        assert each >= FEWEST_SEGMENTS
        np.testing.assert_array_equal(first - 1, plan.stays[:-1])
        np.testing.assert_array_equal(last, plan.stays[1:])
        assert (plan.stays[0], plan.stays[-1]) == (0, steps - 1)
    else:
        assert (first, last) == (0, steps)


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("steps", [97, 103, 128])
def test_any_number_of_groups_gives_the_same_answers(monkeypatch, groups, steps):
    diagonal, lower = random_system(steps, steps=steps, n=3)
    monkeypatch.setattr(module, "WORK_FOR_GROUP", steps * 27 / groups)
    system = BlockTridiagonal(diagonal, lower)
    factor = system.factorize("segments")
    assert len(factor._state.segments.problems) == groups
    assert_agrees_with_dense(system, factor, np.random.default_rng(0).normal(size=(steps, 3, 2)))


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    diagonal, lower = random_system(0, steps=4000, n=3)
    rhs = np.random.default_rng(0).normal(size=(4000, 3, 2))
    monkeypatch.setattr(module, "WORK_FOR_GROUP", 20_000.0)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(module, "thread_limit", lambda threads=threads: threads)
        factor = BlockTridiagonal(diagonal, lower).factorize("segments")
        found.append((factor.solve(rhs), factor.log_determinant(), *factor.selected_inverse()))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_eight_threads_at_once_give_the_answers_of_one():
    systems = [
        BlockTridiagonal(*random_system(k, steps=200 + 13 * k, n=1 + k % 5)) for k in range(16)
    ]

    def work(system):
        rhs = np.ones((system.n_steps, system.block_size, 3))
        factor = system.factorize("segments")
        first = factor.solve(rhs)
        return first, factor.solve(2.0 * rhs), factor.variances(), *factor.selected_inverse()

    alone = [work(system) for system in systems]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for found, expected in zip(pool.map(work, systems), alone, strict=True):
                for a, b in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(a, b)


def test_answers_share_no_memory_with_later_calls():
    diagonal, lower = random_system(1, steps=100, n=3)
    factor = BlockTridiagonal(diagonal, lower).factorize("segments")
    one, two = np.ones((100, 3)), np.arange(300.0).reshape(100, 3)
    first = factor.solve(one)
    kept = first.copy()
    second = factor.solve(two)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(second, factor.solve(two))


@pytest.mark.parametrize("problems", [2, 11])
@pytest.mark.parametrize("steps", [9, 64])
def test_bad_problems_are_named_and_leave_neighbours_alone(problems, steps):
    """In a lane of their own (11 problems) or cut into segments (2 problems of 64 steps)."""
    diagonal, lower = random_system(3, (problems,), steps=steps, n=3)
    rhs = np.random.default_rng(0).normal(size=(problems, steps, 3))
    good = BlockTridiagonal(diagonal, lower).factorize("segments")
    expected = good.solve(rhs)
    for t in range(0, steps, 7):
        for kind, code in (("negative", 3), ("nan", 4), ("inf", 4), ("lower nan", 4)):
            bad, below = diagonal.copy(), lower.copy()
            if kind == "negative":
                bad[1, t] *= -1.0
            elif kind == "lower nan":
                below[1, min(t, steps - 2), 2, 0] = np.nan
            else:
                bad[1, t, 1, 1] = np.nan if kind == "nan" else np.inf
            factor = BlockTridiagonal(bad, below).factorize("segments")
            assert factor.status.tolist() == [code if p == 1 else 0 for p in range(problems)]
            x = factor.solve(rhs, on_failure="status")
            assert np.isnan(x[1]).all()
            np.testing.assert_array_equal(np.delete(x, 1, 0), np.delete(expected, 1, 0))
            variances = factor.variances(on_failure="status")
            assert np.isnan(variances[1]).all()
            assert np.isfinite(np.delete(variances, 1, 0)).all()
            with pytest.raises(SolverError, match=SolverStatus(code).name.lower()):
                factor.variances()


@pytest.mark.parametrize("where", [0, 20, 31, 32, 63])
def test_lost_digits_are_told_wherever_they_are(where):
    diagonal = np.tile(4.0 * np.eye(2), (1, 64, 1, 1))
    diagonal[0, where] = [[1.0, 1.0], [1.0, 1.0 + 4e-16]]
    factor = BlockTridiagonal(diagonal, np.zeros((1, 63, 2, 2))).factorize("segments")
    assert factor.status.tolist() == [SolverStatus.ILL_CONDITIONED]


def test_an_ill_conditioned_system_is_solved_as_well_as_float64_allows():
    """A smoothness matrix (second differences, squared) with little data, against 40 digits."""
    steps = 23
    mpmath.mp.dps = 40
    base = np.array([[2.0, -1.0], [-1.0, 2.0]]) * 1e6
    diagonal = np.tile(2.0 * base + np.eye(2), (steps, 1, 1))
    lower = np.tile(-base, (steps - 1, 1, 1))
    system = BlockTridiagonal(diagonal, lower)
    rhs = np.ones((steps, 2))
    exact = mpmath.lu_solve(mpmath.matrix(system.dense().tolist()), mpmath.matrix([1] * steps * 2))
    expected = np.array([float(value) for value in exact]).reshape(steps, 2)
    condition = np.linalg.cond(system.dense())
    errors = {
        method: np.abs(system.factorize(method).solve(rhs) - expected).max()
        for method in ("segments", "sweep")
    }
    assert errors["segments"] < 1e-16 * condition * np.abs(expected).max()
    refined = system.factorize("segments").solve(rhs, refine=2)
    assert np.abs(refined - expected).max() <= 2.0 * max(errors.values())


def test_inputs_of_any_layout_are_read_and_left_alone():
    diagonal, lower = random_system(5, (2,), steps=50, n=3)
    rhs = np.random.default_rng(0).normal(size=(2, 50, 3, 4))
    expected = BlockTridiagonal(diagonal, lower).factorize("segments").solve(rhs)
    views = (
        np.moveaxis(np.ascontiguousarray(np.moveaxis(diagonal, 0, 2)), 2, 0),
        np.asfortranarray(lower),
        np.moveaxis(np.ascontiguousarray(np.moveaxis(rhs, -1, 0)), 0, -1),
    )
    assert not any(view.flags.c_contiguous for view in views)
    copies = [view.copy() for view in views]
    for view in views:
        view.flags.writeable = False
    factor = BlockTridiagonal(*views[:2]).factorize("segments")
    np.testing.assert_array_equal(factor.solve(views[2], columns=True), expected)
    factor.selected_inverse()
    for view, copy in zip(views, copies, strict=True):
        np.testing.assert_array_equal(view, copy)


def test_expanded_systems_and_right_hand_sides():
    diagonal, lower = random_system(6, steps=40, n=2)
    shared = np.broadcast_to(diagonal, (3, *diagonal.shape))
    rhs = np.random.default_rng(0).normal(size=(5, 3, 40, 2))
    one = BlockTridiagonal(diagonal, lower).factorize("segments")
    expected = np.linalg.solve(one.system.dense(), rhs.reshape(15, 80).T).T.reshape(rhs.shape)
    np.testing.assert_allclose(one.solve(rhs), expected, atol=1e-12)
    many = BlockTridiagonal(shared, lower).factorize("segments")
    np.testing.assert_allclose(many.solve(rhs), expected, atol=1e-12)
    same = many.solve(np.broadcast_to(rhs[0, 0], (3, 40, 2)))
    np.testing.assert_allclose(same, np.broadcast_to(expected[0, 0], same.shape), atol=1e-12)


@pytest.mark.parametrize("method", ["segments", "sweep", "blocked"])
def test_a_batch_of_no_problems_has_no_answers(method):
    factor = BlockTridiagonal(np.zeros((0, 30, 2, 2)), np.zeros((0, 29, 2, 2))).factorize(method)
    assert factor.status.shape == (0,)
    assert factor.solve(np.zeros((0, 30, 2))).shape == (0, 30, 2)
    assert factor.variances().shape == (0, 30, 2)


@pytest.mark.parametrize(
    ("problems", "steps", "n", "expected"),
    [
        (1, 150, 4, "sweep"),
        (1, 10_000, 1, "sweep"),
        (1, 1000, 3, "sweep"),
        (1, 1000, 4, "segments"),
        (1, 5000, 3, "segments"),
        (64, 50, 3, "segments"),
        (1, 100, 24, "segments"),
        (1, 20, 60, "blocked"),
        (16, 20, 60, "segments"),
    ],
)
def test_auto_takes_what_was_measured_to_be_fastest(problems, steps, n, expected):
    diagonal = np.broadcast_to(np.eye(n), (problems, steps, n, n))
    system = BlockTridiagonal(diagonal, np.broadcast_to(0.0, (steps - 1, n, n)))
    assert system.factorize().method == expected
