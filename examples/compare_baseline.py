"""Compare the scalable solver with the original dense one on the same 200 points.

Both estimators have one interface, so one loop fits, times and compares them; a last call compares
their equations with each other. The original formulation (slack variables, central differences, a
dense factorisation) needs memory that grows with the square of the record's length, which is why
the record is short.
"""

import argparse
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from discoverers import MNNDenseBaseline, SMNNDiscoverer
from discoverers.datasets import generate, lorenz
from discoverers.plotting import plot_coefficients, save_figure


def main(folder: Path) -> None:
    """Fit both, compare, and draw."""
    record = generate(lorenz(), 200)
    data = record.to_frame()
    truth = record.system.equations
    models = {}
    figure, panels = plt.subplots(1, 2, figsize=(11.0, 4.0), sharey=True, layout="constrained")
    for panel, estimator in zip(panels, (SMNNDiscoverer(), MNNDenseBaseline()), strict=True):
        name = type(estimator).__name__
        start = time.perf_counter()
        estimator.fit(data["t"], data[["x", "y", "z"]])
        seconds = time.perf_counter() - start
        models[name] = estimator
        comparison = estimator.equations_.compare(truth)
        print(f"{name}: {seconds:.2f} s, {comparison}")
        print(f"largest error of a coefficient: {comparison.max_coefficient_error:.1e}")
        print(f"{estimator.equations_}\n")
        plot_coefficients(estimator, panel, truth=truth)
        panel.set_title(name)

    scalable, dense = models.values()
    print("the dense baseline's equations, compared with the scalable estimator's:")
    print(dense.equations_.compare(scalable.equations_))
    print(f"\npicture: {save_figure(figure, folder / 'compare_baseline.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
