import numpy as np
import pytest
import torch

from gpu_solver import (
    METHODS,
    BackendChoice,
    LinearODEProblem,
    SolverError,
    SolverStatus,
    factorize,
    select_backend,
    selection,
    solve,
)


def test_small_problems_take_generated_code_only_where_it_is_on_disk(oracle, monkeypatch):
    problem = LinearODEProblem(*oracle.random_problem(0))
    for there, name in ((True, "fused"), (False, "sweep")):
        monkeypatch.setattr("gpu_solver.fused.cache.is_on_disk", lambda *_, on=there: on)
        assert select_backend(problem).name == name


def test_the_choice_is_explained(oracle, monkeypatch):
    monkeypatch.setattr("gpu_solver.fused.cache.is_on_disk", lambda *_: False)
    problem = LinearODEProblem(*oracle.random_problem(0))
    choice = select_backend(problem)
    assert choice.name == "sweep"
    assert "6 unknowns a step" in choice.reason
    solution = solve(problem)
    assert (solution.method, solution.reason) == (choice.name, choice.reason)
    assert solve(problem, "lapack").reason == "asked for"
    wide = LinearODEProblem(*oracle.random_problem(0, variables=11, equations=11))
    assert select_backend(wide).name == "sweep"
    np.testing.assert_allclose(solve(wide).y, solve(wide, "lapack").y, atol=1e-9)


def test_tensors_elsewhere_than_the_cpu_take_torch_operations(oracle):
    parts = [torch.tensor(part, device="meta") for part in oracle.random_problem(0)]
    problem = object.__new__(LinearODEProblem)
    for name, part in zip("cdus", parts, strict=True):
        object.__setattr__(problem, name, part)
    choice = select_backend(problem)
    assert choice.name == "cyclic_reduction"
    assert "meta" in choice.reason


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", ["auto", "sweep", "qr"])
def test_cuda_tensors_come_back_on_the_device_with_gradients(oracle, method):
    parts = oracle.random_problem(0, batch=(3,))
    results = []
    for device in ("cpu", "cuda"):
        on = [torch.tensor(part, device=device, requires_grad=True) for part in parts]
        y = solve(LinearODEProblem(*on), method).y
        assert y.device.type == device
        results.append([y, *torch.autograd.grad(y.square().sum(), on)])
    for cpu, cuda in zip(*results, strict=True):
        torch.testing.assert_close(cuda.cpu(), cpu, rtol=1e-8, atol=1e-9)


def test_wrong_calls_are_refused_with_the_argument_named(oracle):
    problem = LinearODEProblem(*oracle.random_problem(0))
    with pytest.raises(TypeError, match="problem must be a LinearODEProblem, got tuple"):
        solve(())
    with pytest.raises(ValueError, match=r"method must be 'auto' or one of .*'sweep'.*got 'fast'"):
        solve(problem, "fast")
    with pytest.raises(ValueError, match="on_failure must be"):
        solve(problem, on_failure="warn")
    with pytest.raises(TypeError, match=r"'\w+' takes no options, got \['gamma'\]"):
        solve(problem, gamma=1.0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'speed'"):
        solve(problem, "mnn_dense", speed=1)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"cuda"}))  # test_cuda has that
def test_every_problem_of_a_batch_reports_its_own_status(oracle, method):
    c, d, u, s = oracle.random_problem(1, batch=(5,))
    options = {"max_iterations": 10**4} if "gradient" in method else {}
    clean = solve(LinearODEProblem(c, d, u, s), method, **options)
    c[0, 2, 1, 0, 0] = np.inf
    d[1, 3, 0] = np.nan
    u[2, 0, 0, 0] = np.inf
    s[3, 1] = np.nan
    solution = solve(LinearODEProblem(c, d, u, s), method, on_failure="status", **options)
    assert solution.status[:4].tolist() == [SolverStatus.NON_FINITE_INPUT] * 4
    assert np.isnan(solution.y[:4]).all()
    assert solution.status[4] == clean.status[4]
    np.testing.assert_allclose(solution.y[4], clean.y[4], rtol=1e-9, atol=1e-9)
    with pytest.raises(SolverError, match=r"4 of 5 problem.*\(0,\), \(1,\)") as error:
        solve(LinearODEProblem(c, d, u, s), method, **options)
    np.testing.assert_array_equal(error.value.status, solution.status)


@pytest.mark.parametrize("method", ["sweep", "lapack", "qr", "cyclic_reduction"])
def test_a_problem_with_a_free_unknown_is_not_positive_definite(oracle, method):
    c, d, u, s = oracle.random_problem(2, batch=(2,))
    c[0] = 0.0
    u[0] = np.nan
    solution = solve(LinearODEProblem(c, d, u, s), method, on_failure="status")
    assert solution.status[0] in (SolverStatus.NOT_POSITIVE_DEFINITE, SolverStatus.ILL_CONDITIONED)
    np.testing.assert_allclose(
        solution.y[1], oracle.least_squares(c[1], d[1], u[1], s[1]), atol=1e-9
    )


