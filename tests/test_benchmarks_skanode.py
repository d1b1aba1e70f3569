"""The benchmark of equations from indirect measurements: what it computes, never how fast."""

import itertools
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:  # the benchmark is part of the repository, not of the package
    sys.path.insert(0, str(ROOT))

from benchmarks.skanode import __main__ as command  # noqa: E402
from benchmarks.skanode import bounds, judging, report, settings, summary  # noqa: E402
from benchmarks.skanode.fitting import law_error, records_of  # noqa: E402
from benchmarks.skanode.networks import network_cases  # noqa: E402
from discoverers.datasets import (  # noqa: E402
    bouc_wen,
    duffing_forced,
    mass_chain,
    nonlinear_oscillator,
    observe,
)
from discoverers.equations import Equations  # noqa: E402


def stand_in(equations, states, inputs, **more):
    """What the judging reads of a fitted estimator."""
    found = Equations(equations, states, inputs)
    return SimpleNamespace(
        equations_=found, state_names_=tuple(states), input_names_=tuple(inputs), **more
    )


@pytest.mark.parametrize("free_start", [False, True])
def test_bounds_are_those_of_sensitivities_by_finite_differences(free_start):
    system = duffing_forced()
    record = observe(system, noise=0.01, seed=0).training()
    truth = {"u": 1.0, "x": -1.5, "v": -0.1, "x**3": -10.0}

    def acceleration(parameters, x0):
        a, k, c, k3 = parameters

        def rhs(t, s):
            return s[1], a * math.sin(math.pi * t) + k * s[0] + c * s[1] + k3 * s[0] ** 3

        path = solve_ivp(
            rhs, (0, 20), x0, method="DOP853", t_eval=record.t, rtol=1e-11, atol=1e-12
        ).y
        return np.array([rhs(t, s)[1] for t, s in zip(record.t, path.T, strict=True)])

    at = np.array([*truth.values(), 0.0, 0.0])
    columns = []
    for i in range(6 if free_start else 4):
        step = np.eye(6)[i] * 1e-5
        ahead, behind = at + step, at - step
        change = acceleration(ahead[:4], ahead[4:]) - acceleration(behind[:4], behind[4:])
        columns.append(change / 2e-5)
    J = np.column_stack(columns) / 0.01
    expected = np.sqrt(np.diag(np.linalg.inv(J.T @ J)))[:4]
    least = bounds.cramer_rao([record], free_start=free_start)
    ours = [least["v", term] for term in truth]
    np.testing.assert_allclose(ours, expected, rtol=2e-3)


def test_twice_the_records_shrink_the_bounds_by_the_square_root():
    record = observe(duffing_forced(), noise=0.01, seed=0).training()
    one = bounds.cramer_rao([record], free_start=True)
    two = bounds.cramer_rao([record, record], free_start=True)
    np.testing.assert_allclose(list(two.values()), np.array(list(one.values())) / math.sqrt(2))


def test_errors_at_the_bound_are_those_of_least_squares_from_the_truth():
    """Linear oscillator: errors of repeated least squares fits scatter as the bound says."""
    whole = observe(mass_chain(1, cubic_at=None), noise=0.05, seed=0)
    least = bounds.error_bounds([whole.training()], whole, free_start=False)

    def response(parameters):
        k, c, b = parameters

        def rhs(t, s):
            return s[1], -k * s[0] - c * s[1] + b * float(whole.system.force(t))

        path = solve_ivp(
            rhs, (0, whole.t[-1]), [0, 0], method="DOP853", t_eval=whole.t, rtol=1e-10, atol=1e-12
        ).y
        acceleration = [rhs(t, s)[1] for t, s in zip(whole.t, path.T, strict=True)]
        return np.column_stack([path[0], acceleration])

    at = np.array([10.0, 0.1, 1.0])
    slopes = np.stack(
        [(response(at + h) - response(at - h)) / 2e-4 for h in 1e-4 * np.eye(3)], axis=-1
    )
    J = slopes[: len(whole.training().t), 1]
    draws = np.random.default_rng(1).standard_normal((len(J), 4000)) * 0.05
    missed = slopes[:, 0] @ np.linalg.lstsq(J, draws)[0]
    errors = (missed**2).mean(axis=0)
    assert least["displacement"] == pytest.approx(errors.mean(), rel=0.06)
    assert least["displacement_median"] == pytest.approx(np.median(errors), rel=0.08)


