"""Terms over 1 + b x + c y: found with their constants, shared within and between equations."""

import numpy as np
import pandas as pd
import pytest
import sympy
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

from discoverers import SMNNDiscoverer
from discoverers.automatic.atoms import Template, templates_for
from discoverers.automatic.denominators import Denominator, denominators_for
from discoverers.automatic.ratios import Weak, best_ratios, may_pay
from discoverers.automatic.systems import Candidate, System, reduced
from discoverers.libraries import AutoLibrary

x, y = sympy.symbols("x y")
BELOW = Denominator((x, y), (5.0, 3.0), 66.0, (0.8, 0.25))


def records(rate, starts, end, noise, n=80):
    random = np.random.default_rng(0)
    t = np.linspace(0.0, end, n)
    runs = []
    for start in starts:
        path = solve_ivp(lambda _, q: rate(*q), (0, end), start, t_eval=t, rtol=1e-9, atol=1e-9).y.T
        noisy = path * (1.0 + noise * random.normal(size=path.shape))
        runs.append(pd.DataFrame(noisy, columns=["x", "y"]))
    return [t] * len(starts), runs


def numbers(law, a, b):
    """Coefficients of a ratio's numerator and denominator, the latter's constant being one."""
    top, bottom = sympy.fraction(sympy.together(law))
    unit = sympy.Poly(bottom, a, b).coeff_monomial(1)
    return [
        {k: float(v / unit) for k, v in sympy.Poly(part, a, b).as_dict().items()}
        for part in (top, bottom)
    ]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_beddington_deangelis_predation_is_found_with_its_constants():
    def rate(x, y):
        eaten = x * y / (1.0 + 0.8 * x + 0.25 * y)
        return [1.2 * x * (1.0 - x / 4.0) - 1.5 * eaten, -0.5 * y + 1.2 * eaten]

    model = SMNNDiscoverer(AutoLibrary(degree=2)).fit(
        *records(rate, [[2.0, 0.5], [0.6, 2.0]], 20.0, 0.01)
    )
    top, bottom = numbers(model.equations_["y"], x, y)
    assert bottom == pytest.approx({(0, 0): 1.0, (1, 0): 0.8, (0, 1): 0.25}, rel=0.05)
    true = {(0, 1): -0.5, (1, 1): 1.2 - 0.5 * 0.8, (0, 2): -0.5 * 0.25}
    assert top == pytest.approx(true, rel=0.05)
    (ratio,) = [
        one for one in sympy.Add.make_args(model.equations_["x"]) if not one.is_polynomial(x, y)
    ]
    assert numbers(ratio, x, y)[1] == pytest.approx(
        {(0, 0): 1.0, (1, 0): 0.8, (0, 1): 0.25}, rel=0.05
    )
    table = model.constants_
    # What is eaten is gained: both equations have the same constants, told once.
    assert list(table["equation"]) == ["x", "x"]
    assert all("p*" in term for term in table["term"])
    assert np.all(np.abs(table["p"] - [0.8, 0.25]) < 4.0 * table["p_std"])


def weak_form(true, noise=1e-3):
    """Random integrals of a rate at random states."""
    random = np.random.default_rng(1)
    states = random.uniform(0.2, 4.0, (90, 2))
    matrix = random.normal(size=(80, 90)) / 9.0
    values = np.column_stack([np.ones(90), states, states[:, 0] ** 2, states.prod(axis=1)])
    target = matrix @ true(*states.T) / noise + random.normal(size=80)
    monomials = tuple(Template(one, competitors=8.0) for one in (sympy.S.One, x, y, x**2, x * y))
    return Weak(lambda v: matrix @ v / noise, target, monomials, values, 2), states


def test_constants_are_refined_as_by_a_dense_search():
    weak, states = weak_form(lambda x, y: 0.3 - 2.0 * x / (1.0 + 0.9 * x + 1.7 * y))
    denominators = denominators_for(["x", "y"], states, 66.0)
    below = [
        (one, np.column_stack([sympy.lambdify((x, y), m)(*states.T) for m in one.monomials]))
        for one in denominators
    ]
    _, law = best_ratios(weak, below)[0]
    assert [(one.template.expr, one.over is None) for one in law] == [(1, True), (x, False)]

    def rest(q):
        ratio = states[:, 0] / (1.0 + states @ q[2:])
        return weak.weigh((q[0] + q[1] * ratio)[:, None])[:, 0] - weak.target

    dense = least_squares(rest, [0.3, -2.0, 0.9, 1.7], xtol=1e-14, ftol=1e-14, x_scale="jac").x
    np.testing.assert_allclose([one.coefficient for one in law], dense[:2], rtol=1e-2)
    np.testing.assert_allclose(law[1].over.values, dense[2:], rtol=1e-2)
    np.testing.assert_allclose(dense, [0.3, -2.0, 0.9, 1.7], rtol=0.05)


