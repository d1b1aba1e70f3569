"""Elements between masses against SciPy's integrators, finite differences and dense algebra."""

import warnings

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp
from sklearn.base import clone

from discoverers import SKANODERegressor
from discoverers.shooting import Observation, Record
from discoverers.structures.elements.mirror import backwards, mirrored
from discoverers.structures.elements.model import Element, ElementModel, MomentumObservation
from discoverers.structures.elements.problem import Measured, Point, tangent_of
from discoverers.structures.elements.structure import ElementStructure

D, W = sympy.symbols("d w")
CUBIC = ("d", "w", "d**3")


def tones(t):
    return 2.0 * (np.sin(1.7 * t) + np.sin(3.3 * t) + np.sin(5.1 * t))


def two_masses(t, y, masses=(1.0, 1.6), force=tones):
    """A chain written by hand: ground - 1 - 2, cubic spring between the masses, force on 2."""
    x1, x2, v1, v2 = y
    first = 8.0 * x1 + 0.2 * v1
    second = 12.0 * (x2 - x1) + 0.1 * (v2 - v1) + 15.0 * (x2 - x1) ** 3
    return [v1, v2, (second - first) / masses[0], (force(t) - second) / masses[1]]


def solved(rates, t, y0, **options):
    run = solve_ivp(rates, (t[0], t[-1]), y0, t_eval=t, method="DOP853", rtol=1e-10, atol=1e-12,
                    **options)  # fmt: skip
    return run.y.T, np.array([rates(s, y) for s, y in zip(t, run.y.T, strict=True)])


def record_of(noise=0.01, seed=0, duration=12.0, y0=(0.0, 0.0, 0.0, 0.0), **options):
    t = np.arange(0.0, duration, 0.05)
    X, F = solved(lambda s, y: two_masses(s, y, **options), t, y0)
    rng = np.random.default_rng(seed)
    return t, X, F, F[:, 2:] + noise * rng.normal(size=(len(t), 2))


def fitted(t, y, u, structure=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"initial_state": "rest"} | options
        structure = structure or ElementStructure(2, force_on=2, laws=CUBIC)
        return SKANODERegressor(structure, **options).fit(t, y, u=u)


def chosen(model):
    return {tuple(row) for row in model.elements_[["ends", "law"]].values}


TRUE = {("ground-1", "d"), ("ground-1", "w"), ("1-2", "d"), ("1-2", "w"), ("1-2", "d**3")}


