"""The printed report and the files of a fit."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from discoverers import __version__
from discoverers.commandline.quality import StateQuality

if TYPE_CHECKING:
    from discoverers.base import BaseDiscoverer
    from discoverers.trajectories import Trajectories


@dataclass(frozen=True)
class Report:
    """Everything that is printed and written about one fit.

    Parameters
    ----------
    estimator : BaseDiscoverer
        The fitted estimator.
    source : str
        Name of the table.
    time_name : str
        Name of its column of times.
    data : Trajectories
        The measurements, checked.
    quality : tuple of StateQuality
        Fit of each state.
    warnings : tuple of str
        Warnings of the fit.
    """

    estimator: "BaseDiscoverer"
    source: str
    time_name: str
    data: "Trajectories"
    quality: tuple[StateQuality, ...]
    warnings: tuple[str, ...]

    def text(self) -> str:
        """Return the report as readable text."""
        data = self.data
        span = f"{min(run.t[0] for run in data):g} to {max(run.t[-1] for run in data):g}"
        runs = "1 run" if len(data) == 1 else f"{len(data)} runs"
        parts = [
            f"{self.source}: {data.n_samples} samples in {runs}, {self._time_label()} from {span}",
            f"{type(self.estimator).__name__}, library {self.estimator.library}, "
            f"{len(self.estimator.terms_)} candidate terms per equation",
            "",
            "Equations",
            _indent(str(self.estimator.equations_)),
            "",
            "Coefficients",
            _indent(
                _table(["equation", "term", "coefficient", "std. error"], self._coefficients())
            ),
            "",
            "Fit",
            _indent(_table(["state", "noise (std)", "R2 fitted", "R2 simulated"], self._fit())),
            _indent(
                "R2 simulated: the equations alone, from the first fitted state to the end of the "
                "run\n(a chaotic system loses the measured path even with the true equations)."
            ),
        ]
        return "\n".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        data = self.data
        return {
            "discoverers": __version__,
            "source": self.source,
            "estimator": type(self.estimator).__name__,
            "library": str(self.estimator.library),
            "time": self.time_name,
            "states": list(data.state_names),
            "inputs": list(data.input_names),
            "runs": len(data),
            "samples": data.n_samples,
            "equations": self.estimator.equations_.to_dict(),
            "coefficients": [
                {"state": state, "term": term, "value": value, "standard_error": error}
                for state, term, value, error in self._active()
            ],
            "fit": [
                {key: _finite(value) for key, value in asdict(state).items()}
                for state in self.quality
            ],
            "converged": bool(self.estimator.converged_),
            "warnings": list(self.warnings),
        }

    def fitted(self) -> pd.DataFrame:
        """Return the fitted states beside the measured ones, in the order of the runs."""
        data = self.data
        taken = {self.time_name, *data.state_names}
        run_name = _free("run", taken)
        fitted_names = [_free(f"{name}_fitted", taken) for name in data.state_names]
        tables = []
        for label, run, solution in zip(data.ids, data, self.estimator.solution_, strict=True):
            table = pd.DataFrame({self.time_name: solution.t})
            if data.form == "ids":
                table.insert(0, run_name, label)
            for v, name in enumerate(data.state_names):
                at = pd.Series(run.X[:, v], index=run.t)
                table[name] = at.reindex(solution.t).to_numpy()
                table[fitted_names[v]] = solution.X[:, v]
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def write(self, folder: Path) -> tuple[str, ...]:
        """Write the files of the report and return their names.

        Parameters
        ----------
        folder : pathlib.Path
            An existing folder. Files of the same names in it are replaced.

        Returns
        -------
        tuple of str
            Names of the files.
        """
        from discoverers.plotting import plot_fit, save_figure

        texts = {
            "equations.txt": self.text(),
            "equations.tex": f"\\[\n{self.estimator.equations_.latex()}\n\\]",
            "equations.json": json.dumps(self.as_dict(), indent=2, ensure_ascii=False),
        }
        for name, text in texts.items():
            (folder / name).write_text(text + "\n", encoding="utf-8")
        self.fitted().to_csv(folder / "fitted.csv", index=False)
        runs = list(self.data)
        ids = list(self.data.ids) if self.data.form == "ids" else None
        panels = plot_fit(
            self.estimator,
            t=[run.t for run in runs],
            X=[run.X for run in runs],
            trajectory=ids,
            simulated=True,
        )
        panels[-1].set_xlabel(self._time_label())
        save_figure(panels[0].figure, folder / "fit.png")
        return (*texts, "fitted.csv", "fit.png")

    def _time_label(self) -> str:
        """Name the times, with unit and origin where the table has dates."""
        clock = self.data.clock
        if clock.origin is None:
            return self.time_name
        origin = np.datetime_as_string(clock.origin, unit="auto")
        return f"{self.time_name} ({clock.unit} after {origin})"

    def _active(self) -> list[tuple[str, str, float, float]]:
        """List state, term, coefficient and standard error of the terms that were kept."""
        estimator = self.estimator
        return [
            (state, term, float(estimator.coef_[v, k]), float(estimator.coef_std_[v, k]))
            for v, state in enumerate(estimator.state_names_)
            for k, term in enumerate(estimator.terms_)
            if estimator.coef_[v, k] != 0
        ]

    def _coefficients(self) -> list[list[str]]:
        """List the rows of the table of coefficients, in the words of the equations."""
        from discoverers.formatting import readable_name, readable_terms

        equations = self.estimator.equations_
        texts = readable_terms(chain.from_iterable(equations.terms().values()), equations.variables)
        return [
            [f"{readable_name(state)}'", texts.get(term, term), *value_and_error(value, error)]
            for state, term, value, error in self._active()
        ]

    def _fit(self) -> list[list[str]]:
        """List the rows of the table of the fit."""
        from discoverers.formatting import readable_name

        return [
            [
                readable_name(state.state),
                f"{state.noise_std:.3g}",
                *_shares(state),
            ]
            for state in self.quality
        ]


def value_and_error(value: float, error: float) -> tuple[str, str]:
    """Write a value with the digits that its standard error leaves.

    Parameters
    ----------
    value, error : float
        A coefficient and its standard error; an error that is zero or not finite stands for none.

    Returns
    -------
    tuple of str
        Both numbers, rounded at the second digit of the error.

    Examples
    --------
    >>> from discoverers.commandline.report import value_and_error
    >>> value_and_error(-9.99987654, 0.00123)
    ('-9.9999', '0.0012')
    >>> value_and_error(28.0, 0.0)
    ('28', '-')
    """
    if not np.isfinite(error) or error <= 0:
        return f"{value:.6g}", "-"
    decimals = 1 - math.floor(math.log10(error))
    if 0 <= decimals <= 8:
        return f"{value:.{decimals}f}", f"{error:.{decimals}f}"
    if -6 <= decimals < 0:
        return f"{round(value, decimals):.0f}", f"{round(error, decimals):.0f}"
    digits = max(2, decimals + 1 + math.floor(math.log10(abs(value)))) if value else 2
    return f"{value:.{min(digits, 15)}g}", f"{error:.2g}"


def _shares(state: StateQuality) -> tuple[str, str]:
    """Write both R2 of a state; one that never changes has none."""
    if math.isnan(state.r2_fitted):
        return "-", "-"
    simulated = "blows up" if math.isnan(state.r2_simulated) else f"{state.r2_simulated:.6f}"
    return f"{state.r2_fitted:.6f}", simulated


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align columns: text to the left, numbers to the right."""
    if not rows:
        return "(none)"
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    left = [not any(character.isdigit() for character in rows[0][c]) for c in range(len(header))]
    left[:1] = [True]
    lines = [header, *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in lines
    )


def _free(name: str, taken: set[str]) -> str:
    """Return a name that no column of the table has."""
    while name in taken:
        name += "_"
    return name


def _indent(text: str) -> str:
    """Indent every line."""
    return "\n".join(f"  {line}" for line in text.splitlines())


def _finite(value: Any) -> Any:
    """Replace NaN, which JSON does not know, by None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
