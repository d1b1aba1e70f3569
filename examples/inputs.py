"""A heater that is switched on and off: inputs, and what they do between samples.

A body is heated by a thermostat's switch, loses heat by convection and radiation, and is measured
every half minute. The switch stays where it is between samples; a fit that is told so
(``input_interpolation="hold"``) finds the law, and one that draws lines or splines through the
switch does not.
"""

import argparse
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from discoverers import SMNNDiscoverer
from discoverers.plotting import save_figure
from discoverers.plotting.style import COLOURS, tidy

TRUTH = "T' = 0.6 u - 0.1 T - 0.02 T^3"
STEP, SAMPLES, NOISE = 0.5, 400, 0.01


def heated(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Times (min), the switch, and measured temperatures above the room's (10 K)."""
    rng = np.random.default_rng(seed)
    t = STEP * np.arange(SAMPLES)
    switch = np.repeat(rng.integers(0, 2, SAMPLES), rng.integers(2, 9, SAMPLES))[:SAMPLES]
    T = np.zeros(SAMPLES)
    for i in range(SAMPLES - 1):
        law = lambda _, q, on=switch[i]: 0.6 * on - 0.1 * q - 0.02 * q**3  # noqa: E731
        T[i + 1] = solve_ivp(law, (0.0, STEP), T[i : i + 1], rtol=1e-9, atol=1e-11).y[0, -1]
    return t, switch.astype(float), T + NOISE * T.std() * rng.normal(size=SAMPLES)


def main(folder: Path) -> None:
    """Fit with every interpolation, test each on another record, draw the right one."""
    t, u, T = heated(0)
    _, other_u, other_T = heated(1)
    print(f"true:   {TRUTH}\n")
    figure, panel = plt.subplots(figsize=(10.0, 4.0), layout="constrained")
    for kind in ("linear", "cubic", "hold"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = SMNNDiscoverer(input_interpolation=kind).fit(t, T, u=u)
            free = model.simulate(t, other_T[:1], u=other_u)
        law = str(model.equations_.round(3)).replace("x0", "T").replace("u0", "u")
        error = np.sqrt(np.mean((free - other_T) ** 2)) / other_T.std()
        print(f"{kind + ':':7s} {law}")
        print(f"        chi2 {model.chi2_[0]:.2f}; free run on another record off by {error:.1%}\n")
    panel.plot(t, other_T, ".", color="0.6", markersize=4, label="another record")
    panel.plot(t, free, color=COLOURS[0], label="the found law, run freely")
    panel.fill_between(t, -0.25, -0.25 + 0.2 * other_u, step="post", color=COLOURS[1],
                       alpha=0.5, label="switch")  # fmt: skip
    panel.set_xlabel("t (min)")
    panel.set_ylabel("T (10 K above the room)")
    panel.legend(ncols=3, frameon=False, fontsize="small")
    tidy(panel)
    print(f"true:   {TRUTH}\nfound:  {law}")
    print(f"\npicture: {save_figure(figure, folder / 'inputs.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
