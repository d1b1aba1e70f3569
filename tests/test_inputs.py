"""Inputs between samples: what the fit is told, and what becomes of the coefficients."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline

from discoverers import CustomLibrary, SMNNDiscoverer
from discoverers.inputs import input_between_samples, integrate_between_samples, interpolated_input
from discoverers.trajectories import as_trajectories

STEP = 0.1
TRUTH = {"u0": 1.5, "x0": -0.8, "x0**3": -0.3}


def force(kind, n):
    """An input as a function of time inside of an interval, and its samples."""
    t = STEP * np.arange(n)
    rng = np.random.default_rng(0)
    if kind == "cubic":
        smooth = lambda s: np.sin(2 * np.pi * s / 1.6) + 0.5 * np.cos(2 * np.pi * s / 3.7)  # noqa: E731
        return t, smooth(t), lambda i, s: smooth(s)
    if kind == "hold":
        levels = np.repeat(rng.choice([-1.0, 1.0], n // 5 + 1), 5)[:n]
        return t, levels, lambda i, s: levels[i]
    values = rng.standard_normal(n)
    return t, values, lambda i, s: np.interp(s, t, values)


def respond(t, force_at):
    """x' = -0.8 x - 0.3 x^3 + 1.5 u, restarted at every sample so that no jump is stepped over."""
    x = np.full(len(t), 0.5)
    for i in range(len(t) - 1):
        x[i + 1] = solve_ivp(
            lambda s, y, i=i: -0.8 * y - 0.3 * y**3 + 1.5 * force_at(i, s),
            (t[i], t[i + 1]),
            x[i : i + 1],
            rtol=1e-9,
            atol=1e-11,
        ).y[0, -1]
    return x


@pytest.fixture(scope="module", params=["linear", "cubic", "hold"])
def forced(request):
    t, u, force_at = force(request.param, 300)
    clean = respond(t, force_at)
    noise = 0.01 * clean.std() * np.random.default_rng(1).standard_normal(len(t))
    return request.param, t, u, clean, clean + noise


def test_the_right_interpolation_finds_the_law_and_predicts_with_it(forced):
    kind, t, u, clean, measured = forced
    model = SMNNDiscoverer(input_interpolation=kind).fit(t, measured, u=u)
    found = dict(zip(model.terms_, model.coef_[0], strict=True))
    assert {name for name, value in found.items() if value} == set(TRUTH)
    for name, value in TRUTH.items():
        assert found[name] == pytest.approx(value, rel=0.03)
    # Simulations read the input in the same way.
    assert model.training_data_.interpolation == kind
    assert np.abs(model.simulate(t, clean[0], u=u) - clean).max() < 0.02


def test_a_wrong_interpolation_biases_the_law(forced):
    kind, t, u, _, measured = forced
    errors = {}
    for given in ("linear", "cubic", "hold"):
        model = SMNNDiscoverer(library=CustomLibrary(list(TRUTH)), input_interpolation=given)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the misfit that wrong inputs cause
            model.fit(t, measured, u=u)
        coef = dict(zip(model.terms_, model.coef_[0], strict=True))
        errors[given] = max(abs(coef[name] / TRUTH[name] - 1.0) for name in TRUTH)
    assert errors[kind] < 0.03
    assert all(errors[other] > 1.5 * errors[kind] for other in errors if other != kind)
    assert max(errors.values()) > 0.1


def test_a_function_is_used_as_it_is():
    t, _, force_at = force("cubic", 200)
    x = respond(t, force_at)
    model = SMNNDiscoverer(input_interpolation="hold")
    model.fit(t, x, u=lambda s: force_at(0, np.asarray(s)))
    coef = dict(zip(model.terms_, model.coef_[0], strict=True))
    assert {name: coef[name] for name in TRUTH} == pytest.approx(TRUTH, rel=1e-3)
    assert np.count_nonzero(model.coef_) == 3


@pytest.mark.parametrize("kind", ["cubic", "hold"])
def test_integrals_see_the_input_inside_of_every_interval(kind):
    rng = np.random.default_rng(3)
    t = np.cumsum(rng.uniform(0.05, 0.1, 60))
    u = rng.standard_normal(60) if kind == "hold" else np.cos(3.0 * t)
    run = as_trajectories(t, np.sin(t), u=u).runs[0]
    run = replace(run, interpolation=kind)
    found = integrate_between_samples(
        run,
        input_between_samples(run),
        np.sin(t)[:, None],
        np.cos(t)[:, None],
        lambda X, inputs: np.column_stack([inputs[:, 0], X[:, 0], X[:, 0] * inputs[:, 0]]),
    )
    fine = np.linspace(0.0, 1.0, 401)
    inside = t[:-1, None] + np.diff(t)[:, None] * fine
    held = np.broadcast_to(u[:-1, None], inside.shape)
    values = held if kind == "hold" else CubicSpline(t, u)(inside)
    areas = [np.trapezoid(part, inside, axis=1) for part in (values, np.sin(inside))]
    areas.append(np.trapezoid(values * np.sin(inside), inside, axis=1))
    np.testing.assert_allclose(found[1:], np.cumsum(areas, axis=1).T, atol=1e-5)
    np.testing.assert_allclose(found[1:, 0], np.cumsum(areas[0]), atol=1e-6)


def test_without_inputs_or_with_straight_lines_nothing_is_added():
    t = np.linspace(0.0, 1.0, 20)
    assert input_between_samples(as_trajectories(t, np.sin(t)).runs[0]) is None
    assert input_between_samples(as_trajectories(t, np.sin(t), u=t).runs[0]) is None


def test_sampled_inputs_are_constant_outside():
    for kind in ("linear", "cubic", "hold"):
        signal = interpolated_input([0.0, 1.0, 2.0, 3.0], [1.0, 4.0, 2.0, 5.0], kind)
        np.testing.assert_allclose(signal(np.array([-5.0, 9.0]))[:, 0], [1.0, 5.0])


def test_an_unknown_interpolation_is_refused():
    with pytest.raises(ValueError, match="input_interpolation"):
        SMNNDiscoverer(input_interpolation="spline").fit([0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
