"""Offsets of accelerometers are estimated beside the law, with honest errors."""

from types import SimpleNamespace

import numpy as np
import pytest

from discoverers import SKANODERegressor
from discoverers.datasets import duffing_forced, observe
from discoverers.shooting import Record
from discoverers.structures import Channel, Data, Options
from discoverers.structures.offsets import discover_with_offsets

T = np.linspace(0.0, 40.0, 500)
RATES = np.column_stack([np.cos(T), -np.sin(T)])
STATES = np.column_stack([np.sin(T), np.cos(T)])
CHANNELS = (Channel("x", states={"x": 1.0}), Channel("acc", rates={"v": 1.0}))


class Known:
    """Finds the true motion whatever the offset; keeps count."""

    def __init__(self):
        self.asked = 0

    def discover(self, data, options):
        self.asked += 1
        runs = len(data.records)
        return SimpleNamespace(
            observation=data.observation(("x", "v")), states=(STATES,) * runs, rates=(RATES,) * runs
        )


def given(seed, channels=CHANNELS, runs=2):
    random = np.random.default_rng(seed)
    records = []
    for _ in range(runs):
        y = np.column_stack([STATES[:, 0], RATES[:, 1] + 3.0]) + 0.1 * random.normal(size=(500, 2))
        y[100:150, 1] = np.nan
        records.append(Record.make(T, y))
    return Data(tuple(records), channels, (), np.zeros((runs, 2)))


def test_offsets_and_their_errors():
    away = []
    for seed in range(30):
        structure = Known()
        found = discover_with_offsets(structure, given(seed), Options())
        assert structure.asked == 2  # the mean, what it misses, and no more
        assert found.offsets[0] == found.offsets_std[0] == 0.0
        assert found.offsets_std[1] == pytest.approx(0.1 / np.sqrt(900), rel=0.15)
        away.append((found.offsets[1] - 3.0) / found.offsets_std[1])
    assert 0.6 < np.std(away) < 1.4
    assert abs(np.mean(away)) < 0.6


@pytest.mark.parametrize("channels", [(Channel("x", states={"x": 1.0}),) * 2, None])
def test_without_an_accelerometer_there_is_nothing_to_estimate(channels):
    data = given(0, channels or CHANNELS)
    if channels is None:
        data = Data(data.records, data.channels, (), data.x0, measure=lambda X, F, U: F)
    with pytest.raises(ValueError, match="sensor_offset='estimate' is for accelerometers"):
        discover_with_offsets(Known(), data, Options())


@pytest.mark.slow
def test_gravity_in_the_sensor(tmp_path):
    record = observe(duffing_forced(), "acceleration", noise=0.01, seed=0).training()
    y = record.y + 9.81
    model = SKANODERegressor(initial_state="rest", sensor_offset="estimate")
    model.fit(record.t, y, u=record.u)
    assert model.sensor_offset_[0] == pytest.approx(9.81, abs=5 * model.sensor_offset_std_[0])
    assert 0.0 < model.sensor_offset_std_[0] < 2e-3
    assert set(map(str, model.equations_.terms()["v"])) == {"u0", "x", "v", "x**3"}
    assert np.std(model.predict(record.t)[:, 0] - y[:, 0]) < 0.012
    model.save(tmp_path / "model")
    again = SKANODERegressor.load(tmp_path / "model")
    assert np.array_equal(again.predict(record.t), model.predict(record.t))
