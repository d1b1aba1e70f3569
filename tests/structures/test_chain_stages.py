"""The stages of a chain's discovery one by one, against closed forms."""

from types import SimpleNamespace

import numpy as np
import pytest
import sympy
from numpy.testing import assert_allclose

from discoverers.datasets import nonlinear_oscillator, observe
from discoverers.exceptions import MisfitWarning
from discoverers.sparse import NormalEquations
from discoverers.structures import ChainStructure, Channel, Data, Note, Options
from discoverers.structures.chain.choosing import _tells
from discoverers.structures.chain.dictionary import make_dictionary, term_weight
from discoverers.structures.chain.drift import remove_drift
from discoverers.structures.chain.extraction import Extraction
from discoverers.structures.chain.finishing import _is_corner
from discoverers.structures.chain.judging import Candidate, Judge, contributions
from discoverers.structures.chain.misfit import whiteness
from discoverers.structures.chain.model import Chain, enough_substeps
from discoverers.structures.chain.spline_kan import fit_spline_kan
from discoverers.structures.chain.start import guess_states
from discoverers.structures.chain.structure import _of_memory, _task
from discoverers.structures.chain.subsets import score_subsets
from discoverers.structures.edges import EdgeFunction

from .chain_systems import REST, UNKNOWN, data, duffing, force, oscillator

T = np.arange(0.0, 12.0, 0.1)
CHAIN = Chain(2, 1, ("u",))


def task_of(given: Data):
    chain = Chain(2, 1, given.input_names)
    return _task(chain, given, Options(), given.records)


# --- start


@pytest.mark.parametrize("seen", ["position", "velocity", "both", "function"])
def test_states_are_guessed_from_whatever_is_measured(seen):
    x, v, a = np.sin(2.0 * T), 2.0 * np.cos(2.0 * T), -4.0 * np.sin(2.0 * T)
    channels = {
        "position": (Channel("p", states={"x": 1.0}),),
        "velocity": (Channel("w", states={"v": 1.0}),),
        "both": (Channel("p", states={"x": 2.0}), Channel("a", rates={"v": 1.0})),
        "function": (Channel("f"),),
    }[seen]
    columns = {
        "position": x[:, None], "velocity": v[:, None], "both": np.c_[2.0 * x, a],
        "function": (x + 0.2 * x**3)[:, None],
    }[seen]  # fmt: skip
    given = data(T, columns, None, UNKNOWN, channels)
    if seen == "function":
        given = Data(
            given.records, channels, (), UNKNOWN, None, lambda X, F, U: X[:, 0] + 0.2 * X[:, 0] ** 3
        )
    start = guess_states(task_of(given))
    inner = slice(5, -5)
    if seen != "velocity":
        assert_allclose(start.states[0][inner, 0], x[inner], atol=0.02)
    assert_allclose(start.states[0][inner, 1], v[inner], atol=0.05)
    assert_allclose(start.rates[0][inner, 1], a[inner], atol=0.3)


def test_a_known_start_is_kept_and_integrated():
    given = data(T, -4.0 * np.sin(2.0 * T), None, np.array([[0.0, 2.0]]))
    start = guess_states(task_of(given))
    assert_allclose(start.states[0][:, 0], np.sin(2.0 * T), atol=2e-3)
    assert_allclose(start.states[0][0], [0.0, 2.0], atol=1e-9)


def test_drift_is_found_as_what_a_law_does_not_explain():
    x, v, a = np.sin(2.0 * T), 2.0 * np.cos(2.0 * T), -4.0 * np.sin(2.0 * T)
    task = task_of(data(T, a, None, UNKNOWN))
    drifting = np.c_[x + 0.05 * (T - 6.0), v + 0.05]

    def residual(states):
        columns = np.c_[np.ones(len(T)), states[0]]
        return a - columns @ np.linalg.lstsq(columns, a, rcond=None)[0]

    (found,) = remove_drift(task, [drifting], residual)
    away = found - np.c_[x, v]
    assert np.ptp(away[:, 0]) < 1e-3 * np.ptp(0.05 * T)
    assert_allclose(away[:, 1], 0.0, atol=1e-4)


# --- network


@pytest.fixture(scope="module")
def network():
    t = np.arange(0.0, 20.05, 0.1)
    states, a = oscillator(duffing, t)
    task = _task(CHAIN, data(t, a, force(t), REST), Options(), data(t, a, force(t), REST).records)
    return task, fit_spline_kan(task, guess_states(task)), states


def test_the_network_follows_clean_data_to_its_end(network):
    _, kan, states = network
    path = kan.calibration.paths[0]
    assert np.mean((path.X[:, 0] - states[:, 0]) ** 2) < 1e-8
    model = kan.chain.model(kan.columns)
    x, v = 0.4 * np.cos(np.arange(20.0)), 0.5 * np.sin(np.arange(20.0))
    u = np.linspace(-1.0, 1.0, 20)
    learnt = model.rates(np.c_[x, v], u[:, None], kan.calibration.theta)[:, 1]
    assert_allclose(learnt, duffing(x, v, u), atol=0.05)


