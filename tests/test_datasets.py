"""The catalogue samples the true equations; the measured figures are the published ones."""

import csv
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sympy
from scipy.integrate import solve_ivp

from discoverers import datasets
from discoverers.datasets import SYSTEMS, generate, logistic, lorenz, lotka_volterra, make_system

# Right-hand sides written a second time, by hand, from the sources.
BY_HAND = {
    "lorenz": lambda x, y, z: (10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z),
    "rossler": lambda x, y, z: (-y - z, x + 0.2 * y, 0.2 + z * (x - 5.7)),
    "lotka_volterra": lambda x, y: (x - 0.5 * x * y, 0.25 * x * y - y),
    "van_der_pol": lambda x, y: (y, (1 - x**2) * y - x),
    "duffing": lambda x, y: (y, -0.2 * y - x - x**3),
    "pendulum": lambda a, w: (w, -0.1 * w - np.sin(a)),
    "logistic": lambda x: (x * (1 - x),),
    "sir": lambda s, i: (-0.5 * s * i, 0.5 * s * i - 0.1 * i),
    "brusselator": lambda x, y: (1 - 4 * x + x**2 * y, 3 * x - x**2 * y),
    "selkov": lambda x, y: (-x + 0.08 * y + x**2 * y, 0.6 - 0.08 * y - x**2 * y),
    "fitzhugh_nagumo": lambda v, w: (v - v**3 / 3 - w + 0.5, (v + 0.7 - 0.8 * w) / 12.5),
}


def shared_data(name):
    folder = os.environ.get("DISCOVERERS_DATA")
    if not folder or not (Path(folder) / name).is_file():
        pytest.skip(f"DISCOVERERS_DATA names no folder with {name}")
    return Path(folder) / name


def test_the_hand_written_right_hand_sides_cover_the_catalogue():
    assert set(BY_HAND) == set(SYSTEMS)


@pytest.mark.parametrize("name", SYSTEMS)
def test_equations_are_those_of_the_source(name):
    system = SYSTEMS[name]()
    X = np.random.default_rng(0).normal(size=(20, len(system.state_names)))
    expected = np.column_stack([np.asarray(column) for column in BY_HAND[name](*X.T)])
    np.testing.assert_allclose(system.equations.lambdify("numpy")(X), expected, rtol=1e-13)


@pytest.mark.parametrize("name", SYSTEMS)
def test_records_agree_with_a_tight_integration(name):
    system = SYSTEMS[name]()
    record = generate(system, 400)
    reference = solve_ivp(
        lambda _t, x: np.array(BY_HAND[name](*x)),
        (record.t[0], record.t[-1]),
        system.x0,
        method="DOP853",
        t_eval=record.t,
        rtol=1e-13,
        atol=1e-14,
    )
    # 4 time units of Lorenz and 20 of Rössler let errors grow by some decades.
    np.testing.assert_allclose(record.X, reference.y.T, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("rate", "capacity"), [(1.0, 1.0), (0.3, 50.0)])
def test_logistic_record_agrees_with_its_closed_form(rate, capacity):
    record = generate(logistic(rate=rate, capacity=capacity))
    start = record.X[0, 0]
    exact = capacity / (1 + (capacity / start - 1) * np.exp(-rate * record.t))
    np.testing.assert_allclose(record.X[:, 0], exact, rtol=1e-9)


def test_lotka_volterra_keeps_its_constant_of_motion():
    x, y = generate(lotka_volterra()).X.T
    constant = 0.25 * x - np.log(x) + 0.5 * y - np.log(y)
    np.testing.assert_allclose(constant, constant[0], rtol=1e-8)


def test_lorenz_has_the_papers_setting():
    record = generate(lorenz(), method="odeint")
    assert record.t.size == 10_000
    np.testing.assert_allclose(np.diff(record.t), 0.01)
    np.testing.assert_array_equal(record.X[0], [1.0, 1.0, 1.0])
    assert lorenz().equations.complexity > 0
    assert sum(len(terms) for terms in lorenz().equations.terms().values()) == 7


def test_odeint_follows_the_tight_integration_while_chaos_allows():
    loose, tight = (generate(lorenz(), 500, method=m).X for m in ("odeint", "DOP853"))
    np.testing.assert_allclose(loose, tight, atol=1e-4)


