"""PySINDy's side: every configuration on every record, and the choice a user could make.

Runs in an interpreter that has PySINDy, and needs nothing else of this repository:
``python pysindy_worker.py RECORDS.npz ANSWERS.jsonl``. It never sees the truth.

Configurations are differentiation (finite differences, Savitzky-Golay, smoothing splines with
cross-validated smoothness, the weak form) x degree x threshold, with and without normalised
columns. The choice is by short integrations: every model is run over windows of 20 samples from the
smoothed states, and of those whose mean square deviation from the raw data (geometric mean over
states) is within 40 % of the least, the one with the fewest terms is taken. Of BIC, extended BIC
and shares from 2 to 40 % this served PySINDy best on development systems.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pysindy
from scipy.interpolate import make_smoothing_spline

PLAIN = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
NORMALISED = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
WINDOW = 20
WEAK_DOMAINS = 200
TOLERATED = 0.4


def slopes(kind: str, t: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """States and derivatives of one run."""
    if kind == "finite differences":
        return x, pysindy.FiniteDifference()._differentiate(x, t)
    if kind == "savgol":
        method = pysindy.SmoothedFiniteDifference()
        return x, method._differentiate(x, t)
    states, rates = np.empty_like(x), np.empty_like(x)
    for v in range(x.shape[1]):
        spread = max(float(x[:, v].std()), 1e-12)
        unit = (t - t[0]) / (t[1] - t[0])
        spline = make_smoothing_spline(unit, x[:, v] / spread)
        states[:, v] = spread * spline(unit)
        rates[:, v] = spread * spline.derivative()(unit) / (t[1] - t[0])
    return states, rates


def optimisers() -> Iterator[tuple[str, Any]]:
    """Thresholds on raw coefficients, and on those of normalised columns (relative)."""
    for threshold in PLAIN:
        yield f"threshold {threshold:g}", pysindy.STLSQ(threshold=threshold)
    for threshold in NORMALISED:
        yield (
            f"threshold {threshold:g} of normalised columns",
            pysindy.STLSQ(threshold=threshold, normalize_columns=True),
        )


def sparse_fit(optimiser: Any, theta: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """Coefficients (V, K); None where the optimiser fails."""
    if optimiser.normalize_columns:
        # A threshold on normalised columns is in the target's unit: make it relative.
        unit = np.linalg.norm(target, axis=0) + 1e-300
        fitted = optimiser.fit(theta, target / unit).coef_ * unit[:, None]
    else:
        fitted = optimiser.fit(theta, target).coef_
    return fitted if np.isfinite(fitted).all() else None


def deviations(
    coef: np.ndarray, powers: np.ndarray, runs: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Sums of squares (V,) of integrations over windows against the raw data."""
    used = np.flatnonzero(coef.any(axis=0))
    slots = [np.repeat(np.arange(coef.shape[0]), powers[k]) for k in used]
    weights = coef[:, used].T

    def rate(states: np.ndarray) -> np.ndarray:
        if not slots:
            return np.zeros_like(states)
        return np.column_stack([states[:, slot].prod(axis=1) for slot in slots]) @ weights

    total = np.zeros(coef.shape[0])
    for t, raw, smooth in runs:
        first = np.arange(0, len(t) - 1, WINDOW)
        state = smooth[first].copy()
        for k in range(1, WINDOW + 1):
            now, before = first + k, first + k - 1
            inside = now < len(t)
            width = np.diff(t)[np.minimum(before, len(t) - 2)]
            h = np.where(inside, width, 0.0)[:, None]
            k1 = rate(state)
            k2 = rate(state + 0.5 * h * k1)
            k3 = rate(state + 0.5 * h * k2)
            k4 = rate(state + h * k3)
            state = state + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
            total += ((state[inside] - raw[now[inside]]) ** 2).sum(axis=0)
    return total