def test_counting_from_elsewhere_changes_names_of_points_only(network):
    _, kan, _ = network
    moved = kan.shifted(np.array([0.3]))
    here, there = kan.chain.model(kan.columns), kan.chain.model(moved.columns)
    X, u = np.array([[0.2, -0.1], [0.5, 0.7]]), np.array([[0.3], [-1.0]])
    theta = kan.calibration.theta
    assert_allclose(there.rates(X - [0.3, 0.0], u, theta), here.rates(X, u, theta), atol=1e-10)
    assert_allclose(kan.equilibrium(), [0.0], atol=2e-3)
    assert_allclose(moved.equilibrium() + 0.3, kan.equilibrium(), atol=0.02)


# --- dictionary and judging


def test_default_terms_and_their_weights():
    dictionary = make_dictionary(CHAIN, Options())
    assert len(dictionary) == len(set(dictionary.terms)) == 19
    x, v = sympy.symbols("x v")
    assert {x * sympy.Abs(x), v * sympy.Abs(v), sympy.sign(v), x * v**2} <= set(dictionary.terms)
    assert term_weight(sympy.Symbol("x1") - sympy.Symbol("x2")) == 1.2
    charges = dictionary.charges(200, 1.0)
    assert_allclose(charges[dictionary.terms.index(x)], np.log(200) + 2.0 * np.log(19))
    assert charges[dictionary.terms.index(x * v**2)] == pytest.approx(1.4 * charges.min())


def test_restrictions_shape_the_dictionary():
    x, v = sympy.symbols("x v")
    odd = make_dictionary(CHAIN, Options(parity="odd"))
    for term in odd.terms:
        flipped = term.subs({s: -s for s in term.free_symbols}, simultaneous=True)
        assert sympy.simplify(flipped + term) == 0
    some = make_dictionary(CHAIN, Options(required={x**5: None}, forbidden=frozenset({x * v})))
    assert some.required[some.terms.index(x**5)]
    assert some.required.sum() == 1
    assert x * v not in some.terms
    both = make_dictionary(Chain(2, 2, ()), Options(library="poly1"))
    assert both.laws.count(0) == both.laws.count(1) == 5
    with pytest.raises(ValueError, match="No candidate term is left"):
        make_dictionary(CHAIN, Options(library="poly1", forbidden=frozenset(
            {sympy.Integer(1), x, v, sympy.Symbol("u")}
        )))  # fmt: skip


def test_subsets_hold_what_is_required_and_the_best_comes_first():
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(100, 8))
    target = 3.0 * columns[:, 1] - 2.0 * columns[:, 5] + 0.1 * rng.normal(size=100)
    normal = NormalEquations.from_rows(columns / 0.1, target / 0.1)
    required = np.zeros(8, dtype=bool)
    scores = score_subsets(normal, np.full(8, 10.0), required, 4)
    assert min(scores, key=scores.__getitem__) == (1, 5)
    required[3] = True
    scores = score_subsets(normal, np.full(8, 10.0), required, 4)
    assert all(3 in support for support in scores)
    assert min(scores, key=scores.__getitem__) == (1, 3, 5)


def test_terms_that_cancel_cost_and_small_ones_show():
    x = np.linspace(-1.0, 1.0, 101)
    law = np.zeros(2, dtype=int)
    share, cost = contributions([np.c_[x, x + 1e-3 * x**3]], np.array([-100.0, 101.0]), law)
    assert cost > 4.0 * np.log(90.0)
    share, cost = contributions([np.c_[x, np.cos(x)]], np.array([1.0, 1e-4]), law)
    assert (share < 1e-3, cost) == (True, 0.0)


# --- laws that switch


def test_sign_is_integrated_as_a_thin_layer_and_written_as_sign():
    dictionary = make_dictionary(CHAIN, Options()).softened([np.array([[2.0, 10.0]])], 1e-3)
    v = sympy.Symbol("v")
    place = dictionary.terms.index(sympy.sign(v))
    assert dictionary.switching[place]
    assert dictionary.switching.sum() == 1
    assert dictionary.columns[place].term == sympy.tanh(v / 0.01)
    assert dictionary.exact_columns[place].term == sympy.sign(v)


def test_friction_is_found_where_it_holds_the_mass():
    record = observe(nonlinear_oscillator("coulomb"), "acceleration", noise=0.01, seed=0)
    head = slice(None, 201)
    given = data(record.t[head], record.y[head, 0], record.u[head, 0], REST)
    fit = ChainStructure().discover(given, Options())
    law = {str(term): value for term, value in fit.equations.terms()["v"].items()}
    assert law.keys() == {"x", "v", "u", "sign(v)"}
    assert_allclose(law["sign(v)"], -0.3, atol=0.01)


