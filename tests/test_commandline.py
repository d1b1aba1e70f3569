"""The command line: what it prints and writes, and one clear line for everything that is wrong."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import discoverers
from discoverers.__main__ import main
from discoverers.commandline import read_measurements
from discoverers.commandline.quality import r_squared
from discoverers.commandline.report import value_and_error
from discoverers.datasets import generate, lotka_volterra


@pytest.fixture
def table(tmp_path):
    """Write a table to a file and return its path."""

    def write(text, name="data.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.fixture(scope="module")
def prey_and_predators(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "hunt.csv"
    generate(lotka_volterra(), 400, noise=0.01, seed=0).to_frame().to_csv(path, index=False)
    return str(path)


def assert_told_in_one_line(capsys, argv, *pieces, code=2):
    """Run and check exit code, one line on stderr, nothing on stdout, and what the line names."""
    assert main(["fit", *argv]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("discoverers: error: ")
    for piece in pieces:
        assert piece in lines[0]


GOOD = "t,x,y\n0,1,2\n0.1,1.1,2.1\n0.2,1.2,2.0\n"


@pytest.mark.parametrize(
    ("text", "options", "pieces"),
    [
        (GOOD, ["--time", "T"], ["no column 'T' for --time", "the columns are t, x, y"]),
        (GOOD, ["--states", "x,yy"], ["no column 'yy' for --states", "did you mean 'y'"]),
        (GOOD, ["--inputs", "u"], ["no column 'u' for --inputs"]),
        (GOOD, ["--trajectory-column", "run"], ["no column 'run' for --trajectory-column"]),
        (GOOD, ["--inputs", "x", "--states", "x"], ["'x' is named twice, by --inputs and --st"]),
        (GOOD, ["--inputs", "x,y"], ["no column is left for the states"]),
        (
            GOOD,
            ["--library", "polly3"],
            ["library 'polly3'", "poly<degree>"],
        ),
        (GOOD, ["--library", "poly2+wavelets3"], ["cannot read 'wavelets3'"]),
        (GOOD.replace("1.1", "abc"), [], ["line 3, column 'x'", "'abc' is not a number"]),
        (GOOD.replace(",1.1,", ",inf,"), [], ["line 3, column 'x'", "'inf' is not finite"]),
        (GOOD.replace(",1.1,", ',"1,1",'), [], ["line 3", "'1,1'", "write decimals with a point"]),
        (GOOD.replace("0.1,1.1", ",1.1"), [], ["line 3, column 't'", "the cell is empty"]),
        (GOOD.replace("0.1,1.1", "soon,1.1"), [], ["line 3, column 't'", "'soon' is not a number"]),
        (GOOD.replace("\n0,1", "\nMonday,1"), [], ["line 2, column 't'", "nor a date"]),
        (GOOD.replace("2.1\n", "\n"), ["--states", "x", "--inputs", "y"], ["line 3, column 'y'"]),
        (
            GOOD.replace("0.2,1", "0.1,1"),
            [],
            ["line 4, column 't'", "0.1 stands in line 3 already"],
        ),
        (
            GOOD.replace("0.2,1", "0.05,1"),
            [],
            ["line 4, column 't'", "0.05 is before 0.1 in line 3"],
        ),
        (GOOD.replace("0.1,1.1,2.1", "0.1,1.1"), [], ["line 3: 2 cells where the header has 3"]),
        ("t,x,x\n0,1,2\n", [], ["line 1: two columns are named 'x'"]),
        ("t,,x\n0,1,2\n", [], ["line 1: column 2 has no name", "index=False"]),
        ("t x y\n0 1 2\n", [], ["only column is 't x y'", "commas, semicolons or tabs"]),
        ("t;x\n0,0;1,0\n", [], ["column 't'", "write decimals with a point"]),
        ("t,x,who\n0,1,Ann\n1,2,Bob\n", [], ["'who' holds no numbers ('Ann')", "--states"]),
        ("", [], ["the file is empty"]),
        ("# only a comment\n\n", [], ["the file is empty"]),
        ("t,x\n", [], ["no rows below the header"]),
        ("t,x\n0,1\n1,2\n", [], ["data.csv", "2 sample(s)", "minimum of 3"]),
        ("t,x\n0,\n1,\n2,\n3,\n", [], ["data.csv"]),
    ],
)
def test_a_wrong_table_is_told_in_one_line(capsys, table, text, options, pieces):
    assert_told_in_one_line(capsys, [table(text), *options], *pieces)


def test_a_missing_file_is_named(capsys):
    assert_told_in_one_line(capsys, ["missing.csv"], "missing.csv: there is no such file")


def test_a_folder_is_no_table(capsys, tmp_path):
    assert_told_in_one_line(capsys, [str(tmp_path)], "this is a folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_named(capsys, table):
    path = table(GOOD)
    os.chmod(path, 0)
    assert_told_in_one_line(capsys, [path], "cannot be read: Permission denied")


def test_binary_content_is_named(capsys, tmp_path):
    path = tmp_path / "image.csv"
    path.write_bytes(b"t,x\n\xff\xfe\x00\x01\n")
    assert_told_in_one_line(capsys, [str(path)], "byte 4 is not UTF-8")


def test_a_file_in_the_way_of_the_folder_is_named(capsys, table):
    path = table(GOOD)
    assert_told_in_one_line(capsys, [path, "--out", path], "--out", "in the way")


def test_times_may_start_again_in_another_run_only(capsys, table):
    text = "run,t,x\na,0,1\na,1,2\na,2,3\nb,0,1\nb,1,2\nb,1,3\n"
    assert_told_in_one_line(
        capsys, [table(text), "--trajectory-column", "run"], "line 7", "increase within run 'b'"
    )


def test_an_empty_run_label_is_named(capsys, table):
    text = "run,t,x\na,0,1\n,1,2\n"
    assert_told_in_one_line(
        capsys, [table(text), "--trajectory-column", "run"], "line 3, column 'run'"
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: COMMAND"),
        (["fit"], "required: FILE"),
        (["fit", "a.csv", "--colour", "red"], "--colour"),
        (["fit", "a.csv", "--estimator", "sindy"], "invalid choice: 'sindy'"),
        (["fit", "a.csv", "--states", "x,,y"], "empty name"),
        (["predict"], "invalid choice: 'predict'"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(capsys, argv, message):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("argv", [["--help"], ["fit", "--help"]])
def test_help_explains_and_leaves_with_zero(capsys, argv):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 0
    assert "fit" in capsys.readouterr().out


def test_tables_are_read_whatever_separates_the_cells(table):
    expected = read_measurements(table(GOOD), time="t")
    for separator in ";\t":
        path = table("# instrument 7\n\n" + GOOD.replace(",", separator), "other.csv")
        found = read_measurements(path, time="t")
        np.testing.assert_array_equal(found.t, expected.t)
        pd.testing.assert_frame_equal(found.X, expected.X)


def test_marks_of_excel_and_of_instruments_are_understood(tmp_path):
    path = tmp_path / "excel.csv"
    path.write_bytes("t,x,\r\n0,1,\r\n1,,\r\n2,NaN,\r\n".encode("utf-8-sig"))
    found = read_measurements(str(path), time="t")
    assert list(found.X.columns) == ["x"]
    np.testing.assert_array_equal(found.X["x"], [1.0, np.nan, np.nan])


def test_dates_are_read_as_dates(table):
    found = read_measurements(
        table("when,x\n2024-02-28,1\n2024-02-29T12:00,2\n2024-03-01T00:00:00+01:00,3\n"),
        time="when",
    )
    expected = np.array(["2024-02-28", "2024-02-29T12:00", "2024-02-29T23:00"], "datetime64[s]")
    np.testing.assert_array_equal(found.t.astype("datetime64[s]"), expected)


def test_a_wrong_date_is_named(capsys, table):
    text = "when,x\n2024-02-28,1\n2024-02-30,2\n"
    assert_told_in_one_line(
        capsys, [table(text), "--time", "when"], "line 3, column 'when'", "'2024-02-30'"
    )


def test_columns_take_the_roles_that_they_are_given(table):
    text = "run,note,t,x,u\n1,ok,0,1,5\n1,ok,1,2,6\n2,-,0,3,7\n"
    found = read_measurements(
        table(text), time="t", states=["x"], inputs=["u"], trajectory_column="run"
    )
    assert list(found.X.columns) == ["x"]
    np.testing.assert_array_equal(found.u["u"], [5.0, 6.0, 7.0])
    assert found.trajectory.tolist() == ["1", "1", "2"]


def test_the_report_shows_equations_errors_noise_and_fit(capsys, prey_and_predators):
    assert main(["fit", prey_and_predators, "--library", "poly2"]) == 0
    printed = capsys.readouterr().out
    assert "400 samples in 1 run" in printed
    assert "x' = " in printed
    for heading in ("coefficient", "std. error", "noise (std)", "R2 fitted", "R2 simulated"):
        assert heading in printed


def test_names_that_are_no_words_are_told_apart_in_every_table(capsys, table, tmp_path):
    t = np.linspace(0.0, 4.0, 81)
    decay = np.exp(-0.5 * t)
    columns = {
        "t": t,
        "run": decay,
        "run_fitted": 2.0 * decay - decay**2,
        "tank level": 1.0 + 0.0 * t,
    }
    frame = pd.DataFrame(columns)
    frame["batch"] = "a"
    path, out = table(frame.to_csv(index=False)), tmp_path / "out"
    options = ["--trajectory-column", "batch", "--library", "poly2", "--out", str(out)]
    assert main(["fit", path, *options]) == 0
    printed = capsys.readouterr().out
    fit = printed.split("\nFit\n")[1]
    assert fit.splitlines()[3].split()[:2] == ["[tank", "level]"]
    assert fit.splitlines()[3].split()[-2:] == ["-", "-"]  # what is constant has no R2
    assert "blows up" not in fit
    written = pd.read_csv(out / "fitted.csv")
    np.testing.assert_allclose(written[["run", "run_fitted"]], frame[["run", "run_fitted"]])
    np.testing.assert_allclose(written["run_fitted_"], frame["run"], atol=1e-3)
    assert written["run_"].tolist() == ["a"] * 81


def test_coefficients_are_listed_in_the_words_of_the_equations(capsys, table):
    frame = generate(lotka_volterra(), 200, noise=0.01, seed=0).to_frame()
    frame.columns = ["t", "prey count", "S"]
    assert main(["fit", table(frame.to_csv(index=False)), "--library", "poly2"]) == 0
    rows = capsys.readouterr().out.split("Coefficients\n")[1].splitlines()[1:5]
    assert [row[2:43].rstrip() for row in rows][1].startswith("[prey count]'  [prey count] S ")


def test_out_writes_what_was_printed(capsys, prey_and_predators, tmp_path):
    folder = tmp_path / "new" / "result"
    assert main(["fit", prey_and_predators, "--library", "poly2", "--out", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == [
        "equations.json",
        "equations.tex",
        "equations.txt",
        "fit.png",
        "fitted.csv",
    ]
    assert (folder / "equations.txt").read_text().strip() in printed
    assert r"\frac{d x}{d t}" in (folder / "equations.tex").read_text()
    assert (folder / "fit.png").read_bytes().startswith(b"\x89PNG")
    fitted = pd.read_csv(folder / "fitted.csv")
    measured = pd.read_csv(prey_and_predators)
    assert list(fitted.columns) == ["t", "x", "x_fitted", "y", "y_fitted"]
    np.testing.assert_allclose(fitted[["t", "x", "y"]], measured)
    result = json.loads((folder / "equations.json").read_text())
    equations = discoverers.Equations.from_dict(result["equations"])
    assert equations.compare(lotka_volterra().equations).exact
    by_term = {(c["state"], c["term"]): c for c in result["coefficients"]}
    assert by_term["x", "x"]["value"] == pytest.approx(1.0, abs=0.05)
    assert 0 < by_term["x", "x"]["standard_error"] < 0.05
    for state in result["fit"]:
        assert state["r2_fitted"] > 0.99


def test_runs_and_inputs_reach_the_estimator(capsys, tmp_path):
    # x' = -0.5 x + 2 u for two runs under a sine and a constant input; exact closed forms.
    t = np.linspace(0, 8, 161)
    wave = 1.0 * np.exp(-0.5 * t) + 2 * (0.5 * np.sin(t) - np.cos(t) + np.exp(-0.5 * t)) / (
        0.5**2 + 1
    )
    level = 4.0 + (3.0 - 4.0) * np.exp(-0.5 * t)
    runs = [
        pd.DataFrame({"run": name, "time": t, "x": x, "u": u})
        for name, x, u in (("a", wave, np.sin(t)), ("b", level, np.ones_like(t)))
    ]
    path = tmp_path / "runs.csv"
    pd.concat(runs).to_csv(path, index=False)
    out = tmp_path / "out"
    options = ["--time", "time", "--inputs", "u", "--trajectory-column", "run"]
    assert main(["fit", str(path), *options, "--library", "poly2", "--out", str(out)]) == 0
    assert "322 samples in 2 runs, time from 0 to 8" in capsys.readouterr().out
    result = json.loads((out / "equations.json").read_text())
    equations = discoverers.Equations.from_dict(result["equations"])
    comparison = equations.compare(["-0.5*x + 2*u"])
    assert comparison.exact
    assert comparison.max_coefficient_error < 0.01
    fitted = pd.read_csv(out / "fitted.csv")
    assert fitted["run"].tolist() == ["a"] * 161 + ["b"] * 161


def test_the_module_runs_as_a_program_without_a_traceback():
    def run(*argv):
        command = [sys.executable, "-m", "discoverers", *argv]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    version = run("--version")
    assert (version.returncode, version.stdout) == (0, f"discoverers {discoverers.__version__}\n")
    missing = run("fit", "missing.csv")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr == "discoverers: error: missing.csv: there is no such file\n"


def test_an_interrupt_leaves_with_130_and_one_line(tmp_path, monkeypatch, capsys):
    path = tmp_path / "data.csv"
    path.write_text("t,x\n0,1\n")

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    # Within this process: a real signal may be blocked, ignored or lost in an import lock where the
    # tests run in the background.
    monkeypatch.setattr("discoverers.commandline.measurements._parse", interrupted)
    assert main(["fit", str(path)]) == 130
    assert capsys.readouterr().err == "discoverers: interrupted\n"


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (-9.99987654, 0.00123, ("-9.9999", "0.0012")),
        (28.0, 0.5, ("28.00", "0.50")),
        (12345.678, 250.0, ("12350", "250")),
        (2.6666666, 1.5e-9, ("2.6666666", "1.5e-09")),
        (0.1, 0.0, ("0.1", "-")),
        (0.1, np.nan, ("0.1", "-")),
    ],
)
def test_values_are_written_with_the_digits_that_their_error_leaves(value, error, expected):
    assert value_and_error(value, error) == expected


def test_r_squared_ignores_what_was_not_measured():
    measured = np.array([[0.0, 5.0], [1.0, 5.0], [np.nan, 5.0], [3.0, 5.0]])
    predicted = measured + np.array([[0.0], [0.5], [9.0], [0.0]])
    # 1 - 0.25 / ((4/3)^2 + (1/3)^2 + (5/3)^2)
    np.testing.assert_allclose(r_squared(measured, predicted), [1 - 0.25 / (42 / 9), np.nan])
