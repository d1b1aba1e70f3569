"""Masses on a ground that moves, against SciPy's integrator."""

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp

from discoverers import SKANODERegressor
from discoverers.shooting import Observation, Record
from discoverers.structures.elements.mirror import backwards
from discoverers.structures.elements.model import Element, ElementModel
from discoverers.structures.elements.problem import Measured, Point
from discoverers.structures.elements.structure import ElementStructure

D, W = sympy.symbols("d w")
MASSES = (1.0, 1.6)
TRUE = {("ground-1", "d"), ("ground-1", "w"), ("1-2", "d"), ("1-2", "w"), ("1-2", "d**3")}


def ground(t):
    """Acceleration of the ground."""
    return np.sin(1.7 * t) + np.sin(3.3 * t) + np.sin(5.1 * t)


def absolute(t, y):
    """Ground, and two masses upon it, all seen from a frame that does not move."""
    x0, x1, x2, v0, v1, v2 = y
    first = 8.0 * (x1 - x0) + 0.2 * (v1 - v0)
    second = 6.0 * (x2 - x1) + 0.1 * (v2 - v1) + 15.0 * (x2 - x1) ** 3
    return [v0, v1, v2, ground(t), (second - first) / MASSES[0], -second / MASSES[1]]


def shaken(duration):
    """Times, positions and velocities relative to the ground, absolute accelerations."""
    t = np.arange(0.0, duration, 0.05)
    run = solve_ivp(
        absolute, (0.0, duration), np.zeros(6), t_eval=t, method="DOP853", rtol=1e-10, atol=1e-12
    )
    y = run.y.T
    rates = np.array([absolute(s, row) for s, row in zip(t, y, strict=True)])
    return t, np.hstack([y[:, 1:3] - y[:, :1], y[:, 4:6] - y[:, 3:4]]), rates[:, 4:]


def fitted(relative, structure, noise=0.01):
    t, X, absolute_accelerations = shaken(12.0)
    y = absolute_accelerations - (ground(t)[:, None] if relative else 0.0)
    y = y + noise * y.std(axis=0) * np.random.default_rng(0).standard_normal(y.shape)
    observe = "acceleration" if relative else ["v1' + u0", "v2' + u0"]
    model = SKANODERegressor(structure, observe=observe, initial_state="rest")
    return X, model.fit(t, y, u=ground(t))


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
def test_the_grounds_acceleration_drives_every_mass(relative):
    structure = ElementStructure(2, force_on="base", masses=[1.0, np.nan], laws=("d", "w", "d**3"))
    X, model = fitted(relative, structure)
    assert {tuple(row) for row in model.elements_[["ends", "law"]].values} == TRUE
    np.testing.assert_allclose(model.masses_["mass"], MASSES, rtol=0.005)
    np.testing.assert_allclose(model.states_.to_numpy(), X, atol=5e-3 * X.std())
    terms = list(model.terms_)
    np.testing.assert_array_equal(model.coef_[2:, terms.index("u0")], [-1.0, -1.0])
    np.testing.assert_array_equal(model.coef_std_[2:, terms.index("u0")], 0.0)
    for equation in list(model.equations_)[2:]:
        assert equation.coeff(sympy.Symbol("u0")) == -1


def test_the_model_moves_as_seen_from_the_ground_and_knows_its_slopes():
    t, X, accelerations = shaken(3.0)
    laws = [(0, 1, D), (0, 1, W), (1, 2, D), (1, 2, W), (1, 2, D**3)]
    rates = np.array([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    measured = Measured(
        (Record.make(t, accelerations, ground(t), interpolation=lambda s: ground(s)[:, None]),),
        Observation.linear(["a1", "a2"], rates=rates, inputs=np.ones((2, 1))),
        np.full(2, 0.1),
        ElementModel(2, tuple(Element(*law) for law in laws), (0,)),
        np.ones(2, dtype=bool),
        np.zeros((1, 4), dtype=bool),
        0.0,
        1.0,
        (4,),
    )
    strengths = np.array([8.0, 0.2, 6.0, 0.1, 15.0])
    true = Point((0, 1, 2, 3, 4), strengths, np.log(MASSES), np.zeros((1, 4)))
    (path,) = measured.paths(true)
    np.testing.assert_allclose(measured.elements.external(path.X), X, atol=1e-6)
    np.testing.assert_allclose(measured.residuals(true)[0], 0.0, atol=1e-4)
    away = Point(true.support, 1.1 * strengths, np.log([1.1, 1.5]), true.start)
    slope = measured.normal(away).gradient
    for place in range(7):
        step = np.zeros(7)
        step[place] = 1e-5
        up, down = (measured.cost(measured.moved(away, sign * step)) for sign in (1.0, -1.0))
        assert slope[place] == pytest.approx(-(up - down) / 4e-5, rel=1e-5, abs=1e-3)


def test_the_ground_tells_which_way_masses_go():
    elements = (Element(0, 1, D), Element(1, 2, D))
    point = Point((0, 1), np.array([9.0, -5.0]), np.zeros(2), np.zeros((1, 4)))
    assert backwards(point, ElementModel(2, elements, (1,))) == [2]
    assert backwards(point, ElementModel(2, elements, (0,))) == []


def test_masses_need_a_scale_when_the_ground_alone_drives_them():
    with pytest.raises(ValueError, match="ground's acceleration is none.*masses="):
        ElementStructure(2, force_on="base").state_names(["a1", "a2"], ["u0"])
    both = ElementStructure(2, force_on=["base", 2])
    assert both.state_names(["a1", "a2"], ["ground", "force"]) == ("x1", "x2", "v1", "v2")


@pytest.mark.parametrize("force_on", [["bottom"], [0], [3], [1.5]])
def test_what_force_on_cannot_mean_is_told(force_on):
    with pytest.raises(ValueError, match="masses from 1 to 2, or 'base'"):
        ElementStructure(2, force_on=force_on).state_names(["a1", "a2"], ["u0"])
