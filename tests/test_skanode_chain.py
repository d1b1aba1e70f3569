"""`SKANODERegressor` with its default structure: promises of the contract that need a found law."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import discoverers
from discoverers import SKANODERegressor
from discoverers.datasets import duffing_forced, observe
from discoverers.exceptions import IdentifiabilityWarning
from discoverers.structures import ChainStructure

RECORD = observe(duffing_forced(), "acceleration", noise=0.005, seed=0)
TRAIN = RECORD.training()
INPUT = pd.DataFrame(TRAIN.u, columns=["u"])


def fit(**parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        return SKANODERegressor(**parameters).fit(TRAIN.t, TRAIN.y[:, 0], u=INPUT)


@pytest.fixture(scope="module")
def model():
    return fit()


def test_defaults_find_the_law_and_the_states_from_accelerations_alone(model):
    assert model.equations_.compare(RECORD.system.equations).exact
    error = np.sqrt(((model.states_ - TRAIN.states) ** 2).mean().to_numpy())
    assert (error < 0.02 * TRAIN.states.std(axis=0)).all()
    forecast = model.states(RECORD.t, u=RECORD.u)
    assert np.abs(forecast - RECORD.states).max() < 0.02
    assert_allclose(model.noise_std_, [0.005], rtol=0.2)
    assert_allclose(model.x0_, [[0.0, 0.0]], atol=6 * model.x0_std_.max())
    assert model.x_offset_identifiable_ is False
    assert {"v': x**3", "x(0)", "v(0)"} <= set(model.parameter_names_)
    interval = model.coef_interval(0.999).set_index("term").loc["x**3"]
    assert interval["lower"] < -10.0 < interval["upper"]


def test_what_was_saved_answers_to_the_last_bit(model, tmp_path):
    model.save(tmp_path / "model.zip")
    loaded = discoverers.load(tmp_path / "model.zip")
    for copy in (loaded, pickle.loads(pickle.dumps(model))):
        assert copy.equations_ == model.equations_
        assert_array_equal(copy.predict(RECORD.t, u=RECORD.u), model.predict(RECORD.t, u=RECORD.u))
        assert_array_equal(copy.states_, model.states_)
        assert_array_equal(copy.covariance_, model.covariance_)
        assert_array_equal(copy.measured_[0], model.measured_[0])
        part = [TRAIN.t[:80]], [TRAIN.y[:80, 0]]
        assert copy.score(*part, u=[TRAIN.u[:80]]) == model.score(*part, u=[TRAIN.u[:80]])
        at = model.edge_functions_[0].grid[0]
        assert_array_equal(copy.edge_functions_[0](at), model.edge_functions_[0](at))
        assert copy.observation_.channels == ("y0",)
    saved = SKANODERegressor(ChainStructure(order=3), observe=["acceleration"])
    saved.save(tmp_path / "unfitted.zip")
    assert discoverers.load(tmp_path / "unfitted.zip").structure.order == 3


def test_a_new_run_is_judged_from_its_own_start(model):
    other = observe(duffing_forced(), "acceleration", noise=0.005, seed=3, x0=[0.4, -0.8])
    score = model.score([other.t], [other.y[:, 0]], u=[other.u])
    ceiling = 1 - 0.005**2 / other.y.var()
    assert ceiling - 2e-4 < score <= ceiling + 1e-4
    known = model.score([other.t], [other.y[:, 0]], u=[other.u], x0=[[0.4, -0.8]])
    assert known <= score + 1e-6
    assert known > ceiling - 5e-4


def test_knowing_rest_fixes_the_level_of_the_positions():
    with warnings.catch_warnings():
        warnings.simplefilter("error", IdentifiabilityWarning)
        model = SKANODERegressor(initial_state="rest").fit(TRAIN.t, TRAIN.y[:, 0], u=INPUT)
    assert model.x_offset_identifiable_ is not False
    assert_array_equal(model.x0_, [[0.0, 0.0]])
    assert model.equations_.compare(RECORD.system.equations).exact


def test_what_the_user_knows_of_the_law_is_kept():
    model = fit(
        library="poly3", required={"x": -1.5}, forbidden=["x*v", "v**3"], parity="odd", max_terms=5
    )
    law = model.equations_.terms()["v"]
    names = {str(term) for term in law}
    assert law[next(term for term in law if str(term) == "x")] == -1.5
    assert not names & {"x**2", "v**2", "1", "v**3"}
    row, column = model.state_names_.index("v"), model.terms_.index("x")
    assert model.coef_std_[row, column] == 0.0
    assert model.equations_.compare(RECORD.system.equations).exact


def test_pictures_of_learned_functions(model):
    panels = model.plot("edges")
    assert len(panels) == len(model.edge_functions_)
    drawn = panels[0].get_lines()
    learned, law = (line.get_xydata() for line in drawn[:2])
    span = np.ptp(learned[:, 1])
    assert np.abs(learned[:, 1] - law[:, 1]).max() < 0.05 * span


@pytest.mark.parametrize("library", ["poly1", "poly2"])
def test_noise_has_an_answer_that_scores_finite(library):
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SKANODERegressor(library=library).fit(TRAIN.t, rng.normal(size=TRAIN.t.size))
        assert np.isfinite(model.coef_).all()
        assert model.score([TRAIN.t[:60]], [rng.normal(size=60)]) < 0.5


@pytest.mark.parametrize("amplitude", [1e-9, 1e5, 1e9])
def test_units_in_which_candidates_overflow_are_no_trouble(amplitude):
    t = np.arange(0.0, 10.0, 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SKANODERegressor().fit(t, amplitude * np.cos(3.0 * t))
    assert np.isfinite(model.coef_).all()
    assert_allclose(model.predict(t), amplitude * np.cos(3.0 * t), atol=0.05 * amplitude)