def test_switching_laws_stop_at_the_most_substeps():
    model = CHAIN.model(
        [make_dictionary(CHAIN, Options(library="auto")).columns[k] for k in (0, 1)]
    )
    given = data(T, T, force(T), REST)
    theta = np.array([1.0, 0.0, -4.0])
    assert enough_substeps(model, theta, np.array([[1.0, 0.0]]), given.records, 1e-12, 4) == 4
    assert enough_substeps(model, theta, np.array([[1.0, 0.0]]), given.records, 0.1, 4) == 1


def test_whiteness_is_the_sum_of_squared_autocorrelations():
    # Of +1, -1, +1, ... the autocorrelation at lag k is (-1)^k (n - k) / n.
    n = 200
    residuals = (-1.0) ** np.arange(n)
    assert_allclose(whiteness(residuals), n * sum((1 - k / n) ** 2 for k in range(1, 6)))


def test_only_residuals_that_are_correlated_make_a_law_doubtful():
    # The law is x' = v, v' = -x, its states exact; what is left is what was added.
    t = np.arange(200) * 0.1
    noise = 0.1 * np.random.default_rng(0).normal(size=t.size)
    for added, white in ((noise, True), (0.1 * np.sin(t), False)):
        given = data(t, -np.cos(t) + added, np.zeros_like(t), REST)
        task = _task(CHAIN, given, Options(), given.records)
        dictionary = make_dictionary(CHAIN, Options())
        work = Extraction(
            task, dictionary, Judge.of(task, dictionary), given.observation(("x", "v")),
            np.array([0.1]),
        )  # fmt: skip
        place = dictionary.terms.index(sympy.Symbol("x"))
        states = (np.column_stack([np.cos(t), -np.sin(t)]),)
        law = Candidate(
            (place,), np.array([-1.0]), np.array([[1.0, 0.0]]), np.array([float(added @ added)]),
            1.0, True, 1.0, 0.0, states,
        )  # fmt: skip
        assert work.leaves_white(law) is white


# --- edges


def test_edge_functions_interpolate_curves_and_surfaces():
    x, v = np.linspace(-1.0, 1.0, 41), np.linspace(0.0, 2.0, 21)
    curve = EdgeFunction("v'", ("x",), (x,), np.sin(x), 0.1 + 0.0 * x, (0.0,))
    assert_allclose(curve(np.array([0.33, -0.5])), np.sin([0.33, -0.5]), atol=1e-6)
    assert_allclose(curve.band[1] - curve.band[0], 2 * 1.96 * 0.1)
    surface = EdgeFunction("v'", ("x", "v"), (x, v), np.outer(x, v), np.zeros((41, 21)), (0.0, 0.0))
    assert_allclose(surface(0.5, [1.0, 1.5]), [0.5, 0.75], atol=1e-9)
    with pytest.raises(ValueError, match="pass 2 arrays, got 1"):
        surface(0.5)


# --- what is told, and what leads on


def test_a_network_worse_than_a_constant_tells_nothing():
    y = np.column_stack([np.sin(T), np.full(len(T), np.nan)])
    task = SimpleNamespace(
        records=[SimpleNamespace(y=y), SimpleNamespace(y=y)], floor=np.array([1e-3, 1e-12])
    )
    spread = float(np.std(np.sin(T)))
    for share, told in ((0.9, True), (1.1, False)):
        assert _tells(SimpleNamespace(noise_std=np.array([share * spread, 0.0])), task) is told


@pytest.mark.parametrize(
    ("network", "misfit", "told"), [(0.5, True, True), (0.5, False, False), (0.011, True, False)]
)
def test_memory_is_suggested_where_not_even_the_network_comes_near(network, misfit, told):
    kan = SimpleNamespace(
        converged=True, noise_std=np.array([network]),
        guess=SimpleNamespace(noise_std=np.array([0.01])),
    )  # fmt: skip
    begun = SimpleNamespace(kan=kan, task=SimpleNamespace(floor=np.array([1e-3])))
    plain = SimpleNamespace(notes=(Note("poor", MisfitWarning),) if misfit else ())
    texts = [note.text for note in _of_memory(begun, plain)]
    assert [("hidden='auto'" in text) for text in texts] == [True] * told


def test_corners_are_those_of_one_coordinate():
    x, v = sympy.symbols("x v")
    corners = [abs(x), abs(x - sympy.Float(0.4)), abs(sympy.Float(0.4) - x)]
    assert all(map(_is_corner, corners))
    assert not any(map(_is_corner, [x * abs(x), abs(x * v), x, abs(x - v), abs(x**2 - 1)]))
