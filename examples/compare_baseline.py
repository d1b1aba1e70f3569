"""Compare the scalable solver with the original dense one on the same 200 samples.

Both estimators have one interface, so one loop fits, times and judges them, and one call compares
their equations with each other. The record is short because the original formulation (slack
variables, central differences, a dense factorisation) needs memory that grows with the square of
its length. It is fitted twice: with one per cent of noise, which hides the discretisation of both,
and without noise, where only the discretisation is left.
"""

import argparse
import time
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from discoverers import MNNDenseBaseline, SMNNDiscoverer
from discoverers.base import BaseDiscoverer
from discoverers.datasets import Record, generate, lorenz
from discoverers.plotting import plot_coefficients, save_figure


def fit_both(record: Record) -> list[BaseDiscoverer]:
    """Fit both estimators, and print a line for each."""
    data = record.to_frame()
    models: list[BaseDiscoverer] = [SMNNDiscoverer(), MNNDenseBaseline()]
    for model in models:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the comparison below says it better
            model.fit(data["t"], data[["x", "y", "z"]])
        seconds = time.perf_counter() - start
        found = model.equations_.compare(record.system.equations)
        right, extra = (sum(map(len, t)) for t in (found.true_positive, found.false_positive))
        print(
            f"  {type(model).__name__:17} {seconds:5.2f} s   {right} of 7 terms, {extra:2} extra   "
            f"largest error of a coefficient {found.max_coefficient_error:.1e}"
        )
    return models


def main(folder: Path) -> None:
    """Fit with and without noise, compare, and draw."""
    system = lorenz()
    start = [-8.0, 8.0, 27.0]  # on the attractor
    print("200 samples of Lorenz's system without noise:")
    fit_both(generate(system, 200, x0=start))

    print("\n200 samples with one per cent of noise:")
    models = fit_both(generate(system, 200, noise=0.01, seed=0, x0=start))
    for model in models:
        print(f"\n{type(model).__name__}\n{model.equations_.round(4)}")
    scalable, dense = models
    print("\nthe dense baseline's equations, compared with the scalable estimator's:")
    print(dense.equations_.compare(scalable.equations_))

    figure, panels = plt.subplots(1, 2, figsize=(11.0, 4.0), layout="constrained")
    for panel, model in zip(panels, models, strict=True):
        plot_coefficients(model, panel, truth=system.equations)
        panel.set_title(f"{type(model).__name__}, 1 % noise")
    print(f"\npicture: {save_figure(figure, folder / 'compare_baseline.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
