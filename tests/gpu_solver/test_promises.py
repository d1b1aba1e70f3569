"""What every method of `solve` promises, whatever is inside it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_solver import LinearODEProblem, factorize, solve

#: Problems are drawn at random: least squares as such, not equations that their steps resolve.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:.*{status} .see the status:RuntimeWarning")
    for status in ("initial_values_missed", "underdetermined")
]

METHODS = ["fused", "sweep", "lapack", "qr", "cyclic_reduction"]
#: Of a size that "sweep" cuts into lanes.
STEPS = 60


@pytest.fixture(scope="module")
def parts(oracle):
    """c, d, u, s of three problems with blocks of 6."""
    return oracle.random_problem(0, steps=STEPS, batch=(3,))


@pytest.mark.parametrize("method", METHODS)
def test_initial_values_at_every_time_and_some_of_them_missing(oracle, method):
    c, d, u, s = oracle.random_problem(1, steps=STEPS, n_init=STEPS)
    u[np.random.default_rng(0).uniform(size=u.shape) < 0.4] = np.nan
    expected = oracle.least_squares(c, d, u, s, 1.0, 1.0, 1.0)
    y = solve(LinearODEProblem(c, d, u, s), method).y
    np.testing.assert_allclose(y, expected, atol=1e-9 * (1 + np.abs(expected).max()))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("steps", [2, 3, STEPS])
def test_steps_over_five_decades(oracle, method, steps):
    rng = np.random.default_rng(steps)
    s = 10.0 ** rng.uniform(-5.0, 0.0, size=steps - 1)
    s[[0, -1]] = 1e-5, 1.0 if steps > 2 else 1e-5
    c, d = np.ones((1, 1, 1, 2)), rng.normal(size=(steps, 1))  # y' + y = d
    u = np.ones((1, 1, 1))
    expected = oracle.least_squares(c, d, u, s, 1.0, 1.0, 1.0)
    y = solve(LinearODEProblem(c, d, u, s), method).y
    np.testing.assert_allclose(y[..., 0], expected[..., 0], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_inputs_of_any_layout_are_read_and_left_alone(parts, method):
    c, d, u, s = parts
    expected = solve(LinearODEProblem(c, d, u, s), method).y
    odd = (np.asfortranarray(c), d[:, ::-1].copy()[:, ::-1], u, np.repeat(s, 2, axis=1)[:, ::2])
    assert not any(part.flags.c_contiguous for part in (odd[0], odd[1], odd[3]))
    copies = [part.copy() for part in odd]
    for part in odd:
        part.flags.writeable = False
    np.testing.assert_array_equal(solve(LinearODEProblem(*odd), method).y, expected)
    for part, copy in zip(odd, copies, strict=True):
        np.testing.assert_array_equal(part, copy)
        part.flags.writeable = True


@pytest.mark.parametrize("method", METHODS)
def test_expanded_tensors_are_read_where_they_are(parts, method):
    c, d, u, s = (torch.tensor(part) for part in parts)
    shared = c[:1].expand(3, *c.shape[1:]), d, u, s[:1, :1].expand(3, STEPS - 1)
    whole = [part.contiguous() for part in shared]
    y = solve(LinearODEProblem(*shared), method).y
    torch.testing.assert_close(y, solve(LinearODEProblem(*whole), method).y, rtol=0, atol=1e-11)
    assert (shared[0].stride(0), shared[3].stride(1)) == (0, 0)


@pytest.mark.parametrize("method", METHODS)
def test_two_live_solves_of_one_shape_then_both_backwards(oracle, method):
    sets = []
    for seed in (2, 3):
        given_ = oracle.random_problem(seed, steps=STEPS, batch=(3,))
        sets.append([torch.tensor(part, requires_grad=True) for part in given_])

    def loss(inputs):
        return solve(LinearODEProblem(*inputs), method).y.square().sum()

    alone = [torch.autograd.grad(loss(inputs), inputs) for inputs in sets]
    losses = [loss(inputs) for inputs in sets]
    for k in (1, 0):
        for mine, right in zip(torch.autograd.grad(losses[k], sets[k]), alone[k], strict=True):
            assert torch.equal(mine, right)


@pytest.mark.parametrize("method", METHODS)
def test_eight_threads_at_once_give_the_same_answers(oracle, method):
    problems = [
        LinearODEProblem(*oracle.random_problem(k, steps=STEPS + k, batch=(1 + k % 3,)))
        for k in range(8)
    ]
    expected = [solve(problem, method).y for problem in problems]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            found = pool.map(lambda problem: solve(problem, method).y, problems)
            for mine, right in zip(found, expected, strict=True):
                np.testing.assert_array_equal(mine, right)


@pytest.mark.parametrize("method", ["sweep", "lapack", "qr"])
def test_gradients_of_large_blocks_agree_with_torch(oracle, method):
    """Blocks of 15, in the lanes of "sweep" against cyclic reduction by torch's operations."""
    given_ = oracle.random_problem(4, steps=40, equations=5, variables=5)
    found = []
    for each in (method, "cyclic_reduction"):
        inputs = [torch.tensor(part, requires_grad=True) for part in given_]
        y = solve(LinearODEProblem(*inputs), each).y
        weights = torch.linspace(-1.0, 1.0, y.numel(), dtype=torch.float64).reshape(y.shape)
        found.append((y.detach(), *torch.autograd.grad((weights * y).sum(), inputs)))
    for mine, right in zip(*found, strict=True):
        scale = right.abs().max()
        torch.testing.assert_close(mine / scale, right / scale, rtol=0.0, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(
    variables=st.integers(1, 4),
    order=st.integers(1, 3),
    steps=st.integers(20, 90),
    sides=st.integers(1, 12),
    seed=st.integers(0, 10**6),
)
def test_a_factor_and_its_adjoint_agree_for_many_right_hand_sides(
    oracle, variables, order, steps, sides, seed
):
    c, _, _, s = oracle.random_problem(seed, steps, variables, variables, order)
    operator = factorize(c, s, n_initial_steps=2, n_initial_orders=1, method="sweep")
    rng = np.random.default_rng(seed)
    d, u = rng.normal(size=(sides, steps, variables)), rng.normal(size=(sides, 2, variables, 1))
    g = rng.normal(size=(sides, steps, variables, order + 1))
    y = operator.solve(d, u)
    each = [operator.solve(d[k], u[k]) for k in range(sides)]
    np.testing.assert_allclose(y, each, atol=1e-8 * np.abs(y).max())
    dd, du = operator.adjoint(g)
    forward, back = (g * y).sum(), (dd * d).sum() + (du * u).sum()
    assert forward == pytest.approx(back, rel=1e-7, abs=1e-7 * np.abs(g * y).sum())


@pytest.mark.parametrize("name", ["weight_governing", "weight_initial", "weight_smooth"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_weights_that_mean_nothing_are_refused_by_name(parts, name, value):
    with pytest.raises(ValueError, match=name):
        LinearODEProblem(*parts, **{name: value})