def test_fewer_parameters_have_smaller_bounds():
    at = np.array([1.0, 10.0, 0.1])
    family = bounds.Family(
        lambda p: mass_chain(
            2, masses=float(p[0]), stiffness=float(p[1]), damping=float(p[2]), cubic_at=None
        ),
        at,
    )
    # Coefficients of v1': -2k, k, -2c, c over m; of v2': k, -k, c, -c and 1 over m.
    rows = family.tangent()
    by_stiffness = rows[:, 1][np.abs(rows[:, 1]) > 1e-9]
    assert sorted(np.round(by_stiffness, 6).tolist()) == [-2, -1, 1, 1]
    whole = observe(mass_chain(2, cubic_at=None), ("a1",), noise=0.01, seed=0)
    free, tied = (
        bounds.error_bounds([whole.training()], whole, free_start=False, family=which)
        for which in (None, family)
    )
    assert 0 < tied["unmeasured"] < free["unmeasured"]
    assert 0 < tied["displacement"] < free["displacement"]


def test_hidden_states_are_found_as_well_as_the_noise_allows():
    quiet, loud = (observe(bouc_wen(), noise=noise, seed=0).training() for noise in (0.003, 0.03))
    least = [bounds.correlation_bounds(record, free_start=False) for record in (quiet, loud)]
    for one in least:
        assert 0.99 < one["low"] < one["median"] < 1.0
    # Of small errors 1 - r grows as their variance does.
    lost = [1.0 - one["median"] for one in least]
    assert lost[1] / lost[0] == pytest.approx(100.0, rel=0.02)


def test_errors_tell_a_constant_offset_from_the_rest():
    record = observe(duffing_forced(), noise=0.1, seed=0)
    truth = record.system.equations
    model = stand_in(
        list(truth),
        ["x", "v"],
        ["u"],
        x0_=np.zeros((1, 2)),
        simulate=lambda t, x0, u: record.states + np.array([0.5, 0.0]),
        derivative=lambda X, u: truth.lambdify()(X - np.array([0.5, 0.0]), u),
    )
    errors = judging.errors(model, record)
    assert errors["displacement"] == pytest.approx(0.25)
    assert errors["displacement_centred"] == pytest.approx(0, abs=1e-20)
    assert errors["velocity"] == 0
    assert errors["acceleration"] == pytest.approx(np.mean((record.y - record.clean) ** 2))


def test_a_run_that_fails_has_infinite_errors():
    record = observe(duffing_forced())
    states = record.states.copy()
    states[-1] = np.nan
    model = stand_in(
        ["v", "-x"],
        ["x", "v"],
        ["u"],
        x0_=np.zeros((1, 2)),
        simulate=lambda t, x0, u: states,
        derivative=lambda X, u: X,
    )
    assert set(judging.errors(model, record).values()) == {math.inf}


def test_unmeasured_masses_are_judged_by_their_own_variance():
    record = observe(mass_chain(2), ("a1",), noise=0.1, seed=0)
    truth = record.system.equations.lambdify()
    model = stand_in(
        list(record.system.equations),
        record.system.state_names,
        ["u"],
        x0_=np.zeros((1, 4)),
        simulate=lambda t, x0, u: record.states,
        derivative=lambda X, u: truth(X, u) + np.array([0.0, 0.0, 0.0, 0.3]),
    )
    errors = judging.errors(model, record)
    assert errors["unmeasured"] == pytest.approx(0.09 / record.channel("a2").var())
    noise = np.mean((record.y - record.clean) ** 2)
    assert errors["acceleration"] == pytest.approx((noise + 0.09) / 2)


