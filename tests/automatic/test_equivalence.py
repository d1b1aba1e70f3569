"""One law in several forms is no rival; laws that the data cannot tell apart are."""

from dataclasses import replace

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

from discoverers import SMNNDiscoverer
from discoverers.automatic.atoms import PARAMETER, Template
from discoverers.automatic.equivalence import Form, distinct
from discoverers.automatic.judge import Judge
from discoverers.automatic.systems import Candidate, System
from discoverers.denoising import denoise
from discoverers.exceptions import IdentifiabilityWarning
from discoverers.identifiability import entangled_terms
from discoverers.trajectories import as_trajectories

x, y, p = sympy.Symbol("x"), sympy.Symbol("y"), PARAMETER
SATURATION = Template(x / (p + x), (1.0,), 0.01, 20.0, 30.0, 1)
POLE = Template(1 / (p + x), (1.0,), 0.01, 20.0, 30.0, 1)
POWER = Template(x**p, (1.4,), 0.3, 6.0, 30.0, 1)
ONE, LINE, SQUARE = (Template(x**power) for power in range(3))


def michaelis_menten(_, state):
    return 0.6 - 1.5 * state / (0.3 + state)


def record(rate, start, end, noise, seed=0, n=150):
    t = np.linspace(0.0, end, n)
    path = solve_ivp(rate, (0.0, end), start, t_eval=t, rtol=1e-10, atol=1e-12).y.T
    return t, path + noise * np.random.default_rng(seed).normal(size=path.shape)


def judge_of(rate, start, end, noise, names=("x",)):
    trajectories = as_trajectories(*record(rate, start, end, noise))
    trajectories = replace(trajectories, state_names=names)
    return Judge.build(trajectories, denoise(trajectories, np.full(len(names), noise)))


def law(*terms):
    return System((tuple(terms),))


@pytest.fixture(scope="module")
def saturated():
    return judge_of(michaelis_menten, [2.5], 6.0, 0.005)


def test_the_same_function_written_twice_is_one_law(saturated):
    ours = saturated(law(Candidate(ONE, 0.6), Candidate(SATURATION, -1.5, 0.3)))
    theirs = saturated(law(Candidate(ONE, -0.9), Candidate(POLE, 0.45, 0.3)))
    # 0.6 - 1.5 x/(0.3 + x) = 0.6 - 1.5 + 1.5 * 0.3/(0.3 + x).
    (first, second), (k,) = ours.fit.theta, ours.fit.constants
    np.testing.assert_allclose(theirs.fit.theta, [first + second, -second * k], rtol=1e-3)
    assert distinct(saturated, [ours, theirs]) == [ours]
    assert distinct(saturated, [theirs, ours]) == [theirs]


def test_a_function_that_comes_close_is_a_rival(saturated):
    # Both fit; one has a pole at -k and the other none.
    hill = Template(x**2 / (p**2 + x**2), (1.0,), 0.01, 20.0, 30.0, 1)
    ours = saturated(law(Candidate(ONE, 0.6), Candidate(SATURATION, -1.5, 0.3)))
    other = saturated(law(Candidate(ONE, 0.3), Candidate(hill, -1.2, 0.4)))
    assert np.isfinite(other.score)
    assert not Form(saturated, other).can_be(Form(saturated, ours))
    assert distinct(saturated, [ours, other]) == [ours, other]


def test_a_small_swing_does_not_make_a_sine_a_cubic():
    judge = judge_of(lambda _, s: [s[1], -2.0 * np.sin(s[0])], [0.3, 0.0], 8.0, 1e-3, ("x", "y"))
    speed = (Candidate(Template(y), 1.0),)
    sine = judge(System((speed, (Candidate(Template(sympy.sin(x), factors=1), -2.0),))))
    cubic = judge(
        System((speed, (Candidate(Template(x), -2.0), Candidate(Template(x**3), 1.0 / 3.0))))
    )
    # Among the data they are one function as far as the noise tells, yet not by their form.
    assert Form(judge, cubic).agrees(Form(judge, sine))
    assert distinct(judge, [sine, cubic]) == [sine, cubic]


def test_numbers_to_spare_are_no_other_law():
    judge = judge_of(lambda _, s: 1.2 - 0.5 * s**2, [0.2], 4.0, 1e-3)
    plain = judge(law(Candidate(ONE, 1.2), Candidate(SQUARE, -0.5)))
    spare = judge(law(Candidate(ONE, 1.2), Candidate(POWER, -0.5, 1.9)))
    assert spare.fit.constants[0] == pytest.approx(2.0, abs=0.05)
    better = replace(spare, score=plain.score - 1.0)
    assert distinct(judge, [better, plain]) == [plain]
    # A form that pays for its numbers is another law.
    assert distinct(judge, [replace(spare, score=plain.score - 9.0), plain])[0].system is (
        spare.system
    )


