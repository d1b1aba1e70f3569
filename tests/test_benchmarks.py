"""The solver's benchmark on tiny shapes: its oracle, its bookkeeping, its files. Never a time."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:  # the benchmark is part of the repository, not of the package
    sys.path.insert(0, str(ROOT))

from benchmarks.solver import __main__ as command  # noqa: E402
from benchmarks.solver import accuracy, lapack, memory, report, roofline, run  # noqa: E402
from benchmarks.solver.candidates import Candidate, candidates_of  # noqa: E402
from benchmarks.solver.cases import Case, cases_of  # noqa: E402
from benchmarks.solver.measure import Timing, interleave, ratio  # noqa: E402
from benchmarks.solver.oracle import solve_exactly  # noqa: E402
from benchmarks.solver.reference import load_reference  # noqa: E402
from gpu_solver import METHODS, LinearODEProblem, solve  # noqa: E402

TINY = Case("varying", (3,), 6)
TINY_SHARED = Case("shared", (2, 3), 6, shared=True)

#: Has the published interface, and solves through our package.
STAND_IN = """
from gpu_solver import LinearODEProblem, solve

def ode_forward(coefficients, rhs_equation, init_vars, steps, n_steps=None, *,
                is_step_dim_first=False, frozen_lhs_cache_version=0):
    if coefficients.ndim == 5:  # one batch axis after the steps
        tensors = [x.movedim(0, 1) for x in (coefficients, rhs_equation, init_vars, steps)]
        return solve(LinearODEProblem(*tensors)).y.movedim(1, 0)
    return solve(LinearODEProblem(coefficients, rhs_equation, init_vars, steps)).y
"""


def dense_answer(inputs, index):
    """y of one problem by finite matrices written as the paper's equations 5 to 8 say."""
    steps, variables, orders = inputs.upstream.shape[-3:]
    c, s = inputs.c[index], inputs.s[index]
    rows, right = [], []

    def unit(t, v, r):
        row = np.zeros((steps, variables, orders))
        row[t, v, r] = 1.0
        return row

    for t in range(steps):
        for q in range(c.shape[1]):
            row = np.zeros((steps, variables, orders))
            row[t] = c[t, q]
            rows.append(row)
            right.append(inputs.d[index][t, q])
    for v in range(variables):
        rows.append(unit(0, v, 0))
        right.append(inputs.u[index][0, v, 0])
    for t in range(steps - 1):
        for here, there, h in ((t, t + 1, s[t]), (t + 1, t, -s[t])):
            for v in range(variables):
                for r in range(orders):
                    taylor, factor = -unit(there, v, r), 1.0
                    for k in range(r, orders):
                        factor = factor * h / (k - r) if k > r else 1.0
                        taylor = taylor + factor * unit(here, v, k)
                    rows.append(taylor * s[t] ** r)
                    right.append(0.0)
    A = np.array(rows).reshape(len(rows), -1)
    y = np.linalg.lstsq(A, np.array(right), rcond=None)[0]
    return y.reshape(steps, variables, orders)


@pytest.mark.parametrize("variables", [1, 2])
def test_oracle_agrees_with_dense_least_squares(variables):
    inputs = Case("coupled", (2,), 6, variables=variables).inputs()
    expected = dense_answer(inputs, (1,))
    np.testing.assert_allclose(solve_exactly(inputs, (1,)).y, expected, rtol=1e-9, atol=1e-11)