def test_structure_is_judged_in_the_estimators_own_names_and_order():
    chain = mass_chain(2, damping=0.0, cubic_at=1, cubic=5.0)
    laws = {
        "v1": "-20*x1 + 10*x2 - 5.1*x1**3",
        "v2": "10*x1 - 10*x2 + f",
    }
    order = ["x1", "v1", "x2", "v2"]
    sides = {"x1": "v1", "x2": "v2", **laws}
    right = stand_in([sides[name] for name in order], order, ["f"])
    nothing = {"wrong_sign": [], "extra": [], "missing": []}
    assert judging.structure(right, chain) == {"exact": True, **nothing}
    sides["v2"] = "10*x1 - 10*x2 + f + v1"
    sides["v1"] = "-20*x1 + 10*x2"
    wrong = judging.structure(stand_in([sides[name] for name in order], order, ["f"]), chain)
    assert wrong["exact"] is False
    assert wrong["extra"] == ["v1"]
    assert wrong["missing"] == ["x1**3"]
    short = stand_in(["v", "-x"], ["x", "v"], ["u"])
    assert judging.structure(short, bouc_wen())["exact"] is False


def test_corners_are_right_at_about_the_right_place_and_signs_have_to_be_right():
    system = nonlinear_oscillator("clearance")

    def law(left, right, spring=-3.0):
        side = f"u + {spring}*x - 0.1*v + 0.99*Abs(x + {left}) - 1.02*Abs({right} - x)"
        return judging.structure(stand_in(["v", side], ["x", "v"], ["u"]), system)

    assert law(0.497, 0.505)["exact"]
    assert law(0.4, 0.505)["missing"] == ["Abs(x + 0.5)"]
    assert not law(0.505, -0.497)["exact"]
    turned = law(0.497, 0.505, 3.0)
    assert (turned["exact"], turned["wrong_sign"]) == (False, ["x"])


def test_the_rate_of_a_hidden_state_is_judged_on_its_own():
    states, rate = ["x", "v", "z"], "v - 0.4*v*Abs(z) - 0.6*Abs(v)*z"
    undamped = stand_in(["v", "-x - z + u", rate], states, ["u"])
    found = judging.structure(undamped, bouc_wen())
    assert found["missing"] == ["v"]
    assert (found["exact"], found["rate_exact"]) == (False, True)
    other = stand_in(["v", "-x - 0.1*v - z + u", rate + " + z"], states, ["u"])
    assert judging.structure(other, bouc_wen())["rate_exact"] is False


def test_coefficients_come_with_their_truth():
    system = duffing_forced()
    record = observe(system, noise=0.01, seed=0).training()
    std = np.zeros((2, 5))
    std[1] = [0, 0.1, 0.2, 0.3, 0.4]
    model = stand_in(
        ["b", "1.01*f - 1.4*a - 0.2*b - 9*a**3"],
        ["a", "b"],
        ["f"],
        terms_=("b*0+1", "f", "a", "b", "a**3"),
        coef_std_=std,
    )
    rows = {row["term"]: row for row in judging.coefficients(model, [record], free_start=False)}
    assert {term: row["true"] for term, row in rows.items()} == {
        "f": 1.0, "a": -1.5, "b": -0.1, "a**3": -10.0,
    }  # fmt: skip
    assert rows["a**3"]["estimate"] == -9
    assert rows["a**3"]["std"] == 0.4
    assert rows["a"]["bound"] > 0


