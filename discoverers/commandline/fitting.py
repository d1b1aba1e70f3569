"""The command ``fit``: read, fit, print, write."""

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from discoverers.commandline.errors import CommandLineError
from discoverers.commandline.measurements import Measurements, read_measurements
from discoverers.commandline.quality import fit_quality
from discoverers.commandline.report import Report

if TYPE_CHECKING:
    from discoverers.base import BaseDiscoverer


@dataclass(frozen=True)
class FitRequest:
    """What the user asked for.

    Parameters
    ----------
    file : str
        Path of the table, ``"-"`` for standard input.
    time : str
        Column of times.
    states : list of str or None
        Columns of states, None for all that have no other role.
    inputs : list of str
        Columns of inputs.
    trajectory_column : str or None
        Column that tells the runs apart.
    library : str
        Candidate terms.
    estimator : {"smnn", "mnn-dense"}
        Which estimator to fit.
    time_unit : str
        Unit that dates are counted in.
    out : str or None
        Folder for the files of the result.
    """

    file: str
    time: str
    states: list[str] | None
    inputs: list[str]
    trajectory_column: str | None
    library: str
    estimator: str
    time_unit: str
    out: str | None


def run_fit(request: FitRequest) -> None:
    """Fit the table and print the report.

    Parameters
    ----------
    request : FitRequest
        What the user asked for.

    Raises
    ------
    CommandLineError
        If something is wrong with the arguments or the table, or if no equations can be found.
    """
    measurements = read_measurements(
        request.file,
        time=request.time,
        states=request.states,
        inputs=request.inputs,
        trajectory_column=request.trajectory_column,
    )
    _check_library(request.library)
    folder = _make_folder(request.out)
    report = _fit(request, measurements)
    for warning in report.warnings:
        print(f"discoverers: warning: {warning}", file=sys.stderr)
    print(report.text())
    if folder is not None:
        try:
            names = report.write(folder)
        except OSError as error:
            raise CommandLineError(f"--out {folder}: cannot be written: {error}") from error
        print(f"\nWritten to {folder}: {', '.join(names)}")


def _check_library(library: str) -> None:
    """Say what is wrong with a library before anything is computed."""
    from discoverers.libraries import resolve_library

    try:
        resolve_library(library)
    except ValueError as error:
        raise CommandLineError(str(error)) from error


def _make_folder(out: str | None) -> Path | None:
    """Make the folder for the results, so that a long fit does not end without one."""
    if out is None:
        return None
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "a file of this name is in the way" if folder.is_file() else error.strerror
        raise CommandLineError(f"--out {out}: cannot be made: {reason}") from error
    return folder


def _fit(request: FitRequest, measurements: Measurements) -> Report:
    """Fit, with warnings collected and the estimator's own errors told in one line."""
    from discoverers.exceptions import SolverError
    from discoverers.trajectories import as_trajectories

    estimator = _make_estimator(request)
    source = "standard input" if request.file == "-" else request.file
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            data = as_trajectories(
                measurements.t,
                measurements.X,
                trajectory=measurements.trajectory,
                u=measurements.u,
                time_unit=request.time_unit,
            )
            estimator.fit(
                measurements.t,
                measurements.X,
                trajectory=measurements.trajectory,
                u=measurements.u,
            )
        except (ValueError, TypeError) as error:
            raise CommandLineError(f"{source}: {error}") from error
        except SolverError as error:
            raise CommandLineError(f"{source}: no equations found: {error}", 1) from error
        quality = fit_quality(estimator, data)
    texts = dict.fromkeys(
        " ".join(str(entry.message).split())
        for entry in caught
        if issubclass(entry.category, UserWarning)
    )
    return Report(estimator, source, measurements.time_name, data, quality, tuple(texts))


def _make_estimator(request: FitRequest) -> "BaseDiscoverer":
    """Choose the estimator that was asked for."""
    if request.estimator == "mnn-dense":
        from discoverers.mnn_dense import MNNDenseBaseline

        return MNNDenseBaseline(library=request.library, time_unit=request.time_unit)
    from discoverers.smnn import SMNNDiscoverer

    return SMNNDiscoverer(library=request.library, time_unit=request.time_unit)
