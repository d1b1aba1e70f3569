"""Find Lorenz's equations in a record of their chaos.

The setting is the S-MNN paper's (section 5.2): 10,000 steps of 0.01 from (1, 1, 1), integrated with
``scipy.integrate.odeint``. The script fits with default settings, prints the equations that were
found beside the true ones, and draws the record, the equations and what they do on their own.
"""

import argparse
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from discoverers import SMNNDiscoverer
from discoverers.datasets import generate, lorenz
from discoverers.plotting import save_figure

STATES = ["x", "y", "z"]


def main(folder: Path) -> None:
    """Fit, print and draw."""
    record = generate(lorenz(), method="odeint")
    data = record.to_frame()

    start = time.perf_counter()
    model = SMNNDiscoverer().fit(data["t"], data[STATES])
    seconds = time.perf_counter() - start

    truth = record.system.equations
    print(f"found in {seconds:.1f} s from {len(data)} samples of x, y and z")
    print("(the first fit on a machine takes some seconds more: it compiles the solver's kernels)")
    print(model.equations_)
    print("\ntrue:")
    print(truth)

    comparison = model.equations_.compare(truth)
    print(f"\n{comparison}")
    print(f"largest error of a coefficient: {comparison.max_coefficient_error:.1e}")

    picture = save_figure(draw(data, model), folder / "quickstart.png", dpi=90)
    print(f"picture: {picture}")


def draw(data: pd.DataFrame, model: SMNNDiscoverer) -> Figure:
    """Draw what goes in, what comes out, and what the equations do on their own."""
    figure = plt.figure(figsize=(12.0, 3.8), layout="constrained")
    measured, found, simulated = figure.subfigures(1, 3, width_ratios=[1.0, 0.95, 0.9])

    measured.suptitle(f"{len(data):,} samples, the first 2,000 shown", fontsize="medium")
    panels = measured.subplots(3, 1, sharex=True)
    for panel, name in zip(panels, STATES, strict=True):
        panel.plot(data["t"][:2000], data[name][:2000], ".", color="0.35", markersize=1.5)
        panel.set_ylabel(name)
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("t")

    found.suptitle("SMNNDiscoverer().fit(t, X).equations_", family="monospace", fontsize="medium")
    equations = model.equations_.to_string(5)
    found.text(
        0.5,
        0.5,
        equations,
        family="monospace",
        fontsize=12,
        ha="center",
        va="center",
        linespacing=2.4,
    )

    simulated.suptitle("these equations, integrated from (-8, 8, 27)", fontsize="medium")
    path = model.simulate(np.arange(0.0, 40.0, 0.01), [-8.0, 8.0, 27.0])
    attractor = simulated.add_subplot(projection="3d")
    attractor.plot(*path.T, color="#0072B2", linewidth=0.5)
    attractor.set(xlabel="x", ylabel="y", zlabel="z")
    attractor.locator_params(nbins=5)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
