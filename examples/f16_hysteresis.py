"""What 2.5 seconds of an F-16's ground vibration test can tell, and what 7.5 seconds can.

A shaker at the right wing excites the aircraft. From the acceleration at the shaker the script
predicts the acceleration beside the wing's payload, whose bolted connection slips and gapes: it
finds the modes of vibration in the first 1000 rows, prints them as equations, and lets these run on
freely for the next 10 seconds, beside an autoregression (ARX) that made its choices on the same
rows. Then it asks both a short and a longer record: is there hysteresis? Score tests answer: how
much a hysteretic force would explain of what the modes leave, against what chance would, and how
large a force must be to be seen. Every choice is made on the training rows.

With ``--first`` training begins elsewhere in the record, which repeats after 8192 rows.

The record is not part of the package: see `discoverers.datasets.load_f16`.
"""

import argparse
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from discoverers import SKANODERegressor, simulate
from discoverers.baselines import ARXBaseline
from discoverers.datasets import load_f16
from discoverers.plotting import save_figure
from discoverers.plotting.style import COLOURS, tidy
from discoverers.simulation import interpolated_input
from discoverers.structures import ModalStructure

TEST = 4000


@dataclass(frozen=True)
class Split:
    """Training rows and the rows after them, with the means of the training rows removed."""

    t: NDArray[np.float64]
    u: NDArray[np.float64]
    y: NDArray[np.float64]
    rows: int

    @classmethod
    def of(cls, record: pd.DataFrame, rows: int, first: int) -> "Split":
        """So many rows train, the next `TEST` test; the record repeats after 8192."""
        part = record.iloc[first : first + rows + TEST]
        u, y = (part[f"acceleration{k}"].to_numpy() for k in (1, 2))
        return cls(part["t"].to_numpy(), u - u[:rows].mean(), y - y[:rows].mean(), rows)

    def error(self, free: NDArray[np.float64]) -> float:
        """Mean squared error over the test rows, as a share of their variance."""
        y = self.y[self.rows :]
        return float(np.mean((free - y) ** 2) / y.var())


def find_modes(split: Split) -> tuple[SKANODERegressor, float, float]:
    """Fit the training rows; the model, the seconds it took, and those of the processor."""
    n = split.rows
    began, processor = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what it has to say is printed below
        model = SKANODERegressor(ModalStructure())
        model.fit(split.t[:n], split.y[:n], u=pd.DataFrame({"u": split.u[:n]}))
    return model, time.perf_counter() - began, time.process_time() - processor


def free_run(model: SKANODERegressor, split: Split) -> NDArray[np.float64]:
    """Run the equations on from the last fitted state: `predict`, to plotting accuracy."""
    n = split.rows
    t, u = split.t[n - 1 :], split.u[n - 1 :, None]
    start = model.solution_[0].X[-1]
    path = simulate(model.equations_, t, start, interpolated_input(t, u, "cubic"), rtol=1e-5)
    if not path.success:
        print(path.message)
    rates = model.derivative(path.X, u=u)
    return model.observation_.values(path.X, rates, u)[1:, 0]


def arx(split: Split) -> tuple[ARXBaseline, NDArray[np.float64]]:
    """Fit an autoregression and run it on freely; its choices are made on the same rows."""
    n = split.rows
    model = ARXBaseline().fit(split.t[:n], split.y[:n], u=split.u[:n])
    return model, model.predict(split.t[n:], u=split.u[n:])


def draw(split: Split, free: NDArray[np.float64], model: SKANODERegressor, folder: Path) -> Path:
    """Draw the free run and what it leaves, and the score tests."""
    n = split.rows
    t, y = split.t[n:], split.y[n:]
    figure, panels = plt.subplots(2, 1, figsize=(9, 6), height_ratios=(2, 1))
    shown = slice(0, 1200)
    panels[0].plot(t[shown], y[shown], color="0.6", lw=2, label="measured")
    panels[0].plot(t[shown], free[shown], color=COLOURS[0], lw=1, label="free run")
    panels[0].plot(t[shown], (y - free)[shown], color=COLOURS[1], lw=1, label="error")
    panels[0].set(xlabel="time (s)", ylabel="acceleration (m/s²)")
    panels[0].set_title(f"right wing, first 3 s after {n} training rows", loc="left")
    panels[0].legend(ncols=3, loc="upper right")
    tests = model.score_tests_.groupby(["frequency", "force"], as_index=False)["statistic"].max()
    for k, (force, rows) in enumerate(tests.groupby("force")):
        marker = "ovs^Dx*"[k % 7]
        panels[1].plot(
            rows["frequency"], rows["statistic"], marker, color=COLOURS[k % 6], label=force
        )
    panels[1].axhline(model.score_tests_["threshold"].iloc[0], color="0.3", ls="--", lw=1)
    panels[1].set(xlabel="frequency of the mode (Hz)", ylabel="score statistic", yscale="log")
    panels[1].set_ylim(bottom=0.03)
    panels[1].set_title("forces that could be added, and the threshold", loc="left")
    panels[1].legend(ncols=4, fontsize="small")
    for panel in panels:
        tidy(panel)
    figure.tight_layout()
    return save_figure(figure, folder / f"f16_hysteresis_{n}.png")


def tell(record: pd.DataFrame, rows: int, first: int, folder: Path) -> None:
    """Fit so many rows, and print everything."""
    split = Split.of(record, rows, first)
    model, seconds, processor = find_modes(split)
    free = free_run(model, split)
    regression, free_arx = arx(split)
    print(
        f"{rows} rows ({rows / 400:.3g} s) from row {first} train, the next {TEST} test; "
        f"{seconds:.1f} s to fit, {processor:.1f} s of the processor.\n"
    )
    print(model.modes_.round(4).to_string())
    print(f"\n{model.equations_.round(4)}\n")
    seen = model.observation_
    weights = {
        f"{name}'": w for name, w in zip(model.state_names_, seen.rates[0], strict=True) if w
    } | {  # of modes that are seen out of phase
        name: w for name, w in zip(model.state_names_, seen.states[0], strict=True) if w
    }
    terms = [f"{seen.inputs[0, 0]:.4g} u", *(f"{w:.4g} {name}" for name, w in weights.items())]
    print(f"y = {' + '.join(terms)}".replace("+ -", "- "))
    print("\nfree run, error as a share of the variance:")
    print(f"  equations, {len(model.modes_)} modes                 {split.error(free):.4f}")
    lags = f"ARX, {regression.order_} lags of {regression.stride_} rows"
    print(f"  {lags:<34} {split.error(free_arx):.4f}")
    print(f"\nhysteresis: {model.hysteresis_}")
    others = model.alternatives_.iloc[1:]
    if len(others):
        print("\nforces that the record does not rule out (difference of the criterion):")
        for forces, behind in zip(others["forces"], others["score_behind"], strict=True):
            print(f"  {behind:5.1f}  {forces}")
    print(f"\npicture: {draw(split, free, model, folder)}\n")


def main(folder: Path, rows: list[int], first: int) -> None:
    """Read the record, and ask the shorter and the longer part."""
    try:
        record = load_f16()
    except FileNotFoundError as error:
        print(f"skipped: {error}")
        sys.exit(0)
    for count in rows:
        tell(record, count, first, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[1000, 3000], help="training rows, one or several"
    )
    parser.add_argument("--first", type=int, default=0, help="first training row")
    arguments = parser.parse_args()
    main(arguments.out, arguments.rows, arguments.first)
