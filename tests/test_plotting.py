"""Pictures show the numbers of the fit, under the names of the states."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from discoverers import EmptyEquationWarning, SMNNDiscoverer
from discoverers.datasets import generate, logistic, lorenz, lotka_volterra
from discoverers.plotting import (
    plot_coefficients,
    plot_fit,
    plot_pareto,
    plot_phase,
    save_figure,
)


@pytest.fixture(scope="module")
def record():
    return generate(lotka_volterra(), 300, noise=0.01, seed=0)


@pytest.fixture(scope="module")
def model(record):
    data = record.to_frame()
    return SMNNDiscoverer(library="poly2").fit(data["t"], data[["x", "y"]])


def lines(panel):
    """Find the lines of a panel by their legend entry."""
    return {line.get_label(): line for line in panel.get_lines()}


def test_fit_has_a_panel_for_each_state_with_measured_and_fitted_values(model, record):
    panels = plot_fit(model, t=record.t, X=record.X)
    assert [panel.get_ylabel() for panel in panels] == ["x", "y"]
    assert panels[-1].get_xlabel() == "t"
    for v, panel in enumerate(panels):
        drawn = lines(panel)
        assert set(drawn) == {"measured", "fitted"}
        np.testing.assert_array_equal(
            drawn["measured"].get_xydata(), np.c_[record.t, record.X[:, v]]
        )
        t, x = drawn["fitted"].get_xydata().T
        at = np.searchsorted(t, record.t)
        np.testing.assert_allclose(t[at], record.t)
        np.testing.assert_allclose(x[at], model.solution_[0].X[:, v])


def test_fit_without_measurements_draws_the_solution_alone(model):
    for panel in plot_fit(model):
        assert list(lines(panel)) == ["fitted"]


def test_fit_adds_the_equations_alone(model):
    panel = plot_fit(model, simulated=True)[0]
    t, x = lines(panel)["equations alone"].get_xydata().T
    expected = model.simulate(t, model.solution_[0].X[0])[:, 0]
    np.testing.assert_allclose(x, expected, rtol=1e-6)


def test_fit_draws_all_states_into_one_given_axes(model, record):
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    panels = plot_fit(model, ax, t=record.t, X=record.X)
    assert all(panel is ax for panel in panels)
    assert len(ax.get_lines()) == 4
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {
        "x measured",
        "x fitted",
        "y measured",
        "y fitted",
    }


def test_fit_draws_every_run_and_names_each_kind_once(record):
    other = generate(lotka_volterra(), 250, noise=0.01, seed=1, x0=[2.0, 3.0])
    times, states = [record.t, other.t], [record.X, other.X]
    model = SMNNDiscoverer(library="poly2").fit(times, states)
    panel = plot_fit(model, t=times, X=states)[0]
    assert len(panel.get_lines()) == 4
    assert len(panel.get_legend().get_texts()) == 2


def test_fit_refuses_axes_and_measurements_that_do_not_match(model, record):
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(3)
    with pytest.raises(ValueError, match="ax holds 3 panels; 1 or 2"):
        plot_fit(model, axes)
    with pytest.raises(ValueError, match="t and X hold 1 runs of 1 columns"):
        plot_fit(model, t=record.t, X=record.X[:, 0])
    with pytest.raises(ValueError, match="without X"):
        plot_fit(model, t=record.t)


def test_fit_names_unit_and_origin_of_dates():
    t = pd.Timestamp("2024-05-01") + pd.to_timedelta(np.arange(200) * 0.05, unit="D")
    data = generate(logistic(), t=np.arange(200) * 0.05).to_frame()
    model = SMNNDiscoverer(library="poly2", time_unit="d").fit(t, data[["x"]])
    assert plot_fit(model)[0].get_xlabel() == "t (d after 2024-05-01)"


def test_phase_draws_two_states_against_each_other(model, record):
    ax = plot_phase(model, t=record.t, X=record.X)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
    np.testing.assert_array_equal(lines(ax)["measured"].get_xydata(), record.X)


def test_phase_draws_three_states_in_space_or_two_of_them_in_the_plane():
    data = generate(lorenz(), 500).to_frame()
    model = SMNNDiscoverer(library="poly2").fit(data["t"], data[["x", "y", "z"]])
    space = plot_phase(model)
    assert (space.name, space.get_zlabel()) == ("3d", "z")
    plane = plot_phase(model, states=["x", "z"])
    assert (plane.name, plane.get_ylabel()) == ("rectilinear", "z")
    with pytest.raises(ValueError, match="projection 'rectilinear'"):
        plot_phase(model, plane)
    with pytest.raises(ValueError, match="two or three of"):
        plot_phase(model, states=["x", "speed"])


def test_phase_of_one_state_shows_its_law():
    record = generate(logistic(), 500)
    ax = plot_phase(SMNNDiscoverer(library="poly2").fit(record.t, record.X))
    x, rate = lines(ax)["equation"].get_xydata().T
    np.testing.assert_allclose(rate, x * (1 - x), atol=1e-3)
    assert ax.get_ylabel() == "x0'"


def test_pareto_draws_the_front_and_a_ring_around_the_choice(model):
    ax = plot_pareto(model)
    front = model.pareto_front_
    drawn = lines(ax)
    np.testing.assert_allclose(
        drawn["best of each size"].get_xydata(), front[["complexity", "loss"]].astype(float)
    )
    ring = drawn["chosen"].get_xydata()
    np.testing.assert_allclose(
        ring, front.loc[front["selected"], ["complexity", "loss"]].astype(float)
    )
    assert len(ring) == 1


def test_coefficients_have_a_row_for_each_term_with_its_interval(model):
    ax = plot_coefficients(model)
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "x':  x",
        "x':  x y",
        "y':  y",
        "y':  x y",
    ]
    found = []
    for container in ax.containers:
        for (low, _), (high, _) in container.lines[2][0].get_segments():
            found.append(((low + high) / 2, (high - low) / 2))
    active = model.coef_ != 0
    values, errors = np.array(found).T
    np.testing.assert_allclose(values, model.coef_[active], rtol=1e-12)
    np.testing.assert_allclose(errors, 1.96 * model.coef_std_[active], rtol=1e-9)


def test_coefficients_name_terms_and_derivatives_as_the_equations_do():
    t = np.linspace(0.0, 6.0, 150)
    frame = pd.DataFrame({"my x": np.cos(2.0 * t)})
    model = SMNNDiscoverer(library="poly1", order=2).fit(t, frame)
    labels = plot_coefficients(model).get_yticklabels()
    assert [label.get_text() for label in labels] == ["[my x]'':  [my x]"]
    x, speed = lines(plot_phase(model))["fitted"].get_xydata().T
    np.testing.assert_allclose((speed / 2.0) ** 2 + x**2, 1.0, atol=1e-3)


@pytest.mark.filterwarnings("error:No artists", "error:Attempting to set")
def test_equations_without_terms_have_no_coefficients_to_draw():
    t = np.linspace(0.0, 5.0, 30)
    with pytest.warns(EmptyEquationWarning):
        model = SMNNDiscoverer(library="poly1").fit(t, np.ones(30))
    assert not plot_coefficients(model).get_yticklabels()


def test_coefficients_mark_the_truth_and_keep_a_row_for_a_term_that_is_missing(record):
    data = record.to_frame()
    model = SMNNDiscoverer(library="poly2", max_terms=1).fit(data["t"], data[["x", "y"]])
    ax = plot_coefficients(model, truth=lotka_volterra().equations)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    crosses = {labels[int(row)]: value for value, row in lines(ax)["true"].get_xydata()}
    assert crosses == {"x':  x": 1.0, "x':  x y": -0.5, "y':  y": -1.0, "y':  x y": 0.25}


@pytest.mark.parametrize("kind", ["fit", "phase", "pareto", "coefficients"])
def test_estimators_draw_every_kind(model, kind):
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    assert np.ravel(model.plot(kind, ax=ax))[0] is ax
    assert ax.get_lines()
    assert ax.get_xlabel()


@pytest.mark.parametrize("draw", [plot_fit, plot_phase, plot_pareto, plot_coefficients])
def test_an_estimator_that_is_not_fitted_is_refused(draw):
    with pytest.raises(NotFittedError):
        draw(SMNNDiscoverer())


def test_saving_makes_the_folder_and_closes_the_figure(model, tmp_path):
    import matplotlib.pyplot as plt

    ax = plot_pareto(model)
    path = save_figure(ax.figure, tmp_path / "new" / "front.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert not plt.fignum_exists(ax.figure.number)


def test_importing_the_pictures_does_not_import_matplotlib():
    code = "import sys, discoverers.plotting; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
