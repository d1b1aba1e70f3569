"""The benchmark's systems and how it tells equal structures from different ones."""

import numpy as np
import pytest
import sympy

from benchmarks.discovery.odebench import measure, skeleton, table
from benchmarks.discovery.textbook import SYSTEMS, half

NAMES = ("x", "y")


@pytest.mark.parametrize(
    ("found", "true"),
    [
        ("-0.2 + 0.36/(x + 0.601)", "0.4 - 0.6*x/(0.6 + x)"),
        ("0.95*sin(2*x) - 1.1*sin(x)", "1.9*sin(x)*cos(x) - 1.1*sin(x)"),
        ("1.5*exp(-2.01*x) - 1.4*exp(-0.99*x)", "1.5*exp(-2*x) - 1.5*exp(-x)"),
        ("1.92*x**0.67 - 0.55*x", "1.9*x**(2/3) - 0.55*x"),
        ("8.5 - x - 4*x*y/(1.003**2 + x**2)", "8.5 - x - 4*x*y/(1 + x**2)"),
        ("1.1*sin(1.001*x) - 0.5*y**0.5", "sin(x) - 0.5*sqrt(y)"),
    ],
)
def test_the_same_law_with_other_numbers_is_exact(found, true):
    assert skeleton(sympy.sympify(found), NAMES) == skeleton(sympy.sympify(true), NAMES)


@pytest.mark.parametrize(
    ("found", "true"),
    [
        ("x + y", "x"),
        ("x**2", "x"),
        ("exp(-x)", "exp(-x) - exp(-2*x)"),
        ("sin(x) + 0.1*sin(3*x)", "sin(x)"),
        ("x/(0.6 + x)", "x/(0.6 + x**2)"),
        ("x*y/(0.6 + x)", "x*y/(0.6 + y)"),
        ("sin(x)", "cos(x)"),
    ],
)
def test_another_law_is_not(found, true):
    assert skeleton(sympy.sympify(found), NAMES) != skeleton(sympy.sympify(true), NAMES)


def test_halves_share_nothing_and_hold_every_kind():
    assert len(SYSTEMS) >= 40
    ours, held_out = half("development"), half("held-out")
    assert not {one.name for one in ours} & {one.name for one in held_out}
    assert len(ours) + len(held_out) == len(SYSTEMS) == len({one.name for one in SYSTEMS})
    for part in (ours, held_out):
        assert {one.kind for one in part} == {"polynomial", "rational", "transcendental"}
        assert {len(one.laws) for one in part} == {1, 2, 3, 4}


def test_measurements_are_noisy_thinned_and_repeatable():
    system = SYSTEMS[0]
    t, X = measure(system, 0.05, 0.5, 3)
    clean = system.path(system.start, np.linspace(0.0, 10.0, 150))
    assert len(t) == len(X) == 75
    assert np.all(np.diff(t) > 0.0)
    ratio = X["x"].to_numpy() / clean[np.searchsorted(np.linspace(0.0, 10.0, 150), t), 0]
    assert 0.03 < ratio.std() < 0.07
    np.testing.assert_array_equal(measure(system, 0.05, 0.5, 3)[1], X)
    # x' = a - b x has a closed form.
    a, b = 0.63, 0.45
    end = a / b + (7.0 - a / b) * np.exp(-10.0 * b)
    assert clean[-1, 0] == pytest.approx(end, rel=1e-8)


def test_the_table_counts_shares():
    row = {
        "system": "s", "kind": "polynomial", "noise": 0.0, "drop": 0.0, "exact": True,
        "among": False, "integrates": True, "non_polynomial": False, "cpu": 1.0, "load": 0.5,
        "reconstruction": 0.95, "generalisation": 0.5,
    }  # fmt: skip
    other = row | {"exact": False, "generalisation": 0.99, "non_polynomial": True, "cpu": 3.0}
    (line,) = table([row, other]).to_dict("records")
    assert line["reconstruction"] == 100.0
    assert line["generalisation"] == line["exact"] == 50.0
    assert line["polynomial answered otherwise"] == 50.0
    assert line["median s"] == 2.0
