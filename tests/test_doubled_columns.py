"""States that repeat another one or the times are named; states that are merely alike are not."""

import warnings

import numpy as np
import pandas as pd
import pytest

from discoverers import IdentifiabilityWarning, MNNDenseBaseline, SMNNDiscoverer
from discoverers.doubled_columns import warn_of_doubled_columns
from discoverers.trajectories import as_trajectories

T = np.linspace(0.0, 4.0, 60)
DECAY = np.exp(-T)


def told(X, t=T):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_doubled_columns(as_trajectories(t, X))
    return [(entry.category, str(entry.message)) for entry in caught]


def test_a_converted_copy_is_named_whatever_its_scale_and_gaps():
    celsius = 20.0 + 60.0 * DECAY
    fahrenheit = 32.0 + 1.8 * celsius
    fahrenheit[10:20] = np.nan
    ((category, text),) = told(pd.DataFrame({"a": celsius, "b": np.sin(T), "c": fahrenheit}))
    assert category is IdentifiabilityWarning
    assert "'a' and 'c' are the same up to scale and offset" in text


def test_two_sensors_of_one_quantity_and_constants_are_no_copies():
    noise = 1e-6 * np.random.default_rng(0).standard_normal((60, 2))
    assert told(np.column_stack([DECAY, DECAY]) + noise) == []
    assert told(np.column_stack([np.ones(60), np.ones(60), DECAY])) == []


def test_a_copy_in_one_run_alone_is_none():
    runs = [np.column_stack([DECAY, 2.0 * DECAY]), np.column_stack([DECAY, 3.0 * DECAY])]
    assert told(runs, [T, T]) == []


def test_a_column_of_times_is_named_and_a_ramp_is_not():
    ((category, text),) = told(pd.DataFrame({"clock": T, "x": DECAY}))
    assert category is UserWarning
    assert "['clock'] of X hold the times themselves" in text
    assert told(np.column_stack([2.0 * T, DECAY])) == []


@pytest.mark.parametrize("estimator", [SMNNDiscoverer("poly1"), MNNDenseBaseline("poly1")])
def test_estimators_pass_it_on(estimator):
    with pytest.warns(IdentifiabilityWarning, match="same up to scale"):
        estimator.fit(T, np.column_stack([DECAY, 2.0 * DECAY]))
