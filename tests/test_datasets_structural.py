"""Forced records solve the equations that the sources give, corners and jumps included."""

import itertools
import math
import pickle

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from discoverers import datasets
from discoverers.datasets import (
    NONLINEARITIES,
    Tones,
    bouc_wen,
    dahl,
    duffing_forced,
    make_forced_system,
    mass_chain,
    maxwell,
    nonlinear_oscillator,
    observe,
    van_der_pol_forced,
)
from discoverers.datasets.ode45 import ode45
from discoverers.datasets.switching import integrate_exactly, modal_rates
from discoverers.equations import Equations


def clearance(x):
    return 2.0 * np.sign(x) * np.maximum(np.abs(x) - 0.5, 0.0)


# Accelerations written a second time, by hand, without the force.
BY_HAND = {
    "cubic": lambda x, v: -x - 0.1 * v - x**3,
    "quadratic": lambda x, v: -3 * x - 0.1 * v - 0.5 * x**2,
    "signed_square": lambda x, v: -x - 0.1 * v - np.abs(x) * x,
    "quadratic_damping": lambda x, v: -x - 0.1 * v - 0.3 * np.abs(v) * v,
    "sine": lambda x, v: -0.2 * v - 4 * np.sin(x),
    "tanh": lambda x, v: -0.2 * v - 3 * np.tanh(x),
    "coulomb": lambda x, v: -2 * x - 0.1 * v - 0.3 * np.sign(v),
    "clearance": lambda x, v: -x - 0.1 * v - clearance(x),
    "van_der_pol": lambda x, v: -x + (1 - x**2) * v,
    "rayleigh": lambda x, v: -x + v - v**3 / 3,
}
SMOOTH = {
    "duffing_forced": (duffing_forced(), lambda x, v: -1.5 * x - 0.1 * v - 10 * x**3),
    "van_der_pol_forced": (van_der_pol_forced(mu=2.0), lambda x, v: 2 * (1 - x**2) * v - x),
    **{name: (nonlinear_oscillator(name), BY_HAND[name]) for name in ("cubic", "sine", "rayleigh")},
}


def fixed_steps(rhs, x0, t, substeps):
    """Runge-Kutta of order 4 in many small steps: knows nothing of corners."""
    x, rows = np.array(x0, dtype=float), [np.array(x0, dtype=float)]
    for start, end in itertools.pairwise(t):
        h = (end - start) / substeps
        for i in range(substeps):
            now = start + i * h
            k1 = np.array(rhs(now, x))
            k2 = np.array(rhs(now + h / 2, x + h / 2 * k1))
            k3 = np.array(rhs(now + h / 2, x + h / 2 * k2))
            k4 = np.array(rhs(now + h, x + h * k3))
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        rows.append(x)
    return np.array(rows)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_records_agree_with_a_tight_integration(name):
    system, acceleration = SMOOTH[name]
    record = observe(system, ("x", "v", "a"), t=system.t[:201])
    reference = solve_ivp(
        lambda t, x: (x[1], acceleration(*x) + float(system.force(t))),
        (0, record.t[-1]),
        [0, 0],
        method="LSODA",
        t_eval=record.t,
        rtol=1e-10,
        atol=1e-12,
    ).y.T
    np.testing.assert_allclose(record.y[:, :2], reference, atol=1e-7)
    force = system.force(record.t)
    np.testing.assert_allclose(record.y[:, 2], acceleration(*record.y[:, :2].T) + force, atol=1e-12)


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_the_ten_laws_are_those_of_the_hand_written_accelerations(name):
    system = nonlinear_oscillator(name)
    X, u = np.random.default_rng(0).normal(size=(50, 2)), np.linspace(-1, 1, 50)[:, None]
    rates = system.equations.lambdify("numpy")(X, u)
    np.testing.assert_allclose(rates[:, 0], X[:, 1])
    np.testing.assert_allclose(rates[:, 1], BY_HAND[name](*X.T) + u[:, 0], rtol=1e-13, atol=1e-14)


def test_there_are_ten_laws_and_every_one_leaves_its_linear_range():
    assert set(NONLINEARITIES) == set(BY_HAND)
    for name in NONLINEARITIES:
        system = nonlinear_oscillator(name)
        record = observe(system, t=system.t[: system.n_train])
        A = np.column_stack([record.states, record.u])
        residual = record.clean[:, 0] - A @ np.linalg.lstsq(A, record.clean[:, 0])[0]
        assert residual.std() > 0.02 * record.clean.std(), name


