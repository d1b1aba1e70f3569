"""The sweeps as plain Python on floats, and what the tracer makes of them."""

import numpy as np
import pytest

from gpu_solver.fused.sweeps import STEPS, Sizes, counts, steps_of
from gpu_solver.fused.trace import Tape, absolute, maximum, minimum, trace

SIZES = [Sizes(1, 0, 1), Sizes(1, 2, 1), Sizes(2, 1, 3), Sizes(1, 3, 2)]


def replay(tape: Tape, inputs):
    """Run a tape on floats."""
    values = []
    for name, a, b in tape.operations:
        if name == "input":
            values.append(inputs[a][b])
        elif name == "constant":
            values.append(a)
        elif name == "neg":
            values.append(-values[a])
        elif name == "abs":
            values.append(abs(values[a]))
        else:
            x, y = values[a], values[b]
            values.append(
                {
                    "add": lambda x=x, y=y: x + y,
                    "sub": lambda x=x, y=y: x - y,
                    "mul": lambda x=x, y=y: x * y,
                    "div": lambda x=x, y=y: x / y,
                    "max": lambda x=x, y=y: max(x, y),
                    "min": lambda x=x, y=y: min(x, y),
                }[name]()
            )
    return {name: [values[k] for k in places] for name, places in tape.outputs.items()}


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", sorted(STEPS))
def test_a_tape_computes_what_the_step_computes(sizes, name):
    rng = np.random.default_rng(0)
    size_of = counts(sizes)
    inputs = {each: list(rng.uniform(0.5, 1.5, size_of[each])) for each in STEPS[name]}
    if "left" in inputs:  # make what is eliminated positive definite
        for i in range(sizes.n):
            inputs["left"][i * (i + 1) // 2 + i] += 30.0
    tape = trace(steps_of(sizes)[name], {each: size_of[each] for each in STEPS[name]})
    expected = steps_of(sizes)[name](**inputs)
    found = replay(tape, inputs)
    assert list(found) == list(expected)
    for key, values in expected.items():
        assert len(values) == size_of.get(key, len(values))
        np.testing.assert_allclose(found[key], values, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_sweep_on_floats_solves_the_least_squares_problem(oracle, sizes):
    variables, size, equations = sizes.variables, sizes.order + 1, sizes.equations
    c, d, u, s = oracle.random_problem(
        3, steps=5, equations=equations, variables=variables, order=sizes.order, n_init=1, orders=1
    )
    steps = steps_of(sizes)
    weights = [1.0] * equations, [1.0] * sizes.n
    left, worst = [0.0] * sizes.triangle, [np.inf, np.inf]
    carried, base = [0.0] * sizes.n, [0.0] * sizes.n
    for v in range(variables):
        i = v * size
        left[i * (i + 1) // 2 + i] += 1.0
        carried[i] += u[0, v, 0]
    kept = []
    for t in range(4):
        found = steps["factor_forward"](
            c[t].ravel(), weights[0], d[t], base, [s[t]], weights[1], left, worst, carried
        )
        left, worst, carried = found["left"], found["worst"], found["carried"]
        kept.append(found)
    last = steps["factor_forward_last"](c[4].ravel(), weights[0], d[4], base, left, worst, carried)
    y = [steps["back_last"](last["lower"], last["inverse"], last["z"])["y"]]
    for found in reversed(kept):
        parts = (found[key] for key in ("lower", "inverse", "gain", "z"))
        y.append(steps["back"](*parts, y[-1])["y"])
    expected = oracle.least_squares(c, d, u, s)
    np.testing.assert_allclose(np.array(y[::-1]).reshape(expected.shape), expected, atol=1e-9)


def test_the_tracer_drops_arithmetic_on_known_numbers():
    tape = trace(lambda x: {"out": [0.0 * x[0] + 1.0 * x[1] - 0.0, 2.0 * 3.0 * x[1]]}, {"x": 2})
    assert [name for name, _, _ in tape.operations] == ["input", "input", "constant", "mul"]
    assert tape.flops == 1


def test_the_tracer_computes_equal_things_once():
    tape = trace(lambda x: {"out": [x[0] * x[1] + 1.0, x[1] * x[0] + 1.0]}, {"x": 2})
    assert tape.flops == 2
    assert tape.outputs["out"][0] == tape.outputs["out"][1]


def test_functions_take_numbers_and_symbols():
    assert (absolute(-2.0), maximum(1.0, 2.0), minimum(1.0, 2.0)) == (2.0, 2.0, 1.0)

    def function(x):
        return {"out": [maximum(0.5, x[0]), minimum(x[0], -x[0]), absolute(1.0 - x[0] / 2.0)]}

    tape = trace(function, {"x": 1})
    for x in (-3.0, 0.2, 4.0):
        assert replay(tape, {"x": [x]})["out"] == function([x])["out"]
