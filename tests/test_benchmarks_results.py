"""How benchmarks keep their results."""

import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:  # the benchmark is part of the repository, not of the package
    sys.path.insert(0, str(ROOT))

from benchmarks.machine import describe_machine  # noqa: E402
from benchmarks.results import write_results  # noqa: E402


def test_results_come_back_to_six_digits_with_a_fit_a_line(tmp_path):
    fits = [{"name": "a", "error": np.float64(1.23456789e-7), "terms": [1, 2], "exact": True}] * 3
    results = {"machine": {"cores": 2, "load": None}, "parts": {"laws": fits, "none": []}}
    path = tmp_path / "results.json"
    write_results(results, path)
    found = json.loads(path.read_text())
    expected = {"name": "a", "error": 1.23457e-7, "terms": [1, 2], "exact": True}
    assert found == {**results, "parts": {"laws": [expected] * 3, "none": []}}
    assert path.read_text().count("\n" + json.dumps(expected)) == 3


def test_the_machine_is_told_without_a_path():
    told = describe_machine(("numpy",))
    assert told["numpy"] == np.__version__
    assert told["cores"] >= 1
    assert "/" not in "".join(str(value) for value in told.values())
