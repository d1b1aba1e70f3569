"""Proposals: pairs of columns against dense least squares, constants against SciPy, early ends."""

from itertools import combinations

import numpy as np
import pytest
import sympy
from scipy.optimize import least_squares

from discoverers import SMNNDiscoverer
from discoverers.automatic import search as searching
from discoverers.automatic.atoms import PARAMETER, Template
from discoverers.automatic.kernels import refine_constants
from discoverers.automatic.subsets import search_subsets
from discoverers.automatic.weak_form import WeakForm
from discoverers.denoising import denoise
from discoverers.integration import MechanisticIntegral
from discoverers.shooting.program import compile_terms
from discoverers.sparse import NormalEquations
from discoverers.trajectories import as_trajectories

x = sympy.Symbol("x")


def loss(columns, target, support):
    coef = np.linalg.lstsq(columns[:, support], target, rcond=None)[0]
    return ((target - columns[:, support] @ coef) ** 2).sum()


def test_all_pairs_beside_every_base_are_looked_at():
    random = np.random.default_rng(0)
    columns = random.normal(size=(60, 12))
    target = 2.0 * columns[:, 0] - columns[:, 7] + 0.5 * columns[:, 10] + random.normal(size=60)
    kind = np.array([0, 1, 2, 3, 3, 3, 4, 4, 4, 5, 5, 6])
    normal = NormalEquations.from_rows(columns, target)
    found = search_subsets(normal, np.zeros(12), kind, [(), (0,)])
    for base in ((), (0,)):
        others = [k for k in range(12) if k not in base]
        for a, b in combinations(others, 2):
            if kind[a] == kind[b]:
                continue
            key = tuple(sorted([*kind[list(base)], kind[a], kind[b]]))
            _, support = found.best[key]
            assert loss(columns, target, list(support)) <= loss(columns, target, [*base, a, b]) * (
                1.0 + 1e-9
            )
    assert {0, 7, 10} == set(found.leading(1, 3)[0])


def test_constants_are_refined_as_by_a_dense_search():
    random = np.random.default_rng(1)
    states = np.sort(random.uniform(0.2, 4.0, 80))[:, None]
    weigh = random.normal(size=(70, 80)) / 9.0
    template = x / (PARAMETER + x)
    program = compile_terms([template], ("x", "p"))
    plain = compile_terms([x], ("x", "p"))
    true = 1.3 * states[:, 0] / (0.7 + states[:, 0]) - 0.4 * states[:, 0]
    target = weigh @ true + 1e-3 * random.normal(size=70)

    def filtered(p):
        return weigh @ np.column_stack([states[:, 0] / (p + states[:, 0]), states[:, 0]])

    parameters = np.array([2.0, np.nan])
    coef, best = refine_constants(
        np.concatenate([program.code, plain.code]),
        np.cumsum([0, len(program.code), len(plain.code)]),
        np.concatenate([program.numbers, plain.numbers]),
        np.cumsum([0, len(program.numbers), len(plain.numbers)]),
        program.splines,
        np.ascontiguousarray(states),
        np.zeros((80, 0)),
        weigh.ravel(),
        np.array([0, 70]),
        np.array([0, 80]),
        target,
        np.ascontiguousarray(filtered(2.0).T),
        parameters,
        np.array([[0.05, 20.0], [-np.inf, np.inf]]),
        30,
    )
    dense = least_squares(
        lambda q: filtered(q[2]) @ q[:2] - target, [1.0, -0.3, 1.5], xtol=1e-14, ftol=1e-14
    )
    assert parameters[0] == pytest.approx(dense.x[2], rel=1e-3)
    np.testing.assert_allclose(coef, dense.x[:2], rtol=1e-3)
    assert best == pytest.approx(2.0 * dense.cost, rel=1e-4)


def record():
    t = np.linspace(0.0, 8.0, 100)
    return t, 1.0 + 2.0 * np.exp(-0.7 * t) + 0.02 * np.random.default_rng(0).normal(size=100)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_ctrl_c_leaves_the_estimator_as_it_was(monkeypatch):
    t, X = record()
    model = SMNNDiscoverer("poly1").fit(t, X)
    before = str(model.equations_)
    model.set_params(library="auto")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(searching, "best_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(t, X)
    assert str(model.equations_) == before
    monkeypatch.undo()
    assert "x0" in str(model.fit(t, X).equations_)


class Watch:
    """A callback that ends tasks of some names and notes all of them."""

    def __init__(self, ending):
        self.ending = ending
        self.seen = []

    def setup(self, estimator, context):
        """Before the fit."""

    def teardown(self, estimator, context):
        """After the fit."""

    def on_fit_task_begin(self, estimator, context, **_):
        """Before a task."""

    def on_fit_task_end(self, estimator, context, **_):
        self.seen.append(context.task_name.split()[0])
        return context.task_name.startswith(self.ending)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("ending", "sweeps"), [("sweep", 1), ("stage", 0)])
def test_callbacks_see_the_sweeps_and_may_end_them(ending, sweeps):
    t, X = record()
    watch = Watch(ending)
    model = SMNNDiscoverer("auto")
    model.set_callbacks(watch)
    model.fit(t, X)
    assert watch.seen.count("sweep") == sweeps
    assert np.isfinite(model.simulate(t, model.x0_[0])).all()


def test_charges_of_powers_grow_with_the_degree():
    from discoverers.automatic.atoms import templates_for

    held = {one.expr: one for one in templates_for(["x"], np.linspace(0.1, 2.0, 30)[:, None], 1)}
    charges = [held[x**d].charge(100, 1) for d in (2, 3, 4, 5)]
    assert np.all(np.diff(charges) > 1.0)
    assert isinstance(held[x**2], Template)


def test_no_quadrature_reaches_over_a_gap():
    t = np.concatenate([np.linspace(0.0, 4.0, 41), np.linspace(9.0, 13.0, 41)])
    trajectories = as_trajectories(t, np.exp(-0.3 * t))
    form = WeakForm(trajectories, denoise(trajectories), MechanisticIntegral(), 30, ("x0",))
    (rows,) = form.filter(0, 0.0).rows
    assert rows.shape[1] == 82
    assert not (np.any(rows[:, :41], axis=1) & np.any(rows[:, 41:], axis=1)).any()
    # Rows know of neighbours: without a gap some read values on both sides.
    even = as_trajectories(np.linspace(0.0, 8.1, 82), np.exp(-0.3 * np.linspace(0.0, 8.1, 82)))
    form = WeakForm(even, denoise(even), MechanisticIntegral(), 30, ("x0",))
    (rows,) = form.filter(0, 0.0).rows
    assert (np.any(rows[:, :41], axis=1) & np.any(rows[:, 41:], axis=1)).any()