def test_hidden_states_are_compared_up_to_what_accelerations_leave_open():
    record = observe(bouc_wen()).training()
    x, _, z = record.states.T
    fitted = np.column_stack([record.states[:, :2], -2 * z + 0.7 * x])
    model = SimpleNamespace(state_names_=("x", "v", "z"), solution_=[SimpleNamespace(X=fitted)])
    found = judging.hidden_state(model, record)
    assert found["multiple_correlation"] == pytest.approx(1)
    assert 0.5 < found["correlation"] < 0.999
    model.solution_ = [SimpleNamespace(X=fitted[:, :2])]
    assert math.isnan(judging.hidden_state(model, record)["correlation"])


def test_the_error_of_a_law_is_relative():
    record = observe(nonlinear_oscillator("cubic")).training()
    truth = record.system.equations.lambdify()
    model = SimpleNamespace(derivative=lambda X, u: 1.02 * truth(X, u))
    assert law_error(model, [record]) == pytest.approx(0.02)


def test_coverage_counts_intervals_that_hold_the_truth():
    def part(away, std, bound):
        return {"estimate": 1 + away, "true": 1.0, "std": std, "bound": bound}

    rows = [
        {"coefficients": [part(0.1, 0.1, 0.1), part(0.3, 0.1, 0.1)]},
        {"coefficients": [part(-0.19, 0.1, 0.05), part(0.0, 0.0, 0.1)]},
        {},
    ]
    found = summary.coverage(rows)
    assert found["coefficients"] == 3
    assert found["covered"] == pytest.approx(2 / 3)
    assert found["std_over_bound"] == 1
    assert found["error_over_bound"] == pytest.approx(math.sqrt((1 + 9 + 3.8**2) / 3))
    assert summary.coverage([{}]) == {"coefficients": 0}


PARTS = (
    settings.table_cases,
    settings.law_cases,
    settings.hysteresis_cases,
    settings.static_cases,
    settings.mass_cases,
)


@pytest.mark.parametrize("cases", PARTS)
def test_every_case_has_records_and_its_own_label(cases):
    listed = cases(2, False)
    labels = [json.dumps(case.label()) for case in listed]
    assert len(set(labels)) == len(labels)
    assert set(map(repr, cases(2, True))) <= set(map(repr, listed))
    kinds = {(case.name, case.amplitudes) for case in listed}
    assert len(settings.mass_cases(1, False)) == 8
    for name, amplitudes in kinds:
        systems = settings.Case("part", name, 0.0, 0, amplitudes=amplitudes).systems()
        assert len(systems) == len(amplitudes)


def test_table_one_has_the_setting_of_the_paper():
    case = settings.Case("table1", "duffing", 0.01, 3)
    (record,) = records_of(case)
    assert record.t[[0, -1]].tolist() == [0, 60]
    assert record.training().t[-1] == 20
    np.testing.assert_allclose(record.u[:, 0], np.sin(np.pi * record.t), atol=1e-12)
    assert (record.y - record.clean).std() == pytest.approx(0.01, rel=0.1)


def row(part, system, **more):
    """One fit as `fit_case` reports it."""
    case = settings.Case(part, system, 0.01, 0)
    errors = dict.fromkeys(summary.MEASURES, 1e-6)
    fit = {"seconds": 1.0, "processor_seconds": 0.5, "converged": True, "warnings": []}
    return {**case.label(), **fit, "exact": True, "hidden": False, "mse": errors, **more}


def network_row():
    """One training as `train_network` reports it."""
    errors = dict.fromkeys(("acceleration", "displacement", "velocity"), 1e-6)
    spent = {"seconds": 1.0, "processor_seconds": 0.5, "converged": True}
    label = settings.Case("networks", "duffing", 0.01, 0).label()
    return {"model": "ANODE", **label, **spent, "mse": errors}


