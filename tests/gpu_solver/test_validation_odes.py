"""Accuracy on the six ODEs of appendix B.1, 1000 times of step 0.01, against closed forms."""

import numpy as np
import pytest

from gpu_solver import LinearODEProblem, solve

NAMES = [
    "rc circuit",
    "population growth",
    "language death",
    "harmonic",
    "damped harmonic",
    "third order",
]


def errors(oracle, name, preset, method="auto"):
    """Mean squared errors of y, y', y''."""
    c, d, u, exact = oracle.validation_odes[name]
    problem = LinearODEProblem.from_ode(
        np.reshape(c, (1, 1, 1, -1)),
        np.array([[d]]),
        np.reshape(u, (1, 1, -1)),
        np.full(999, 0.01),
        preset=preset,
    )
    y = solve(problem, method).y[:, 0, :3]
    return np.mean((y - exact.T) ** 2, axis=0)


def test_closed_forms_solve_their_equations(oracle):
    for name, (c, d, u, exact) in oracle.validation_odes.items():
        third = np.gradient(exact[2], 0.01, edge_order=2)
        values = [*exact, third][: len(c)]
        residual = sum(k * part for k, part in zip(c, values, strict=True)) - d
        assert np.abs(residual).max() < (1e-3 if len(c) == 4 else 1e-12), name
        np.testing.assert_allclose(exact[: len(u), 0], u, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_paper_preset_reaches_the_papers_accuracy(oracle, name):
    assert (errors(oracle, name, "paper") < 1e-6).all()


def test_paper_preset_is_below_1e_8_in_y_in_most_cases(oracle):
    assert sum(errors(oracle, name, "paper")[0] < 1e-8 for name in NAMES) >= 4


@pytest.mark.parametrize("name", NAMES)
def test_accurate_preset_is_far_better(oracle, name):
    accurate, paper = errors(oracle, name, "accurate"), errors(oracle, name, "paper")
    assert accurate[0] < 1e-16
    assert (accurate[1:] < 1e-11).all()
    assert accurate[0] < 1e-4 * paper[0]


@pytest.mark.parametrize("method", ["lapack", "qr", "cyclic_reduction"])
@pytest.mark.parametrize("name", ["population growth", "harmonic", "third order"])
def test_other_methods_are_as_accurate(oracle, name, method):
    assert errors(oracle, name, "accurate", method)[0] < 1e-15


def test_error_falls_with_the_fourth_power_of_the_step():
    found = []
    for count in (50, 100):
        problem = LinearODEProblem.from_ode(
            [[[[2.0, 0.3, 1.0]]]], [[0.0]], [[[1.0, 0.0]]], np.full(count, 4.0 / count)
        )
        t = np.linspace(0.0, 4.0, count + 1)
        rate = -0.15 + 1j * np.sqrt(2.0 - 0.15**2)
        exact = (np.exp(rate * t) * (1.0 - 1j * 0.15 / rate.imag)).real
        found.append(np.abs(solve(problem).y[:, 0, 0] - exact).max())
    assert 3.5 < np.log2(found[0] / found[1]) < 4.5