@pytest.mark.parametrize("name", ["signed_square", "quadratic_damping", "clearance"])
def test_corners_are_integrated_as_exactly_as_tiny_steps_do(name):
    system = nonlinear_oscillator(name)
    record = observe(system, t=system.t[:101])
    tiny = fixed_steps(
        lambda t, x: (x[1], BY_HAND[name](*x) + float(system.force(t))), [0, 0], record.t, 100
    )
    np.testing.assert_allclose(record.states, tiny, atol=3e-7)


def test_dry_friction_takes_the_same_from_every_half_swing_and_then_holds():
    # Free decay of x'' = -k x - F sign(x'): turning points shrink by 2 F / k, and the mass stays
    # where the spring can no longer move it.
    k, friction = 4.0, 0.3
    x, v, u = sympy.symbols("x v u")
    system = make_forced_system(
        "sliding",
        {"x": v, "v": -k * x - friction * sympy.sign(v) + u},
        force=Tones((0.0,), (1.0,)),
        parameters={},
        source="Den Hartog 1931",
        x0=[1.0, 0.0],
        step=math.pi / 2 / 10,
        duration=12 * math.pi / 2,
    )
    record = observe(system)
    turning = record.states[::10, 0]
    expected = [1.0]
    while abs(expected[-1]) > friction / k:
        expected.append(-np.sign(expected[-1]) * (abs(expected[-1]) - 2 * friction / k))
    expected += [expected[-1]] * (turning.size - len(expected))
    np.testing.assert_allclose(turning, expected, atol=1e-9)
    held = slice(10 * len(set(expected)), None)
    np.testing.assert_allclose(record.states[held, 1], 0, atol=1e-9)
    np.testing.assert_allclose(record.clean[held], 0, atol=1e-9)


def test_a_force_below_the_friction_moves_nothing_and_one_above_does():
    resting = observe(nonlinear_oscillator("coulomb", amplitude=0.14))
    np.testing.assert_allclose(resting.states, 0, atol=1e-9)
    moving = observe(nonlinear_oscillator("coulomb", amplitude=0.6))
    first = np.flatnonzero(np.abs(moving.states[:, 1]) > 1e-9)[0]
    force = moving.u[:, 0]
    # It breaks loose between the samples around the time when the force passes the friction.
    assert force[first] > 0.3 > force[first - 1]


@pytest.mark.parametrize("law", ["coulomb", "clearance"])
def test_energy_of_a_non_smooth_law_balances(law):
    system = nonlinear_oscillator(law, amplitude=1.5)
    t = np.linspace(0.0, 10.0, 10_001)
    record = observe(system, t=t)
    x, v = record.states.T
    if law == "coulomb":
        stored, lost = x**2 + v**2 / 2, 0.1 * v**2 + 0.3 * np.abs(v)
    else:
        beyond = np.maximum(np.abs(x) - 0.5, 0)
        stored, lost = x**2 / 2 + beyond**2 + v**2 / 2, 0.1 * v**2
    power = record.u[:, 0] * v - lost
    supplied = np.concatenate([[0], np.cumsum((power[1:] + power[:-1]) / 2 * np.diff(t))])
    np.testing.assert_allclose(stored, supplied, atol=3e-6)


HYSTERETIC = {
    "bouc_wen": (bouc_wen(), lambda v, z: v - 0.5 * abs(v) * z - 0.5 * v * abs(z)),
    "sharp": (bouc_wen(exponent=2), lambda v, z: v - 0.5 * abs(v) * abs(z) * z - 0.5 * v * z**2),
    "dahl": (dahl(), lambda v, z: 2 * v - 4 * abs(v) * z),
}


@pytest.mark.parametrize("name", HYSTERETIC)
def test_hysteretic_records_agree_with_tiny_steps(name):
    system, rate = HYSTERETIC[name]
    record = observe(system, t=system.t[:81])

    def rhs(t, s):
        x, v, z = s
        return v, -x - 0.1 * v - z + float(system.force(t)), rate(v, z)

    np.testing.assert_allclose(record.states, fixed_steps(rhs, [0, 0, 0], record.t, 100), atol=3e-7)
    np.testing.assert_allclose(record.rates[:, 2], rate(*record.states[:, 1:].T), atol=1e-12)


def test_bouc_wen_force_never_passes_its_saturation_and_loses_energy():
    record = observe(bouc_wen(amplitude=4.0))
    _, v, z = record.states.T
    assert 0.95 < np.abs(z).max() < 1.0
    assert np.trapezoid(z * v, record.t) > 0