def test_the_report_has_a_table_for_each_part():
    coefficients = [{"term": "x", "true": 1.0, "estimate": 1.1, "std": 0.1, "bound": 0.1}]
    parts = {
        "table1": [
            row("table1", "duffing", coefficients=coefficients),
            row("table1", "duffing", integrator="ode45"),
            {**settings.Case("table1", "duffing", 0.05, 0).label(), "refused": "no"},
        ],
        "laws": [row("laws", "sine", law_error=0.01)],
        "hysteresis": [row("hysteresis", "dahl", correlation=0.9995)],
        "static": [row("static", "duffing"), row("static", "duffing", library="poly2")],
        "masses": [row("masses", "three_masses_force_1", measured=["a1", "a3"])],
        "networks": [network_row(), network_row()],
    }
    parts["table1"][0]["mse_bound"] = {"displacement": 2e-6, "displacement_median": 1e-6}
    for rows in parts.values():
        rows[0] |= {"revision": "abc1234", "load": 1.5}
    text = report.markdown({"machine": {"cores": 2}, "parts": parts})
    assert text.count("\n## ") == 7
    assert "| laws | 1 | 1 | abc1234 | 1.5 to 1.5 |" in text
    assert (
        "| duffing | 0.01 | known | 1 | 1.00e-06 | 1.00e-06 | 1.00e-06 | 2.00e-06 | 0.50 |" in text
    )
    assert "| ANODE | duffing | 0.01 | 2 | 1.00e-06 (1.00e-06 to 1.00e-06) |" in text
    assert "ANODE, published | 0 | 0.0315" in text
    assert "1 of 1 from 1 amplitudes" in text
    assert "| duffing | 0.05 | known | 0 of 1 | 1 |" in text
    for line, below in itertools.pairwise(text.splitlines()):
        if line.startswith("| ") and below.startswith("|"):
            assert line.count("|") - 1 == below.count("---") or "---" not in below


def test_a_resumed_run_makes_no_fit_twice(monkeypatch, tmp_path):
    made = []

    def fit(case):
        made.append(case)
        return row(case.part, case.name) | case.label()

    monkeypatch.setattr("benchmarks.skanode.fitting.fit_case", fit)
    out = tmp_path / "found.json"
    asked = ["--parts", "static", "--systems", "duffing", "--out", str(out)]
    command.main([*asked, "--seeds", "1"])
    made.clear()
    results = command.main([*asked, "--seeds", "2", "--resume"])
    fitted = [(case.seed, dict(case.options)) for case in made if case.part == "static"]
    assert fitted == [(1, {}), (1, {"library": "poly2"})]
    rows = results["parts"]["static"]
    assert len(rows) == 4
    assert all({"revision", "load"} <= set(one) for one in rows)


def test_every_network_sees_the_same_records():
    cases = network_cases(2, False)
    assert len(cases) == 12
    for model in ("ANODE", "SONODE", "S3NODE"):
        mine = [case for name, case in cases if name == model]
        assert [(case.noise, case.seed) for case in mine] == [
            (0.0, 0), (0.0, 1), (0.01, 0), (0.01, 1),
        ]  # fmt: skip


@pytest.mark.slow
def test_the_command_fits_writes_and_keeps_other_parts(tmp_path, capsys):
    out = tmp_path / "found.json"
    out.write_text(json.dumps({"parts": {"laws": [row("laws", "sine", law_error=0.01)]}}))
    narrow = ["--quick", "--parts", "table1", "--seeds", "1", "--systems", "duffing"]
    results = command.main([*narrow, "--start", "rest", "--out", str(out)])
    assert "table1 duffing" in capsys.readouterr().out
    kept = json.loads(out.read_text())["parts"]
    assert set(kept) == {"laws", "table1"}
    assert len(kept["table1"]) == 2
    first = results["parts"]["table1"][0]
    assert first["exact"]
    assert first["mse"]["displacement"] < 5e-6
    assert {part["term"] for part in first["coefficients"]} == {"u0", "x", "v", "x**3"}
    assert "Duffing and van der Pol" in out.with_suffix(".md").read_text()
