"""Generated kernels on disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import gpu_solver
from gpu_solver.fused import cache

CODE = """
import sys, time
import numpy as np
from gpu_solver import LinearODEProblem, solve
problem = LinearODEProblem(
    np.ones((1, 1, 1, 2)), np.zeros((20, 1)), np.ones((3, 1, 1, 1)), np.full(19, 0.1))
start = time.perf_counter()
y = solve(problem, "fused").y
print(time.perf_counter() - start)
assert abs(y[0, -1, 0, 0] - np.exp(-1.9)) < 1e-2
from gpu_solver.fused.cache import cache_directory
print(cache_directory())
"""


WHERE = """
from gpu_solver.fused.cache import cache_directory
print(0.0)
print(cache_directory())
"""


def run(code=CODE, **environment):
    root = str(Path(gpu_solver.__file__).parent.parent)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GPU_SOLVER", "NUMBA", "XDG"))}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "PYTHONPATH": root, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    seconds, directory = result.stdout.split()
    return float(seconds), Path(directory)


def test_a_second_process_loads_the_machine_code_without_numba(tmp_path):
    cold, directory = run(GPU_SOLVER_CACHE_DIR=str(tmp_path / "kernels"))
    assert directory == tmp_path / "kernels"
    made = {path: path.read_bytes() for path in directory.iterdir()}
    assert made
    forbidden = "import sys\nsys.modules['numba'] = None\n" + CODE
    warm, _ = run(forbidden, GPU_SOLVER_CACHE_DIR=str(tmp_path / "kernels"))
    assert warm < cold
    assert {path: path.read_bytes() for path in directory.iterdir()} == made
    for path, data in made.items():  # what is damaged is made again, not run
        names, code = cache._parsed(path.read_bytes())
        assert code
        assert all(symbol.encode() in code for symbol, _ in names.values())
        with pytest.raises(ValueError, match="damaged"):
            cache._parsed(data[:-1] + bytes([data[-1] ^ 1]))


def test_without_a_writable_home_a_private_temporary_directory_serves(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    _, directory = run(WHERE, HOME=str(blocked), TMPDIR=str(tmp_path))
    assert directory.parent == tmp_path
    assert directory.name.startswith("gpu_solver-")


def test_the_name_of_a_file_depends_on_what_it_is_made_of(monkeypatch):
    cache._fingerprint.cache_clear()
    before = cache._fingerprint()
    monkeypatch.setattr(cache, "version", lambda name: "0.0")
    cache._fingerprint.cache_clear()
    assert cache._fingerprint() != before
    monkeypatch.undo()
    cache._fingerprint.cache_clear()
    assert cache._fingerprint() == before
    package = Path(cache.__file__).parent
    compiled = {f"{source}.py" for source in ("loops", "segments", "uniform")}
    assert compiled <= set(cache._SOURCES)
    assert all((package / name).is_file() for name in cache._SOURCES)


def test_files_that_are_no_kernels_are_refused():
    for data in (b"", b"gpu_solver kernels 1\n{}\n", b"gpu_solver kernels 1\nnonsense"):
        with pytest.raises((ValueError, KeyError)):
            cache._parsed(data)


@pytest.mark.parametrize("name", ["loops", "segments", "uniform"])
def test_templates_hold_the_line_that_is_replaced(name):
    text = (Path(cache.__file__).parent / f"{name}.py").read_text()
    wanted = "SIZES = (1, 2, 1)\n" if name == "loops" else "from gpu_solver.fused.loops import"
    assert text.count(wanted) == 1
