"""`library="auto"` where part of the law is known: positions alone, and given equations."""

import numpy as np
import pandas as pd
import pytest
import sympy
from scipy.integrate import solve_ivp

from discoverers import SMNNDiscoverer
from discoverers.constraints import Forbidden, Known

x, v, speed = sympy.symbols("x v x'")


def swing(force, start, end=15.0, n=200):
    t = np.linspace(0.0, end, n)
    path = solve_ivp(
        lambda s, q: [q[1], force(*q)], (0.0, end), start, t_eval=t, rtol=1e-10, atol=1e-12
    ).y
    return t, path


def pendulum(noise):
    t, path = swing(lambda q, p: -1.4 * np.sin(q) - 0.15 * p, [2.2, 0.0])
    random = np.random.default_rng(0)
    return t, path + noise * path.std(axis=1, keepdims=True) * random.normal(size=path.shape), path


def test_a_pendulum_is_found_from_positions_alone():
    t, noisy, path = pendulum(0.01)
    X = pd.DataFrame({"x": noisy[0]})
    model = SMNNDiscoverer("auto", order=2).fit(t, X)
    law = model.equations_["x"]
    assert {term.as_coeff_Mul()[1] for term in sympy.Add.make_args(law)} == {sympy.sin(x), speed}
    assert law.coeff(sympy.sin(x)) == pytest.approx(-1.4, rel=0.01)
    assert law.coeff(speed) == pytest.approx(-0.15, rel=0.03)
    assert model.coef_.shape == model.coef_std_.shape == (1, len(model.terms_))
    assert np.all(model.coef_std_ > 0.0)
    assert np.all(np.abs(model.coef_ - [[-1.4, -0.15]]) < 4.0 * model.coef_std_)
    assert model.noise_std_ == pytest.approx([0.01 * path[0].std()], rel=0.2)
    assert model.chi2_.shape == (1,)
    assert model.history_["n_terms"].tolist() == [2]
    assert model.solution_[0].X.shape == (200, 1)
    np.testing.assert_allclose(model.solution_[0].X[:, 0], path[0], atol=0.02)
    assert np.isfinite(model.predict(np.array([15.5, 16.0]))).all()


def test_exact_positions_tell_their_velocities():
    """Errors of the smoothed velocity are of the noise, not of the floor that its weights have."""
    t, _, path = pendulum(0.0)
    model = SMNNDiscoverer("auto", order=2).fit(t, pd.DataFrame({"x": path[0]}))
    law = model.equations_["x"]
    assert {term.as_coeff_Mul()[1] for term in sympy.Add.make_args(law)} == {sympy.sin(x), speed}
    assert law.coeff(sympy.sin(x)) == pytest.approx(-1.4, rel=1e-4)


def test_constants_stand_in_the_equation_of_their_position():
    t, path = swing(lambda q, p: -2.0 * np.tanh(1.7 * q) - 0.1 * p, [2.0, 0.0])
    noisy = path[0] + 0.005 * np.random.default_rng(0).normal(size=len(t))
    model = SMNNDiscoverer("auto", order=2).fit(t, pd.DataFrame({"x": noisy}))
    assert model.constants_["equation"].tolist() == ["x"]
    assert model.constants_["p"].iloc[0] == pytest.approx(1.7, rel=0.05)


def test_an_equation_that_is_known_stays_and_the_other_is_found():
    t, noisy, _ = pendulum(0.01)
    X = pd.DataFrame(noisy.T, columns=["x", "v"])
    model = SMNNDiscoverer("auto", constraints=[Known("x", "v", only=True)]).fit(t, X)
    assert model.equations_["x"].as_coeff_Mul() == (1.0, v)
    assert sympy.sin(x) in model.equations_["v"].atoms(sympy.sin)
    assert model.equations_["v"].coeff(v) == pytest.approx(-0.15, rel=0.03)
    place = model.terms_.index("v")
    assert model.coef_[0, place] == 1.0
    assert model.coef_std_[0, place] == 0.0


def test_other_constraints_are_refused():
    t, noisy, _ = pendulum(0.01)
    X = pd.DataFrame(noisy.T, columns=["x", "v"])
    for constraint in (Forbidden("x", "x"), Known("x", "v")):
        with pytest.raises(ValueError, match=r"Known\(..., only=True\), and no other constraints"):
            SMNNDiscoverer("auto", constraints=[constraint]).fit(t, X)
