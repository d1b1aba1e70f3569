"""Answers, failures and pictures of `SKANODERegressor`, on exact data of the smallest structure."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, LeaveOneOut, cross_val_score

from discoverers import SKANODERegressor
from discoverers.exceptions import (
    ConvergenceWarning,
    IntegrationWarning,
    InvalidParameterError,
    NotFittedError,
)
from discoverers.shooting import InputSignal
from discoverers.simulation import interpolated_input
from discoverers.structures import Note
from discoverers.structures.edges import EdgeFunction
from tests.driven_oscillator import (
    ACCELERATION,
    START,
    STATES,
    B,
    C,
    K,
    T,
    coefficients,
    force,
    make,
    oscillator,
)
from tests.oscillator_structure import OscillatorStructure


@pytest.fixture(scope="module")
def fitted():
    return make().fit(T, ACCELERATION, u=force(T))


# --- answers


def test_predict_gives_channels_inside_after_and_before_the_record(fitted):
    t = np.array([20.0, 3.33, 17.2, 0.05])
    states, y = oscillator(t)
    assert_allclose(fitted.predict(t, u=force), y, atol=5e-4)
    assert_allclose(fitted.states(t, u=force), states, atol=5e-4)
    assert fitted.predict(t, u=force).shape == (4,)
    assert_allclose(fitted.predict([3.33]), oscillator([3.33])[1], atol=5e-3)
    early = make().fit(T[50:], ACCELERATION[50:], u=force)
    assert_allclose(early.predict(T, u=force), ACCELERATION, atol=1e-4)
    with pytest.raises(ValueError, match="u: the equations have the input"):
        fitted.predict(t)


def test_simulation_from_any_state(fitted):
    start = (1.0, 0.3)
    states, y = oscillator(T, start)
    assert_allclose(fitted.simulate(T, start, u=force), states, atol=1e-4)
    assert_array_equal(fitted.states(T, x0=start, u=force), fitted.simulate(T, start, u=force))
    assert_allclose(fitted.predict(T, x0=start, u=force), y, atol=1e-4)
    assert_allclose(fitted.derivative([1.0, 0.3], u=[0.5]), [0.3, -K - C * 0.3 + 1.0], rtol=1e-4)
    with pytest.raises(ValueError, match=r"x0 must have shape \(2,\)"):
        fitted.simulate(T, [1.0], u=force)


@pytest.mark.parametrize("kind", ["linear", "cubic", "hold"])
def test_inputs_run_between_samples_in_simulations_as_in_the_fit(kind):
    t = np.arange(0.0, 15.0, 0.25)
    u = np.random.default_rng(3).normal(size=t.size)
    signal = InputSignal(t, u[:, None], kind)
    states, y = oscillator(t, signal=lambda time: signal(np.atleast_1d(time)))
    model = make(interpolation=kind).fit(t, y, u=u)
    tolerance = 1e-4
    assert_allclose(coefficients(model), [K, C, B], rtol=tolerance)
    assert_allclose(model.simulate(t, START, u=u), states, atol=1e-3)
    half = make(interpolation=kind).fit(t[:40], y[:40], u=u[:40])
    if kind != "cubic":  # a spline through half of such rough inputs is another one at its end
        assert_allclose(half.states(t, u=u), states, atol=2e-3)
    other = make(interpolation="linear" if kind == "hold" else "hold").fit(t, y, u=u)
    assert np.abs(coefficients(other) - [K, C, B]).max() > 10 * tolerance


def test_inputs_continue_smoothly_beyond_the_record():
    model = make().fit(T[:100], ACCELERATION[:100], u=force(T[:100]))
    assert_allclose(model.states(T, u=force(T)), STATES, atol=1e-3)
    later = T[100:]
    assert_allclose(model.states(later, u=force(later)), STATES[100:], atol=1e-3)
    assert_allclose(model.predict(later, u=force(later)), ACCELERATION[100:], atol=5e-3)


@pytest.mark.parametrize("kind", ["linear", "cubic", "hold"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 9])
def test_the_simulation_and_the_engine_interpolate_alike(kind, n):
    rng = np.random.default_rng(n)
    t, u = np.sort(rng.uniform(size=n)), rng.normal(size=(n, 2))
    at = np.r_[-1.0, rng.uniform(size=20), t, 2.0]
    mine = interpolated_input(t, u, kind)
    assert_allclose(mine(at), InputSignal(t, u, kind)(at), atol=1e-12)
    assert_allclose(mine(at[3]), mine(at)[3])


def test_a_held_out_run_starts_where_its_own_channels_say(fitted):
    t = T + 2.0
    _, y = oscillator(t, (2.0, 3.0), t0=2.0)
    u = force(t)
    assert fitted.score([t], [y], u=[u]) > 1 - 1e-6
    assert fitted.score([t, T], [y, ACCELERATION], u=[u, force(T)]) > 1 - 1e-6
    ids = ["new"] * t.size
    assert fitted.score(t, y, u=u, trajectory=ids) > 1 - 1e-6
    assert fitted.score(t, y, u=u, trajectory=ids, x0=[2.0, 3.0]) > 1 - 1e-6
    # What is given is used, right or wrong.
    wrong = fitted.score([t], [y], u=[u], x0=[[0.0, 0.0]])
    at_rest = oscillator(t, (0.0, 0.0), t0=2.0)[1]
    assert_allclose(wrong, r2_score(y, at_rest), atol=1e-3)
    assert fitted.score([t], [y], u=[u], x0=[[2.0, np.nan]]) > 1 - 1e-6
    resting = make(initial_state="rest").fit(T, oscillator(T, (0, 0))[1], u=force)
    assert_allclose(resting.score([t], [y], u=[u]), wrong, atol=1e-3)
    gaps = y.copy()
    gaps[::3] = np.nan
    order = np.random.default_rng(0).permutation(t.size)
    assert fitted.score([t[order]], [gaps[order]], u=[u[order]]) > 1 - 1e-6
    with pytest.raises(ValueError, match=r"no measured value in run 0 of the list; leave the run"):
        fitted.score([t], [y * np.nan], u=[u])


def test_scores_stay_finite_when_the_equations_blow_up(fitted):
    model = pickle.loads(pickle.dumps(fitted))
    truth = model.equations_
    model.equations_ = type(truth)(["v", "x**3 + u0"], ["x", "v"], ["u0"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IntegrationWarning)
        score = model.score([T], [ACCELERATION], u=[force(T)], x0=[[5.0, 5.0]])
        estimated = model.score([T], [ACCELERATION], u=[force(T)])
    assert -99 <= score < 0
    assert -99 <= estimated < 1
    with pytest.warns(IntegrationWarning, match="NaN from there on"):
        answer = model.predict(T, x0=[5.0, 5.0], u=force)
    assert np.isfinite(answer[0])
    assert np.isnan(answer[-1])


def test_cross_validation_and_searches_over_runs():
    starts = [(0.5, -1.0), (1.0, 0.0), (-1.0, 1.0)]
    y = [oscillator(T, start)[1] for start in starts]
    tables = [np.c_[T, force(T)]] * 3
    scores = cross_val_score(make(), tables, y, cv=LeaveOneOut())
    assert (scores > 1 - 1e-5).all()
    search = GridSearchCV(make(), {"structure__names": [("q", "p")]}, cv=2)
    assert search.fit(tables, y).best_estimator_.state_names_ == ("q", "p")


# --- failures, copies, warnings


@pytest.mark.parametrize("failing", [RuntimeError("no"), KeyboardInterrupt()], ids=repr)
def test_a_failed_or_interrupted_fit_leaves_the_estimator_as_it_was(failing, fitted):
    model = pickle.loads(pickle.dumps(fitted))
    model.structure = OscillatorStructure(failing=failing)
    before = dict(vars(model))
    with pytest.raises(type(failing)):
        model.fit(np.c_[T, T, T], ACCELERATION)
    assert vars(model) == before
    assert model.score(T, ACCELERATION, u=force) > 0.999


def test_copies_answer_alike(fitted):
    copy = pickle.loads(pickle.dumps(fitted))
    t = np.linspace(-1, 20, 50)
    assert_array_equal(copy.predict(t, u=force), fitted.predict(t, u=force))
    fresh = clone(fitted)
    with pytest.raises(NotFittedError):
        fresh.states_  # noqa: B018 - asking is the test
    assert_array_equal(fresh.fit(T, ACCELERATION, u=force(T)).coef_, fitted.coef_)
    assert fitted.sympy()[0] == fitted.equations_["x"]
    assert "frac" in fitted.latex()
    assert_allclose(fitted.to_callable()([1.0, 0.0], [0.0]), [0.0, -K], atol=1e-3)


class Reporting(OscillatorStructure):
    """Hands back what it was told to, on top of the fit."""

    _parameter_constraints = {"report": [dict]}

    def __init__(self, report):
        super().__init__()
        self.report = report

    def discover(self, data, options):
        return replace(super().discover(data, options), **self.report)


class Noting(OscillatorStructure):
    """Says what it was given."""

    def discover(self, data, options):
        found = super().discover(data, options)
        text = f"{options.library} {options.max_terms} {options.parity} {options.seed}"
        terms = f"{sorted(map(str, options.required))} {sorted(map(str, options.forbidden))}"
        note = Note(f"asked: {text} {terms}", ConvergenceWarning)
        return replace(found, notes=(note,), extras={"seed_": options.seed})


def test_structures_get_the_options_and_their_notes_become_warnings():
    model = SKANODERegressor(
        Noting(),
        library="poly2",
        max_terms=3,
        parity="odd",
        required={"x": -4.0},
        forbidden=["x*v", "u0**2"],
        random_state=5,
    )
    text = r"asked: poly2 3 odd \d+ \['x'\] \['u0\*\*2', 'v\*x'\]"
    with pytest.warns(ConvergenceWarning, match=text) as caught:
        first = model.fit(T, ACCELERATION, u=force).seed_
    assert caught[0].filename == __file__
    with pytest.warns(ConvergenceWarning):
        assert clone(model).fit(T, ACCELERATION, u=force).seed_ == first
    with pytest.warns(ConvergenceWarning):
        other = clone(model).set_params(random_state=6).fit(T, ACCELERATION, u=force)
    assert other.seed_ != first


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"structure": 3}, InvalidParameterError, "'structure' parameter of SKANODERegressor"),
        ({"structure": "tree"}, ValueError, r"structure must be one of \['chain'.*got 'tree'"),
        (
            {"structure": OscillatorStructure(names=["x", "v"])},
            InvalidParameterError,
            "'names' parameter of OscillatorStructure",
        ),
        ({"observe": 3}, InvalidParameterError, "'observe' parameter"),
        ({"observe": "jerk"}, ValueError, "observe: cannot read 'jerk'"),
        ({"interpolation": "quintic"}, InvalidParameterError, "'interpolation' parameter"),
        ({"initial_state": "zero"}, InvalidParameterError, "'initial_state' parameter"),
        ({"parity": "even"}, InvalidParameterError, "'parity' parameter"),
        ({"required": "x"}, InvalidParameterError, "'required' parameter"),
        ({"required": ["w"]}, ValueError, "required holds 'w'"),
        ({"forbidden": ["x", "2*x"]}, ValueError, "forbidden holds '2.x': write one term"),
        ({"required": ["x"], "forbidden": ["x"]}, ValueError, r"both hold \['x'\]. Take them out"),
        ({"noise_std": -1.0}, InvalidParameterError, "'noise_std' parameter"),
        ({"max_terms": 0}, InvalidParameterError, "'max_terms' parameter"),
    ],
)
def test_wrong_parameters_are_named(parameters, error, message):
    with pytest.raises(error, match=message):
        SKANODERegressor(**{"structure": OscillatorStructure(), **parameters}).fit(
            T, ACCELERATION, u=force
        )


def test_wrong_data_are_named():
    with pytest.raises(ValueError, match=r"input\(s\) \['x'\] have the name of a state.*Rename"):
        make().fit(T, ACCELERATION, u=pd.DataFrame({"x": force(T)}))
    with pytest.raises(ValueError, match=r"'acceleration' needs one column per degree of freedom"):
        make().fit(T, np.c_[ACCELERATION, ACCELERATION], u=force)
    with pytest.raises(ValueError, match="minimum of 3 is required"):
        make().fit(T[:2], ACCELERATION[:2], u=force)
    with pytest.raises(ValueError, match="u has 3 row"):
        make().fit(T, ACCELERATION, u=force(T)[:3])


def test_functions_cannot_be_saved_and_that_is_said(tmp_path):
    model = make(observe=lambda X, F, U: F[:, 1])
    with pytest.raises(TypeError, match="cannot be saved"):
        model.save(tmp_path / "model")


# --- pictures


def test_pictures_show_channels_and_states(fitted):
    (panel,) = fitted.plot("fit", t=T, X=ACCELERATION, simulated=True)
    assert panel.get_ylabel() == "y0"
    drawn = {line.get_label(): line for line in panel.get_lines()}
    assert list(drawn) == ["measured", "fitted", "equations alone"]
    for label in ("fitted", "equations alone"):
        t, y = drawn[label].get_xydata().T
        assert_allclose(y, oscillator(t)[1], atol=5e-3)
    panels = fitted.plot("states", t=T, X=STATES)
    assert [panel.get_ylabel() for panel in panels] == ["x", "v"]
    drawn = {line.get_label(): line for line in panels[1].get_lines()}
    assert_array_equal(drawn["true"].get_xydata(), np.c_[T, STATES[:, 1]])
    phase = fitted.plot("phase", t=T, X=STATES)
    assert (phase.get_xlabel(), phase.get_ylabel()) == ("x", "v")
    with pytest.raises(ValueError, match=r"2 columns \['x', 'v'\] are drawn"):
        fitted.plot("states", t=T, X=ACCELERATION)
    with pytest.raises(ValueError, match="no edge functions.*kind='coefficients'"):
        fitted.plot("edges")


def test_the_picture_of_a_fit_shows_what_was_measured(fitted):
    (panel,) = fitted.plot("fit")
    lines = {line.get_label(): line for line in panel.get_lines()}
    assert set(lines) == {"measured", "fitted"}
    measured = lines["measured"]
    assert measured.get_linestyle() == "None"
    assert_allclose(measured.get_xydata(), np.column_stack([T, ACCELERATION]))


def test_edge_functions_are_drawn_with_band_and_symbol():
    x = np.linspace(-1.0, 2.0, 31)
    curve = EdgeFunction("v'", ("x",), (x,), -(x**3), 0.1 + x**2, (0.5,), "-4.000123 x")
    surface = EdgeFunction(
        "v'", ("x", "v"), (x, x[:9]), np.outer(x, x[:9]), 0.0 * np.outer(x, x[:9]), (0.0, 0.0)
    )
    model = SKANODERegressor(Reporting({"edge_functions": (curve, surface)}))
    panels = model.fit(T, ACCELERATION, u=force).plot("edges")
    drawn = {line.get_label(): line for line in panels[0].get_lines()}
    assert_array_equal(drawn["learned"].get_xydata(), np.c_[x, -(x**3)])
    # Of v' = 2 u0 - 4 x - 0.3 v, where the curve's reference is 0.5.
    assert_allclose(drawn["-4 x"].get_xydata()[:, 1], -4 * (x - 0.5), atol=1e-3)
    band = panels[0].collections[0].get_paths()[0].vertices
    assert_allclose(band[:, 1].max(), (-(x**3) + 1.96 * (0.1 + x**2)).max())
    assert (panels[1].get_xlabel(), panels[1].get_ylabel()) == ("x", "v")
    assert_allclose(panels[1].collections[0].get_array(), np.outer(x, x[:9]).T)
    with pytest.raises(ValueError, match="ax holds 1 panels; 2, one for each function"):
        model.plot("edges", ax=panels[0])