def answer(t: list[np.ndarray], x: list[np.ndarray], degrees: tuple[int, ...]) -> dict[str, Any]:
    """All configurations' distinct coefficients, and which one the criterion chooses."""
    began = time.process_time()
    found: list[dict[str, Any]] = []
    differentiated = {
        kind: [slopes(kind, one, part) for one, part in zip(t, x, strict=True)]
        for kind in ("finite differences", "savgol", "spline")
    }
    smooth = [states for states, _ in differentiated["spline"]]
    runs = list(zip(t, x, smooth, strict=True))
    for degree in degrees:
        library = pysindy.PolynomialLibrary(degree)
        library.fit(x[0])
        powers = np.asarray(library.powers_)
        for kind in (*differentiated, "weak"):
            if kind == "weak":
                designed = weak(t, x, degree)
            else:
                pairs = differentiated[kind]
                theta = [np.asarray(library.transform(states)) for states, _ in pairs]
                designed = np.concatenate(theta), np.concatenate([rates for _, rates in pairs])
            if designed is None:
                continue
            for name, optimiser in optimisers():
                try:
                    coef = sparse_fit(optimiser, *designed)
                except (ValueError, np.linalg.LinAlgError):
                    continue
                if coef is None:
                    continue
                with np.errstate(all="ignore"):
                    squares = deviations(coef, powers, runs)
                spread = np.inf
                if np.isfinite(squares).all():
                    spread = float(np.log(np.maximum(squares, 1e-300)).mean())
                found.append(
                    {
                        "name": f"degree {degree}, {kind}, {name}",
                        "spread": spread,
                        "coef": [
                            {
                                " ".join(map(str, powers[k])): float(row[k])
                                for k in np.flatnonzero(row)
                            }
                            for row in coef
                        ],
                    }
                )
    best = choose(found)
    for one in found:
        del one["spread"]
    return {"processor_seconds": time.process_time() - began, "best": best, "found": found}


def choose(found: list[dict[str, Any]]) -> int | None:
    """The sparsest of the models that run about as well as the best."""
    spread = np.array([one["spread"] for one in found])
    if not np.isfinite(spread).any():
        return 0 if found else None
    n_terms = np.array([sum(map(len, one["coef"])) for one in found])
    good = np.flatnonzero(spread <= spread.min() + np.log1p(TOLERATED))
    return int(good[np.lexsort((spread[good], n_terms[good]))[0]])


def weak(
    t: list[np.ndarray], x: list[np.ndarray], degree: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Design and target of the weak form, pooled over runs."""
    rows, targets = [], []
    for one, part in zip(t, x, strict=True):
        library = pysindy.WeakPDELibrary(
            function_library=pysindy.PolynomialLibrary(degree, include_bias=True),
            spatiotemporal_grid=one,
            K=WEAK_DOMAINS,
        )
        try:
            shaped = pysindy.AxesArray(part, {"ax_time": 0, "ax_coord": 1})
            library.fit([shaped])
            rows.append(np.asarray(library.transform([shaped])[0]))
            targets.append(np.asarray(library.convert_u_dot_integral(shaped)))
        except (ValueError, IndexError, np.linalg.LinAlgError):
            return None
    return np.concatenate(rows), np.concatenate(targets)


def main(records: str, answers: str) -> None:
    """Answer every record of the file, one line each."""
    warnings.simplefilter("ignore")
    np.random.seed(0)  # noqa: NPY002 - the weak form draws its domains from this generator
    with np.load(records) as data:
        keys = json.loads(str(data["keys"]))
        with Path(answers).open("a", encoding="utf-8") as out:
            for i, key in enumerate(keys):
                n_runs = int(data[f"runs{i}"])
                t = [data[f"t{i}_{j}"] for j in range(n_runs)]
                x = [data[f"x{i}_{j}"] for j in range(n_runs)]
                degrees = tuple(range(2, int(data[f"degree{i}"]) + 1))
                found = answer(t, x, degrees)
                out.write(json.dumps({"key": key, **found}) + "\n")
                out.flush()


if __name__ == "__main__":
    main(*sys.argv[1:3])