def small_problem(start=None, laws=(D, W, D**3), free_start=False):
    """Measured accelerations of two masses, and a point away from the truth."""
    t, _, _, y = record_of(duration=3.0)
    elements = tuple(Element(i, j, law) for i, j in ((0, 1), (0, 2), (1, 2)) for law in laws)
    rates = np.array([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    measured = Measured(
        (Record.make(t, y, tones(t)),),
        Observation.linear(["a1", "a2"], rates=rates, n_inputs=1),
        np.full(2, 0.1),
        ElementModel(2, elements, (2,)),
        np.ones(2, dtype=bool),
        np.full((1, 4), free_start),
        0.0,
        1.0,
        (2,),
    )
    begin = np.zeros((1, 4)) if start is None else np.array([start])
    point = Point((0, 1, 6, 8), np.array([7.0, 0.3, 11.0, 13.0]), np.log([1.1, 1.5]), begin)
    return measured, point


def test_states_in_momenta_move_as_scipy_moves_positions_and_velocities():
    t = np.arange(0.0, 6.0, 0.05)
    start = (0.3, -0.2, 0.5, 0.1)
    X, F = solved(two_masses, t, start)
    elements = (Element(0, 1, D), Element(0, 1, W), Element(1, 2, D), Element(1, 2, W),
                Element(1, 2, D**3))  # fmt: skip
    measured = Measured(
        (Record.make(t, F[:, 2:], tones(t), interpolation=lambda s: tones(s)[:, None]),),
        Observation.linear(["a1", "a2"], rates=np.eye(4)[2:], n_inputs=1),
        np.ones(2),
        ElementModel(2, elements, (2,)),
        np.zeros(2, dtype=bool),
        np.zeros((1, 4), dtype=bool),
        0.0,
        1.0,
        (8,),
    )
    strengths = np.array([8.0, 0.2, 12.0, 0.1, 15.0])
    point = Point((0, 1, 2, 3, 4), strengths, np.log([1.0, 1.6]), np.array([start]))
    (path,) = measured.paths(point)
    np.testing.assert_allclose(measured.elements.external(path.X), X, atol=1e-6)
    (residual,) = measured.residuals(point)
    np.testing.assert_allclose(residual, 0.0, atol=1e-5)


def test_a_mirrored_mass_leaves_the_others_motion_as_it_is():
    t = np.arange(0.0, 6.0, 0.05)
    laws = (D, W, D**3, D**2)
    elements = tuple(
        Element(i, j, law) for i, j in ((0, 1), (0, 2), (0, 3), (1, 2), (2, 3)) for law in laws
    )
    model = ElementModel(3, elements, (3,))
    start = np.array([[0.2, -0.3, 0.1, 0.0, 0.4, -0.2]])
    record = Record.make(t, np.zeros((len(t), 3)), tones(t))
    measured = Measured(
        (record,),
        Observation.linear(["a1", "a2", "a3"], rates=np.eye(6)[3:], n_inputs=1),
        np.ones(3),
        model,
        np.zeros(3, dtype=bool),
        np.zeros((1, 6), dtype=bool),
        0.0,
        1.0,
        (4,),
    )
    held = {(0, 1, D): 9.0, (0, 1, D**3): 7.0, (0, 2, D): 4.0, (0, 2, D**3): 3.0, (0, 2, D**2): 1.0,
            (1, 2, D): -5.0, (1, 2, W): -0.3, (2, 3, D): -4.0, (2, 3, W): -0.2}  # fmt: skip
    support = tuple(
        k for k, each in enumerate(elements) if (each.first, each.second, each.law) in held
    )
    point = Point(
        support,
        np.array([held[elements[k].first, elements[k].second, elements[k].law] for k in support]),
        np.log([1.0, 1.7, 0.8]),
        start,
    )
    # Mass 1 has a spring between it and mass 2 alone, that pushes; mass 3 knows the force.
    assert backwards(point, model) == [1, 2]
    turned = mirrored(point, model, 2)
    (before,), (after,) = measured.residuals(point), measured.residuals(turned)
    assert np.abs(before).max() > 1.0
    np.testing.assert_allclose(after, before * [1.0, -1.0, 1.0], atol=1e-9)
    springs = {
        (elements[k].first, elements[k].second): v
        for k, v in zip(turned.support, turned.strengths, strict=True)
        if elements[k].law == D
    }
    assert springs == {(0, 1): -1.0, (0, 2): -14.0, (0, 3): -8.0, (1, 2): 5.0, (2, 3): 4.0}


def test_inner_elements_keep_the_total_momentum():
    laws = (D, W, D**2, D**3, sympy.Abs(W) * W, sympy.sign(W))
    pairs = ((1, 2), (1, 3), (2, 3))
    elements = tuple(Element(i, j, law) for i, j in pairs for law in laws)
    model = ElementModel(3, elements, ()).model
    rng = np.random.default_rng(0)
    theta = np.concatenate([np.ones(3), rng.normal(size=len(elements))])
    states = rng.normal(size=(20, 9))
    forces = model.rates(states, np.zeros((20, 0)), theta)[:, 3:6]
    assert np.abs(forces).max() > 1.0
    np.testing.assert_allclose(forces.sum(axis=1), 0.0, atol=1e-12)


def test_ground_elements_pull_back():
    model = ElementModel(1, (Element(0, 1, D), Element(0, 1, sympy.sign(W))), ()).model
    rates = model.rates(np.array([[0.5, 2.0, 0.5]]), np.zeros((1, 0)), np.array([1.0, 3.0, 4.0]))
    np.testing.assert_allclose(rates, [[1.0, -1.5 - 4.0, 0.0]])


def test_observation_slopes_are_finite_differences():
    rng = np.random.default_rng(1)
    inner = Observation.linear(
        ["p", "q"], rng.normal(size=(2, 4)), rng.normal(size=(2, 4)), rng.normal(size=(2, 1))
    )
    observed = MomentumObservation(inner, 2, 1)
    X, F, U = rng.normal(size=(3, 6)), rng.normal(size=(3, 6)), rng.normal(size=(3, 1))
    for place, slopes in enumerate(observed.jacobians(X, F, U)):
        for j in range(6):
            step = np.zeros((3, 6))
            step[:, j] = 1e-6
            up = (X + step, F, U) if place == 0 else (X, F + step, U)
            down = (X - step, F, U) if place == 0 else (X, F - step, U)
            numeric = (observed.values(*up) - observed.values(*down)) / 2e-6
            np.testing.assert_allclose(np.broadcast_to(slopes, (3, 2, 6))[..., j], numeric,
                                       atol=1e-7)  # fmt: skip


def jacobian(measured, point):
    """Derivatives of the predictions by strengths, log masses and start, by differences."""
    size = len(point.strengths) + 2 + int(measured.free_start.sum())
    columns = []
    for j in range(size):
        step = np.zeros(size)
        step[j] = 1e-6
        up = measured.residuals(measured.moved(point, step))[0]
        down = measured.residuals(measured.moved(point, -step))[0]
        columns.append(-(up - down).ravel() / 2e-6)
    return np.column_stack(columns)


@pytest.mark.parametrize("start", [None, (0.2, -0.1, 0.4, 0.3)])
def test_normal_equations_are_those_of_finite_differences(start):
    measured, point = small_problem(start, free_start=start is not None)
    normal = measured.normal(point)
    J, r = jacobian(measured, point), measured.residuals(point)[0].ravel()
    # The prior on the log masses, whose deviations from their mean count 1 / 0.7 each.
    k, away = len(point.strengths), point.log_masses
    spread = (np.eye(2) - 0.5) / 0.7**2 + np.full((2, 2), 0.5) / 2.0**2
    matrix, gradient = J.T @ J, J.T @ r
    matrix[k : k + 2, k : k + 2] += spread
    gradient[k : k + 2] -= spread @ away
    np.testing.assert_allclose(normal.matrix, matrix, rtol=1e-5, atol=1e-5 * matrix.max())
    np.testing.assert_allclose(normal.gradient, gradient, rtol=1e-4, atol=1e-6 * matrix.max())
    assert normal.cost == pytest.approx(r @ r + away @ spread @ away)


def test_tangent_prices_subsets_as_dense_least_squares_does():
    measured, point = small_problem()
    normal = tangent_of(measured, point)
    every = point.moved_to(range(9))
    J, r = jacobian(measured, every), measured.residuals(every)[0].ravel()
    root = np.linalg.cholesky((np.eye(2) - 0.5) / 0.7**2 + np.full((2, 2), 0.5) / 2.0**2).T
    prior = np.hstack([np.zeros((2, 9)), root])
    target = np.concatenate([r + J[:, :9] @ every.strengths, -root @ every.log_masses])
    rows = np.vstack([J, prior])
    for subset in ((0,), (0, 6), (0, 1, 6, 8), (2, 3, 7)):
        used = rows[:, [*subset, 9, 10]]
        answer, *_ = np.linalg.lstsq(used, target, rcond=None)
        loss = np.sum((target - used @ answer) ** 2)
        assert normal.loss(subset) == pytest.approx(loss, rel=1e-4)
        np.testing.assert_allclose(normal.solve(subset), answer[:-2], rtol=1e-3, atol=1e-4)


def test_calibration_reaches_the_truth_from_afar():
    measured, point = small_problem()
    measured = Measured(**{**measured.__dict__, "noise_std": np.full(2, 0.01), "substeps": (4,)})
    start = point.moved_to((0, 1, 6, 7, 8))
    found, cost, converged = measured.minimise(start, 60, 1e-9)
    assert converged
    assert cost == pytest.approx(measured.n_observed, rel=0.3)
    np.testing.assert_allclose(found.strengths[[0, 2, 4]], [8.0, 12.0, 15.0], rtol=0.05)
    np.testing.assert_allclose(np.exp(found.log_masses), [1.0, 1.6], rtol=0.05)


@pytest.fixture(scope="module")
def chain():
    t, X, F, y = record_of()
    return t, X, F, fitted(t, y, tones(t))


def test_elements_and_masses_of_two_masses_are_found(chain):
    _, X, _, model = chain
    assert chosen(model) == TRUE
    table = model.elements_.set_index(["ends", "law"])
    true = {("ground-1", "d"): 8.0, ("ground-1", "w"): 0.2, ("1-2", "d"): 12.0,
            ("1-2", "w"): 0.1, ("1-2", "d**3"): 15.0}  # fmt: skip
    for key, value in true.items():
        error = abs(table.loc[key, "strength"] - value)
        assert error < 4.0 * table.loc[key, "std_error"]
        assert table.loc[key, "std_error"] < 0.05 * value
    assert np.all(np.abs(model.masses_["mass"] - [1.0, 1.6]) < 4.0 * model.masses_["std_error"])
    assert np.mean((model.states_.to_numpy() - X) ** 2) < 1e-6
    assert model.converged_


def test_equations_hold_for_any_state_and_conserve_momentum(chain):
    *_, model = chain
    rng = np.random.default_rng(3)
    states, force = rng.normal(size=(10, 4)), rng.normal(size=(10, 1))
    rates = model.derivative(states, u=force)
    exact = np.array([two_masses(0.0, y, force=lambda _, u=u: u[0]) for y, u in
                      zip(states, force, strict=True)])  # fmt: skip
    np.testing.assert_allclose(rates, exact, rtol=0.05, atol=0.2)
    # What the ground and the force put in is all that changes the momentum.
    m, table = model.masses_["mass"].to_numpy(), model.elements_.set_index(["ends", "law"])
    put_in = force[:, 0] - (
        table.loc[("ground-1", "d"), "strength"] * states[:, 0]
        + table.loc[("ground-1", "w"), "strength"] * states[:, 2]
    )
    np.testing.assert_allclose(rates[:, 2:] @ m, put_in, rtol=1e-9, atol=1e-9)


def test_coefficients_are_those_of_the_equations(chain):
    *_, model = chain
    for row, terms in zip(model.coef_, model.equations_.terms().values(), strict=True):
        written = {str(term): value for term, value in terms.items()}
        listed = {term: value for term, value in zip(model.terms_, row, strict=True) if value}
        assert written == pytest.approx(listed)
    stiffness = list(model.terms_).index("x1")
    assert 0.0 < model.coef_std_[2, stiffness] < 0.2


def test_known_masses_stay_as_they_are():
    t, _, _, y = record_of(duration=8.0)
    structure = ElementStructure(2, force_on=2, laws=CUBIC, masses=[1.0, np.nan])
    model = fitted(t, y, tones(t), structure)
    assert model.masses_["mass"].iloc[0] == 1.0
    assert model.masses_["known"].tolist() == [True, False]
    assert model.masses_["mass"].iloc[1] == pytest.approx(1.6, rel=0.02)
    assert "mass 1" not in model.parameter_names_


def test_two_runs_share_masses_and_elements():
    runs = [record_of(seed=seed, duration=7.0, y0=y0) for seed, y0 in
            ((0, (0.0, 0.0, 0.0, 0.0)), (1, (0.3, -0.2, 0.0, 0.5)))]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SKANODERegressor(ElementStructure(2, force_on=2, laws=CUBIC)).fit(
            [run[0] for run in runs],
            [run[3] for run in runs],
            u=[tones(run[0]) for run in runs],
            x0=[run[1][0] for run in runs],
        )
    assert chosen(model) == TRUE
    assert np.mean((model.solution_[1].X - runs[1][1]) ** 2) < 1e-6


def test_free_vibration_needs_a_mass():
    t, _, _, y = record_of(duration=8.0, y0=(0.8, -0.5, 0.0, 0.0), force=lambda _: 0.0)
    structure = ElementStructure(2, laws=CUBIC)
    with pytest.raises(ValueError, match=r"masses=\[\.\.\.\]"):
        SKANODERegressor(structure).fit(t, y)
    known = clone(structure).set_params(masses=[1.0, np.nan])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SKANODERegressor(known).fit(t, y, x0=[0.8, -0.5, 0.0, 0.0])
    assert chosen(model) == TRUE
    assert model.masses_["mass"].iloc[1] == pytest.approx(1.6, rel=0.02)


def test_forbidden_forces_are_not_used():
    t, _, _, y = record_of(duration=3.0)
    model = fitted(t, y, tones(t), forbidden=["(x1 - x2)**3"])
    assert ("1-2", "d**3") not in chosen(model)


def test_noise_alone_gives_finite_answers():
    rng = np.random.default_rng(0)
    t = np.arange(0.0, 3.0, 0.05)
    model = fitted(t, rng.normal(size=(len(t), 2)), tones(t))
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.states_.to_numpy()).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"force_on": 3}, "force_on must name masses from 1 to 2"),
        ({"force_on": [1, 2]}, "2 mass"),
        ({"masses": [1.0]}, "2 positive numbers"),
        ({"masses": [1.0, -1.0]}, "2 positive numbers"),
        ({"connections": [(1, 1)]}, "two different numbers"),
        ({"connections": [(0, 3)]}, "two different numbers"),
    ],
)
def test_what_does_not_fit_is_named(parameters, message):
    t = np.arange(0.0, 2.0, 0.1)
    with pytest.raises(ValueError, match=message):
        fitted(t, np.zeros((20, 2)), np.ones(20), ElementStructure(2, **parameters))


