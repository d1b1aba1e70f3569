"""A constant in the place of a function: starting values, and what a failure leaves behind."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sympy
from scipy.integrate import solve_ivp

from discoverers import SMNNDiscoverer
from discoverers.automatic.atoms import PARAMETER, Template
from discoverers.automatic.judge import Judge
from discoverers.automatic.proposals import Proposals
from discoverers.automatic.search import _plainer
from discoverers.automatic.systems import Candidate, System
from discoverers.denoising import denoise
from discoverers.trajectories import as_trajectories

x = sympy.Symbol("x")
STATES = np.linspace(0.1, 5.0, 40)
CONSTANT = Template(sympy.S.One)
LINEAR = Template(x)
BELOW = Template(1 / (PARAMETER**2 + x**2), (1.0,), 0.01, 20.0, 30.0, 1)
HILL = Template(x**2 / (PARAMETER**2 + x**2), (1.0,), 0.01, 20.0, 30.0, 1)


def proposals():
    """The part of the dictionary that is asked here, evaluated by sympy."""
    found = SimpleNamespace(
        templates={one.expr: one for one in (CONSTANT, LINEAR, BELOW, HILL)},
        _values=lambda one: np.array([[float(one.expr().subs(x, v))] for v in STATES]),
    )
    found.alike = lambda law, other: Proposals.alike(found, law, other)
    return found


def test_a_plainer_form_starts_where_it_is_the_same_function():
    law = (
        Candidate(BELOW, 0.21, 1.2),
        Candidate(LINEAR, -0.6),
        Candidate(HILL, 1.75, 1.2),
    )
    tried = {one.structure: one.laws[0] for one in _plainer(System((law,)), proposals())}
    assert len(tried) == 2  # a constant for either function; the state itself stands there already
    same = tried[(frozenset({CONSTANT.expr, LINEAR.expr, HILL.expr}),)]
    # a/(k + x^2) + b x^2/(k + x^2) is a/k + (b - a/k) x^2/(k + x^2).
    true = [0.21 / 1.44, -0.6, 1.75 - 0.21 / 1.44]
    np.testing.assert_allclose([one.coefficient for one in same], true, rtol=1e-8)


def law(linear, cubic):
    return System(((Candidate(LINEAR, linear), Candidate(Template(x**3), cubic)),))


@pytest.fixture
def judge():
    t = np.linspace(0.0, 3.0, 80)
    noisy = np.exp(-t) + 1e-3 * np.random.default_rng(0).normal(size=80)
    trajectories = replace(as_trajectories(t, noisy), state_names=("x",))
    return Judge.build(trajectories, denoise(trajectories, np.array([1e-3])))


def test_a_failure_from_other_numbers_is_not_remembered_but_its_work_counts(judge):
    near = judge(System(((Candidate(LINEAR, -1.0),),)))
    before = judge.work
    failed = judge.again(law(-1.0, 1e6), near)
    assert failed.score == np.inf
    assert failed.system.structure not in judge.seen
    assert judge.work > before
    assert np.isfinite(judge(law(-1.02, 0.01), near).score)


def test_a_failure_that_is_remembered_gives_way_to_better_numbers(judge):
    near = judge(System(((Candidate(LINEAR, -1.0),),)))
    assert judge(law(-1.0, 1e6), near).score == np.inf
    work = judge.work
    better = judge.again(law(-1.02, 0.01), near)
    assert np.isfinite(better.score)
    assert judge(law(-1.02, 0.01), near) is better
    assert judge.work == pytest.approx(work + better.fit.work)
    # What has converged is not done again.
    assert judge.again(law(-1.0, 1e6), near) is better


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_hills_law_of_two_runs_is_found_in_its_plainest_form():
    def rate(_, q):
        return 0.15 + 1.6 * q**2 / (1.4 + q**2) - 0.6 * q

    t = np.linspace(0.0, 20.0, 150)
    random = np.random.default_rng(0)
    runs = []
    for start in (0.05, 5.0):
        path = solve_ivp(rate, (0.0, 20.0), [start], t_eval=t, rtol=1e-10, atol=1e-12).y[0]
        runs.append(pd.DataFrame({"x": path + 0.01 * path.std() * random.normal(size=150)}))
    model = SMNNDiscoverer("auto").fit([t, t], runs)
    top, bottom = sympy.fraction(sympy.together(model.equations_["x"]))
    assert float(sympy.Poly(bottom, x).coeff_monomial(x)) == 0.0
    assert sympy.degree(bottom, x) == 2
    unit = sympy.Poly(bottom, x).coeff_monomial(x**2)
    found = [float(value / unit) for value in sympy.Poly(top, x).all_coeffs()]
    assert found == pytest.approx([-0.6, 1.75, -0.84, 0.21], rel=0.05)