def test_dahl_force_is_the_closed_form_of_the_displacement():
    # While the motion keeps its direction, dz/dx = sigma (1 - z/F): exponential in x.
    record = observe(dahl(), t=np.linspace(0, 2.0, 201))
    x, v, z = record.states[1:].T
    one_way = v > 0
    assert one_way[:50].all()
    first = slice(0, int(np.argmin(one_way)) if not one_way.all() else None)
    np.testing.assert_allclose(z[first], 0.5 * (1 - np.exp(-4 * x[first])), atol=1e-9)


def test_maxwell_record_is_the_matrix_exponential():
    system = maxwell()
    x0 = [0.3, -0.2, 0.1]
    record = observe(maxwell(amplitude=0.0), ("x", "z"), t=np.linspace(0, 5, 11), x0=x0)
    A = np.array([[0, 1, 0], [-1, -0.1, -1], [0, 1, -1]])
    exact = np.array([expm(A * time) @ x0 for time in record.t])
    np.testing.assert_allclose(record.y, exact[:, [0, 2]], atol=1e-10)
    assert system.hidden_names == ("z",)


@pytest.mark.parametrize("mode", [1, 2, 3])
def test_linear_chain_swings_in_its_closed_form_modes(mode):
    # Fixed at one end, free at the other: w_k = 2 sqrt(k/m) sin((2k - 1) pi / (4n + 2)).
    n, k = 3, 10.0
    angle = (2 * mode - 1) * math.pi / (2 * n + 1)
    shape = np.sin(angle * np.arange(1, n + 1))
    frequency = 2 * math.sqrt(k) * math.sin(angle / 2)
    chain = mass_chain(n, stiffness=k, damping=0.0, cubic_at=None, amplitude=0.0)
    record = observe(chain, t=np.linspace(0, 4, 41), x0=[*shape, 0, 0, 0])
    swing = np.cos(frequency * record.t)[:, None] * shape
    np.testing.assert_allclose(record.states[:, :n], swing, atol=1e-9)
    np.testing.assert_allclose(record.y, -(frequency**2) * swing, atol=1e-8)
    assert record.channels == ("a1", "a2", "a3")


@pytest.mark.parametrize(("place", "force_at"), [(1, -1), (2, 1), (3, 2)])
def test_chain_conserves_energy_with_its_cubic_spring_where_it_says(place, force_at):
    masses, k = np.array([1.0, 2.0, 0.5]), np.array([10.0, 20.0, 30.0])
    chain = mass_chain(
        3, masses=masses, stiffness=k, damping=0.0, cubic=8.0, cubic_at=place, force_at=force_at
    )
    t = np.linspace(0, 5, 5001)
    record = observe(chain, t=t)
    x, v = record.states[:, :3], record.states[:, 3:]
    stretch = np.diff(x, axis=1, prepend=0)
    stored = (v**2 @ masses + stretch**2 @ k) / 2 + 2.0 * stretch[:, place - 1] ** 4
    power = record.u[:, 0] * v[:, force_at - 1 if force_at > 0 else -1]
    supplied = np.concatenate([[0], np.cumsum((power[1:] + power[:-1]) / 2 * np.diff(t))])
    assert stored.max() > 0.1
    np.testing.assert_allclose(stored, supplied, atol=2e-5)


def test_ode45_takes_the_steps_of_the_published_duffing_record():
    # 167 steps of MATLAB at its default tolerances, and errors of 9e-3, are on record.
    system = duffing_forced()
    X, n_steps = ode45(
        lambda t, x: (x[1], -1.5 * x[0] - 0.1 * x[1] - 10 * x[0] ** 3 + math.sin(math.pi * t)),
        system.t,
        system.x0,
    )
    assert n_steps == 167
    record, exact = observe(system, integrator="ode45"), observe(system)
    np.testing.assert_allclose(record.states, X, atol=1e-12)
    assert 8e-3 < np.abs(record.states - exact.states).max() < 1e-2


@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-8])
def test_ode45_error_follows_its_tolerance(rtol):
    t = np.linspace(0, 10, 101)
    X, _ = ode45(lambda t, x: (x[1], -x[0]), t, np.array([1.0, 0.0]), rtol=rtol, atol=rtol * 1e-3)
    assert np.abs(X[:, 0] - np.cos(t)).max() < 20 * rtol
    assert np.abs(X[:, 0] - np.cos(t)).max() > 1e-3 * rtol


def test_ode45_says_where_a_solution_ends():
    with pytest.raises(ValueError, match=r"no step short enough at t=0\.9"):
        ode45(lambda t, x: x**2, np.linspace(0, 2, 21), np.array([1.0]))


