import numpy as np
import pytest
import torch

from gpu_solver import LinearODEProblem


def arrays(**changes):
    values = {
        "c": np.ones((5, 2, 3, 3)),
        "d": np.zeros((5, 2)),
        "u": np.zeros((1, 3, 2)),
        "s": np.ones(4),
    }
    values.update(changes)
    return values


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"c": np.ones((5, 2, 3))}, ValueError, r"c must have shape .*got \(5, 2, 3\)"),
        ({"d": np.zeros(5)}, ValueError, r"d must have shape .*got \(5,\)"),
        ({"d": np.zeros((5, 4))}, ValueError, "d must have Q = 2 equations .*got 4"),
        ({"d": np.zeros((6, 2))}, ValueError, r"c must have shape .*T = 6"),
        ({"s": np.ones(5)}, ValueError, "one step fewer than there are times"),
        ({"s": np.array([1.0, 1.0, 0.0, 1.0])}, ValueError, "s must be positive .*got 0.0"),
        ({"s": np.array([1.0, -2.0, 1.0, 1.0])}, ValueError, "s must be positive .*got -2.0"),
        ({"u": np.zeros((1, 2, 2))}, ValueError, "u must have V = 3 variables .*got 2"),
        ({"u": np.zeros((1, 3, 4))}, ValueError, "u has values for 4 derivatives .*R\\+1 = 3"),
        ({"u": np.zeros((6, 3, 1))}, ValueError, "T_init = 6 times, more than T = 5"),
        ({"u": np.zeros((0, 3, 1))}, ValueError, "may be empty"),
        ({"c": np.ones((5, 2, 3, 3), complex)}, TypeError, "c must hold real numbers .*complex"),
        ({"c": torch.ones(5, 2, 3, 3).half()}, TypeError, "c must hold real numbers .*float16"),
        ({"s": np.array(["a"] * 4)}, TypeError, "s must hold real numbers"),
        ({"weight_governing": -1.0}, ValueError, "weight_governing must be finite and not neg"),
        ({"weight_initial": np.nan}, ValueError, "weight_initial must be finite"),
        ({"weight_smooth": np.ones(2)}, ValueError, r"weight_smooth .*4, 3, 3\), got shape \(2,\)"),
        ({"weight_smooth": "strong"}, TypeError, "weight_smooth must be real numbers"),
        (
            {"weight_smooth": torch.ones((), requires_grad=True)},
            ValueError,
            "weight_smooth must not require a gradient",
        ),
        (
            {"c": np.ones((2, 5, 2, 3, 3)), "d": np.zeros((3, 5, 2))},
            ValueError,
            r"batch axes must broadcast, got c \(2,\), d \(3,\)",
        ),
    ],
)
def test_wrong_arguments_are_refused_by_name(changes, error, message):
    with pytest.raises(error, match=message):
        LinearODEProblem(**arrays(**changes))


def test_preset_is_checked():
    with pytest.raises(ValueError, match="preset must be 'accurate' or 'paper', got 'fast'"):
        LinearODEProblem.from_ode(**arrays(), preset="fast")
    with pytest.raises(ValueError, match=r"c must have shape .*p\+1"):
        LinearODEProblem.from_ode(np.ones(3), np.zeros((5, 1)), np.zeros((1, 1, 1)), np.ones(4))


def test_presets_pad_c_as_documented():
    for p in (1, 2, 3):
        c = np.ones((5, 2, 3, p + 1))
        u = np.zeros((1, 3, 1))
        accurate = LinearODEProblem.from_ode(c, np.zeros((5, 2)), u, np.ones(4))
        assert accurate.order == p + 2
        np.testing.assert_array_equal(accurate.c[..., p + 1 :], 0.0)
        np.testing.assert_allclose(accurate.weight_smooth, [*[1.0] * p, 0.3, 0.09, 0.027])
        paper = LinearODEProblem.from_ode(c, np.zeros((5, 2)), u, np.ones(4), preset="paper")
        assert paper.order == p + 1
        np.testing.assert_array_equal(paper.weight_smooth, 1.0)


def test_sizes_are_read_from_whatever_varies():
    problem = LinearODEProblem(
        np.ones((7, 1, 1, 2, 3, 3)), np.zeros((2, 1, 2)), np.zeros((1, 3, 1)), np.ones(4)
    )
    assert problem.n_steps == 5
    assert problem.batch_shape == (7, 2)
    constant = LinearODEProblem(**arrays(c=np.ones((1, 2, 3, 3)), s=np.array([0.5])))
    assert constant.n_steps == 5


def test_a_problem_cannot_be_changed():
    problem = LinearODEProblem(**arrays())
    with pytest.raises(AttributeError):
        problem.c = 1.0
