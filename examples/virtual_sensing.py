"""Where is the mass? Displacement and velocity from an accelerometer alone.

A Duffing oscillator is shaken by a known force; a noisy accelerometer is all that is attached, and
it is switched on in the middle of the motion. The script finds the equation of motion in 20 seconds
of that record and with it the states that nobody measured, then runs the equation on for another
35 seconds, beside the true motion and beside what integrating the accelerometer twice gives.
"""

import argparse
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.integrate import cumulative_trapezoid

from discoverers import SKANODERegressor
from discoverers.datasets import ForcedRecord, duffing_forced, observe
from discoverers.plotting import save_figure
from discoverers.plotting.style import COLOURS, tidy

START, TRAINING = 50, 200
NOISE = 0.01


def fit(record: ForcedRecord) -> SKANODERegressor:
    """Find the equation of motion; the initial state is estimated with it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model = SKANODERegressor(observe="acceleration")
        model.fit(record.t, record.y[:, 0], u=pd.DataFrame(record.u, columns=["u"]))
    for warning in caught:
        print(f"note: {warning.message}\n")
    return model


def integrated_twice(record: ForcedRecord) -> NDArray[np.float64]:
    """Displacement and velocity as they are usually had from an accelerometer, from the true x0."""
    v = record.states[0, 1] + cumulative_trapezoid(record.y[:, 0], record.t, initial=0.0)
    x = record.states[0, 0] + cumulative_trapezoid(v, record.t, initial=0.0)
    return np.column_stack([x, v])


def error(found: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root mean square error of each state in percent of its standard deviation."""
    return 100.0 * np.sqrt(np.mean((found - true) ** 2, axis=0)) / true.std(axis=0)


def main(folder: Path) -> None:
    """Measure, fit, compare, draw."""
    record = observe(duffing_forced(), "acceleration", noise=NOISE, seed=0).rows(START, None)
    training = record.rows(None, TRAINING)
    model = fit(training)
    truth = record.system.equations
    print("true equations:")
    print(truth)
    print(f"found in {TRAINING} noisy accelerations (noise {NOISE:g}, estimated ", end="")
    print(f"{model.noise_std_[0]:.3g}):")
    print(model.equations_.round(4))
    print("\ncoefficients with 95 % intervals, beside the true ones:")
    print(with_truth(model, record).to_string(index=False, float_format="{:.4f}".format))
    x0, x0_std = model.x0_[0], model.x0_std_[0]
    print("\ninitial state, never measured: ", end="")
    print(", ".join(
        f"{name} = {value:.4f} ± {std:.4f} (true {true:.4f})"
        for name, value, std, true in zip(
            model.state_names_, x0, x0_std, record.states[0], strict=True
        )
    ))  # fmt: skip

    found = model.states(record.t, u=record.u)
    naive = integrated_twice(record)
    rows = {"fitted record": slice(None, TRAINING), "35 s after it": slice(TRAINING, None)}
    print("\nerror in percent of each state's standard deviation:")
    errors = {
        part: np.concatenate([error(one[where], record.states[where]) for one in (found, naive)])
        for part, where in rows.items()
    }
    columns = ["x, virtual", "v, virtual", "x, integrated", "v, integrated"]
    table = pd.DataFrame.from_dict(errors, orient="index", columns=columns)
    print(table.to_string(float_format="{:.2f}".format))
    picture = draw(record, model, found, naive)
    print(f"\npicture: {save_figure(picture, folder / 'virtual_sensing.png')}")


def with_truth(model: SKANODERegressor, record: ForcedRecord) -> pd.DataFrame:
    """List found coefficients of the law beside the true ones."""
    true = {str(term): value for term, value in record.system.equations.terms()["v"].items()}
    table = model.coef_interval()
    law = table[table["equation"] == "v"].drop(columns="equation")
    return law.assign(true=[true.get(term, 0.0) for term in law["term"]])


def draw(
    record: ForcedRecord,
    model: SKANODERegressor,
    found: NDArray[np.float64],
    naive: NDArray[np.float64],
) -> plt.Figure:
    """Draw the measured channel, the states, the phase portrait and the learned functions."""
    figure = plt.figure(figsize=(11.0, 8.0), layout="constrained")
    grid = figure.add_gridspec(3, 3)
    end = record.t[TRAINING]
    names = ("acceleration", "displacement x", "velocity v")
    columns = (record.channel("a"), *record.states.T)
    fitted = (model.predict(record.t, u=record.u), *found.T)
    for row, (name, true, mine) in enumerate(zip(names, columns, fitted, strict=True)):
        panel = figure.add_subplot(grid[row, :2])
        if row == 0:
            panel.plot(record.t[:TRAINING], record.y[:TRAINING, 0], ".", color="0.5", markersize=4,
                       label="measured")  # fmt: skip
        else:
            panel.plot(record.t, naive[:, row - 1], color=COLOURS[4], linewidth=0.9,
                       label="accelerometer integrated")  # fmt: skip
            margin = 0.4 * np.ptp(true)
            panel.set_ylim(true.min() - margin, true.max() + margin)
        panel.plot(record.t, true, color="black", linewidth=2.4, alpha=0.35, label="true")
        panel.plot(record.t, mine, color=COLOURS[0], linewidth=1.1, label="from the equation")
        panel.axvline(end, color="0.6", linestyle=":")
        panel.set_ylabel(name)
        tidy(panel)
        panel.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, fontsize="small",
                     frameon=False)  # fmt: skip
    panel.set_xlabel("t (fitted up to the dotted line)")
    phase = figure.add_subplot(grid[0, 2])
    times = np.arange(0.0, end, 0.01)
    fine = observe(record.system, t=times).rows(np.searchsorted(times, record.t[0]), None)
    phase.plot(*fine.states.T, color="black", linewidth=2.4, alpha=0.35)
    phase.plot(*model.states(fine.t, u=fine.u).T, color=COLOURS[0], linewidth=1.1)
    phase.set_xlabel("x")
    phase.set_ylabel("v")
    phase.set_title("fitted record", fontsize="small")
    tidy(phase)
    edges = [edge for edge in model.edge_functions_ if edge.inputs in (("x",), ("v",))]
    for row, edge in enumerate(edges[:2], start=1):
        panel = figure.add_subplot(grid[row, 2])
        at = edge.grid[0]
        panel.fill_between(at, *edge.band, color=COLOURS[0], alpha=0.25, linewidth=0)
        panel.plot(at, edge.values, color=COLOURS[0], label="learned spline")
        panel.plot(at, true_part(record, edge.inputs[0], at), "--", color=COLOURS[1], label="true")
        panel.set_xlabel(edge.inputs[0])
        panel.set_ylabel("part of v'")
        tidy(panel)
        panel.legend(fontsize="small")
    return figure


def true_part(record: ForcedRecord, name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The true law along one state, all else at zero."""
    states = np.zeros((values.size, 2))
    states[:, record.system.state_names.index(name)] = values
    return record.system.equations.lambdify()(states, np.zeros((values.size, 1)))[:, 1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
