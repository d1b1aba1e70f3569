"""The Silverbox: an electronic Duffing oscillator, its equation of motion from its position.

The benchmark's circuit is a mass on a nonlinear spring, in volts. The script reads the first 1.6 s
of one multisine of the public record, finds the equation, prints it with its uncertainty, and lets
it run freely through the arrow test: 40,000 samples of another force, whose amplitude grows beyond
what the equation was fitted to. Of the arrow's positions only the first 50 are used, to read the
state that the free run starts from.

All settings are the defaults: the script says what was measured, and nothing of the circuit. Terms
and coefficients are chosen on the training rows alone. At their amplitudes several laws of the
spring are about as good; those are printed, and which stands first may change with the rows.

The record is no part of the package: set DISCOVERERS_DATA to the folder that holds
silverbox/SNLS80mV.csv (nonlinearbenchmark.org; Wigren & Schoukens 2013), or pass --data.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from discoverers import SKANODERegressor
from discoverers.datasets import load_silverbox
from discoverers.plotting import plot_edges, save_figure
from discoverers.shooting import Record, integrate
from discoverers.structures.held_out import equations_model, estimate_start

TRAINING_ROWS = 1000
ARROW_ROWS = 40_495  # the arrow's force ends there
START_ROWS = 50
SUBSTEPS = 8  # with 2 the training rows' integration is off by 0.15 mV, with 8 by < 0.01


def milliseconds(rows: pd.DataFrame) -> pd.Series:
    """Time from the first of some rows."""
    return ((rows["t"] - rows["t"].iloc[0]) * 1e3).rename("t")


def free_run(model: SKANODERegressor, rows: pd.DataFrame) -> np.ndarray:
    """Positions of the equation under the force of `rows`, from a start read from the first."""
    record = Record.make(milliseconds(rows), rows["position"], rows["force"])
    start = estimate_start(
        model.equations_,
        model.observation_,
        record.head(START_ROWS),
        model.noise_std_,
        np.full(2, np.nan),
        [run.X for run in model.solution_],
    )
    equations, coefficients = equations_model(model.equations_)
    path = integrate(equations, coefficients, start, record, substeps=SUBSTEPS)
    if not path.complete:
        raise RuntimeError("the equation leaves every bound on the arrow test")
    return path.X[:, 0]


def rms(values: np.ndarray) -> float:
    """Root mean square, in millivolts."""
    return 1e3 * float(np.sqrt(np.mean(values**2)))


def coefficient_table(model: SKANODERegressor) -> pd.DataFrame:
    """List the terms of the law with their standard errors."""
    law = model.state_names_.index("v")
    rows = [
        (term, model.coef_[law, k], model.coef_std_[law, k])
        for k, term in enumerate(model.terms_)
        if model.coef_[law, k] != 0
    ]
    return pd.DataFrame(rows, columns=["term", "coefficient", "std. error"])


def draw(model: SKANODERegressor, arrow: pd.DataFrame, found: np.ndarray, folder: Path) -> None:
    """Draw the free run with its error, the phase portrait of the training, and the edges."""
    seconds = arrow["t"] - arrow["t"].iloc[0]
    figure = plt.figure(figsize=(10.0, 6.0), layout="constrained")
    panels = figure.subplot_mosaic([["run", "run"], ["zoom", "phase"]])
    panels["run"].plot(seconds, 1e3 * arrow["position"], color="0.6", label="measured")
    panels["run"].plot(
        seconds,
        1e5 * (found - arrow["position"]),
        color="tab:red",
        linewidth=0.4,
        label="100 x error of the free run",
    )
    panels["run"].set(xlabel="time (s)", ylabel="position (mV)", title=f"v' = {law_text(model)}")
    last = slice(-120, -20)
    panels["zoom"].plot(seconds[last], 1e3 * arrow["position"][last], ".", color="0.4")
    panels["zoom"].plot(seconds[last], 1e3 * found[last], linewidth=1.2, label="free run")
    panels["zoom"].set(xlabel="time (s)", ylabel="position (mV)", title="the arrow's tip")
    states = model.solution_[0].X
    panels["phase"].plot(1e3 * states[:, 0], 1e3 * states[:, 1], linewidth=0.5)
    panels["phase"].set(xlabel="x (mV)", ylabel="v (mV/ms)", title="training, fitted states")
    for name in ("run", "zoom"):
        panels[name].legend(loc="upper left", fontsize="small")
    print(f"picture: {save_figure(figure, folder / 'silverbox.png')}")
    edges = plot_edges(model)
    print(f"picture: {save_figure(edges[0].figure, folder / 'silverbox_edges.png')}")


def law_text(model: SKANODERegressor) -> str:
    """The law in three digits, for a title."""
    return str(model.equations_.round(3)).splitlines()[1].partition("= ")[2]


def main(folder: Path, data: Path | None, rows: int, realization: int) -> None:
    """Fit, test, and draw."""
    try:
        table = load_silverbox(data)
    except FileNotFoundError as error:
        print(f"skipped: {error}")
        sys.exit(0)
    training = table[table["realization"] == realization].iloc[:rows]
    model = SKANODERegressor(observe="position")
    started, processor = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # laws that are about as good: printed below
        model.fit(milliseconds(training), training["position"], u=training[["force"]])
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    print(f"{rows} rows of multisine {realization}; time in ms, position and force in V:")
    print(model.equations_.round(4))
    print(f"\n{coefficient_table(model).to_string(index=False, float_format='{:.3g}'.format)}")
    print(f"\nfitted in {seconds:.1f} s, {processor:.1f} s of the processor; compilation included")
    print(f"error of the fit: {1e3 * model.noise_std_[0]:.3f} mV")
    others = model.alternatives_.iloc[1:]
    if len(others):
        print("\nlaws that these rows do not rule out (difference of the criterion):")
        for equation, behind in zip(others["equation"], others["score_behind"], strict=True):
            print(f"  {behind:5.1f}  {equation.splitlines()[-1]}")

    arrow = table[table["part"] == "arrow"].iloc[:ARROW_ROWS]
    found = free_run(model, arrow)
    error = found - arrow["position"].to_numpy()
    print(f"\narrow test, free run over {ARROW_ROWS} samples, root mean square error:")
    print(f"- {rms(error[START_ROWS:]):.3f} mV, of a position of {rms(arrow['position']):.1f} mV")
    reached = [1e3 * part["position"].abs().max() for part in (arrow, training)]
    print(f"- it reaches {reached[0]:.0f} mV, the training rows {reached[1]:.0f} mV")
    thirds = np.array_split(error[START_ROWS:], 3)
    print(f"- by thirds of growing amplitude: {', '.join(f'{rms(e):.3f}' for e in thirds)} mV")
    draw(model, arrow, found, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the pictures")
    parser.add_argument("--data", type=Path, help="the file SNLS80mV.csv")
    parser.add_argument("--rows", type=int, default=TRAINING_ROWS, help="training rows")
    parser.add_argument("--realization", type=int, default=0, help="which multisine, 0 to 9")
    given = parser.parse_args()
    main(given.out, given.data, given.rows, given.realization)
