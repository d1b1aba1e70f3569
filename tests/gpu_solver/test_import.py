import subprocess
import sys


def modules_after(code):
    run = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.split())


def test_import_is_light():
    loaded = modules_after("import gpu_solver")
    assert not loaded & {"torch", "numba", "scipy", "sympy", "pandas", "discoverers"}


def test_numpy_problems_never_import_torch():
    code = (
        "import numpy as np, gpu_solver as g\n"
        "g.solve(g.LinearODEProblem(np.ones((1, 1, 1, 3)), np.zeros((5, 1)),"
        " np.ones((1, 1, 1)), np.ones(4)))"
    )
    assert "torch" not in modules_after(code)
