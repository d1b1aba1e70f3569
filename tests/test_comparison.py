"""Found equations against known ones, checked by hand."""

import math
import pickle

import numpy as np
import pytest
import sympy

from discoverers.equations import Equations

x, y, z = sympy.symbols("x y z")
STATES = ["x", "y", "z"]
LORENZ = ["10*(y - x)", "x*(28 - z) - y", "x*y - 8/3*z"]


def test_the_right_terms_with_small_errors_are_exact():
    found = Equations(["9.9*y - 10.2*x", "28.0*x - x*z - y", "1.0*x*y - 2.6*z"], STATES)
    result = found.compare(LORENZ)
    assert result.exact
    assert result.precision == result.recall == 1.0
    assert result.max_coefficient_error == pytest.approx(0.2)
    errors = [0.1, 0.2, 8 / 3 - 2.6]
    truth = [10, 10, 28, 1, 1, 1, 8 / 3]
    assert result.relative_coefficient_error == pytest.approx(
        np.linalg.norm(errors) / np.linalg.norm(truth)
    )


def test_missing_and_extra_terms_are_counted_and_named():
    found = Equations(["10.0*y - 10.0*x + 0.5", "28.0*x - x*z", "x*y - 8/3*z + 0.1*x**2"], STATES)
    result = found.compare(LORENZ)
    assert not result.exact
    assert result.precision == pytest.approx(6 / 8)
    assert result.recall == pytest.approx(6 / 7)
    assert result.true_positive == ((x, y), (x, x * z), (z, x * y))
    assert result.false_positive == ((sympy.Integer(1),), (), (x**2,))
    assert result.false_negative == ((), (y,), ())
    assert result.max_coefficient_error == pytest.approx(1.0)
    assert repr(result).splitlines()[0] == "Comparison: 6 of 7 terms found, 2 extra"
    assert "missing in y': y" in repr(result)
    frame = result.to_frame()
    assert list(frame[frame.verdict == "false_positive"].term) == ["1", "x**2"]


@pytest.mark.parametrize(
    "truth",
    [
        LORENZ,
        [sympy.sympify(text) for text in LORENZ],
        dict(zip(STATES, LORENZ, strict=True)),
        Equations(LORENZ, STATES),
        [
            sympy.sympify(text, locals={n: sympy.Symbol(n, real=True) for n in STATES})
            for text in LORENZ
        ],
    ],
    ids=["text", "expressions", "mapping", "equations", "assumptions"],
)
def test_the_truth_may_come_in_any_form(truth):
    result = Equations(LORENZ, STATES).compare(truth)
    assert result.exact
    assert result.max_coefficient_error == 0.0


def test_empty_sides_have_defined_scores():
    empty, full = Equations([0], ["x"]), Equations(["2*x"], ["x"])
    assert (empty.compare(["0"]).precision, empty.compare(["0"]).recall) == (1.0, 1.0)
    assert empty.compare(["0"]).exact
    assert empty.compare(["0"]).relative_coefficient_error == 0.0
    assert (empty.compare(["2*x"]).precision, empty.compare(["2*x"]).recall) == (0.0, 0.0)
    assert (full.compare(["0"]).precision, full.compare(["0"]).recall) == (0.0, 1.0)
    assert full.compare(["0"]).relative_coefficient_error == math.inf


def test_terms_that_cancel_on_expansion_are_dropped():
    assert Equations(["x*(x + 1) - x**2"], ["x"]).compare(["x"]).exact


@pytest.mark.parametrize(
    ("found", "truth"),
    [
        ("1.5/(1.0 + x)", "3/(2 + 2*x)"),
        ("0.5*x*y/(1 + 0.25*x)", "2*x*y/(4 + x)"),
        ("(x + y)/(1 + x)", "x/(1 + x) + y/(1 + x)"),
        ("sin(1.0*x)", "sin(x)"),
        ("x**2.0", "x**2"),
        ("2.0*exp(-x)*y", "y/exp(x)*2"),
        ("3.14159*x", "pi*x"),
        ("sqrt(x) + Abs(y)", "x**0.5 + abs(y)"),
    ],
)
def test_rational_and_transcendental_terms_match_in_every_writing(found, truth):
    result = Equations([found, 0], ["x", "y"]).compare([truth, 0])
    assert result.exact
    assert result.max_coefficient_error < 1e-5


def test_numbers_inside_a_term_belong_to_it():
    assert not Equations(["sin(1.9*x)"], ["x"]).compare(["sin(2*x)"]).exact


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (["x"], "has 1 right-hand sides, expected 3"),
        ("x", "must be a sequence"),
        (["x", "y", "w"], "unknown name 'w'"),
        (Equations(LORENZ, STATES, order=2), "of order 2"),
        (Equations(["x", "y", "z"], ["x", "z", "y"]), "state_names"),
        ({"x": "y"}, "one entry per state"),
    ],
)
def test_truths_that_do_not_fit_are_named(truth, message):
    with pytest.raises(ValueError, match=message):
        Equations(LORENZ, STATES).compare(truth)


def test_comparisons_are_values():
    one, two = (Equations(LORENZ, STATES).compare(LORENZ) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert pickle.loads(pickle.dumps(one)) == one