def test_oracle_gradients_agree_with_finite_differences():
    inputs = Case("coupled", (1,), 5, variables=2).inputs()
    exact = solve_exactly(inputs, (0,))
    for name in "cdus":
        value = getattr(inputs, name)
        place = tuple(size // 2 for size in value.shape)
        step = 1e-6 * max(abs(value[place]), 1e-2)
        ends = []
        for sign in (1.0, -1.0):
            value[place] += sign * step
            y = solve_exactly(inputs, (0,)).y
            value[place] -= sign * step
            ends.append(np.sum(inputs.upstream[0] * y))
        slope = (ends[0] - ends[1]) / (2.0 * step)
        assert getattr(exact, name)[place[1:]] == pytest.approx(slope, rel=1e-4), name


def test_banded_assembly_is_the_normal_matrix():
    inputs = Case("sequence", (), 5).inputs()
    band, beta = lapack.assemble(inputs.c, inputs.d, inputs.u, inputs.s)
    y = lapack.assemble_and_solve(inputs)()[0]
    assert band.shape == (6, 15)
    assert beta.shape == (15,)
    np.testing.assert_allclose(y, solve_exactly(inputs, ()).y, rtol=1e-7, atol=1e-9)


def test_every_method_is_a_candidate_and_right():
    found = run.run_case(TINY, budget=0.05)
    rows = {row["name"]: row for row in found["candidates"]}
    assert {"auto", *METHODS} <= set(rows)
    for name in ("auto", "sweep", "lapack", "qr", "cyclic_reduction"):
        assert max(rows[name]["errors"].values()) < 1e-9, name
        assert set(rows[name]["errors"]) == {"y", "c", "d", "u", "s"}
    # u's gradient is a small difference of large ones: a few digits of float32 are lost in it.
    assert max(rows["auto, float32"]["errors"].values()) < 5e-4
    assert "errors" not in rows["mnn_dense"]  # it answers another problem
    json.dumps(found)


def test_shared_left_hand_side_has_its_own_candidates():
    names = [candidate.name for candidate in candidates_of(TINY_SHARED)]
    found = run.run_case(TINY_SHARED, budget=0.05)
    rows = {row["name"]: row for row in found["candidates"]}
    for name in ("factor kept", "Green operator kept"):
        assert name in names
        assert max(rows[name]["errors"].values()) < 1e-9
        assert set(rows[name]["errors"]) == {"y", "d", "u"}


def test_one_sequence_is_compared_with_lapack():
    found = run.run_case(Case("sequence", (), 20), budget=0.05)
    rows = {row["name"]: row for row in found["candidates"]}
    for name in ("LAPACK pbsv, assembly and two solves", "two solves, no c and s gradients"):
        assert max(rows[name]["errors"].values()) < 1e-7


def test_a_refusal_is_recorded_and_spoils_nothing():
    def refuse(inputs):
        raise ValueError("not this shape\nand more")

    found = run.run_case(
        TINY, extra=[Candidate("refuses", refuse)], only=["auto", "refuses"], budget=0.01
    )
    rows = {row["name"]: row for row in found["candidates"]}
    assert rows["refuses"]["refused"] == "ValueError: not this shape"
    assert rows["auto"]["median"] > 0
    assert "not this shape" in report.markdown({"machine": {}, "cases": [found]})


def test_endless_candidates_are_not_run():
    case = Case("varying", (4000,), 6)
    found = run.run_case(case, only=["auto", "sweep"], budget=0.01, limit=0.0)
    rows = {row["name"]: row for row in found["candidates"]}
    assert "not run" in rows["sweep"]["refused"]
    assert "refused" not in rows["auto"]


@pytest.mark.parametrize("case", [TINY, TINY_SHARED, Case("sequence", (), 8)])
def test_reference_adapter_speaks_the_published_interface(tmp_path, case):
    file = tmp_path / "published.py"
    file.write_text(STAND_IN)
    found = run.run_case(case, extra=load_reference(file), budget=0.01)
    rows = {row["name"]: row for row in found["candidates"]}
    for name in ("published", "published, one thread"):
        assert max(rows[name]["errors"].values()) < 1e-9
    assert found["published"] in rows
    assert found["published_over_best"]["median"] > 0


def test_reference_says_what_is_wrong_with_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no reference solver"):
        load_reference(tmp_path / "absent.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match="ode_forward"):
        load_reference(tmp_path / "empty.py")


def test_rounds_are_interleaved():
    order = []
    timings = interleave(
        {name: lambda name=name: order.append(name) for name in "abc"},
        budget=60.0,
        max_rounds=4,
    )
    assert [len(timing.runs) for timing in timings.values()] == [4, 4, 4]
    rounds = order[6:]  # after two runs each to warm up
    assert "".join(rounds) == "abcbcacababc"


def test_a_slow_first_run_is_its_result():
    order = []
    timings = interleave({"slow": lambda: order.append(1)}, budget=1.0, known={"slow": 70.0})
    assert timings["slow"].runs == (70.0,)
    assert not order


def test_ratios_pair_neighbouring_rounds():
    found = ratio(Timing((2.0, 8.0, 6.0)), Timing((1.0, 2.0, 2.0)))
    assert (found.median, found.pairs) == (3.0, 3)
    assert ratio(Timing((6.0,)), Timing((1.0, 2.0, 3.0))).median == 3.0


def test_slope_of_linear_and_quadratic_times():
    def sequence(steps):
        rows = [
            {"name": "linear", "median": 3e-9 * steps},
            {"name": "quadratic", "median": 1e-9 * steps**2},
        ]
        return {"case": {"steps": steps}, "candidates": rows}

    found = run.slopes([sequence(10**power) for power in (2, 3, 4)])
    assert found["linear"]["slope"] == pytest.approx(1.0)
    assert found["quadratic"]["steepest"] == pytest.approx(2.0)
    assert found["linear"]["longest"] == 10_000


def test_work_grows_with_problems_and_steps():
    one, two = (Case("varying", (4,), steps) for steps in (50, 100))
    few, many = (roofline.count_work(case, case.inputs()) for case in (one, two))
    assert many.flops == 2 * few.flops
    assert few.bytes < many.bytes < 2.1 * few.bytes
    machine = roofline.Machine(10.0, 10.0, 100.0, 20.0, 2)
    assert roofline.Work(bytes=50, flops=200).floor(machine) == 5.0


def test_table_1_is_there():
    assert [(case.batch[0], case.steps) for case in cases_of("varying")] == [
        (512, 50),
        (512, 5),
        (512, 500),
        (64, 50),
        (4096, 50),
    ]
    assert cases_of("sst")[0].batch == (12960,)
    assert [case.steps for case in cases_of("sequence")][-1] == 10**6
    with pytest.raises(ValueError, match="group"):
        cases_of("unknown")


@pytest.mark.parametrize("name", list(accuracy.VALIDATION_ODES))
def test_closed_forms_solve_their_equations(name):
    coefficients, right, initial = accuracy.VALIDATION_ODES[name]
    y = accuracy.closed_form(name, np.linspace(0.0, 2.0, 2001))
    np.testing.assert_allclose(y[0, : len(initial)], initial, atol=1e-12)
    third = np.gradient(y[:, 2], 1e-3)[:, None]
    terms = np.hstack([y, third])[1:-1, : len(coefficients)] @ coefficients
    np.testing.assert_allclose(terms, right, atol=1e-5)


def test_peak_memory_counts_inputs_and_outputs(capsys):
    case = Case("varying", (64,), 500)
    memory.main(json.dumps({"case": case.to_dict(), "candidate": "auto", "reference": None}))
    found = json.loads(capsys.readouterr().out)
    assert found["inputs"] == 64 * 500 * (3 + 1 + 3 + 1) * 8  # c, d, dl/dy; u and s make one more
    assert found["outputs"] == 64 * 500 * (3 + 3 + 1 + 1) * 8
    whole = found["inputs"] + found["outputs"]
    assert found["ratio"] == pytest.approx((found["inputs"] + found["extra"]) / whole)


def test_peak_memory_is_the_smaller_of_two_processes(monkeypatch):
    reports = iter([{"extra": 5}, {"extra": 3}, {"extra": 1}, {"refused": "too large"}])
    monkeypatch.setattr(memory, "_child", lambda task, timeout: next(reports))
    assert memory.peak_memory(TINY, "auto") == {"extra": 3}
    assert memory.peak_memory(TINY, "auto") == {"refused": "too large"}


def test_command_line_writes_json_tables_and_a_picture(tmp_path, monkeypatch, capsys):
    tiny = {"varying": (TINY,), "sequence": tuple(Case("sequence", (), n) for n in (4, 8, 16))}
    monkeypatch.setattr(command, "cases_of", lambda group, quick: tiny[group])
    out = tmp_path / "found.json"
    arguments = ["--quick", "--cases", "varying", "sequence", "--only", "auto", "lapack"]
    command.main([*arguments, "--budget", "0.01", "--out", str(out)])
    found = json.loads(out.read_text())
    assert [case["name"] for case in found["cases"]][:1] == ["varying (3, 6)"]
    assert set(found["slopes"]) == {"auto", "lapack"}
    assert str(ROOT) not in out.read_text()
    assert "| varying (3, 6) |" in out.with_suffix(".md").read_text()
    assert out.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    assert "varying (3, 6): auto" in capsys.readouterr().out


def test_cases_solve_without_complaint():
    inputs = Case("coupled", (2,), 10, variables=3).inputs()
    found = solve(LinearODEProblem(inputs.c, inputs.d, inputs.u, inputs.s))
    assert (found.status <= 1).all()
