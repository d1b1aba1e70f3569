"""A law of motion from positions alone, with a third of the samples missing and some gross errors.

A video follows a damped pendulum: only its angle is seen, the times are uneven, a third of the
frames lost it, and in one of thirty the tracker jumped to something else. The velocity is never
measured. The script finds ``x'' = f(x, x')`` and says which frames it did not believe.
"""

import argparse
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from discoverers import SMNNDiscoverer
from discoverers.plotting import save_figure
from discoverers.plotting.style import COLOURS, tidy

TRUTH = "x'' = -4 sin(x) - 0.15 x'"
FRAMES, NOISE, LOST, JUMPS = 600, 0.01, 0.33, 0.03


def film(seed: int = 0) -> tuple[NDArray[np.float64], pd.DataFrame, NDArray[np.float64]]:
    """Times, tracked angles and the true angles."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0.0, 20.0, FRAMES))
    true = solve_ivp(
        lambda s, q: [q[1], -4.0 * np.sin(q[0]) - 0.15 * q[1]],
        (0.0, 20.0),
        [2.4, 0.0],
        t_eval=t,
        rtol=1e-10,
        atol=1e-12,
    ).y[0]
    angle = true + NOISE * rng.normal(size=FRAMES)
    jumped = rng.uniform(size=FRAMES) < JUMPS
    angle[jumped] = rng.uniform(-3.0, 3.0, jumped.sum())
    angle[rng.uniform(size=FRAMES) < LOST] = np.nan
    return t, pd.DataFrame({"x": angle}), true


def main(folder: Path) -> None:
    """Track, fit, compare, draw."""
    t, X, true = film()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model = SMNNDiscoverer("poly3+fourier", order=2).fit(t, X)
    print(f"{X['x'].notna().sum()} angles in {FRAMES} frames, noise {NOISE:g}")
    for warning in caught:
        print(f"note: {warning.message}")
    print(f"\ntrue:  {TRUTH}")
    print(f"found: {model.equations_.round(4)}")
    print(f"noise: {model.noise_std_[0]:.4f}")
    print("\ncoefficients with 95 % intervals:")
    print(model.coef_interval().to_string(index=False, float_format="{:.4f}".format))
    print("\nframes that were left out:")
    print(model.outliers_.head(5).to_string(index=False, float_format="{:.3f}".format))
    figure, panel = plt.subplots(figsize=(10.0, 4.0), layout="constrained")
    panel.plot(t, true, color="black", linewidth=2.4, alpha=0.35, label="true")
    panel.plot(t, X["x"], ".", color="0.5", markersize=4, label="tracked")
    panel.plot(model.outliers_["t"], model.outliers_["value"], "x", color=COLOURS[1],
               label="not believed")  # fmt: skip
    fine = np.linspace(t[0], t[-1], 1000)
    panel.plot(fine, model.predict(fine)[:, 0], color=COLOURS[0], label="fitted")
    panel.set_xlabel("t")
    panel.set_ylabel("angle x")
    panel.legend(ncols=4, frameon=False, fontsize="small")
    tidy(panel)
    print(f"\npicture: {save_figure(figure, folder / 'positions_with_gaps.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
