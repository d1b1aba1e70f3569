"""Offsets and drifts of sensors are told; what a law leaves otherwise is not taken for one."""

from types import SimpleNamespace

import numpy as np
import pytest

from discoverers.exceptions import MisfitWarning
from discoverers.shooting import Record
from discoverers.structures import Channel, Data, Note
from discoverers.structures.sensors import sensor_notes

N = 400
T = np.linspace(0.0, 20.0, N)
RATES = np.column_stack([np.cos(T), -np.sin(T)])
STATES = np.column_stack([np.sin(T), np.cos(T)])
NOISE = 0.02 * np.random.default_rng(0).normal(size=N)


def notes(y, *, poor=False, channel=None, runs=1):
    channels = (channel or Channel("acc", rates={"v": 1.0}),)
    records = tuple(Record.make(T, column) for column in np.atleast_2d(y)[:runs])
    data = Data(records, channels, (), np.zeros((runs, 2)))
    fit = SimpleNamespace(
        observation=data.observation(("x", "v")),
        states=(STATES,) * runs,
        rates=(RATES,) * runs,
        notes=(Note("poor", MisfitWarning),) if poor else (),
    )
    return list(sensor_notes(fit, data))


def test_noise_alone_says_nothing():
    assert notes(RATES[:, 1] + NOISE) == []
    assert notes(RATES[:, 1] + NOISE, poor=True) == []
    assert notes(RATES[:, 1] + 1e-5) == []  # what integration leaves


def test_residuals_that_a_wrong_law_leaves_are_no_offset():
    assert notes(RATES[:, 1] + NOISE + 0.3 * np.sin(2.2 * T), poor=True) == []


@pytest.mark.parametrize("offset", [0.2, -3.0])
def test_an_offset_is_named_with_its_size(offset):
    (note,) = notes(RATES[:, 1] + NOISE + offset)
    assert note.category is MisfitWarning
    assert "column 'acc' has an offset of" in note.text
    assert "drift" not in note.text
    assert "sensor_offset='estimate'" in note.text
    told = float(note.text.split("an offset of ")[1].split(" ")[0])
    assert told == pytest.approx(offset, abs=3 * 0.02 / np.sqrt(N))


def test_a_drift_is_named_with_its_size():
    (note,) = notes(RATES[:, 1] + NOISE + 0.015 * (T - T.mean()))
    told = float(note.text.split("a drift of ")[1].split(" ")[0])
    assert told == pytest.approx(0.015 * 20.0, abs=0.01)
    assert "offset" not in note.text


def test_gaps_and_several_runs_count_together():
    rows = np.tile(RATES[:, 1] + 0.2, (3, 1)) + 0.02 * np.random.default_rng(1).normal(size=(3, N))
    rows[:, 50:300] = np.nan
    assert "an offset of 0." in notes(rows, runs=3)[0].text
    rows[:] = np.nan
    assert notes(rows, runs=3, poor=True) == []


def test_gravity_that_the_fit_fell_with_is_seen_in_the_column():
    falling = RATES[:, 1] + 9.81
    (note,) = notes(falling, poor=True)
    assert "is said to measure v' and has the mean 9.7" in note.text
    assert "gravity" in note.text


def test_only_rates_are_carried_away():
    level = Channel("gauge", states={"x": 1.0})
    assert notes(STATES[:, 0], poor=True, channel=level) == []
    assert "offset of 4.99" in notes(STATES[:, 0] + NOISE + 5.0, channel=level)[0].text


def test_a_falling_body_whose_law_fits_is_no_fault():
    data = Data((Record.make(T, np.full(N, -9.81)),), (Channel("acc", rates={"v": 1.0}),), (),
                np.zeros((1, 2)))  # fmt: skip
    fit = SimpleNamespace(
        observation=data.observation(("x", "v")),
        states=(np.zeros((N, 2)),),
        rates=(np.column_stack([np.zeros(N), np.full(N, -9.81)]),),
        notes=(),
    )
    assert list(sensor_notes(fit, data)) == []
