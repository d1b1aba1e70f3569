"""The generated kernels against dense least squares, other methods and finite differences."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_solver import LinearODEProblem, SolverStatus, factorize, select_backend, solve
from gpu_solver.fused.partition import cut
from gpu_solver.fused.threads import run_in_threads, thread_limit

#: Problems are drawn at random: least squares as such, not equations that their steps resolve.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:.*{status} .see the status:RuntimeWarning")
    for status in ("initial_values_missed", "underdetermined")
]

#: (V, R, Q); few, because each is compiled.
SIZES = [(1, 2, 1), (2, 2, 2), (2, 1, 3)]


def tensors(parts, dtype=torch.float64):
    return [torch.tensor(part, dtype=dtype, requires_grad=True) for part in parts]


def random_parts(seed, sizes, steps, batch=(), n_init=1, orders=1, decoupled=False):
    variables, order, equations = sizes
    rng = np.random.default_rng(seed)
    c = rng.normal(size=(*batch, steps, equations, variables, order + 1))
    if decoupled:
        c *= np.eye(variables)[:, :, None]
    return (
        c,
        rng.normal(size=(*batch, steps, equations)),
        rng.normal(size=(*batch, n_init, variables, orders)),
        rng.uniform(0.3, 0.7, size=(*batch, steps - 1)),
    )


def by_lapack(*parts):
    """For what is too large for a dense solve; `test_least_squares` has it against one."""
    return solve(LinearODEProblem(*parts), "lapack").y


def assert_agrees(reference, parts, weights=(1.0, 1.0, 1.0), tolerance=1e-9):
    """Answer and gradients of "fused" against another way to solve."""
    found = []
    for answer in (lambda *given: solve(LinearODEProblem(*given), "fused").y, reference):
        inputs = tensors(parts)
        y = answer(*inputs, *weights)
        generator = torch.Generator().manual_seed(0)
        incoming = torch.randn(y.shape, dtype=torch.float64, generator=generator)
        found.append((y, *torch.autograd.grad(y, inputs, incoming)))
    for mine, expected in zip(*found, strict=True):
        scale = expected.detach().abs().max()
        torch.testing.assert_close(mine / scale, expected / scale, rtol=0.0, atol=tolerance)


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.sampled_from(SIZES),
    steps=st.integers(2, 9),
    batch=st.sampled_from([(), (1,), (7,), (2, 5), (17,)]),
    init=st.integers(1, 9),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_answers_and_gradients_are_those_of_a_dense_solve(
    oracle, sizes, steps, batch, init, seed, data
):
    n_init = min(init, steps)
    parts = list(random_parts(seed, sizes, steps, batch, n_init, sizes[1]))
    for k, core in ((0, 4), (1, 2), (3, 1)):
        if data.draw(st.booleans()):  # the same for the whole batch
            parts[k] = parts[k].reshape(-1, *parts[k].shape[-core:])[0]
        if k != 1 and data.draw(st.booleans()):  # the same at all times
            parts[k] = parts[k].take([0], axis=parts[k].ndim - core)
    if sizes[1] > 1 and data.draw(st.booleans()):
        parts[2][..., -1, :, -1] = np.nan
    weights = (0.8, 1.5, np.array([1.0, 0.7, 0.5])[: sizes[1] + 1])
    assert_agrees(oracle.torch_solutions, parts, weights)


def test_segments_of_time_give_the_answers_and_gradients_of_a_dense_solve(oracle):
    assert_agrees(oracle.torch_solutions, random_parts(0, (1, 2, 1), 515, orders=2))


@pytest.mark.parametrize("steps", [512, 513, 514, 600])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_segments_of_time_give_the_same_answers_and_gradients(steps, batch):
    assert_agrees(by_lapack, random_parts(steps, (1, 2, 1), steps, batch, orders=2))


@pytest.mark.parametrize("n_init", [1, 3, 530])
def test_segments_take_initial_rows_at_any_time(n_init):
    parts = random_parts(1, (2, 2, 2), 530, n_init=n_init, orders=2)
    parts[2][-1, 0, 1] = np.nan
    assert_agrees(by_lapack, parts, (1.3, np.array([0.9, 0.4]), np.array([1.0, 0.5, 0.2])))


def test_segments_sum_gradients_of_what_is_constant_in_time():
    c, d, u, s = random_parts(2, (1, 2, 1), 700, orders=2)
    assert_agrees(by_lapack, (c[:1], d, u, s[:1]))
    assert_agrees(by_lapack, (c, d[:1], u, s))


@pytest.mark.parametrize("steps", [6, 600])
def test_decoupled_variables_are_problems_and_c_still_gets_all_its_gradient(oracle, steps):
    reference, batch = (oracle.torch_solutions, (2,)) if steps == 6 else (by_lapack, ())
    assert_agrees(reference, random_parts(3, (3, 2, 3), steps, batch, orders=2, decoupled=True))


@given(steps=st.integers(40, 5000), wanted=st.integers(2, 400))
@settings(deadline=None)
def test_segments_cover_every_interval_once_and_groups_are_even(steps, wanted):
    segments = cut(steps, wanted, 8)
    assert segments.starts[0] == 0
    assert segments.stays[-1] == steps - 1
    np.testing.assert_array_equal(np.diff(segments.stays), segments.lengths)
    assert (segments.lengths >= 2).all()
    full = segments.lengths[: len(segments.lengths) // 8 * 8].reshape(-1, 8)
    assert (full == full[:, :1]).all()
    assert len(segments.lengths) % 8 <= 1


def test_gradcheck():
    inputs = tensors(random_parts(4, (2, 1, 3), 3, (2,)))
    assert torch.autograd.gradcheck(
        lambda *parts: solve(LinearODEProblem(*parts, 0.8, 1.2, 0.7), "fused").y, inputs
    )


@pytest.mark.parametrize("steps", [40, 600])
def test_float32_in_gives_float32_out_right_to_its_digits(steps):
    parts = random_parts(5, (1, 2, 1), steps, (2,), orders=2)
    single = tensors(parts, torch.float32)
    double = [part.detach().double().requires_grad_() for part in single]
    y, exact = (solve(LinearODEProblem(*p), "fused").y for p in (single, double))
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, exact.float())
    found = torch.autograd.grad(y.sum(), single)
    expected = torch.autograd.grad(exact.sum(), double)
    for mine, right in zip(found, expected, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, right.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [9, 600])
def test_inputs_of_any_layout_are_read_and_left_alone(steps):
    c, d, u, s = random_parts(6, (2, 2, 2), steps, (3,), orders=2)
    base = solve(LinearODEProblem(c, d, u, s), "fused").y
    odd = np.asfortranarray(c), d[:, ::-1].copy()[:, ::-1], u, np.repeat(s, 2, axis=1)[:, ::2]
    copies = [part.copy() for part in odd]
    np.testing.assert_array_equal(solve(LinearODEProblem(*odd), "fused").y, base)
    for part, copy in zip(odd, copies, strict=True):
        np.testing.assert_array_equal(part, copy)
        part.flags.writeable = False
    np.testing.assert_array_equal(solve(LinearODEProblem(*odd), "fused").y, base)
    one = torch.tensor(c[:1])
    wide = one.expand(3, *one.shape[1:])
    mixed = solve(LinearODEProblem(wide, d, u, s), "fused").y
    expected = solve(LinearODEProblem(np.repeat(c[:1], 3, axis=0), d, u, s), "fused").y
    np.testing.assert_array_equal(mixed.numpy(), expected)
    assert wide.stride(0) == 0


@pytest.mark.parametrize("steps", [30, 600])
def test_a_problem_does_not_depend_on_its_neighbours(steps):
    c, d, u, s = random_parts(7, (1, 2, 1), steps, (3,), orders=2)
    together = solve(LinearODEProblem(c, d, u, s), "fused").y
    for k in range(3):
        alone = solve(LinearODEProblem(c[k], d[k], u[k], s[k]), "fused").y
        np.testing.assert_array_equal(alone, together[k])


@pytest.mark.parametrize("name", ["c", "d", "u", "s"])
@pytest.mark.parametrize("place", ["first", "inside"])
def test_non_finite_input_of_a_long_sequence_is_blamed_on_it(name, place):
    parts = dict(zip("cdus", random_parts(8, (1, 2, 1), 600, orders=2), strict=True))
    index = 0 if place == "first" or name == "u" else 300
    parts[name][index] = np.inf
    solution = solve(LinearODEProblem(**parts), "fused", on_failure="status")
    assert solution.status == SolverStatus.NON_FINITE_INPUT
    assert np.isnan(solution.y).all()


def test_a_free_unknown_of_a_long_sequence_is_no_answer():
    c, d, u, s = random_parts(9, (1, 2, 1), 600, orders=2)
    u[...] = np.nan
    solution = solve(LinearODEProblem(0.0 * c, d, u, s), "fused", on_failure="status")
    assert solution.status in (SolverStatus.NOT_POSITIVE_DEFINITE, SolverStatus.ILL_CONDITIONED)


def third_order(oracle, count, step):
    c, d, u, _ = oracle.validation_odes["third order"]
    return LinearODEProblem.from_ode(
        np.reshape(c, (1, 1, 1, -1)),
        np.array([[d]]),
        np.reshape(u, (1, 1, -1)),
        np.full(count, step),
    )


def test_only_the_problems_that_lost_digits_are_solved_by_qr(oracle):
    hard = third_order(oracle, 2999, 0.001)
    c = torch.tensor(np.stack([hard.c] * 4), requires_grad=True)
    d = torch.zeros(4, 3000, 1, dtype=torch.float64)
    u = torch.tensor(np.stack([hard.u] * 4))
    s = torch.full((4, 2999), 0.3, dtype=torch.float64)
    s[1] = 0.001
    weights = 1.0, 1.0, hard.weight_smooth
    solution = solve(LinearODEProblem(c, d, u, s, *weights))
    assert solution.method == "fused"
    assert "1 of 4 problems lost digits" in solution.reason
    assert (solution.status <= SolverStatus.REFINED).all()
    alone = solve(LinearODEProblem(c[1], d[1], u[1], s[1], *weights), "qr")
    torch.testing.assert_close(solution.y[1], alone.y, rtol=1e-10, atol=1e-12)
    for k in (0, 1):
        (gradient,) = torch.autograd.grad(solution.y[k].sum(), c, retain_graph=True)
        one = LinearODEProblem(c[k], d[k], u[k], s[k], *weights)
        (expected,) = torch.autograd.grad(solve(one, "qr").y.sum(), c)
        scale = expected.abs().max()
        torch.testing.assert_close(gradient / scale, expected / scale, rtol=0.0, atol=1e-8)


@pytest.mark.parametrize("problems", [1, 4])  # by segments of time, and by problems
def test_refinement_restores_the_digits_of_a_third_order_equation(oracle, problems):
    one = third_order(oracle, 999, 0.01)
    c = np.repeat(one.c[None], problems, axis=0)
    batch = LinearODEProblem(c, one.d, one.u, one.s, weight_smooth=one.weight_smooth)
    solution = solve(batch, "fused")
    exact = oracle.validation_odes["third order"][3]
    assert (solution.status == SolverStatus.REFINED).all()
    assert (np.mean((solution.y[:, :, 0, 0] - exact[0]) ** 2, axis=-1) < 1e-18).all()


def test_large_batches_and_long_sequences_choose_the_generated_code(oracle):
    many = LinearODEProblem(*random_parts(0, (1, 2, 1), 30, (100,), orders=2))
    assert select_backend(many).name == "fused"
    assert "generated code" in select_backend(many).reason
    wide = LinearODEProblem(*random_parts(0, (5, 2, 5), 30, (100,), orders=2))
    assert select_backend(wide).name == "sweep"
    with pytest.raises(ValueError, match="'fused' unrolls blocks of up to 12"):
        solve(wide, "fused")


def test_eight_threads_at_once_give_the_same_answers():
    problems = [
        LinearODEProblem(*random_parts(k, (1, 2, 1), *shape, orders=2))
        for k, shape in enumerate([(40, (70,)), (5000, ())] * 4)
    ]
    expected = [solve(problem, "fused").y for problem in problems]
    found = [None] * 8

    def work(k):
        for _ in range(5):
            found[k] = solve(problems[k], "fused").y

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, right)


def test_the_number_of_threads_does_not_change_answers(monkeypatch):
    problem = LinearODEProblem(*random_parts(0, (1, 2, 1), 60_000, orders=2))
    found = []
    for count in ("1", "3"):
        monkeypatch.setattr("gpu_solver.fused.threads.thread_limit", lambda n=count: int(n))
        found.append(solve(problem, "fused").y)
    np.testing.assert_array_equal(*found)


def test_thread_settings_are_honoured_and_failures_raised(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert thread_limit() == 1
    done = []
    run_in_threads(lambda first, stop: done.extend(range(first, stop)), 10, 3)
    assert sorted(done) == list(range(10))

    def fail(first, stop):
        raise MemoryError(f"part {first}")

    with pytest.raises(MemoryError):
        run_in_threads(fail, 4, 2)


def test_two_live_solves_of_one_shape_both_differentiate_exactly():
    sets = [tensors(random_parts(k, (1, 2, 1), 600, (2,), orders=2)) for k in (0, 1)]
    alone = [torch.autograd.grad(solve(LinearODEProblem(*p), "fused").y.sum(), p) for p in sets]
    losses = [solve(LinearODEProblem(*p), "fused").y.sum() for p in sets]
    for k in (0, 1):
        for mine, right in zip(torch.autograd.grad(losses[k], sets[k]), alone[k], strict=True):
            assert torch.equal(mine, right)


@pytest.mark.parametrize("steps", [12, 600])
def test_steps_over_five_decades(steps):
    rng = np.random.default_rng(0)
    c, d, u, _ = random_parts(10, (1, 1, 1), steps)
    c[..., 1], c[..., 0] = 1.0, 1.0
    s = 10.0 ** rng.uniform(-5, 0, size=steps - 1)
    found, expected = (solve(LinearODEProblem(c, d, u, s), m) for m in ("fused", "qr"))
    np.testing.assert_allclose(found.y[..., 0], expected.y[..., 0], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("batch", [(200,), (3, 7), (2,)])
def test_a_shared_left_hand_side_is_factorised_once_with_the_same_results(oracle, batch, decoupled):
    c, d, u, s = random_parts(13, (2, 2, 2), 8, batch, 3, 2, decoupled)
    at = (0,) * len(batch)
    weights = (0.8, np.array([0.9, 0.4]), np.array([1.0, 0.7, 0.5]))
    reference = by_lapack if batch == (200,) else oracle.torch_solutions
    for parts in ((c[at], d, u, s[at]), (c[at][:1], d, u[at], s[at][:1])):
        assert_agrees(reference, parts, weights)
        right = tensors(parts)
        found = []
        for left in (parts[0], np.broadcast_to(parts[0], (*batch, *parts[0].shape)).copy()):
            problem = LinearODEProblem(
                torch.tensor(left), right[1], right[2], torch.tensor(parts[3]), *weights
            )
            y = solve(problem, "fused").y
            found.append((y, *torch.autograd.grad(y.square().sum(), right[1:3])))
        for one, many in zip(*found, strict=True):
            torch.testing.assert_close(one, many, rtol=1e-12, atol=1e-12)


def test_one_bad_right_hand_side_of_many_stays_alone():
    c, d, u, s = random_parts(11, (2, 2, 2), 8, (200,), orders=2)
    parts = [torch.tensor(part) for part in (c[0], d, u, s[0])]
    for k in (1, 2):
        parts[k].requires_grad_()
    found = []
    for method in ("fused", "lapack"):
        solution = solve(LinearODEProblem(*parts), method)
        found.append((solution.y, *torch.autograd.grad(solution.y.square().sum(), parts[1:3])))
    for mine, expected in zip(*found, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-10)
    parts[1] = parts[1].detach().clone()
    parts[1][3, 0, 0] = torch.nan
    bad = solve(LinearODEProblem(*parts), "fused", on_failure="status")
    assert bad.status[3] == SolverStatus.NON_FINITE_INPUT
    assert torch.isnan(bad.y[3]).all()
    torch.testing.assert_close(bad.y[4:], found[0][0][4:])


@pytest.mark.parametrize("count", [16, 21, 40])
@pytest.mark.parametrize(("steps", "n_init"), [(2, 2), (9, 1), (50, 3)])
def test_right_hand_sides_are_solved_whichever_are_done_beside_them(steps, n_init, count):
    c, d, u, s = random_parts(14, (1, 2, 1), steps, (count,), n_init)
    assert_agrees(by_lapack, (c[0], d, u, s[0]))
    problem = LinearODEProblem(c[0], d, u, s[0])
    y = solve(problem, "fused").y
    turned = LinearODEProblem(c[0], d[::-1], u[::-1], s[0])
    np.testing.assert_array_equal(solve(turned, "fused").y, y[::-1])
    d[10, 0] = np.inf
    spoilt = solve(LinearODEProblem(c[0], d, u, s[0]), "fused", on_failure="status")
    assert np.nonzero(spoilt.status == SolverStatus.NON_FINITE_INPUT)[0].tolist() == [10]
    others = np.arange(count) != 10
    np.testing.assert_array_equal(spoilt.y[others], y[others])
    assert np.isnan(spoilt.y[10]).all()


@pytest.mark.parametrize("steps", [8, 300])
@pytest.mark.parametrize("many", [1, 60])
def test_a_factor_solves_tensors_with_gradients(steps, many):
    c, d, u, s = random_parts(12, (1, 2, 1), steps, (many,), orders=2)
    operator = factorize(c[0], s[0], n_initial_orders=2)
    inputs = [torch.tensor(part, requires_grad=True) for part in (d, u)]
    expected = solve(LinearODEProblem(torch.tensor(c[0]), *inputs, torch.tensor(s[0])), "lapack").y
    y = operator.solve(*inputs)
    torch.testing.assert_close(y, expected, rtol=1e-8, atol=1e-9)
    found = torch.autograd.grad(y.square().sum(), inputs)
    right = torch.autograd.grad(expected.square().sum(), inputs)
    for mine, other in zip(found, right, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(operator.solve(d, u), y.detach().numpy(), atol=1e-10)
    slow = factorize(c[0], s[0], n_initial_orders=2, method="sweep")
    assert (operator.generated, slow.generated) == (True, False)
    for mine, other in zip(
        operator.adjoint(c[..., 0, :, :]), slow.adjoint(c[..., 0, :, :]), strict=True
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-7, atol=1e-8)
    assert operator.solve(inputs[0].float(), inputs[1].float()).dtype == torch.float32
    with torch.no_grad():
        inputs[0][0, 0, 0] = torch.nan
    assert torch.isnan(operator.solve(*inputs, on_failure="status")[0]).all()
