"""The benchmark of discovery: what it computes, never how fast."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sympy
from scipy.integrate import odeint, solve_ivp

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:  # the benchmark is part of the repository, not of the package
    sys.path.insert(0, str(ROOT))

from benchmarks.discovery import __main__ as command  # noqa: E402
from benchmarks.discovery import fitting, judging, peers, report, summary, timing  # noqa: E402
from benchmarks.discovery.cases import MAKERS, Case, short_systems  # noqa: E402
from benchmarks.discovery.parametric import PARAMETRIC  # noqa: E402
from benchmarks.discovery.records import measure  # noqa: E402
from benchmarks.discovery.systems import (  # noqa: E402
    OSCILLATORS,
    chaotic,
    chaotic_names,
    chaotic_period,
    classic,
    degree,
)
from discoverers.datasets import lorenz  # noqa: E402
from discoverers.equations import Equations  # noqa: E402


def test_the_chaotic_systems_are_81_polynomials_in_two_halves():
    names = chaotic_names()
    assert len(names) == 81
    assert set(chaotic_names("development")) | set(chaotic_names("held-out")) == set(names)
    assert not set(chaotic_names("development")) & set(chaotic_names("held-out"))
    degrees = {name: degree(chaotic(name).equations) for name in names}
    assert set(degrees.values()) == {2, 3, 4}
    assert [name for name in names if degrees[name] == 4] == ["aizawa", "lorenz_bounded"]


def test_the_table_holds_lorenz_equations():
    ours = chaotic("lorenz").equations
    assert ours.compare(lorenz(beta=2.667).equations).relative_coefficient_error == 0.0


@pytest.mark.parametrize("name", ["halvorsen", "sprott_d", "hyper_qi"])
def test_initial_states_are_on_attractors_that_stay_bounded(name):
    system = chaotic(name)
    period = chaotic_period(name)
    assert system.t[-1] == pytest.approx(9.99 * period)
    rate = sympy.lambdify(sympy.symbols(system.state_names), list(system.equations))
    path = solve_ivp(lambda _, s: rate(*s), (0.0, 10 * period), system.x0, rtol=1e-8, atol=1e-8)
    halves = np.array_split(path.y, 2, axis=1)
    spread = [part.std(axis=1) for part in halves]
    assert path.success
    assert np.all(spread[0] < 10.0 * spread[1])
    assert np.all(spread[1] < 10.0 * spread[0])


def test_every_part_has_cases_and_quick_ones_are_fewer():
    for make, _ in MAKERS.values():
        whole, quick = make(2, False, "all"), make(1, True, "all")
        assert len(set(whole)) == len(whole)
        assert 0 < len(quick) < len(whole)
    names = {case.system for case in MAKERS["chaotic"][0](1, False, "held-out")}
    assert names == set(chaotic_names("held-out"))


def test_short_systems_are_polynomials_within_the_library():
    for system in short_systems("all"):
        symbols = sympy.symbols(system.state_names)
        assert all(sympy.Poly(side, *symbols).total_degree() <= 3 for side in system.truth)


def test_noise_has_the_stated_size_and_every_case_its_own():
    case = Case("classics", "classics", "duffing", 0.05, 0)
    first, again = measure(case), measure(case)
    np.testing.assert_array_equal(first.X[0], again.X[0])
    errors = (first.X[0] - first.clean[0]) / first.clean[0].std(axis=0)
    np.testing.assert_allclose(errors.std(axis=0), 0.05, rtol=0.1)
    other = measure(replace(case, seed=1)).X[0] - first.clean[0]
    assert abs(np.corrcoef(other[:, 0], errors[:, 0])[0, 1]) < 0.15


@pytest.mark.parametrize(
    "setting",
    [
        "30 % missing",
        "5 % outliers",
        "irregular",
        "position only",
        "position only, 30 % missing",
        "position only, 5 % outliers",
        "position only, irregular",
        "two trajectories",
    ],
)
def test_records_are_spoilt_as_their_setting_says(setting):
    group, name = ("textbook", "van der Pol") if "two" in setting else ("classics", "van_der_pol")
    measured = measure(Case("damage", group, name, 0.01, 0, setting, 400))
    X = measured.X[0]
    clean = measured.clean[0][:, : X.shape[1]]
    if setting.startswith("position only"):
        assert X.shape == (400, 1)
        assert measured.truth.order == 2
        x, velocity = sympy.symbols("x x'")
        assert measured.truth.compare([velocity - x**2 * velocity - x]).exact
    if "missing" in setting:
        assert np.isnan(X).mean() == pytest.approx(0.3, abs=0.06)
    elif "outliers" in setting:
        far = np.abs(X - clean) > 2.0 * clean.std(axis=0)
        assert far.mean() == pytest.approx(0.05, abs=0.03)
    elif "irregular" in setting:
        steps = np.diff(measured.t[0])
        assert steps.min() > 0
        assert steps.std() > 0.5 * steps.mean()
        assert len(steps) == 399
    elif "two" in setting:
        assert len(measured.X) == 2
        assert not np.allclose(measured.clean[0][0], measured.clean[1][0])
        assert not np.allclose(measured.other, measured.clean[1][0])


@pytest.mark.parametrize("name", sorted(OSCILLATORS))
def test_oscillators_are_x_and_its_rate(name):
    assert classic(name).equations["x"] == sympy.Symbol("y")
    assert len(classic(name).t) == 1000


def test_simulations_are_judged_against_the_true_run():
    case = Case("classics", "classics", "duffing", 0.0, 0, n_samples=300)
    measured = measure(case)
    right = judging.runs(measured.truth, measured, case)
    assert right == {"r2_same": 1.0, "r2_other": 1.0}
    wrong = Equations(["y", "x"], ["x", "y"])
    assert judging.runs(wrong, measured, case)["r2_same"] < 0.0
    chaos = replace(case, group="chaotic", system="chen", n_samples=1000)
    record = measure(chaos)
    close = record.truth.round(2)
    scores = judging.runs(close, record, chaos)
    assert scores["valid_periods"] > 5.0
    nearly = Equations([1.05 * side for side in record.truth], record.truth.state_names)
    assert judging.runs(nearly, record, chaos)["valid_periods"] < scores["valid_periods"]


def test_a_case_is_fitted_and_its_intervals_are_counted():
    case = Case("coverage", "classics", "lotka_volterra", 0.02, 0, "known support", 150)
    row = fitting.fit_case(case)
    assert row["exact"]
    assert row["intervals"]["reported"] == 4
    assert 2 <= row["intervals"]["held"] <= 4
    json.dumps(row)


def test_intervals_miss_wrong_values_and_terms():
    measured = measure(Case("coverage", "classics", "logistic", 0.02, 0, "complete", 150))

    class Found:
        terms_ = ("1", "x", "x**2")
        coef_ = np.array([[0.5, 1.01, -2.0]])
        coef_std_ = np.array([[0.1, 0.01, 0.1]])

    assert judging.intervals(Found(), measured) == {"reported": 3, "held": 1}


def answer(*coefs):
    found = [{"name": f"configuration {i}", "coef": coef} for i, coef in enumerate(coefs)]
    return {"processor_seconds": 1.0, "best": 0, "found": found}


def test_the_oracle_is_right_if_any_configuration_is():
    case = Case("classics", "classics", "logistic", 0.0, 0, n_samples=200)
    measured = measure(case)
    right, wrong = [{"1": 0.99, "2": -0.98}], [{"0": 0.1, "1": 0.99, "2": -0.98}]
    row = peers.judge(answer(wrong, right), measured, case)
    assert (row["exact"], row["oracle"]) == (False, True)
    assert row["coefficient_error"] == pytest.approx(
        np.hypot.reduce([0.1, 0.01, 0.02]) / np.sqrt(2.0)
    )
    assert not peers.judge(answer(wrong), measured, case)["oracle"]
    assert peers.judge(answer(right), measured, case)["exact"]


def test_an_interpreter_without_pysindy_is_left_out_with_a_reason(tmp_path):
    assert "does not start" in peers.peer_missing(str(tmp_path / "python"))
    broken = tmp_path / "pysindy.py"
    broken.write_text("raise ImportError('nothing here')\n")
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    assert "nothing here" in peers.peer_missing(str(script))


def test_a_quick_run_writes_tables_and_a_second_one_repeats_nothing(tmp_path, monkeypatch):
    out = tmp_path / "results.json"
    arguments = ["--parts", "classics", "--quick", "--systems", "van_der_pol", "--out"]
    arguments += [str(out), "--peer", "none"]
    first = command.main(arguments)
    assert [row["exact"] for row in first["rows"]] == [True]
    monkeypatch.setattr(fitting, "fit_case", lambda case: pytest.fail("fitted again"))
    again = command.main(arguments)
    assert again["rows"] == json.loads(out.read_text())["rows"]
    text = out.with_suffix(".md").read_text()
    assert "| complete | 0.01 | 1 | 100 % |" in text
    assert "not asked for" in text
    assert out.with_suffix(".png").stat().st_size > 5000


def test_reports_compare_with_the_peer_on_the_same_cases():
    case = Case("chaotic", "chaotic", "chen", 0.01, 0)
    own = {
        **case.label(),
        "method": "SMNNDiscoverer",
        "exact": True,
        "listed": True,
        "identifiable": True,
        "coefficient_error": 1e-3,
        "r2_same": 1.0,
        "r2_other": 0.5,
        "valid_periods": 8.0,
        "processor_seconds": 1.0,
    }
    missed = {**own, "system": "lorenz", "exact": False, "listed": False, "warnings": []}
    missed |= {"missing": ["x"], "extra": []}
    peer = {**own, "method": peers.PEER, "exact": False, "oracle": True, "valid_periods": 4.0}
    del peer["listed"]
    rows = [own, missed, peer]
    ((_, _, ours, theirs),) = summary.cells(rows)
    assert (ours.count, ours.exact, ours.listed, ours.other) == (2, 0.5, 0.5, 0.0)
    assert (theirs.count, theirs.exact, theirs.oracle) == (1, 0.0, 1.0)
    text = report.markdown({"machine": {}, "rows": rows, "peer": None})
    assert "| complete, PySINDy | 0.01 | 1 | 0 % | best of all settings 100 % |" in text
    assert "- lorenz, complete, noise 0.01, seed 0: missing x" in text


def test_coverage_is_the_share_of_intervals_that_hold():
    label = Case("coverage", "classics", "lorenz", 0.05, 0, "known support").label()
    rows = [
        {**label, "exact": True, "intervals": {"reported": 7, "held": 7}},
        {**label, "exact": False, "intervals": {"reported": 3, "held": 1}},
        {**label, "exact": False, "refused": "no"},
    ]
    assert summary.coverage(rows) == [("known support", 2, 1, 10, 0.8, 1.0)]


def test_records_are_timed_up_to_the_longest_that_was_asked_for(monkeypatch):
    sizes = []

    def record(name, n_samples, step, made=timing._record):
        sizes.append(n_samples)
        return made(name, 150, step)

    monkeypatch.setattr(timing, "_record", record)
    rows = list(timing.time_fits(150, repeats=1))
    assert sizes == [150]
    assert rows[0]["exact"]
    assert 0.0 < rows[0]["processor_seconds"] < 60.0
    assert 50.0 < rows[0]["peak_megabytes"] < 1e6
    assert "| 1 state, 150 samples, degree 3 |" in report.markdown(
        {"machine": {}, "peer": None, "rows": [], "timing": rows}
    )
    asked = []
    monkeypatch.setattr(timing, "time_fits", lambda longest: asked.append(longest) or [])
    for options in ([], ["--quick"], ["--longest", "1000000"]):
        command.main(["--parts", "timing", "--peer", "none", *options])
    assert asked == [10_000, 1000, 1_000_000]


def test_help_tells_what_every_part_does(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert all(text.split()[0] in printed for _, text in MAKERS.values())


@pytest.mark.parametrize("system", PARAMETRIC, ids=lambda one: one.name)
def test_constants_of_the_truth_are_right_and_those_of_other_numbers_are_off(system):
    t = np.linspace(0.0, system.end, 100)
    states = np.concatenate([system.path(start, t) for start in (system.start, system.other)])
    assert system.constants_error(system.truth, states) < 1e-9
    scaled = [{name: 1.1 * value for name, value in part.items()} for part in system.constants]
    other = replace(system, constants=tuple(scaled)).truth
    assert system.constants_error(other, states) == pytest.approx(0.1, rel=1e-6)
    x = sympy.Symbol("x")
    further = Equations([side + 0.1 * x**4 for side in system.truth], system.state_names)
    assert system.constants_error(further, states) is None


@pytest.mark.parametrize(
    ("law", "error"),
    [
        ("-0.9 + 0.45/(0.3 + x)", 0.0),  # 0.6 - 1.5 + 1.5*0.3/(0.3 + x)
        ("(0.18 - 0.9*x)/(0.3 + x)", 0.0),
        ("0.6 - 1.5*x/(0.306 + x)", 0.02),
        ("0.6 - 1.5*x/(0.3 + x**2)", None),
    ],
)
def test_constants_are_the_same_however_a_law_is_written(law, error):
    system = PARAMETRIC[0]
    states = system.path(system.start, np.linspace(0.0, system.end, 50))
    found = system.constants_error(Equations([law], ["x"]), states)
    assert found == (error if error is None else pytest.approx(error, abs=1e-9))


def test_parametric_laws_are_judged_by_their_constants_and_reported():
    case = Case("parameters", "parametric", "logistic with Allee", 0.01, 0, n_samples=200)
    measured = measure(case)
    assert fitting.estimator(case, measured).library == "auto"
    close = Equations(["-0.45*x + 0.3375*x**2 - 0.03515625*x**3"], ["x"])
    wrong = Equations(["-0.45*x + 0.3375*x**2"], ["x"])
    judged = judging.constants(close, [], measured, case)
    assert judged["exact"]
    assert judged["listed"]
    assert judged["constants_error"] == pytest.approx(0.0, abs=1e-9)
    assert judging.constants(wrong, [close], measured, case) == {"exact": False, "listed": True}
    row = {**case.label(), "method": "SMNNDiscoverer", "identifiable": True, "warnings": []}
    missed = {**row, "exact": False, "listed": True, "system": "Hill", "equations": "x' = 1.0 - x"}
    text = report.markdown({"machine": {}, "rows": [row | judged, missed], "peer": None})
    assert "| complete | logistic with Allee | 1 of 1 | 1 of 1 |" in text
    assert "| complete | Hill | 0 of 1 | 0 of 1 | - |" in text
    assert "- Hill, complete, noise 0.01, seed 0: x' = 1.0 - x (truth listed)" in text


def test_the_papers_record_is_odeints_and_its_library_is_as_the_setting_says():
    own, papers = MAKERS["paper"][0](1, False, "all")
    record = measure(own)
    x0 = np.ones(3)

    def rate(s, _):
        return 10.0 * (s[1] - s[0]), s[0] * (28.0 - s[2]) - s[1], s[0] * s[1] - 8.0 / 3.0 * s[2]

    own_path = odeint(rate, x0, 0.01 * np.arange(10_000))
    assert len(record.X[0]) == 10_000
    # Chaos: even the order of a sum shows after some time.
    np.testing.assert_allclose(record.X[0][:500], own_path[:500], atol=1e-8)
    libraries = [fitting.estimator(one, measure(one)).library for one in (own, papers)]
    assert libraries == ["poly3", "poly2"]
    row = {**own.label(), "method": "SMNNDiscoverer", "exact": True, "n_terms": 7}
    row |= {"largest_error": 2e-7, "processor_seconds": 0.9}
    text = report.markdown({"machine": {}, "rows": [row], "peer": None})
    assert "| degree 3 | yes | 7 | 2e-07 | 0.9 |" in text