def test_noise_has_the_asked_size_and_repeats_with_its_seed():
    system = lotka_volterra()
    record = generate(system, 20_000, noise=0.05, seed=7)
    np.testing.assert_allclose(record.noise_std, 0.05 * record.clean.std(axis=0))
    np.testing.assert_allclose((record.X - record.clean).std(axis=0), record.noise_std, rtol=0.03)
    np.testing.assert_array_equal(generate(system, 20_000, noise=0.05, seed=7).X, record.X)
    assert not np.array_equal(generate(system, 20_000, noise=0.05, seed=8).X, record.X)


def test_times_and_start_can_be_chosen():
    t = np.array([0.0, 0.1, 0.7, 2.0])
    record = generate(logistic(), t=t, x0=[0.5])
    np.testing.assert_allclose(record.X[:, 0], 1 / (1 + np.exp(-t)), rtol=1e-9)


def test_a_record_becomes_a_table():
    frame = generate(lorenz(), 5).to_frame()
    assert list(frame.columns) == ["t", "x", "y", "z"]
    assert frame.shape == (5, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": -0.1}, "noise=-0.1"),
        ({"noise": np.nan}, "noise=nan"),
        ({"method": "euler"}, "method='euler'"),
        ({"n_samples": 1}, "n_samples=1"),
        ({"n_samples": 5, "t": [0.0, 1.0]}, "both given"),
        ({"t": [0.0, 0.0]}, "increasing"),
        ({"x0": [1.0]}, "3 finite values"),
        ({"x0": [1.0, np.nan, 0.0]}, "3 finite values"),
    ],
)
def test_generate_names_what_it_cannot_use(arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(lorenz(), **arguments)


@pytest.mark.parametrize("method", ["DOP853", "odeint"])
def test_a_solution_that_blows_up_is_an_error(method):
    x = sympy.Symbol("x")
    explosion = make_system(
        "explosion", {"x": x**2}, t=[0.0, 0.5, 2.0], x0=[1.0], parameters={}, source="x' = x**2"
    )
    with pytest.raises(ValueError, match=r"'explosion'.*does not reach t=2"):
        generate(explosion, method=method)


def test_make_system_names_a_parameter_without_a_value():
    k, x = sympy.symbols("k x")
    with pytest.raises(ValueError, match="'decay' use k"):
        make_system("decay", {"x": -k * x}, t=[0, 1], x0=[1], parameters={}, source="")


def test_make_system_checks_the_start():
    x = sympy.Symbol("x")
    with pytest.raises(ValueError, match="x0 of 'decay'"):
        make_system("decay", {"x": -x}, t=[0, 1], x0=[1, 2], parameters={}, source="")


def test_lynx_hare_figures_are_the_published_ones():
    with open(shared_data("lynx_hare/hudson-bay-lynx-hare.csv")) as file:
        rows = list(
            csv.DictReader((line for line in file if line[0] != "#"), skipinitialspace=True)
        )
    published = pd.DataFrame(rows).astype(float)
    ours = datasets.lynx_hare()
    np.testing.assert_array_equal(ours["year"], published["Year"])
    np.testing.assert_array_equal(ours["hare"], published["Hare"])
    np.testing.assert_array_equal(ours["lynx"], published["Lynx"])


def test_lynx_hare_has_21_years_in_order():
    years = datasets.lynx_hare()["year"]
    assert years.tolist() == list(range(1900, 1921))


def test_data_file_prefers_the_path_then_the_variable_then_the_cache(tmp_path, monkeypatch):
    cache, folder = tmp_path / "cache", tmp_path / "folder"
    for place in (cache / "discoverers", folder):
        place.mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("DISCOVERERS_DATA", str(folder))
    with pytest.raises(FileNotFoundError, match=r"no file a\.csv in .*folder or .*cache"):
        datasets.data_file("a.csv")
    (cache / "discoverers" / "a.csv").touch()
    assert datasets.data_file("a.csv") == cache / "discoverers" / "a.csv"
    (folder / "a.csv").touch()
    assert datasets.data_file("a.csv") == folder / "a.csv"
    own = tmp_path / "own.csv"
    own.touch()
    assert datasets.data_file("a.csv", own) == own


def test_a_file_of_another_layout_is_named(tmp_path):
    wrong = tmp_path / "wrong.for"
    wrong.write_text("a\nb\nc\nd\n 99XXX1990     23.4-0.4     25.1-0.3     26.6 0.0     28.6 0.3\n")
    with pytest.raises(ValueError, match=r"wrong\.for has not the layout"):
        datasets.load_nino(wrong)
