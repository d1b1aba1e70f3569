"""Laws of third order from positions alone, and of coupled masses with one velocity missing.

First a chaotic jerk system, ``x''' = f(x, x', x'')``, of which nothing but the position is
measured, with 1 % noise. Then two coupled masses: both positions are measured, of one mass the
velocity too, of the other hardly ever. A column named ``x'`` holds a velocity, NaN means that it
was not measured, and ``order`` may differ from state to state.
"""

import argparse
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

JERK = "x''' = x - x' - 0.7 x'' - x^3"
MASSES = "x'' = -4.5 x + 1.5 y - 0.2 x',  y'' = 1.5 x - 3.5 y - 0.1 y' - y^3"
NOISE = 0.01


def jerk(n: int = 800) -> tuple[NDArray[np.float64], pd.DataFrame, NDArray[np.float64]]:
    """Times, noisy positions, and position, velocity and acceleration without noise."""
    t = np.linspace(0.0, 40.0, n)
    path = solve_ivp(
        lambda _, q: [q[1], q[2], q[0] - q[1] - 0.7 * q[2] - q[0] ** 3],
        (0.0, t[-1]), [0.5, 0.0, 0.0], t_eval=t, rtol=1e-10, atol=1e-12,
    ).y.T  # fmt: skip
    noise = NOISE * path[:, 0].std() * np.random.default_rng(0).normal(size=n)
    return t, pd.DataFrame({"x": path[:, 0] + noise}), path


def masses(n: int = 400) -> tuple[NDArray[np.float64], pd.DataFrame, NDArray[np.float64]]:
    """Times, noisy positions and velocities with gaps, and all four without noise."""
    t = np.linspace(0.0, 20.0, n)
    path = solve_ivp(
        lambda _, q: [
            q[2],
            q[3],
            -4.5 * q[0] + 1.5 * q[1] - 0.2 * q[2],
            1.5 * q[0] - 3.5 * q[1] - 0.1 * q[3] - q[1] ** 3,
        ],
        (0.0, t[-1]), [1.5, -1.0, 0.0, 0.0], t_eval=t, rtol=1e-10, atol=1e-12,
    ).y.T  # fmt: skip
    noise = NOISE * path.std(axis=0) * np.random.default_rng(0).normal(size=path.shape)
    X = pd.DataFrame(path + noise, columns=["x", "y", "x'", "y'"])
    X["y'"] = X["y'"].where(np.arange(n) % 20 == 0)
    return t, X, path


def main(folder: Path) -> None:
    """Fit both, compare with the truth, draw what was never measured."""
    t, X, path = jerk()
    model = SMNNDiscoverer(order=3).fit(t, X)
    print(f"{len(t)} positions, noise {NOISE:.0%}")
    print(f"true:  {JERK}")
    print(f"found: {model.equations_.round(4)}")
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.0, 4.0), layout="constrained")
    left.plot(t, path[:, 2], color="black", linewidth=2.4, alpha=0.35, label="true")
    left.plot(t, model.solution_[0].full[:, 2], color=COLOURS[0], label="inferred")
    left.set_title("acceleration x'' of the jerk system, never measured")

    t, X, path = masses()
    model = SMNNDiscoverer(order=2).fit(t, X)
    seldom = X["y'"].notna().sum()
    print(f"\ncolumns {', '.join(X.columns)}; {len(t)} rows, y' in {seldom} of them")
    print(f"true:  {MASSES}")
    print(f"found: {', '.join(str(model.equations_.round(4)).splitlines())}")
    print("\ncoefficients with 95 % intervals:")
    print(model.coef_interval().to_string(index=False, float_format="{:.4f}".format))
    right.plot(t, path[:, 3], color="black", linewidth=2.4, alpha=0.35, label="true")
    right.plot(t, model.predict(t)[:, 3], color=COLOURS[0], label="inferred")
    right.plot(t, X["y'"], "o", color=COLOURS[1], markersize=4, label="measured")
    right.set_title("velocity y' of the second mass, measured in one row of 20")
    for panel in (left, right):
        panel.set_xlabel("t")
        panel.legend(ncols=3, frameon=False, fontsize="small")
        tidy(panel)
    print(f"\npicture: {save_figure(figure, folder / 'higher_order.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
