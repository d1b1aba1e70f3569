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
import numpy as np
from matplotlib.figure import Figure

from discoverers import MNNDenseBaseline, SMNNDiscoverer
from discoverers.base import BaseDiscoverer
from discoverers.datasets import Record, System, generate, lorenz
from discoverers.plotting import save_figure


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

    picture = save_figure(draw(models, system), folder / "compare_baseline.png")
    print(f"\npicture: {picture}")


def draw(models: list[BaseDiscoverer], system: System) -> Figure:
    """Draw how far each true coefficient was missed, with its 95 % interval, in per cent."""
    figure, panel = plt.subplots(figsize=(8.0, 4.2), layout="constrained")
    truth = system.equations.terms()
    rows = [(state, str(term)) for state in truth for term in truth[state]]
    values = np.array([value for state in truth for value in truth[state].values()])
    for position, model in enumerate(models):
        at = [(system.state_names.index(s), model.terms_.index(term)) for s, term in rows]
        index = tuple(np.transpose(at))
        panel.errorbar(
            100.0 * (model.coef_[index] - values) / np.abs(values),
            np.arange(len(rows)) + 0.25 * position - 0.125,
            xerr=196.0 * model.coef_std_[index] / np.abs(values),
            fmt="o",
            capsize=3,
            label=type(model).__name__,
        )
    panel.axvline(0.0, color="0.6", linewidth=0.8)
    panel.set_yticks(range(len(rows)), [f"{state}':  {term}" for state, term in rows])
    panel.invert_yaxis()
    panel.set_xlabel("error of the coefficient (%), with its 95 % interval; 1 % noise, 200 samples")
    panel.legend()
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
