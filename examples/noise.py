"""How much noise a law survives: Lorenz' equations from 1 % to 30 % of noise.

The same 1500 samples, with more and more noise on every state. For each level the script prints
whether the terms are exactly the true ones, how far the coefficients are off, what the estimator
says of its own errors, and the noise it thinks there is; at the end, found beside true.
"""

import argparse
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from discoverers import SMNNDiscoverer
from discoverers.datasets import generate, lorenz
from discoverers.plotting import save_figure
from discoverers.plotting.style import COLOURS, tidy

LEVELS = (0.01, 0.05, 0.1, 0.2, 0.3)
SAMPLES = 1500


def main(folder: Path) -> None:
    """Fit at every level and draw the noisiest record with what was recovered from it."""
    system = lorenz()
    clean = generate(system, SAMPLES).to_frame()
    states = ["x", "y", "z"]
    print("noise  terms   error of coefficients  within 2 std. errors  noise found (x, y, z)")
    for level in LEVELS:
        data = generate(system, SAMPLES, noise=level, seed=0).to_frame()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = SMNNDiscoverer(library="poly2").fit(data["t"], data[states])
        found = model.equations_.compare(system.equations)
        print(
            f"{level:5.0%}  {'exact' if found.exact else 'differ':6s}  "
            f"{found.relative_coefficient_error:21.2%}  {covered(model):>20s}  "
            + ", ".join(f"{100 * s:.1f} %" for s in model.noise_std_ / clean[states].std())
        )
    print(f"\ntrue:\n{system.equations}")
    print(f"found at {LEVELS[-1]:.0%} noise:\n{model.equations_.round(3)}")

    figure, panel = plt.subplots(figsize=(10.0, 4.0), layout="constrained")
    rows = slice(0, 600)
    panel.plot(data["t"][rows], data["x"][rows], ".", color="0.7", markersize=4, label="measured")
    panel.plot(clean["t"][rows], clean["x"][rows], color="black", linewidth=2.4, alpha=0.35,
               label="true")  # fmt: skip
    panel.plot(data["t"][rows], model.predict(data["t"])[rows, 0], color=COLOURS[0],
               label="fitted")  # fmt: skip
    panel.set_xlabel("t")
    panel.set_ylabel("x")
    panel.legend(ncols=3, frameon=False, fontsize="small")
    tidy(panel)
    print(f"\npicture: {save_figure(figure, folder / 'noise.png')}")


def covered(model: SMNNDiscoverer) -> str:
    """How many true coefficients lie within two standard errors of what was found."""
    truth = {
        ("x", "x"): -10.0, ("x", "y"): 10.0, ("y", "x"): 28.0, ("y", "y"): -1.0,
        ("y", "x*z"): -1.0, ("z", "z"): -8.0 / 3.0, ("z", "x*y"): 1.0,
    }  # fmt: skip
    table = model.coef_interval()
    inside = [
        np.abs(row.coefficient - truth[row.equation, row.term]) < 2.0 * row.std
        for row in table.itertuples()
        if (row.equation, row.term) in truth
    ]
    return f"{sum(inside)} of {len(truth)}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