def test_refined_and_ill_conditioned_are_told_apart(oracle):
    c, d, u, _ = oracle.validation_odes["third order"]
    parts = np.reshape(c, (1, 1, 1, -1)), [[d]], np.reshape(u, (1, 1, -1))
    refined = solve(LinearODEProblem.from_ode(*parts, np.full(999, 0.01)))
    assert refined.status == SolverStatus.REFINED
    worse = solve(LinearODEProblem.from_ode(*parts, np.full(9_999, 0.01)), "sweep")
    assert worse.status == SolverStatus.ILL_CONDITIONED
    assert worse.advice == (f"ill_conditioned: {SolverStatus.ILL_CONDITIONED.advice}",)


@pytest.mark.parametrize(("count", "step"), [(9_999, 0.01), (20_000, 0.001)])
def test_auto_turns_to_orthogonal_factorisation_where_the_normal_matrix_fails(oracle, count, step):
    c, d, u, _ = oracle.validation_odes["third order"]
    parts = np.reshape(c, (1, 1, 1, -1)), np.array([[d]]), np.reshape(u, (1, 1, -1))
    s = np.full(count, step)
    problem = LinearODEProblem.from_ode(*parts, s)
    forced = solve(problem, "sweep", on_failure="status")
    assert forced.status in (SolverStatus.ILL_CONDITIONED, SolverStatus.NOT_POSITIVE_DEFINITE)
    solution = solve(problem)
    assert solution.method == "qr"
    assert "lost digits" in solution.reason
    assert solution.status <= SolverStatus.REFINED
    t = step * np.arange(count + 1)
    exact = 2 / np.sqrt(3) * -np.exp(-0.5 * t) * np.sin(np.sqrt(0.75) * t)
    assert np.abs(solution.y[:, 0, 0] - exact).max() < 1e-9
    weights = {
        f"weight_{rows}": getattr(problem, f"weight_{rows}")
        for rows in ("governing", "initial", "smooth")
    }
    op = factorize(problem.c, s, **weights)
    assert op.factor.method == "qr"
    np.testing.assert_allclose(op.solve(parts[1], parts[2]), solution.y, atol=1e-12)


def test_torch_operations_tell_lost_digits_and_auto_turns_to_qr_from_there_too(oracle, monkeypatch):
    c, d, u, _ = oracle.validation_odes["third order"]
    parts = np.reshape(c, (1, 1, 1, -1)), np.array([[d]]), np.reshape(u, (1, 1, -1))
    for count, code in ((300, SolverStatus.REFINED), (9_999, SolverStatus.ILL_CONDITIONED)):
        problem = LinearODEProblem.from_ode(*parts, np.full(count, 0.01))
        assert solve(problem, "cyclic_reduction").status == code
    elsewhere = BackendChoice("cyclic_reduction", "as on a device without other methods")
    monkeypatch.setattr(selection, "select_backend", lambda _: elsewhere)
    solution = solve(problem)
    assert solution.method == "qr"
    assert "cyclic_reduction lost digits" in solution.reason
    assert solution.status <= SolverStatus.REFINED


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"cuda", "mnn_conjugate_gradient"}))
def test_products_that_overflow_are_blamed_on_the_input(oracle, method):
    c, d, u, s = oracle.random_problem(3, batch=(2,))
    c[0] *= 1e200
    solution = solve(LinearODEProblem(c, d, u, s), method, on_failure="status")
    assert solution.status.tolist()[0] == SolverStatus.NON_FINITE_INPUT
    assert not SolverStatus(int(solution.status[1])).failed
    assert any("products overflow" in text for text in solution.advice)
    assert np.isnan(solution.y[0]).all()


def test_an_iteration_that_ends_in_nan_has_no_answer():
    problem = LinearODEProblem(
        np.ones((4, 1, 1, 3)), np.full((4, 1), 1e300), np.ones((1, 1, 1)), np.full(3, 0.5)
    )
    solution = solve(problem, "mnn_conjugate_gradient", on_failure="status")
    assert np.isnan(solution.y).all()
    assert solution.status == SolverStatus.NON_FINITE_INPUT


def test_every_status_has_advice_and_only_two_have_no_answer():
    assert all(len(code.advice) > 10 for code in SolverStatus)
    assert [code.name for code in SolverStatus if code.failed] == [
        "NOT_POSITIVE_DEFINITE",
        "NON_FINITE_INPUT",
    ]