@pytest.mark.slow
@pytest.mark.parametrize(("force", "seen"), [(3, (0, 2)), (1, (0, 1))])
def test_an_unmeasured_mass_of_three_is_followed(force, seen):
    def rates(t, y):
        x, v = y[:3], y[3:]
        stretch, slip = np.diff(x, prepend=0.0), np.diff(v, prepend=0.0)
        pull = 10.0 * stretch + 0.1 * slip
        pull[0] += 10.0 * stretch[0] ** 3
        total = np.append(pull[1:], 0.0) - pull
        total[force - 1] += tones(t)
        return np.concatenate([v, total])

    t = np.arange(0.0, 20.0, 0.05)
    X, F = solved(rates, t, np.zeros(6))
    y = F[:, [3 + mass for mass in seen]]
    y = y + 0.01 * np.random.default_rng(0).normal(size=y.shape)
    observe = [f"acceleration {mass + 1}" for mass in seen]
    model = fitted(t, y, tones(t), ElementStructure(3, force_on=force), observe=observe)
    joints = ("ground-1", "1-2", "2-3")
    assert chosen(model) == {(ends, law) for ends in joints for law in ("d", "w")} | {
        ("ground-1", "d**3")
    }
    (hidden,) = set(range(3)) - set(seen)
    acceleration = model.derivative(model.states_.to_numpy(), u=tones(t)[:, None])[:, 3 + hidden]
    true = F[:, 3 + hidden]
    assert np.mean((acceleration - true) ** 2) < 1e-4 * true.var()
    error = model.states_[f"x{hidden + 1}"] - X[:, hidden]
    assert np.mean(error**2) < 1e-4 * X[:, hidden].var()


def test_required_elements_are_there_whatever_the_data_say():
    t, _, _, y = record_of(duration=3.0)
    model = fitted(t, y, tones(t), required=["x2 - x1", "(x2 - x1)**3"])
    assert {("1-2", "d"), ("1-2", "d**3")} <= set(chosen(model))


@pytest.mark.parametrize(
    ("required", "message"),
    [
        ({"x1": 3.0}, "required gives x1 the coefficient 3, but strengths"),
        (["x1**7"], r"required holds x1\*\*7, which is the force of no candidate element"),
    ],
)
def test_what_cannot_be_required_is_named(required, message):
    t = np.arange(0.0, 2.0, 0.1)
    with pytest.raises(ValueError, match=message):
        fitted(t, np.zeros((20, 2)), np.ones(20), required=required)
