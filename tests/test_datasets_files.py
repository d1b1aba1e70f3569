"""The loaders give the published records their names and units, and say what is missing."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from discoverers import datasets


@pytest.fixture
def shared(request):
    """Skip where the file that a test names is not among the user's data."""
    name = request.param
    folder = os.environ.get("DISCOVERERS_DATA")
    if not folder or not (Path(folder) / name).is_file():
        pytest.skip(f"DISCOVERERS_DATA names no folder with {name}")
    return Path(folder) / name


def _file(name):
    return pytest.mark.parametrize("shared", [name], indirect=True)


LOADERS = ("load_f16", "load_silverbox", "load_bouc_wen", "load_pendulum", "load_nino")


@pytest.mark.parametrize("loader", LOADERS)
def test_a_missing_file_is_named_with_its_source_and_its_place(loader, tmp_path, monkeypatch):
    monkeypatch.setenv("DISCOVERERS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match=r"Download .*DISCOVERERS_DATA") as raised:
        getattr(datasets, loader)()
    assert str(tmp_path) in str(raised.value)
    with pytest.raises(FileNotFoundError, match=r"no file .*elsewhere"):
        getattr(datasets, loader)(tmp_path / "elsewhere.csv")


@pytest.mark.parametrize("loader", [name for name in LOADERS if name != "load_pendulum"])
def test_another_file_is_refused_by_its_columns(loader, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("p,q\n1,2\n3,4\n")
    with pytest.raises(ValueError, match=r"p, q; .* is missing"):
        getattr(datasets, loader)(other)


def test_f16_table_is_read_with_times_from_its_sampling_rate(tmp_path):
    file = tmp_path / "f16.csv"
    head = '"Force","Voltage","Acceleration1","Acceleration2","Acceleration3","Fs",\n'
    file.write_text(head + "1,2,3,4,5,400,\n6,7,8,9,10,,\n")
    table = datasets.load_f16(file)
    assert list(table["t"]) == [0.0, 0.0025]
    assert list(table.loc[1, "force":]) == [6, 7, 8, 9, 10]
    assert list(table.columns) == [
        *("t", "force", "voltage", "acceleration1", "acceleration2", "acceleration3"),
    ]
    file.write_text(head + "1,2,3,4,5,0,\n")
    with pytest.raises(ValueError, match="sampling rate"):
        datasets.load_f16(file)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("%o v\n0 5.0 1.0 0.5\n1 5.2 1.1 0.4\n", ["run", "t", "angle", "velocity"]),
        ("% x a v\n0 0.1 -102 645 37\n", ["run", "t", "position", "acceleration", "velocity"]),
    ],
)
def test_pendulum_columns_follow_the_header(text, columns, tmp_path):
    file = tmp_path / "record.txt"
    file.write_text(text)
    table = datasets.load_pendulum(file)
    assert list(table.columns) == columns
    assert table["run"].dtype.kind == "i"


@pytest.mark.parametrize("text", ["1 2 3 4\n", "% o q\n1 2 3 4\n", "% o a w\n1 2 3 4\n"])
def test_pendulum_files_without_a_fitting_header_are_refused(text, tmp_path):
    file = tmp_path / "record.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match="record.txt"):
        datasets.load_pendulum(file)


@_file("f16_gvt/F16Data_FullMSine_Level1.csv")
def test_f16_record_repeats_with_its_period(shared):
    table = datasets.load_f16()
    assert len(table) == 73_728
    assert table["t"].iloc[400] == 1.0
    period = datasets.F16_PERIOD
    for name in ("voltage", "acceleration2"):
        values = table[name].to_numpy()
        # The second and third period: the first carries the transient of the start.
        second, third = values[period : 2 * period], values[2 * period : 3 * period]
        assert np.std(third - second) < 0.06 * np.std(second)
        half = values[period + period // 2 : 2 * period + period // 2]
        assert np.std(half - second) > 0.5 * np.std(second)


@_file("silverbox/SNLS80mV.csv")
def test_silverbox_parts_begin_and_end_at_rest(shared):
    table = datasets.load_silverbox()
    assert len(table) == 2**17
    assert np.diff(table["t"]).mean() == pytest.approx(1 / 610.35, rel=1e-5)
    parts = table.groupby("part").size()
    assert parts["multisine"] == 86_920
    assert parts["arrow"] == 40_539
    runs = [run for _, run in table[table["part"] == "multisine"].groupby("realization")]
    assert len(runs) == 10
    for run in runs:
        force = run["force"].to_numpy()
        assert force[:25].std() < 2e-3
        assert force[-25:].std() < 2e-3
        assert force[100:-100].std() > 0.02
    # Odd random multisine of period 8192: a line at odd multiples only, up to 200 Hz.
    force = runs[3]["force"].to_numpy()[420 : 420 + 8192]
    lines = np.abs(np.fft.rfft(force - force.mean()))
    assert lines[1:2000:2].mean() > 20 * lines[2:2000:2].mean()
    arrow = table.loc[table["part"] == "arrow", "force"].to_numpy()
    assert arrow[-10_000:-2_000].std() > 2 * arrow[5_000:13_000].std()


@_file("bouc_wen_sysidentpy/boucwen_histeretic_system.csv")
def test_bouc_wen_velocities_are_the_slopes_of_its_displacements(shared):
    table = datasets.load_bouc_wen()
    slope = np.gradient(table["displacement"], table["t"])
    velocity = table["velocity"].to_numpy()
    assert slope @ velocity / (velocity @ velocity) == pytest.approx(1, abs=5e-3)


@_file("schmidt_lipson_pendulum/real_linear_a_1.txt")
@pytest.mark.parametrize("record", ["real_pend_h_1", "real_pend_a_1", "real_linear_a_1"])
def test_pendulum_velocities_are_the_slopes_of_its_positions(shared, record):
    table = datasets.load_pendulum(record=record)
    run = table[table["run"] == 0]
    position = run.iloc[:, 2].to_numpy()
    slope = np.gradient(position, run["t"])[3:-3]
    assert np.corrcoef(slope, run["velocity"][3:-3])[0, 1] > 0.99
    if "acceleration" in table:
        bend = np.gradient(run["velocity"], run["t"])[3:-3]
        assert np.corrcoef(bend, run["acceleration"][3:-3])[0, 1] > 0.97


@_file("noaa_nino_weekly/nino_weekly.csv")
def test_both_layouts_of_the_nino_indices_agree(shared):
    table = datasets.load_nino()
    other = datasets.load_nino(shared.parent / "wksst8110.for")
    weeks = table.index.intersection(other.index)
    assert len(weeks) > 1500
    assert list(table.columns) == list(other.columns)
    np.testing.assert_allclose(table.loc[weeks], other.loc[weeks], atol=0.0501)
    assert table.index[0] == pd.Timestamp("1990-01-03")
