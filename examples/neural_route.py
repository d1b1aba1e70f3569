"""Outside any library of sums: two neurons whose rates go through a tanh, by gradient descent.

``x' = tanh(...)`` is no sum of library terms. ``engine=SGDEngine(g="tanh")`` trains the
coefficients inside of the outer function through the differentiable mechanistic solver, as the
S-MNN paper does, and prunes them. The script prints found beside true, and what the closed form,
which has to write the law as a cubic, makes of the same data.
"""

import argparse
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.integrate import solve_ivp

from discoverers import SMNNDiscoverer
from discoverers.mechanistic import SGDEngine
from discoverers.plotting import save_figure
from discoverers.plotting.style import COLOURS, tidy

TRUTH = "x' = tanh(1 - 2 y)\ny' = tanh(1.5 x - 0.7 y)"
STARTS = ([1.0, 0.0], [-1.0, 1.5])
UNSEEN = [2.0, -1.0]
NOISE = 0.01


def solution(start: list[float], t: np.ndarray) -> pd.DataFrame:
    """States of the two neurons."""
    X = solve_ivp(
        lambda _, q: [np.tanh(1.0 - 2.0 * q[1]), np.tanh(1.5 * q[0] - 0.7 * q[1])],
        (t[0], t[-1]), start, t_eval=t, rtol=1e-9, atol=1e-11,
    ).y.T  # fmt: skip
    return pd.DataFrame(X, columns=["x", "y"])


def main(folder: Path) -> None:
    """Fit by both engines, and compare them on an unseen run."""
    t = np.linspace(0.0, 10.0, 250)
    rng = np.random.default_rng(0)
    runs = [solution(start, t) for start in STARTS]
    runs = [run + NOISE * run.to_numpy().std(axis=0) * rng.normal(size=run.shape) for run in runs]
    truth = solution(UNSEEN, t)
    figure, panel = plt.subplots(figsize=(10.0, 4.0), layout="constrained")
    panel.plot(t, truth["x"], color="black", linewidth=2.4, alpha=0.35, label="true, unseen run")
    engines = {
        "closed form, poly3": SMNNDiscoverer(library="poly3"),
        "gradient descent, g = tanh": SMNNDiscoverer(library="poly2", engine=SGDEngine(g="tanh")),
    }
    for colour, (name, model) in zip(COLOURS[1::-1], engines.items(), strict=False):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model.fit([t, t], runs)
            free = model.simulate(t, UNSEEN)
        error = np.sqrt(np.nanmean((free - truth.to_numpy()) ** 2))
        print(f"{name}\n  " + str(model.equations_.round(3)).replace("\n", "\n  "))
        print(f"  unseen run: root mean square error {error:.4f}\n")
        panel.plot(t, free[:, 0], color=colour, label=name)
    print(f"true\n{TRUTH}")
    print(f"found\n{model.equations_.round(3)}\n")
    print(model.coef_interval().to_string(index=False, float_format="{:.3f}".format))
    panel.set_xlabel("t")
    panel.set_ylabel("x")
    panel.legend(ncols=3, frameon=False, fontsize="small")
    tidy(panel)
    print(f"\npicture: {save_figure(figure, folder / 'neural_route.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
