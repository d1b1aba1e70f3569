"""Rational laws with unknown constants: a gene that activates itself, and a yield of fish.

Both saturate: production follows Hill's law, and the harvest levels off where fish are many. The
constants inside of the quotients are found together with the terms. One record of 150 samples
each, 0.1 % noise; the laws found are run from a start that the fit has not seen.
"""

import argparse
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import sympy
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from discoverers import SMNNDiscoverer
from discoverers.plotting import save_figure
from discoverers.plotting.style import COLOURS, tidy

# law, start of the record, its end, start of the test
LAWS: dict[str, tuple[str, float, float, float]] = {
    "self-activating gene": ("0.15 + 1.2*x**2/(0.5 + x**2) - 0.8*x", 0.02, 14.0, 3.0),
    "harvested fish": ("x*(1 - x/8) - 0.8*x/(1 + x)", 0.1, 25.0, 10.0),
}
NOISE = 0.001


def solution(law: str, start: float, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """The law's solution at the times t."""
    rate = sympy.lambdify(sympy.Symbol("x"), sympy.sympify(law))
    span = (float(t[0]), float(t[-1]))
    return solve_ivp(lambda _, q: rate(q), span, [start], t_eval=t, rtol=1e-10, atol=1e-12).y[0]


def main(folder: Path) -> None:
    """Fit, compare and draw both laws."""
    figure, panels = plt.subplots(1, len(LAWS), figsize=(10.0, 3.8), layout="constrained")
    for panel, (name, (law, start, end, other)) in zip(panels, LAWS.items(), strict=True):
        t = np.linspace(0.0, end, 150)
        x = solution(law, start, t)
        measured = x + NOISE * x.std() * np.random.default_rng(0).normal(size=len(t))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = SMNNDiscoverer("auto").fit(t, measured)
            free = model.simulate(t, [other])
        truth = solution(law, other, t)
        error = np.sqrt(np.mean((free - truth) ** 2)) / np.ptp(truth)
        found = str(model.equations_.round(4)).replace("x0", "x")
        print(f"{name}\n  true   x' = {law}\n  found  {found}")
        print(f"  from another start, {other:g}: off by {error:.2%} of the range\n")
        panel.plot(t, measured, ".", color="0.6", markersize=4, label="measured")
        panel.plot(t, truth, color="black", linewidth=2.4, alpha=0.35, label="true, another start")
        panel.plot(t, free, color=COLOURS[0], label="found, another start")
        panel.set_title(name, loc="left", fontsize="small")
        panel.set_xlabel("t")
        tidy(panel)
    panels[0].legend(frameon=False, fontsize="small")
    print(f"picture: {save_figure(figure, folder / 'rational_laws.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
