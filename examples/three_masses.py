"""Three masses, two accelerometers: which springs and dampers there are, and how heavy the masses.

A chain of three unequal masses is shaken at its far end by a known force. Accelerometers sit on the
first and the last mass; the one between is out of reach. One spring hardens with the cube of its
elongation, but nobody knows which. From 20 seconds of the two noisy channels the script finds the
elements between the masses and the ground, their strengths and the masses, and follows the middle
mass, within the record and for 20 seconds after it.
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
import sympy
from numpy.typing import NDArray

from discoverers import SKANODERegressor
from discoverers.datasets import ForcedRecord, mass_chain, observe
from discoverers.plotting import save_figure
from discoverers.plotting.style import COLOURS, tidy
from discoverers.structures import ElementStructure

MASSES = (1.0, 1.5, 0.8)
STIFFNESS = (12.0, 8.0, 10.0)
DAMPING = (0.15, 0.1, 0.08)
CUBIC = 12.0
CUBIC_AT = 1
FORCE_ON = 3
NOISE = 0.01
JOINTS = ("ground-1", "1-2", "2-3")


def measure() -> ForcedRecord:
    """Record the accelerations of masses 1 and 3 for 40 seconds, from rest."""
    chain = mass_chain(
        masses=MASSES,
        stiffness=STIFFNESS,
        damping=DAMPING,
        cubic=CUBIC,
        cubic_at=CUBIC_AT,
        force_at=FORCE_ON,
    )
    return observe(chain, ("a1", "a3"), noise=NOISE, seed=0)


def fit(record: ForcedRecord) -> SKANODERegressor:
    """Find elements and masses; where the force acts and that all starts at rest is known."""
    model = SKANODERegressor(
        ElementStructure(3, force_on=FORCE_ON),
        observe={"a1": "acceleration 1", "a3": "acceleration 3"},
        initial_state="rest",
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model.fit(
            record.t,
            pd.DataFrame(record.y, columns=list(record.channels)),
            u=pd.DataFrame(record.u, columns=["u"]),
        )
    for warning in caught:
        print(f"note: {warning.message}\n")
    return model


def true_strengths() -> dict[tuple[str, str], float]:
    """The elements that the chain is made of."""
    springs = {(joint, "d"): k for joint, k in zip(JOINTS, STIFFNESS, strict=True)}
    dampers = {(joint, "w"): c for joint, c in zip(JOINTS, DAMPING, strict=True)}
    return {**springs, **dampers, (JOINTS[CUBIC_AT - 1], "d**3"): CUBIC}


def error(found: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Mean square error as a share of the variance."""
    return float(np.mean((found - true) ** 2) / np.var(true))


def main(folder: Path) -> None:
    """Measure, fit, compare, draw."""
    record = measure()
    training = record.training()
    start = time.perf_counter()
    model = fit(training)
    print(
        f"found in {time.perf_counter() - start:.1f} s from {len(training.t)} samples of a1 and a3"
    )
    print(model.equations_)

    true = true_strengths()
    table = model.elements_.drop(columns=["force"])
    keys = list(zip(table["ends"], table["law"], strict=True))
    print("\nelements (d is the elongation, w its rate):")
    print(table.assign(true=[true.get(key, 0.0) for key in keys]).to_string(index=False))
    print(f"missed: {sorted(set(true) - set(keys)) or 'none'}")
    print("\nmasses:")
    print(model.masses_.drop(columns="known").assign(true=MASSES).to_string())

    states = model.states(record.t, u=record.u)
    accelerations = model.derivative(states, u=record.u)[:, 3:]
    parts = {
        "in the record": slice(None, len(training.t)),
        "after it": slice(len(training.t), None),
    }
    print("\nthe mass between, which nobody measured, error as a share of the variance:")
    for name, rows in parts.items():
        x = error(states[rows, 1], record.states[rows, 1])
        a = error(accelerations[rows, 1], record.rates[rows, 4])
        print(f"  {name}: position {x:.1e}, acceleration {a:.1e}")
    picture = draw(record, model, states)
    print(f"\npicture: {save_figure(picture, folder / 'three_masses.png')}")


def draw(record: ForcedRecord, model: SKANODERegressor, states: NDArray[np.float64]) -> plt.Figure:
    """Draw the channels, the middle mass, the springs' laws and the masses."""
    figure = plt.figure(figsize=(11.5, 8.0), layout="constrained")
    grid = figure.add_gridspec(4, 3)
    end = record.t[record.system.n_train - 1]
    fitted = model.predict(record.t, u=record.u)
    rows = [
        ("a1, measured", record.clean[:, 0], fitted[:, 0]),
        ("a3, measured", record.clean[:, 1], fitted[:, 1]),
        ("x2, not measured", record.states[:, 1], states[:, 1]),
        ("v2, not measured", record.states[:, 4], states[:, 4]),
    ]
    for place, (name, true, mine) in enumerate(rows):
        panel = figure.add_subplot(grid[place, :2])
        panel.plot(record.t, true, color="black", linewidth=2.4, alpha=0.35, label="true")
        panel.plot(record.t, mine, color=COLOURS[0], linewidth=1.0, label="from the equations")
        panel.axvline(end, color="0.6", linestyle=":")
        panel.set_ylabel(name)
        tidy(panel)
        if place == 0:
            panel.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False,
                         fontsize="small")  # fmt: skip
    panel.set_xlabel("t (fitted up to the dotted line)")
    draw_springs(figure.add_subplot(grid[:2, 2]), record, model)
    panel = figure.add_subplot(grid[2:, 2])
    numbers = np.arange(1, 4)
    panel.bar(numbers, MASSES, color="0.85", label="true")
    panel.errorbar(numbers, model.masses_["mass"], 1.96 * model.masses_["std_error"], fmt="o",
                   color=COLOURS[1], capsize=6, label="found, 95 %")  # fmt: skip
    panel.set_xticks(numbers)
    panel.set_xlabel("mass")
    tidy(panel)
    panel.legend(fontsize="small", frameon=False)
    return figure


def draw_springs(panel: plt.Axes, record: ForcedRecord, model: SKANODERegressor) -> None:
    """Draw each joint's force over the elongations that occurred, found and true."""
    d, w = sympy.symbols("d w")
    true = true_strengths()
    for i, joint in enumerate(JOINTS):
        before = record.states[:, i - 1] if i else 0.0
        stretch = record.states[:, i] - before
        at = np.linspace(stretch.min(), stretch.max(), 100)
        exact = true[joint, "d"] * at + true.get((joint, "d**3"), 0.0) * at**3
        panel.plot(at, exact, color="black", linewidth=2.4, alpha=0.35)
        mine = model.elements_[model.elements_["ends"] == joint]
        force = sympy.Integer(0)
        for law, strength in zip(mine["law"], mine["strength"], strict=True):
            force += float(strength) * sympy.sympify(law)
        curve = sympy.lambdify(d, force.subs(w, 0), "numpy")
        panel.plot(at, curve(at) + 0.0 * at, color=COLOURS[i], linewidth=1.2, label=joint)
    panel.set_xlabel("elongation")
    panel.set_ylabel("force at rest (true in grey)")
    tidy(panel)
    panel.legend(fontsize="small", frameon=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
