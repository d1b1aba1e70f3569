"""Find partial differential equations in noisy fields: waves on a ring, and a shock.

The Korteweg-de Vries equation is integrated from a random smooth start, which breaks up into
solitons; 5 % noise is added to every cell, and a fifth of the cells is thrown away. The script
finds the equation with default settings, prints it beside the true one with its standard errors,
lets it run from the first smoothed field, and draws all this.

With the PDE-FIND fields of Rudy et al. (2017) at hand it does the same for them: set
DISCOVERERS_DATA to the folder that holds pysindy_pde/kdv.mat and pysindy_pde/burgers.mat.
"""

import argparse
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.io import loadmat

from discoverers import PDEDiscoverer, PDEEquations
from discoverers.datasets import data_file, kdv
from discoverers.plotting import save_figure

NOISE = 0.05
TRUTH = ["-u*u_x - u_xxx"]
PUBLISHED = {
    "kdv.mat": ["-6*u*u_x - u_xxx"],
    "burgers.mat": ["-u*u_x + 0.1*u_xx"],
}


def main(folder: Path) -> None:
    """Fit, print and draw."""
    record = kdv(noise=NOISE, seed=4)[0]
    X = record.X.copy()
    X[np.random.default_rng(0).random(X.shape) < 0.2] = np.nan
    model = found_against_true("generated KdV", record.t, record.x, X, TRUTH)
    print(f"run freely from the first field: R2 = {model.score(record.t, record.clean):.6f}")
    figure = draw(record.t, record.x, X, model)
    print(f"picture: {save_figure(figure, folder / 'pde_discovery.png', dpi=90)}")

    for name, truth in PUBLISHED.items():
        try:
            contents = loadmat(data_file(f"pysindy_pde/{name}"))
        except FileNotFoundError as error:
            print(f"\n{name} is left out: {error}")
            continue
        field = contents["usol"].real.T
        noisy = field + NOISE * field.std() * np.random.default_rng(0).standard_normal(field.shape)
        found_against_true(name, contents["t"].ravel(), contents["x"].ravel(), noisy, truth)


def found_against_true(
    name: str, t: np.ndarray, x: np.ndarray, X: np.ndarray, truth: list[str]
) -> PDEDiscoverer:
    """Fit one field and print what came of it."""
    start = time.perf_counter()
    model = PDEDiscoverer().fit(t, X, x=x)
    seconds = time.perf_counter() - start
    comparison = model.equations_.compare(truth)
    print(f"\n{name}: {len(t)} x {len(x)} cells, {100 * NOISE:.0f} % noise, {seconds:.1f} s")
    print(f"found  {model.equations_}")
    for term, value, error in zip(model.terms_, model.coef_[0], model.coef_std_[0], strict=True):
        if value:
            print(f"       {term}: {value:.5f} +- {error:.5f}")
    print(f"true   {PDEEquations(truth)}")
    print(
        f"exact structure: {comparison.exact}, "
        f"relative coefficient error {comparison.relative_coefficient_error:.1e}"
    )
    return model


def draw(t: np.ndarray, x: np.ndarray, X: np.ndarray, model: PDEDiscoverer) -> Figure:
    """Draw measured and simulated fields, and one moment."""
    figure, panels = plt.subplots(1, 3, figsize=(12.0, 3.8), layout="constrained")
    simulated = model.predict(t)
    limits = {"vmin": np.nanmin(simulated), "vmax": np.nanmax(simulated), "rasterized": True}
    for panel, field, title in (
        (panels[0], X, "measured: 5 % noise, a fifth missing"),
        (panels[1], simulated, str(model.equations_.round(4))),
    ):
        shown = panel.pcolormesh(x, t, field, shading="nearest", cmap="viridis", **limits)
        panel.set(xlabel="x", ylabel="t")
        panel.set_title(title, fontsize="medium")
    figure.colorbar(shown, ax=panels[:2], label="u")
    panels[2].plot(x, X[-1], ".", color="0.5", markersize=3, label="measured")
    panels[2].plot(x, simulated[-1], color="#0072B2", label="simulated from the first field")
    panels[2].set(xlabel="x", ylabel="u")
    panels[2].set_title(f"the last moment, t = {t[-1]:.1f}", fontsize="medium")
    panels[2].legend(frameon=False, fontsize="small")
    panels[2].spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
