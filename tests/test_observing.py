"""What `observe`, `required` and `forbidden` say, and what they refuse."""

import numpy as np
import pytest
import sympy

from discoverers.exceptions import ConvergenceWarning
from discoverers.structures import Channel, Data, Note, Options, resolve_structure
from discoverers.structures.observing import read_observe
from discoverers.structures.terms import read_terms

STATES, INPUTS = ("x1", "v1", "x2", "v2"), ("u0",)
QUANTITIES = {
    "position": ("x1", "x2"),
    "velocity": ("v1", "v2"),
    "acceleration": ("v1'", "v2'"),
}


def read(observe, names=("y0", "y1")):
    return read_observe(observe, names, STATES, INPUTS, QUANTITIES)


BOTH = (Channel("y0", rates={"v1": 1.0}), Channel("y1", rates={"v2": 1.0}))


@pytest.mark.parametrize(
    "observe",
    [
        "acceleration",
        ["acceleration", "acceleration"],
        ("acceleration 1", "acceleration 2"),
        {"y1": "v2'", "y0": "v1'"},
        ["v1'", "1.0*v2' + x1 - x1"],
        np.eye(4, 9, 4)[[1, 3]],
        [[0, 0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]],
    ],
    ids=str,
)
def test_all_ways_to_say_the_same_agree(observe):
    found = read(observe)
    assert found.channels == BOTH
    assert found.measure is None


def test_mixed_columns_and_sums_are_weights_by_name():
    relative, position = read(["v2' - 0.5*v1' + 2*u0", "position 2"]).channels
    assert relative == Channel("y0", rates={"v2": 1.0, "v1": -0.5}, inputs={"u0": 2.0})
    assert position == Channel("y1", states={"x2": 1.0})
    (one,) = read("x2", names=("gauge",)).channels
    assert one == Channel("gauge", states={"x2": 1.0})
    (one,) = read([[1, 0, 0, 0, 0, 0, 0, 2, 3]], names=("y0",)).channels
    assert one == Channel("y0", states={"x1": 1.0}, rates={"v2": 2.0}, inputs={"u0": 3.0})


def test_a_rate_is_not_found_inside_of_a_longer_name():
    (one,) = read_observe("v11' - v1'", ("y",), ("v1", "v11"), (), {}).channels
    assert one == Channel("y", rates={"v11": 1.0, "v1": -1.0})


def test_displacements_are_positions():
    assert read("displacement").channels == read("position").channels
    assert read(["velocity 1", "displacement 2"]) == read(["velocity 1", "position 2"])
    (own,) = read_observe("displacement", ("y",), ("displacement",), (), {}).channels
    assert own == Channel("y", states={"displacement": 1.0})


def test_a_function_gives_all_channels():
    def measure(X, F, U):
        return X[:, [0]] ** 2

    found = read(measure, names=("y0",))
    assert found.measure is measure
    assert found.channels == (Channel("y0"),)


def test_channels_become_matrices_for_longer_lists_of_states():
    data = Data((), read(["v1' + u0", "x2"]).channels, INPUTS, np.zeros((0, 4)))
    observation = data.observation((*STATES, "z"))
    rng = np.random.default_rng(0)
    X, F, U = rng.normal(size=(7, 5)), rng.normal(size=(7, 5)), rng.normal(size=(7, 1))
    np.testing.assert_allclose(
        observation.values(X, F, U), np.column_stack([F[:, 1] + U[:, 0], X[:, 2]])
    )
    asked = Data((), (Channel("y0"),), (), np.zeros((0, 1)), measure=lambda X, F, U: F * X)
    values = asked.observation(("x",)).values(X[:, :1], F[:, :1], U[:, :0])
    np.testing.assert_array_equal(values, X[:, :1] * F[:, :1])


