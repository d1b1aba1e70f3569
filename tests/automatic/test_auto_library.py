"""`library="auto"`: laws beyond polynomials, constants included; polynomials stay polynomials."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sympy
from scipy.integrate import solve_ivp
from sklearn.exceptions import ConvergenceWarning

from discoverers import SMNNDiscoverer, smnn
from discoverers.automatic.atoms import FAMILIES, PARAMETER, templates_for
from discoverers.automatic.growth import worth_growing
from discoverers.libraries import AutoLibrary, resolve_library

x, y = sympy.symbols("x y")


def record(laws, start, end, n=150, noise=0.0, seed=0):
    names = ["x", "y"][: len(laws)]
    rate = sympy.lambdify((x, y)[: len(laws)], laws)
    t = np.linspace(0.0, end, n)
    path = solve_ivp(lambda s, q: rate(*q), (0.0, end), start, t_eval=t, rtol=1e-10, atol=1e-12).y.T
    noisy = path * (1.0 + noise * np.random.default_rng(seed).normal(size=path.shape))
    return t, pd.DataFrame(noisy, columns=names), path


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("law", "start", "end", "constant"),
    [
        (0.4 - 0.6 * x / (0.6 + x), 3.0, 10.0, 0.6),
        (1.0 - 2.0 * sympy.exp(-0.7 * x), 2.5, 10.0, 0.7),
        (0.9 * x - 0.3 * x * sympy.log(x), 1.0, 10.0, None),
        (1.5 * x**2 / (0.8**2 + x**2) - 0.55 * x, 0.6, 15.0, 0.8),
    ],
    ids=["Michaelis-Menten", "exponential", "Gompertz", "Hill"],
)
def test_a_law_beyond_polynomials_is_found_with_its_constant(law, start, end, constant):
    t, X, path = record([law], [start], end)
    model = SMNNDiscoverer("auto").fit(t, X)
    assert model.converged_
    values = np.linspace(path.min(), path.max(), 7)
    found = np.array([float(model.equations_["x"].subs(x, v)) for v in values])
    true = np.array([float(law.subs(x, v)) for v in values])
    np.testing.assert_allclose(found, true, atol=1e-3 * np.abs(true).max())
    assert len(sympy.Add.make_args(model.equations_["x"])) == 2
    if constant is not None:
        row = model.constants_.iloc[0]
        assert row["p"] == pytest.approx(constant, rel=1e-2)
        assert row["p_std"] > 0.0


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_of_a_failed_joint_fit_is_told_only_where_its_equations_answer(monkeypatch):
    monkeypatch.setattr(smnn, "refine", lambda *_, **__: None)
    t, X, _ = record([0.9 * x - 0.3 * x * sympy.log(x)], [0.1], 10.0, noise=0.005)
    with pytest.warns(ConvergenceWarning, match="the regression's equations are reported"):
        SMNNDiscoverer("poly1").fit(t, X)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = SMNNDiscoverer("auto1").fit(t, X)
    assert sympy.log(x) in model.equations_["x"].atoms(sympy.log)
    assert model.converged_
    assert not [one for one in told if issubclass(one.category, ConvergenceWarning)]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_pendulum_swings_by_its_sine_in_spite_of_noise():
    t, X, _ = record([y, -0.9 * sympy.sin(x) - 0.1 * y], [1.9, 0.0], 15.0, noise=0.01)
    model = SMNNDiscoverer("auto").fit(t, X)
    assert sympy.sin(x) in model.equations_["y"].atoms(sympy.sin)
    assert model.equations_["x"].coeff(y) == pytest.approx(1.0, abs=0.02)
    assert model.coef_.shape == (2, len(model.terms_))
    assert model.pareto_front_["selected"].sum() == 1
    assert model.score(t, X) > 0.99
    ahead = model.predict(np.array([15.0, 16.0]))
    assert np.isfinite(ahead).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_constant_that_is_one_is_written_so():
    t, X, _ = record([1.5 * x**2 / (1.0 + x**2) - 0.55 * x], [0.6], 15.0, noise=1e-4)
    model = SMNNDiscoverer("auto").fit(t, X)
    assert any(one.base == 1 + x**2 for one in model.equations_["x"].atoms(sympy.Pow))
    assert model.constants_.empty
    # The same law with its constant free is no alternative.
    assert (model.alternatives_["score_behind"].iloc[1:] > 0.0).all()
    assert model.alternatives_["equations"].iloc[0] == model.equations_


def test_a_polynomial_law_stays_one():
    t, X, _ = record([0.8 * x - 0.01 * x**2], [7.0], 10.0, noise=0.01)
    model = SMNNDiscoverer("auto").fit(t, X)
    assert model.equations_.compare([0.8 * x - 0.01 * x**2]).exact
    assert model.constants_.empty


def test_a_function_that_comes_close_stands_beside_the_polynomial():
    t, X, _ = record([0.8 * x - 0.01 * x**2], [7.0], 10.0, noise=0.05)
    model = SMNNDiscoverer("auto").fit(t, X)
    assert model.equations_.compare([0.8 * x - 0.01 * x**2]).exact
    systems = list(model.alternatives_["equations"])
    assert systems[0] == model.equations_
    assert any(not one["x"].is_polynomial(x) for one in systems[1:])


def test_what_polynomials_explain_is_not_searched():
    assert not worth_growing(np.array([1e-6, 1e-5]))
    assert worth_growing(np.array([1.0]))
    assert worth_growing(np.array([1e-6, 1e-3]))


def families_in(templates):
    functions = {type(one) for t in templates for one in t.expr.atoms(sympy.Function)}
    return {one.__name__ for one in functions}


def test_the_data_decide_what_may_be_tried():
    signed = np.linspace(-2.0, 3.0, 50)[:, None]
    positive = np.linspace(0.5, 3.0, 50)[:, None]
    assert "log" not in families_in(templates_for(["x"], signed, 1))
    assert "log" in families_in(templates_for(["x"], positive, 1))
    assert "Abs" in families_in(templates_for(["x"], signed, 1))
    assert not [t for t in templates_for(["x"], signed, 1) if t.expr == x / (PARAMETER + x)]
    huge = np.linspace(0.0, 500.0, 50)[:, None]
    assert not [t for t in templates_for(["x"], huge, 1) if t.expr == sympy.exp(x)]
    for data in (signed, positive, huge):
        for template in templates_for(["x"], data, 1):
            value = sympy.lambdify((x, PARAMETER), template.expr)
            for p in template.grid or (1.0,):
                assert np.isfinite(value(data[:, 0], p)).all(), template.expr


def test_the_user_may_add_atoms_and_leave_functions_out():
    data = np.linspace(0.5, 3.0, 50)[:, None]
    fewer = templates_for(["x"], data, 1, without=FAMILIES, own=[x * sympy.sin(3 * x)])
    assert families_in(fewer) == {"sin"}
    assert x * sympy.sin(3 * x) in [t.expr for t in fewer]


def test_terms_are_charged_by_their_complexity():
    data = np.linspace(0.5, 3.0, 50)[:, None]
    charge = {t.expr: t.charge(150, 1) for t in templates_for(["x"], data, 1)}
    order = [x, x**3, sympy.sin(x), sympy.sin(PARAMETER * x), x * sympy.sin(PARAMETER * x)]
    values = [charge[expr] for expr in order]
    assert values == sorted(values)
    assert len(set(values)) == 5


def test_every_product_of_waves_is_there_in_one_way_only():
    data = np.random.default_rng(0).uniform(-2.0, 2.0, (50, 2))
    found = {t.expr for t in templates_for(["x", "y"], data, 2)}
    assert {sympy.sin(2 * x), sympy.cos(2 * y), sympy.sin(x) * sympy.cos(y)} <= found
    assert not {sympy.sin(x) * sympy.cos(x), sympy.sin(x) ** 2, sympy.cos(y) ** 2} & found


def test_the_shorthand_and_its_errors():
    assert isinstance(resolve_library("auto"), AutoLibrary)
    assert resolve_library("auto2").degree == 2
    t = np.linspace(0.0, 1.0, 30)
    with pytest.raises(ValueError, match="without of AutoLibrary must hold names among"):
        SMNNDiscoverer(AutoLibrary(without=["sine"])).fit(t, np.exp(t))