def test_two_terms_over_one_denominator_share_its_constants():
    weak, states = weak_form(lambda x, y: (0.7 - 2.0 * x * y) / (1.0 + 0.9 * x + 1.7 * y))
    below = [(one, states) for one in denominators_for(["x", "y"], states, 66.0)
             if one.monomials == (x, y)]  # fmt: skip
    _, law = best_ratios(weak, below)[0]
    assert {one.template.expr for one in law} == {1, x * y}
    assert law[0].over == law[1].over
    np.testing.assert_allclose(law[0].over.values, [0.9, 1.7], rtol=0.05)


def test_ratios_are_not_tried_where_what_is_known_explains_the_data():
    weak, _ = weak_form(lambda x, y: 0.3 - 2.0 * x)
    explained = (Candidate(Template(x), -2.0),)
    charge = System((explained, ())).charge(weak.n_rows)
    assert not may_pay([(78.0 + charge, explained)], weak, [BELOW])
    assert may_pay([(400.0 + charge, explained)], weak, [BELOW])
    assert not may_pay([(400.0 + charge, explained)], weak, [])


def test_what_the_data_allow():
    random = np.random.default_rng(0)
    positive, signed = random.uniform(0.1, 2.0, (2, 40))
    signed = signed - 1.0
    assert (x, y) in [
        one.monomials for one in denominators_for(["x", "y"], np.c_[positive, positive], 66.0)
    ]
    found = denominators_for(["x", "y"], np.c_[positive, signed], 66.0)
    assert {one.monomials for one in found} == {(x, x**2)}
    assert denominators_for(list("abcde"), np.tile(positive[:, None], 5), 66.0) == ()
    for one in found:
        inside = (one.grid > np.array(one.bounds)[:, 0]) & (one.grid < np.array(one.bounds)[:, 1])
        assert inside.all()


def test_a_system_with_denominators_is_the_model_it_says():
    prey = (Candidate(Template(x), 1.2), Candidate(Template(x * y), -1.5, over=BELOW),
            Candidate(Template(y), 0.1, over=BELOW))  # fmt: skip
    predator = (Candidate(Template(y), -0.5), Candidate(Template(x * y), 1.2, over=BELOW))
    system = System((prey, predator))
    assert not system.is_polynomial
    np.testing.assert_array_equal(system.parameters, [0.8, 0.25, 0.8, 0.25])
    moved = system.at(system.coefficients, np.array([1.0, 2.0, 3.0, 4.0]))
    assert moved.structure == system.structure
    at = np.array([[1.3, 0.7]])
    rates = moved.model(["x", "y"], []).rates(
        np.hstack([at, moved.parameters[None]]), np.zeros((1, 0)), moved.coefficients
    )[0, :2]
    a, b = 1.0 + 1.3 + 1.4, 1.0 + 3.9 + 2.8
    true = [1.2 * 1.3 + (-1.5 * 0.91 + 0.07) / a, -0.35 + 1.2 * 0.91 / b]
    np.testing.assert_allclose(rates, true, rtol=1e-12)
    equations = moved.equations(["x", "y"], [])
    values = [float(law.subs({x: 1.3, y: 0.7})) for law in equations]
    np.testing.assert_allclose(values, true, rtol=1e-12)
    (tied,) = system.tied()
    np.testing.assert_allclose(tied.parameters, [0.8, 0.25])
    assert tied.structure != system.structure
    assert tied.tied() == []
    other = tied.at(tied.coefficients, np.array([1.0, 2.0]))
    found = other.model(["x", "y"], []).rates(
        np.hstack([at, other.parameters[None]]), np.zeros((1, 0)), other.coefficients
    )[0, :2]
    np.testing.assert_allclose(found, [true[0], -0.35 + 1.2 * 0.91 / a], rtol=1e-12)
    assert tied.charge(200) == pytest.approx(
        System((prey, ())).charge(200) + System(((), predator)).charge(200) - BELOW.charge(200, 2)
    )
    # Each equation pays for its constants, the choice of the denominator is paid for once.
    single = System((prey, ())).charge(200) + System(((), predator)).charge(200)
    assert system.charge(200) == pytest.approx(single - BELOW.choice(2))
    one_over = System((prey[:2], ())).charge(200)
    assert System((prey, ())).charge(200) == pytest.approx(one_over + Template(y).charge(200, 2))


def test_with_one_monomial_a_denominator_is_one_of_the_dictionary():
    values = np.random.default_rng(0).uniform(0.2, 4.0, (40, 2))
    held = {one.expr: one for one in templates_for(["x", "y"], values, 2)}
    below = Denominator((x, x**2), (4.0, 16.0), 66.0, (0.4, 0.9))
    term = Candidate(Template(x * y), -1.5, over=below)
    for place, law in ((0, -1.5 * x * y / (1 + 0.4 * x)), (1, -1.5 * x * y / (1 + 0.9 * x**2))):
        one = reduced(term, place, held)
        assert one.over is None
        assert one.template in held.values()
        found = float((one.coefficient * one.expr()).subs({x: 1.3, y: 0.7}))
        assert found == pytest.approx(float(law.subs({x: 1.3, y: 0.7})))
    assert reduced(Candidate(Template(x**3), 1.0, over=below), 0, {}) is None
    plain = Candidate(Template(x), 1.0)
    assert reduced(plain, 0, held) is plain
