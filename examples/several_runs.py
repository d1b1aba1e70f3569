"""Several short runs of different length and spacing tell what one long run cannot.

An oscillator that has settled on its cycle hides the law that brought it there: on the circle
``x^2 + y^2 = 1`` the law below looks like plain rotation. The script fits one such run, then adds
three short ones that begin elsewhere, sampled at other rates, all with 2 % noise, and tests both
fits on a run that neither has seen.
"""

import argparse
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sympy
from scipy.integrate import solve_ivp

from discoverers import SMNNDiscoverer
from discoverers.equations import Equations
from discoverers.plotting import save_figure
from discoverers.plotting.style import COLOURS, tidy

x, y = sympy.symbols("x y")
TRUTH = Equations([x - y - x**3 - x * y**2, x + y - x**2 * y - y**3], ["x", "y"])
# start, samples, end of each run
RUNS = [
    ([1.0, 0.0], 200, 25.0),
    ([0.1, 0.0], 40, 5.0),
    ([1.8, 1.2], 30, 2.5),
    ([-0.3, 0.2], 50, 4.0),
]
UNSEEN = ([0.05, -0.1], 100, 8.0)
NOISE = 0.02


def record(start: list[float], n: int, end: float, seed: int) -> tuple[np.ndarray, pd.DataFrame]:
    """A run of n samples at uneven times, with noise."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0.0, end, n))
    t[0] = 0.0
    rate = TRUTH.lambdify()
    X = solve_ivp(lambda _, q: rate(q), (0.0, end), start, t_eval=t, rtol=1e-9, atol=1e-11).y.T
    return t, pd.DataFrame(X + NOISE * X.std(axis=0) * rng.normal(size=X.shape), columns=["x", "y"])


def main(folder: Path) -> None:
    """Fit one run and four, and compare them on the unseen one."""
    runs = [record(*run, seed) for seed, run in enumerate(RUNS)]
    seen_t, seen_X = record(*UNSEEN, len(RUNS))
    figure, panels = plt.subplots(1, 2, figsize=(10.0, 4.0), layout="constrained", sharey=True)
    for panel, count in zip(panels, (1, len(runs)), strict=True):
        t, X = [run[0] for run in runs[:count]], [run[1] for run in runs[:count]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = SMNNDiscoverer(library="poly3").fit(t, X)
            r2 = model.score([seen_t], [seen_X])
        found = model.equations_.compare(TRUTH)
        print(f"{count} run(s), {sum(map(len, t))} samples")
        print("  " + str(model.equations_.round(3)).replace("\n", "\n  "))
        print(
            f"  terms {'exactly the true ones' if found.exact else 'differ from the true ones'}; "
            f"settled by the data: {'yes' if model.identifiable_ else 'no'} "
            f"({len(model.alternatives_) - 1} close alternative(s)); R2 on the unseen run {r2:.4f}"
        )
        for part in X:
            panel.plot(part["x"], part["y"], ".", color="0.7", markersize=4)
        path = model.simulate(np.linspace(0.0, UNSEEN[2], 300), UNSEEN[0])
        panel.plot(seen_X["x"], seen_X["y"], "x", color="black", markersize=4, label="unseen run")
        panel.plot(*path.T, color=COLOURS[0], label="predicted")
        panel.set_title(f"fitted to {count} run(s), grey", loc="left", fontsize="small")
        panel.set_xlabel("x")
        tidy(panel)
    panels[0].set_ylabel("y")
    panels[1].legend(frameon=False, fontsize="small")
    print(f"\ntrue\n{TRUTH.round(3)}")
    print(f"found\n{model.equations_.round(3)}")
    print(f"\npicture: {save_figure(figure, folder / 'several_runs.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