def test_noise_has_the_stated_absolute_size_and_is_repeatable():
    system = duffing_forced()
    record = observe(system, noise=0.05, seed=3)
    assert record.noise_std == 0.05
    assert (record.y - record.clean).std() == pytest.approx(0.05, rel=0.1)
    some = {"noise": 0.05, "t": system.t[:50]}
    again = observe(system, seed=3, **some)
    np.testing.assert_array_equal(again.y, observe(system, seed=3, **some).y)
    assert not np.array_equal(again.y, observe(system, seed=4, **some).y)
    clean = observe(system, t=system.t[:50])
    np.testing.assert_array_equal(clean.y, again.clean)


def test_records_are_cut_named_and_tabulated():
    record = observe(mass_chain(2), ("a2", "x1"), noise=0.01, seed=0)
    assert list(record.to_frame().columns) == ["t", "u", "a2", "x1"]
    train = record.training()
    assert train.t.size == record.system.n_train == 401
    np.testing.assert_array_equal(train.y, record.y[:401])
    np.testing.assert_array_equal(record.channel("x1"), record.states[:, 0])
    np.testing.assert_array_equal(record.channel("a1"), record.rates[:, 2])
    assert observe(mass_chain(2), "velocity").channels == ("v1", "v2")
    assert observe(duffing_forced(), "displacement").channels == ("x",)
    system = pickle.loads(pickle.dumps(duffing_forced().force))
    np.testing.assert_allclose(system(np.array([0.5, 1.0])), [1, 0], atol=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: observe(duffing_forced(), noise=-1), "noise=-1"),
        (lambda: observe(duffing_forced(), ("b",)), "has the channels x, v, a"),
        (lambda: observe(duffing_forced(), ()), "has the channels x, v, a"),
        (lambda: observe(duffing_forced(), integrator="euler"), "integrator='euler'"),
        (lambda: observe(duffing_forced(), t=[1.0]), "two increasing times"),
        (lambda: observe(duffing_forced(), x0=[0.0]), "2 finite values"),
        (lambda: observe(duffing_forced(cubic=-10.0)), "does not reach t=60"),
        (lambda: nonlinear_oscillator("cube"), "law='cube' is not known"),
        (lambda: nonlinear_oscillator("sine", gap=1.0), "the law 'sine' has the parameters c, e"),
        (lambda: bouc_wen(exponent=0), "exponent=0"),
        (lambda: mass_chain(0), "n_dof=0"),
        (lambda: mass_chain(2, cubic_at=3), "elements are numbered 1 to 2"),
        (lambda: mass_chain(2, force_at=0), "masses are numbered 1 to 2"),
        (lambda: mass_chain(2, stiffness=[1.0]), "one finite number or 2"),
        (lambda: Tones((1.0,), (1.0, 2.0)), "differ in length"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_systems_that_are_no_chain_of_derivatives_are_refused():
    x, v, u, k = sympy.symbols("x v u k")
    options = {"force": Tones((1.0,), (1.0,)), "source": "none"}
    with pytest.raises(ValueError, match="must be the velocity"):
        make_forced_system("a", {"x": 2 * v, "v": -x}, parameters={}, **options)
    with pytest.raises(ValueError, match="k, which is neither"):
        make_forced_system("a", {"x": v, "v": -k * x}, parameters={}, **options)
    with pytest.raises(ValueError, match="x0="):
        make_forced_system("a", {"x": v, "v": -x}, parameters={}, x0=[1.0], **options)
    with pytest.raises(ValueError, match="only states may switch"):
        make_forced_system("a", {"x": v, "v": -sympy.Abs(u)}, parameters={}, **options)


def test_a_corner_met_at_a_sampling_time_loses_no_sample():
    # x = cos(t): |x| switches at odd multiples of pi/2, which are sampled.
    equations = Equations(["v", "-x", "Abs(x)"], ["x", "v", "w"])
    assert modal_rates(equations).n_switches == 1
    t = np.arange(9) * math.pi / 2
    X, rates = integrate_exactly(equations, t, np.array([1.0, 0.0, 0.0]), lambda time: ())
    np.testing.assert_allclose(X[:, 2], np.arange(9), atol=1e-9)
    np.testing.assert_allclose(rates[:, 0], -np.sin(t), atol=1e-9)


def test_all_names_of_the_package_exist():
    assert all(hasattr(datasets, name) for name in datasets.__all__)
    assert len(set(datasets.__all__)) == len(datasets.__all__)
