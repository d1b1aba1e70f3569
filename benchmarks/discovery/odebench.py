"""ODEBench's protocol on our own textbook systems, one default configuration for all of them.

One run of 150 points on [0, 10], multiplicative noise, a share of the points dropped; the found
equations are integrated from the true initial state of that run (reconstruction) and from another
(generalisation), against clean data. Every finished fit is written at once, and a second start of
the same command goes on where the first ended.

    python -m benchmarks.discovery.odebench --out runs.jsonl --half development --noise 0 0.01
    python -m benchmarks.discovery.odebench --out runs.jsonl --table
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd
import sympy
from numpy.typing import NDArray
from sympy.simplify.fu import TR8

from discoverers import SMNNDiscoverer

from .textbook import END, N_SAMPLES, SYSTEMS, TextbookSystem, half

__all__ = ["main", "skeleton", "table"]

Array = NDArray[np.float64]
Row = dict[str, Any]

SAME_CONSTANT = 0.03
"""Constants of two denominators or functions that differ by less are one constant."""

LIMIT = 600.0
"""CPU seconds after which a fit counts as failed."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing in the file, or print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="file of results, JSON lines")
    parser.add_argument("--half", choices=["development", "held-out"], default="development")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.01, 0.05])
    parser.add_argument("--drop", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--library", default="auto")
    parser.add_argument("--only", nargs="+", help="names of systems")
    parser.add_argument("--quiet", action="store_true", help="no line per fit: totals alone")
    parser.add_argument("--table", action="store_true", help="print the table and end")
    options = parser.parse_args(arguments)
    held = _read(options.out)
    if not options.table:
        done = {_key(row) for row in held}
        for system, noise, drop in _tasks(options):
            key = (system.name, noise, drop, options.seed, options.library)
            if key in done:
                continue
            row = run(system, noise, drop, options.seed, options.library)
            held.append(row)
            with options.out.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            if not options.quiet:
                _tell(row)
    names = {system.name for system in half(options.half)}
    found = table([row for row in held if row["system"] in names])
    sys.stdout.write(found.to_string(index=False) + "\n")


def run(system: TextbookSystem, noise: float, drop: float, seed: int, library: str) -> Row:
    """One fit and everything that is asked of it."""
    t, clean = _grid(system)
    measured_t, X = measure(system, noise, drop, seed)
    row: Row = {
        "system": system.name, "kind": system.kind, "dimension": len(system.laws), "noise": noise,
        "drop": drop, "seed": seed, "library": library, "load": os.getloadavg()[0],
    }  # fmt: skip
    clock = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _limit(LIMIT):
                model = SMNNDiscoverer(library).fit(measured_t, X)
        except Exception as error:  # noqa: BLE001 - a fit that fails is a result
            return row | {
                "error": repr(error)[:300], "cpu": time.process_time() - clock, "exact": False,
                "reconstruction": -1.0, "generalisation": -1.0, "integrates": False,
                "non_polynomial": False, "among": False,
            }  # fmt: skip
        row["cpu"] = time.process_time() - clock
        other = system.path(system.other, t)
        own = model.simulate(measured_t, model.x0_[0])
        row |= {
            "reconstruction": _r2(clean, model.simulate(t, system.start)),
            "generalisation": _r2(other, model.simulate(t, system.other)),
            "integrates": bool(np.isfinite(own).all()),
        }
    truth = _skeletons(system.truth, system)
    row |= {
        "exact": _skeletons(model.equations_, system) == truth,
        "among": any(
            _skeletons(one, system) == truth for one in model.alternatives_["equations"]
        ),
        "non_polynomial": not all(
            sympy.sympify(law).is_polynomial(*map(sympy.Symbol, system.state_names))
            for law in model.equations_
        ),
        "chi2": np.asarray(model.chi2_).tolist(),
        "identifiable": bool(model.identifiable_),
        "found": [str(law) for law in model.equations_.round(6)],
    }  # fmt: skip
    return row


def measure(
    system: TextbookSystem, noise: float, drop: float, seed: int
) -> tuple[Array, pd.DataFrame]:
    """Times and noisy states of the measured run, a share of its points dropped."""
    t, clean = _grid(system)
    place = SYSTEMS.index(system)
    random = np.random.default_rng([seed, place, round(1000 * noise), round(1000 * drop)])
    X = clean * (1.0 + noise * random.normal(size=clean.shape))
    kept = np.sort(random.permutation(len(t))[: round((1.0 - drop) * len(t))])
    return t[kept], pd.DataFrame(X[kept], columns=list(system.state_names))


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """Shares in per cent and times by condition."""
    frame = pd.DataFrame(rows)
    if frame.empty:
        return frame
    out = []
    for (drop, noise), part in frame.groupby(["drop", "noise"]):
        polynomial = part[part["kind"] == "polynomial"]
        out.append(
            {
                "dropped": drop, "noise": noise, "systems": len(part),
                "reconstruction": 100.0 * (part["reconstruction"] > 0.9).mean(),
                "generalisation": 100.0 * (part["generalisation"] > 0.9).mean(),
                "gen > .999": 100.0 * (part["generalisation"] > 0.999).mean(),
                "exact": 100.0 * part["exact"].mean(),
                "among alternatives": 100.0 * (part["exact"] | part["among"]).mean(),
                "polynomial answered otherwise": 100.0 * polynomial["non_polynomial"].mean(),
                "cannot be integrated": int((~part["integrates"].astype(bool)).sum()),
                "median s": part["cpu"].median(), "longest s": part["cpu"].max(),
                "load": part["load"].mean(),
            }
        )  # fmt: skip
    return pd.DataFrame(out).round(2)


def skeleton(expr: sympy.Expr, names: Sequence[str]) -> tuple[frozenset[Any], frozenset[Any]]:
    """What stays of a right-hand side when its constants are forgotten.

    Monomials of numerator and denominator over the states and the functions in it, after products
    of sines and cosines became sums. Functions that differ in a constant alone are told apart by
    the order of their constants.
    """
    symbols = [sympy.Symbol(name) for name in names]
    expr = sympy.expand(sympy.sympify(expr))
    if expr.has(sympy.sin, sympy.cos):
        expr = sympy.expand(TR8(expr))
    functions: dict[sympy.Expr, sympy.Symbol] = {}
    for kind in {_masked(one) for one in _functions(expr)}:
        alike = sorted((one for one in _functions(expr) if _masked(one) == kind), key=_constant)
        place, last = 0, None
        for one in alike:
            value = _constant(one)
            if last is not None and abs(value - last) > SAME_CONSTANT * max(abs(value), 1e-12):
                place += 1
            functions[one] = sympy.Symbol(f"{kind}#{place}")
            last = value
    plain = _merged_poles(expr.xreplace(functions))
    generators = [*symbols, *sorted(set(functions.values()), key=str)]
    numerator, denominator = sympy.fraction(sympy.together(plain))
    return _support(numerator, generators), _support(denominator, generators)


def _functions(expr: sympy.Expr) -> set[sympy.Expr]:
    powers = {
        one for one in expr.atoms(sympy.Pow) if not one.exp.is_Integer and one.base != sympy.E
    }
    return {one for one in expr.atoms(sympy.Function) | powers if one.free_symbols}


def _masked(expr: sympy.Expr) -> str:
    numbers = {one: sympy.Symbol("c") for one in expr.atoms(sympy.Number)}
    if isinstance(expr, sympy.Pow):
        return f"power({expr.base.xreplace(numbers)})"
    (argument,) = expr.args
    inside = "+".join(
        sorted(str(one.as_coeff_Mul()[1]) for one in sympy.Add.make_args(sympy.expand(argument)))
    )
    return f"{expr.func.__name__}({inside})"


def _constant(expr: sympy.Expr) -> float:
    if isinstance(expr, sympy.Pow):
        return float(expr.exp) if expr.exp.is_number else 0.0
    first = min(sympy.Add.make_args(sympy.expand(expr.args[0])), key=str)
    return float(first.as_coeff_Mul()[0])


def _merged_poles(expr: sympy.Expr) -> sympy.Expr:
    """Denominators that are the same but for the errors of their constants become one."""
    known: list[dict[sympy.Expr, float]] = []
    bases: list[sympy.Expr] = []
    moved: dict[sympy.Expr, sympy.Expr] = {}
    for power in sorted(expr.atoms(sympy.Pow), key=str):
        if not (power.exp.is_Integer and power.exp < 0 and isinstance(power.base, sympy.Add)):
            continue
        parts = {k: float(v) for k, v in sympy.expand(power.base).as_coefficients_dict().items()}
        lead = parts[max(parts, key=str)]
        scaled = {k: v / lead for k, v in parts.items()}
        for held, base in zip(known, bases, strict=True):
            if held.keys() == scaled.keys() and all(
                abs(held[k] - v) <= SAME_CONSTANT * abs(v) for k, v in scaled.items()
            ):
                moved[power] = (lead * base) ** power.exp
                break
        else:
            known.append(scaled)
            bases.append(sympy.Add(*(v * k for k, v in scaled.items())))
            moved[power] = (lead * bases[-1]) ** power.exp
    return expr.xreplace(moved)


def _support(expr: sympy.Expr, generators: Sequence[sympy.Symbol]) -> frozenset[Any]:
    expanded = sympy.expand(expr)
    if expanded == 0:
        return frozenset()
    terms = sympy.Poly(expanded, *generators).terms()
    largest = max(abs(float(value)) for _, value in terms)
    return frozenset(
        frozenset((str(g), e) for g, e in zip(generators, powers, strict=True) if e)
        for powers, value in terms
        if abs(float(value)) > 1e-9 * largest
    )


def _skeletons(laws: Any, system: TextbookSystem) -> list[Any]:
    return [skeleton(law, system.state_names) for law in laws]


def _grid(system: TextbookSystem) -> tuple[Array, Array]:
    t = np.linspace(0.0, END, N_SAMPLES)
    return t, system.path(system.start, t)


def _r2(true: Array, found: Array) -> float:
    """Of all states at once, each weighted by its variance; -1 where the integration failed."""
    if not np.isfinite(found).all():
        return -1.0
    spread = ((true - true.mean(axis=0)) ** 2).sum()
    return float(max(1.0 - ((true - found) ** 2).sum() / spread, -1.0))


class _limit:  # noqa: N801 - reads as a statement
    """Raise TimeoutError after so many CPU seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        self.before = signal.signal(signal.SIGVTALRM, self._end)
        signal.setitimer(signal.ITIMER_VIRTUAL, self.seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, self.before)

    def _end(self, number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {self.seconds:.0f} s")


def _tasks(options: argparse.Namespace) -> Iterator[tuple[TextbookSystem, float, float]]:
    systems = [
        one for one in half(options.half) if options.only is None or one.name in options.only
    ]
    for drop, noise, system in product(options.drop, options.noise, systems):
        yield system, noise, drop


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("system", "noise", "drop", "seed", "library"))


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _tell(row: Row) -> None:
    verdict = "exact" if row["exact"] else ("among" if row["among"] else "-")
    sys.stdout.write(
        f"{row['drop']:.1f} {row['noise']:.2f} {row['system']:36} {verdict:6}"
        f" rec {row['reconstruction']:7.4f} gen {row['generalisation']:7.4f} {row['cpu']:6.1f} s  "
        + ("" if row["exact"] else " ; ".join(row.get("found", [row.get("error", "")])))
        + "\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
