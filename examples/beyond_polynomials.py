"""Laws that are no polynomials, with constants inside their terms: `library="auto"`.

Three textbook laws, each from one short record with 0.1 % noise: an enzyme that saturates, a
population that grows by Gompertz's law, and a pendulum that swings far. The script prints found
beside true, the constants inside of the terms with their standard errors, and draws both laws.
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
from discoverers.plotting import save_figure
from discoverers.plotting.style import COLOURS, tidy

LAWS: dict[str, tuple[list[str], list[float], float]] = {
    "Michaelis-Menten": (["0.2 - 1.1*x/(0.6 + x)"], [4.0], 8.0),
    "Gompertz": (["0.9*x - 0.3*x*log(x)"], [1.0], 10.0),
    "pendulum": (["y", "-0.9*sin(x) - 0.1*y"], [2.4, 0.0], 15.0),
}
NOISE = 0.001


def record(laws: list[str], start: list[float], end: float) -> tuple[np.ndarray, pd.DataFrame]:
    """150 noisy samples of a law."""
    names = ["x", "y"][: len(laws)]
    rate = sympy.lambdify(sympy.symbols(names), [sympy.sympify(law) for law in laws])
    t = np.linspace(0.0, end, 150)
    path = solve_ivp(lambda s, q: rate(*q), (0.0, end), start, t_eval=t, rtol=1e-10, atol=1e-12).y.T
    path = path + NOISE * path.std(axis=0) * np.random.default_rng(0).normal(size=path.shape)
    return t, pd.DataFrame(path, columns=names)


def main(folder: Path) -> None:
    """Fit and draw every law."""
    figure, panels = plt.subplots(1, len(LAWS), figsize=(12.0, 3.6), layout="constrained")
    for panel, (name, (laws, start, end)) in zip(panels, LAWS.items(), strict=True):
        t, X = record(laws, start, end)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            model = SMNNDiscoverer("auto").fit(t, X)
        print(f"{name}\n  true")
        for state, law in zip(X.columns, laws, strict=True):
            print(f"    {state}' = {law}")
        print("  found")
        print("    " + str(model.equations_.round(4)).replace("\n", "\n    "))
        if len(model.constants_):
            print("    with p inside of terms:")
            table = model.constants_.to_string(index=False, float_format="{:.4f}".format)
            print("    " + table.replace("\n", "\n    "))
        for warning in caught:
            print(f"  note: {warning.message}")
        panel.plot(t, X, ".", color="0.6", markersize=3)
        panel.plot(t, model.simulate(t, X.iloc[0].to_numpy()), color=COLOURS[0])
        panel.set_title(f"{name}: data and the found law on its own", fontsize="small")
        panel.set_xlabel("t")
        tidy(panel)
    print(f"\npicture: {save_figure(figure, folder / 'beyond_polynomials.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
