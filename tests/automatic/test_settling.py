"""Near-equals are settled by simulation, constants by simple numbers, classes by a charge."""

from dataclasses import replace

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp

from discoverers.automatic.atoms import PARAMETER, Template
from discoverers.automatic.judge import BEYOND_POLYNOMIALS, Judge, Verdict
from discoverers.automatic.search import Found
from discoverers.automatic.settling import settled
from discoverers.automatic.snapping import snapped
from discoverers.automatic.systems import Candidate, System
from discoverers.denoising import denoise
from discoverers.trajectories import as_trajectories

x = sympy.Symbol("x")
HALF_SATURATION = Template(x / (PARAMETER + x), (1.0,), 0.01, 20.0, 30.0, 1)


def judge_of(rate, start, end, n=80):
    t = np.linspace(0.0, end, n)
    path = solve_ivp(lambda s, q: [rate(q[0])], (0.0, end), [start], t_eval=t, rtol=1e-10).y[0]
    noisy = path + 1e-3 * np.random.default_rng(0).normal(size=n)
    trajectories = as_trajectories(t, noisy)
    trajectories = replace(trajectories, state_names=("x",))
    return Judge.build(trajectories, denoise(trajectories, np.array([1e-3])))


def law(*terms):
    return System((tuple(terms),))


LINEAR = law(Candidate(Template(x), -1.0))
NEARLY = law(Candidate(Template(x), -1.02), Candidate(Template(x**3), 0.01))
GROWING = law(Candidate(Template(x), 1.0))
SINE = law(Candidate(Template(sympy.sin(x), factors=1), -1.01))


def found_of(judge, *scored):
    fit = judge(LINEAR).fit
    pool = tuple(Verdict(system, fit, score) for system, score in scored)
    return Found(pool[0], pool, judge, len(pool))


@pytest.mark.parametrize(
    ("scored", "chosen"),
    [
        ([(GROWING, 0.0), (LINEAR, 0.5), (NEARLY, 0.6)], LINEAR),
        ([(GROWING, 0.0), (LINEAR, 5.0), (NEARLY, 5.5)], GROWING),
        ([(GROWING, 0.0), (LINEAR, 0.5)], GROWING),
        ([(GROWING, 0.0), (LINEAR, 0.5), (SINE, 0.6)], GROWING),
        ([(LINEAR, 0.0), (NEARLY, 0.5), (GROWING, 0.5)], LINEAR),
    ],
    ids=[
        "two agree",
        "far ahead",
        "of two the better",
        "not for another class",
        "the first agrees",
    ],
)
def test_the_law_that_most_agree_with_is_taken(scored, chosen):
    judge = judge_of(lambda q: -q, 2.0, 4.0)
    assert settled(found_of(judge, *scored)).best.system is chosen


@pytest.mark.filterwarnings("error")
def test_paths_that_end_early_are_far_away_without_a_word():
    # The range is less than one: a huge number divided by it overflows.
    judge = judge_of(lambda q: -q, 0.1, 4.0)
    bursting = law(Candidate(Template(x**3), 1e4))
    scored = [(bursting, 0.0), (LINEAR, 0.5), (NEARLY, 0.6)]
    assert settled(found_of(judge, *scored)).best.system is LINEAR


def test_a_constant_is_snapped_only_where_the_data_allow_it():
    for true, template in [(0.5, x / (sympy.Rational(1, 2) + x)), (0.57, None)]:
        judge = judge_of(lambda q, k=true: -2.0 * q / (k + q), 3.0, 2.0)
        free = judge(law(Candidate(HALF_SATURATION, -2.0, true)))
        best, freer = snapped(judge, free, {})
        if template is None:
            assert best is free
            assert freer == []
        else:
            assert [one.template.expr for one in best.system.laws[0]] == [template]
            assert freer == [free.system]
            assert best.system.parameters.size == 0
            # What a constant costs is won, but for what the deviance rises by.
            gained = free.score - best.score
            assert 0.0 < gained <= np.log(80) + 0.1


def test_a_snapped_term_of_the_dictionary_is_charged_as_that():
    judge = judge_of(lambda q: -(q**2), 1.0, 5.0)
    power = Template(x**PARAMETER, (1.7,), 0.2, 4.0, 33.0, 1)
    free = judge(law(Candidate(power, -1.0, 1.98)))
    square = Template(x**2, competitors=5.0)
    best, _ = snapped(judge, free, {x**2: square})
    assert best.system.laws[0][0].template is square
    assert best.system.is_polynomial


def test_functions_pay_once_for_being_no_polynomials_when_all_are_judged():
    judge = judge_of(lambda q: -q, 2.0, 4.0)
    sine, cosine = (
        Candidate(Template(one, factors=1), 0.1) for one in (sympy.sin(x), sympy.cos(x))
    )
    line = Candidate(Template(x), -1.0)
    raw = {
        one.system.structure: one.score
        for one in [judge(law(*terms)) for terms in [(line,), (line, sine), (line, sine, cosine)]]
    }
    final = judge.final()
    assert [len(one.system.laws[0]) for one in final] == [1, 2, 3]
    extra = [one.score - raw[one.system.structure] for one in final]
    assert extra == pytest.approx([0.0, BEYOND_POLYNOMIALS, BEYOND_POLYNOMIALS])


def test_a_right_law_survives_coarse_samples():
    # One RK4 step of 0.2 multiplies a deviation from y by 1 - 6 + 18 - 36 + 54 = 31.
    t = np.linspace(0.0, 8.0, 41)
    y = np.exp(-0.3 * t)
    X = np.column_stack([30.0 / 29.7 * y, y]) + 1e-3 * np.random.default_rng(0).normal(size=(41, 2))
    trajectories = replace(as_trajectories(t, X), state_names=("x", "y"))
    judge = Judge.build(trajectories, denoise(trajectories, np.full(2, 1e-3)))
    y_symbol = sympy.Symbol("y")
    right = System(
        (
            (Candidate(Template(x), -30.0), Candidate(Template(y_symbol), 30.0)),
            (Candidate(Template(y_symbol), -0.3),),
        )
    )
    verdict = judge(right)
    assert verdict.fit.substeps > 1
    assert verdict.fit.cost < 1.5 * judge.n_rows
    rates = verdict.system.coefficients
    # On the orbit x = c y the data tell but c of the first equation.
    assert -rates[1] / (rates[0] - rates[2]) == pytest.approx(30.0 / 29.7, rel=1e-3)
    assert rates[2] == pytest.approx(-0.3, rel=1e-2)
