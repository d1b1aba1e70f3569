"""Van der Pol's equation from an accelerometer, with the initial state unknown.

``x'' = mu (1 - x^2) x' - x + sin(pi t)`` for three strengths mu of the nonlinear damping. The law
holds a product of position and velocity: the network learns it as a surface over both, beyond the
curves of each. Twenty seconds of noisy acceleration and the force are all that the fit sees.
"""

import argparse
import time
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from duffing_acceleration import TRAINING, draw_responses
from numpy.typing import NDArray

from discoverers import SKANODERegressor
from discoverers.datasets import ForcedRecord, observe, van_der_pol_forced
from discoverers.plotting import save_figure
from discoverers.plotting.style import COLOURS, tidy

NOISE = 0.01
STRENGTHS = (0.5, 1.0, 2.0)


def fit(record: ForcedRecord) -> SKANODERegressor:
    """Find the equation from the training rows; the initial state is estimated with it."""
    training = record.rows(None, TRAINING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = SKANODERegressor(observe="acceleration")
        return model.fit(training.t, training.y[:, 0], u=pd.DataFrame(training.u, columns=["u"]))


def main(folder: Path) -> None:
    """Fit for every strength, print a table, draw one of them."""
    rows = []
    for mu in STRENGTHS:
        record = observe(van_der_pol_forced(mu=mu), "acceleration", noise=NOISE, seed=0)
        began = time.perf_counter()
        model = fit(record)
        seconds = time.perf_counter() - began
        states, truth = model.states(record.t, u=record.u), record.system.equations
        print(f"mu = {mu:g}, true   {str(truth).splitlines()[1]}")
        print(f"          found  {str(model.equations_.round(4)).splitlines()[1]}")
        error = states - record.states
        rows.append(
            {
                "mu": mu,
                "exact structure": model.equations_.compare(truth).exact,
                "MSE of x": np.mean(error[:, 0] ** 2),
                "MSE of v": np.mean(error[:, 1] ** 2),
                "x(0)": model.x0_[0, 0],
                "its error": model.x0_std_[0, 0],
                "seconds": seconds,
            }
        )
        if mu == 1.0:
            drawn = record, model, states
    print("\n" + pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format))
    picture = draw(*drawn)
    print(f"\npicture: {save_figure(picture, folder / 'van_der_pol_acceleration.png')}")


def draw(record: ForcedRecord, model: SKANODERegressor, states: NDArray[np.float64]) -> plt.Figure:
    """Draw response, phase portrait and edge functions, found against true."""
    figure = plt.figure(figsize=(11.0, 7.5), layout="constrained")
    grid = figure.add_gridspec(3, 3)
    draw_responses(figure, grid, record, model, states)
    law = record.system.equations.lambdify()
    curve = next(one for one in model.edge_functions_ if one.inputs == ("v",))
    panel = figure.add_subplot(grid[1, 2])
    at = curve.grid[0]
    panel.fill_between(at, *curve.band, color=COLOURS[0], alpha=0.25, linewidth=0)
    panel.plot(at, curve.values, color=COLOURS[0], label="learned curve")
    points = np.column_stack([np.zeros(at.size), at])
    panel.plot(at, law(points, np.zeros((at.size, 1)))[:, 1], "--", color=COLOURS[1], label="true")
    panel.set_xlabel("v")
    panel.set_ylabel("part of v'")
    panel.legend(fontsize="small")
    tidy(panel)
    surface = next(one for one in model.edge_functions_ if one.inputs == ("x", "v"))
    panel = figure.add_subplot(grid[2, 2])
    drawn = panel.contourf(*surface.grid, surface.values.T, levels=15, cmap="RdBu_r")
    panel.plot(*record.states[:TRAINING].T, color="black", linewidth=0.5, alpha=0.5)
    figure.colorbar(drawn, ax=panel, label="part of v' by x and v together")
    panel.set_xlabel("x")
    panel.set_ylabel("v")
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
