"""The benchmark for cards, as far as it goes without one. Never a time."""

import json
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:  # the benchmark is part of the repository, not of the package
    sys.path.insert(0, str(ROOT))

from benchmarks.solver import __main__ as command  # noqa: E402
from benchmarks.solver import cuda  # noqa: E402
from benchmarks.solver.cases import Case  # noqa: E402


def test_a_case_is_timed_compared_with_the_cpu_and_refusals_are_told():
    case = Case("varying", (2,), 5)
    row = cuda.time_case(case, "cpu", ["cyclic_reduction", "solve"], budget=0.01, limit=5.0)
    found = row["candidates"]
    assert found["cyclic_reduction"]["error"] < 1e-9
    assert found["cyclic_reduction"]["fastest"] <= found["cyclic_reduction"]["median"]
    assert "needs tensors on a CUDA device" in found["solve"]["refused"]
    assert row["bytes"] == 8 * 2 * (5 * 3 + 5 + 1 + 4 + 5 * 3) * 2
    json.dumps(row)
    assert "cyclic_reduction" in cuda._line(row | {"roofline": 1e-6})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_says_so():
    with pytest.raises(SystemExit, match="needs a CUDA device and a build of PyTorch for it"):
        command.main(["--device", "cuda", "--quick"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_card_every_candidate_is_right(tmp_path):
    out = tmp_path / "cuda.json"
    command.main(
        ["--device", "cuda", "--quick", "--cases", "sequence", "--budget", "0.1", "--out", str(out)]
    )
    for row in json.loads(out.read_text())["cases"]:
        for name, found in row["candidates"].items():
            assert found.get("error", 0.0) < (1e-4 if "32" in name else 1e-8), (row["case"], name)