@pytest.mark.parametrize(
    ("observe", "names", "message"),
    [
        ("acceleration", ("a",), r"observe='acceleration' needs one column per degree.* has 2.*1"),
        ("jerk", ("a", "b"), r"observe='jerk' is said of 2 columns.*'acceleration'"),
        ("jerk", ("a",), r"cannot read 'jerk', which column 'a'.*Write one of \['acceleration'"),
        (["velocity"], ("a", "b"), r"observe has 1 entries, but 2 column\(s\).*one entry per"),
        (["velocity", "x1"], ("a", "b"), r"says 'velocity' of 1 column\(s\).*'velocity 2'"),
        (["velocity 3", "x1"], ("a", "b"), r"cannot read 'velocity 3'"),
        ("v1''", ("a",), r"cannot read \"v1''\".*one apostrophe is the rate of a state"),
        ("v3'", ("a",), r"cannot read \"v3'\".*of \['x1', 'v1', 'x2', 'v2'\]"),
        ({"a": 1}, ("a",), r"must say in words.*got 1 \(int\)"),
        (lambda X, F: X, ("a",), r"observe\(states, rates, inputs\).*the arguments \(X, F\)"),
        (
            {"a": "x1"},
            ("a", "b"),
            r"entries for \['a'\], but the measured columns are \['a', 'b'\]",
        ),
        ("sin(x1)", ("a",), r"'sin\(x1\)' \(column 'a'\) is no weighted sum.*pass a function"),
        ("x1*v1", ("a",), "no weighted sum"),
        ("x1 + 1", ("a",), "no weighted sum"),
        ("3", ("a",), "no weighted sum"),
        ("__import__('os')", ("a",), "cannot read"),
        ([[1.0, 0.0]], ("a",), r"one row per measured column \(1\) and 4 .*got shape \(1, 2\)"),
        ([[1.0, 0.0, 0.0, np.nan]], ("a",), "observe contains NaN"),
    ],
)
def test_what_cannot_be_observed_is_named(observe, names, message):
    with pytest.raises(ValueError, match=message):
        read(observe, names)


def test_terms_are_read_with_and_without_coefficients():
    x, v = sympy.symbols("x v")
    found = read_terms("required", ["x", "v*Abs(v)", x**3, "1"], ["x", "v"])
    assert found == {x: None, v * sympy.Abs(v): None, x**3: None, sympy.Integer(1): None}
    assert read_terms("required", {"x": -1.5, v: None}, ["x", "v"]) == {x: -1.5, v: None}
    assumed = sympy.Symbol("x", real=True)
    assert read_terms("forbidden", [assumed**2], ["x"]) == {x**2: None}


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (["w"], r"forbidden holds 'w', which cannot be read.*Write terms of \['x', 'v'\]"),
        (
            [sympy.Symbol("w")],
            r"forbidden holds w with the unknown \['w'\]; known are \['x', 'v'\]",
        ),
        (["2*x"], r"'2\*x': write one term without a coefficient"),
        (["x + v"], "write one term"),
        ([3], r"must hold terms as text or sympy.Expr, got 3 \(int\)"),
        ({"x": "big"}, "gives 'x' the coefficient 'big'; pass a number"),
        ({"x": float("nan")}, "gives 'x' the coefficient nan"),
    ],
)
def test_terms_that_are_none_are_refused(terms, message):
    with pytest.raises(ValueError, match=message):
        read_terms("forbidden", terms, ["x", "v"])


def test_options_say_which_terms_may_be_candidates():
    x, v, u = sympy.symbols("x v u")
    options = Options(forbidden=frozenset({x * v}), parity="odd", required={x**2: None})
    allowed = (x, x**2, v**2, x * v, x * v * u, sympy.sin(x), x * sympy.Abs(v))
    assert [options.allows(term) for term in allowed] == [
        True,
        True,
        False,
        False,
        True,
        True,
        True,
    ]
    assert not options.allows(sympy.exp(x))
    assert not options.allows(sympy.Integer(1))
    assert Options().allows(sympy.exp(x))
    assert list(options.iterations("stage", 3)) == [0, 1, 2]


def test_structures_have_short_names():
    with pytest.raises(ValueError, match=r"structure must be one of \['chain'.*got 'tree'"):
        resolve_structure("tree")
    assert Note("text", ConvergenceWarning).category is ConvergenceWarning
