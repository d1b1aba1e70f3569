"""Importing the package is quick and brings nothing heavy along."""

import subprocess
import sys

import pytest

import discoverers

HEAVY = ("torch", "numba", "matplotlib", "kan", "pysr", "juliacall")


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("package", ["discoverers", "gpu_solver", "discoverers.datasets"])
def test_import_brings_nothing_heavy(package):
    code = f"import sys, {package}; print([m for m in {HEAVY} if m in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_import_takes_less_than_one_and_a_half_seconds():
    code = (
        "import time; a = time.perf_counter(); import discoverers; print(time.perf_counter() - a)"
    )
    # The least of several runs: other processes on the machine only ever add to it.
    assert min(float(run_python(code)) for _ in range(3)) < 1.5


def test_reading_an_estimator_class_needs_no_torch():
    code = "import sys, discoverers; discoverers.Equations; print('torch' in sys.modules)"
    assert run_python(code).strip() == "False"


@pytest.mark.parametrize("name", discoverers.__all__)
def test_every_public_name_loads(name):
    assert getattr(discoverers, name) is not None


def test_public_names_are_listed_and_others_refused():
    assert set(discoverers.__all__) <= set(dir(discoverers))
    with pytest.raises(AttributeError, match="no attribute 'Equation'"):
        discoverers.Equation  # noqa: B018
