"""A motion-tracked pendulum: its law from the angle alone, tested on swings it was not fitted to.

Schmidt and Lipson filmed a pendulum (Science 2009) and found its conserved quantities by symbolic
regression, from angle, velocity and acceleration. The script uses the angle only, of the first 70 %
of the record: it finds ``x'' = f(x, x')``, says what the terms mean, and integrates the law through
the rest, 28 time units and five swings, beside the linear law of small angles.

The record is no part of the package: set DISCOVERERS_DATA to the folder that holds
schmidt_lipson_pendulum/real_pend_h_1.txt (the paper's supplement), or pass --data.
"""

import argparse
import sys
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from discoverers import SMNNDiscoverer
from discoverers.datasets import load_pendulum
from discoverers.plotting import save_figure
from discoverers.plotting.style import COLOURS, tidy

TRAINED = 0.7


def main(folder: Path, data: Path | None) -> None:
    """Fit both libraries, test, say what it means, draw."""
    try:
        table = load_pendulum(data)
    except FileNotFoundError as error:
        print(f"skipped: {error}")
        sys.exit(0)
    t, angle = table["t"].to_numpy(), table[["angle"]]
    n = int(TRAINED * len(t))
    print(f"{len(t)} angles from {t[0]:.0f} to {t[-1]:.1f}, fitted to the first {n}\n")
    figure, panel = plt.subplots(figsize=(10.0, 4.0), layout="constrained")
    panel.plot(t[n:], angle[n:], ".", color="0.5", markersize=5, label="measured, not fitted")
    for colour, library in zip(COLOURS[1::-1], ("poly1", "poly3+fourier"), strict=False):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            model = SMNNDiscoverer(library, order=2).fit(t[:n], angle[:n])
        ahead = model.predict(t[n:])
        print(f"library {library}\n  {model.equations_.round(4)}")
        print(
            f"  R2 of the prediction of the other {len(t) - n} angles: {r2(angle[n:], ahead):.4f}"
        )
        for warning in caught:
            print(f"  note: {str(warning.message).split('. ')[0]}.")
        print()
        panel.plot(t[n:], ahead, color=colour, label=f"predicted, {library}")
    explain(model)
    panel.set_xlabel("t")
    panel.set_ylabel("angle (rad)")
    panel.legend(ncols=3, frameon=False, fontsize="small")
    tidy(panel)
    print(f"\npicture: {save_figure(figure, folder / 'measured_pendulum.png')}")


def r2(measured: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Share of the variance that is predicted."""
    y = np.asarray(measured)
    return float(1.0 - np.sum((y - predicted) ** 2) / np.sum((y - y.mean()) ** 2))


def explain(model: SMNNDiscoverer) -> None:
    """What the coefficients say about the apparatus."""
    table = model.coef_interval().set_index("term")
    print("what the terms mean (95 % intervals, if the law is right):")
    meaning = {
        "sin(angle)": "gravity: minus g / length",
        "angle'": "friction in proportion to the velocity",
        "1": "a constant pull: the camera's vertical is not the pendulum's",
    }
    for term, row in table.iterrows():
        interval = f"{row['lower']:.4f} to {row['upper']:.4f}"
        print(f"  {term:12s} {interval:22s} {meaning.get(str(term), 'not expected')}")
    if "sin(angle)" in table.index:
        pull = -table.loc["sin(angle)", "coefficient"]
        print(
            f"  small swings take {2.0 * np.pi / np.sqrt(pull):.2f} units of time; in seconds that "
            f"were a pendulum of {9.81 / pull:.1f} m: the file does not state its unit."
        )
        if "1" in table.index:
            tilt = np.degrees(np.arcsin(table.loc["1", "coefficient"] / pull))
            print(f"  the constant is a tilt of {tilt:.2f} degrees.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    parser.add_argument("--data", type=Path, help="real_pend_h_1.txt, if not in DISCOVERERS_DATA")
    main(parser.parse_args().out, parser.parse_args().data)