def test_a_limit_is_another_law():
    judge = judge_of(lambda _, s: 0.8 - 0.5 * np.log(s), [0.3], 6.0, 2e-3)
    logarithm = judge(law(Candidate(ONE, 0.8), Candidate(Template(sympy.log(x), factors=1), -0.5)))
    wide = Template(x**p, (0.1,), -6.0, 6.0, 30.0, 1)
    power = judge(law(Candidate(ONE, 5.8), Candidate(wide, -5.0, 0.1)))
    # (1 - x**p)/p comes as close to -log(x) as p to 0, and never is it.
    assert not Form(judge, power).can_be(Form(judge, logarithm))
    assert distinct(judge, [logarithm, power]) == [logarithm, power]


def fisher(rate, numbers, start, t, noise):
    """Information on numbers and starts from a run, by finite differences of its solution."""

    def path(every):
        values, first = every[: len(numbers)], every[len(numbers) :]
        found = solve_ivp(
            lambda _, s: rate(s, values), (t[0], t[-1]), first, t_eval=t, rtol=1e-11, atol=1e-13
        )
        return found.y.T.ravel()

    every = np.array([*numbers, *start])
    slopes = []
    for place, value in enumerate(every):
        step = np.zeros(len(every))
        step[place] = 1e-5 * max(abs(value), 1e-2)
        slopes.append((path(every + step) - path(every - step)) / (2.0 * step[place]))
    slopes = np.stack(slopes, axis=1) / noise
    return slopes.T @ slopes


def swing(state, values):
    return [state[1], -values[0] * np.sin(values[1] * state[0])]


@pytest.mark.parametrize(("amplitude", "known"), [(1.5, True), (0.02, False)])
def test_a_small_swing_tells_only_the_product_of_amplitude_and_frequency(amplitude, known):
    noise = 0.02 * amplitude
    start = [amplitude, 0.0]
    judge = judge_of(lambda _, s: swing(s, [2.2, 1.6]), start, 20.0, noise, ("x", "y"))
    sine = Template(sympy.sin(p * x), (1.0,), 0.1, 20.0, 30.0, 1)
    speed = Candidate(Template(y), 1.0, known=True)
    fit = judge(System(((speed,), (Candidate(sine, -2.2, 1.6),)))).fit
    t = np.linspace(0.0, 20.0, 150)
    numbers = [-fit.theta[1], fit.constants[0]]
    full = fisher(swing, numbers, fit.x0[0], t, noise)
    spread = np.sqrt(np.diagonal(np.linalg.inv(full)))[:2] / np.abs(numbers)
    assert (spread < 0.1).all() == known
    assert (spread > 0.4).all() != known
    # The judge's information is the same, its sign of the amplitude apart.
    cross = np.linalg.solve(full[2:, 2:], full[2:, :2])
    own = (full[:2, :2] - full[:2, 2:] @ cross) * np.outer([-1.0, 1.0], [-1.0, 1.0])
    if known:
        np.testing.assert_allclose(fit.information, own, rtol=2e-2)
    told = entangled_terms(np.concatenate([fit.theta[1:], fit.constants]), fit.information)
    assert told.all() != known
    assert not told.any() or not known


def test_an_exact_rational_law_is_identifiable():
    t, X = record(michaelis_menten, [2.5], 6.0, 0.005)
    model = SMNNDiscoverer("auto").fit(t, X)
    assert model.identifiable_
    assert model.entangled_ == ()
    assert len(model.alternatives_) == 1 or model.alternatives_["score_behind"][1] > 2.0
    state = sympy.Symbol("x0")
    rate = sympy.lambdify(state, model.equations_[0])
    grid = np.linspace(0.2, 2.5, 50)
    np.testing.assert_allclose(rate(grid), michaelis_menten(0.0, grid), atol=0.02)
    # Nothing less is asked of the data than that they tell all three constants.
    full = fisher(
        lambda s, v: [v[0] - v[1] * s[0] / (v[2] + s[0])], [0.6, 1.5, 0.3], [2.5], t, 0.005
    )
    spread = np.sqrt(np.diagonal(np.linalg.inv(full)))[:3]
    assert (spread < 0.15 * np.array([0.6, 1.5, 0.3])).all()


def test_laws_that_fit_as_well_and_part_elsewhere_are_not():
    noise = 0.05
    t, X = record(michaelis_menten, [2.5], 6.0, noise, seed=1, n=100)
    with pytest.warns(IdentifiabilityWarning, match="do not settle the equations"):
        model = SMNNDiscoverer("auto").fit(t, X)
    assert not model.identifiable_
    tied = model.alternatives_[model.alternatives_["score_behind"] <= 2.0]["equations"]
    assert len(tied) >= 2

    def misfit(equations):
        rate = sympy.lambdify(sympy.Symbol("x0"), equations[0])

        def away(start):
            return solve_ivp(lambda _, s: [rate(s[0])], (0.0, 6.0), start, t_eval=t).y[0] - X[:, 0]

        return (least_squares(away, [2.5]).fun ** 2).sum() / noise**2

    rates = [sympy.lambdify(sympy.Symbol("x0"), one[0])(4.0) for one in tied]
    with np.errstate(invalid="ignore"):
        fits = [misfit(one) for one in tied]
    assert max(fits) - min(fits) < 12.0
    assert max(rates) - min(rates) > 0.3
