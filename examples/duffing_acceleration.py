"""Duffing's equation from an accelerometer: the setting of the SKANODE paper.

``x'' = -1.5 x - 0.1 x' - 10 x^3 + sin(pi t)`` from rest, 10 samples a second. Twenty seconds of
noisy acceleration and the force are all that the fit sees; position and velocity, the learned
curves and the equation come out, and are compared with the true ones over sixty seconds.
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
from matplotlib.gridspec import GridSpec
from numpy.typing import NDArray

from discoverers import SKANODERegressor
from discoverers.datasets import ForcedRecord, duffing_forced, observe
from discoverers.plotting import save_figure
from discoverers.plotting.style import COLOURS, tidy

TRAINING = 201
NOISE_LEVELS = (0.0, 0.001, 0.005, 0.01)
PUBLISHED = (2.81e-4, 2.80e-4, 2.90e-4, 2.93e-4)
"""Mean squared errors of the position in the paper's Table 1, by noise level."""


def fit(record: ForcedRecord) -> SKANODERegressor:
    """Find the equation from the training rows; the mass is known to start at rest."""
    training = record.rows(None, TRAINING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = SKANODERegressor(observe="acceleration", initial_state="rest")
        return model.fit(training.t, training.y[:, 0], u=pd.DataFrame(training.u, columns=["u"]))


def main(folder: Path) -> None:
    """Fit at every noise level, print a table beside the published figures, draw the noisiest."""
    rows = []
    for noise, published in zip(NOISE_LEVELS, PUBLISHED, strict=True):
        record = observe(duffing_forced(), "acceleration", noise=noise, seed=0)
        began = time.perf_counter()
        model = fit(record)
        seconds = time.perf_counter() - began
        states = model.states(record.t, u=record.u)
        truth = record.system.equations
        rows.append(
            {
                "noise": noise,
                "exact structure": model.equations_.compare(truth).exact,
                "MSE of x": np.mean((states[:, 0] - record.states[:, 0]) ** 2),
                "published": published,
                "MSE of v": np.mean((states[:, 1] - record.states[:, 1]) ** 2),
                "seconds": seconds,
            }
        )
    print("true equations:")
    print(truth)
    print(f"\nfound at noise {NOISE_LEVELS[-1]:g}:")
    print(model.equations_.round(5))
    print("\n" + pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format))
    picture = draw(record, model, states)
    print(f"\npicture: {save_figure(picture, folder / 'duffing_acceleration.png')}")


def draw(record: ForcedRecord, model: SKANODERegressor, states: NDArray[np.float64]) -> plt.Figure:
    """Draw response, phase portrait and edge functions, found against true."""
    figure = plt.figure(figsize=(11.0, 7.5), layout="constrained")
    grid = figure.add_gridspec(3, 3)
    draw_responses(figure, grid, record, model, states)
    law = record.system.equations.lambdify()
    for row, name in enumerate(("x", "v"), start=1):
        edge = next(one for one in model.edge_functions_ if one.inputs == (name,))
        panel = figure.add_subplot(grid[row, 2])
        at = edge.grid[0]
        points = np.zeros((at.size, 2))
        points[:, row - 1] = at
        panel.fill_between(at, *edge.band, color=COLOURS[0], alpha=0.25, linewidth=0)
        panel.plot(at, edge.values, color=COLOURS[0], label="learned curve")
        panel.plot(
            at, law(points, np.zeros((at.size, 1)))[:, 1], "--", color=COLOURS[1], label="true"
        )
        panel.set_xlabel(name)
        panel.set_ylabel("part of v'")
        panel.legend(fontsize="small")
        tidy(panel)
    return figure


def draw_responses(
    figure: plt.Figure,
    grid: GridSpec,
    record: ForcedRecord,
    model: SKANODERegressor,
    states: NDArray[np.float64],
) -> None:
    """Draw equation, responses and phase portrait into a grid whose right column stays free below.

    van_der_pol_acceleration.py draws the same.
    """
    found, true = (str(one["v"]) for one in (model.equations_.round(4), record.system.equations))
    figure.suptitle(f"found  v' = {found}\ntrue  v' = {true}", fontsize="medium")
    fitted = (model.predict(record.t, u=record.u), *states.T)
    names = ("acceleration", "displacement x", "velocity v")
    for row, (name, truth, mine) in enumerate(
        zip(names, (record.channel("a"), *record.states.T), fitted, strict=True)
    ):
        panel = figure.add_subplot(grid[row, :2])
        if row == 0:
            panel.plot(record.t[:TRAINING], record.y[:TRAINING, 0], ".", color="0.5", markersize=4)
        panel.plot(record.t, truth, color="black", linewidth=2.4, alpha=0.35, label="true")
        panel.plot(record.t, np.ravel(mine), color=COLOURS[0], linewidth=1.1, label="found")
        panel.axvline(record.t[TRAINING - 1], color="0.6", linestyle=":")
        panel.set_ylabel(name)
        tidy(panel)
    panel.set_xlabel("t (fitted up to the dotted line)")
    panel.legend(loc="upper right", ncols=2, fontsize="small")
    phase = figure.add_subplot(grid[0, 2])
    phase.plot(*record.states.T, color="black", linewidth=2.4, alpha=0.35)
    phase.plot(*states.T, color=COLOURS[0], linewidth=1.0)
    phase.set_xlabel("x")
    phase.set_ylabel("v")
    tidy(phase)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
