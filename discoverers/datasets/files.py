"""Loaders of measured and simulated benchmark records that the user has as files.

The files are no part of the package. Each loader takes the path of the file; without one it looks
in the folder that the environment variable ``DISCOVERERS_DATA`` names and then in the cache folder
of the user, as `data_file` describes. What is missing is named together with its source.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from discoverers.datasets.measured import data_file

__all__ = [
    "F16_PERIOD",
    "SILVERBOX_RATE",
    "load_bouc_wen",
    "load_f16",
    "load_nino",
    "load_pendulum",
    "load_silverbox",
]

Location = str | os.PathLike[str] | None

F16_PERIOD = 8192
"""Samples after which the excitation of the F-16 record, and with it the record, repeats."""

SILVERBOX_RATE = 1e7 / 2**14
"""Sampling rate of the Silverbox record, about 610.35 Hz."""

_BOUC_WEN_STEP = 0.002

# Silverbox: the arrow's force ends at row 40,491; ten multisines of 8,692 rows follow, parted by
# about 100 rows at rest. Records are cut in the middle of a rest, so each starts and ends there.
_ARROW_END = 40_539
_MULTISINE_ROWS = 8_692
_MULTISINES = 10

_REGIONS = ("nino12", "nino3", "nino34", "nino4")
_PENDULUM_NAMES = {"o": "angle", "x": "position", "v": "velocity", "w": "velocity"}


def load_f16(path: Location = None) -> pd.DataFrame:
    """Read the ground vibration test of an F-16, full multisine at the lowest level.

    Parameters
    ----------
    path : path-like, optional
        The file ``F16Data_FullMSine_Level1.csv``. The default is looked for as `data_file`
        describes, under ``f16_gvt/F16Data_FullMSine_Level1.csv``.

    Returns
    -------
    DataFrame
        Columns ``t`` (s, 400 Hz), ``force`` (N, measured at the shaker), ``voltage`` (V, sent to
        it), ``acceleration1`` (at the shaker), ``acceleration2`` (on the right wing, beside the
        connection of the payload, whose gaps and friction are the nonlinearity) and
        ``acceleration3`` (on the payload, beside the same connection), all in m/s^2. Means are not
        removed. The record repeats every `F16_PERIOD` rows: rows beyond the first period are no
        test of a model that was fitted to it.

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If the file has another layout.

    Notes
    -----
    Noël & Schoukens 2017, F-16 aircraft benchmark based on ground vibration test data, Workshop on
    Nonlinear System Identification Benchmarks. Heed the benchmark's own licence.

    Examples
    --------
    >>> from discoverers.datasets import load_f16
    >>> load_f16()  # doctest: +SKIP
    """
    file = _find(
        "f16_gvt/F16Data_FullMSine_Level1.csv",
        path,
        "the F-16 ground vibration test of nonlinearbenchmark.org (Noël & Schoukens 2017)",
    )
    columns = ["Force", "Voltage", "Acceleration1", "Acceleration2", "Acceleration3"]
    table = _read_table(file, [*columns, "Fs"])
    rate = float(table["Fs"].iloc[0])
    if not rate > 0:
        raise ValueError(f"{file}: column Fs begins with {rate}; the sampling rate is needed there")
    frame = table[columns].rename(columns=str.lower)
    frame.insert(0, "t", np.arange(len(frame)) / rate)
    return frame


def load_silverbox(path: Location = None) -> pd.DataFrame:
    """Read the Silverbox, an electronic Duffing oscillator.

    Parameters
    ----------
    path : path-like, optional
        The file ``SNLS80mV.csv``. The default is looked for as `data_file` describes, under
        ``silverbox/SNLS80mV.csv``.

    Returns
    -------
    DataFrame
        Columns ``t`` (s, at `SILVERBOX_RATE`), ``force`` (V, the input), ``position`` (V, the
        output), ``part`` and ``realization``. Parts are "arrow" (filtered noise of growing
        amplitude, 40,539 rows, the usual test), "multisine" (ten realizations of an odd random
        multisine, numbered 0 to 9, 8,692 rows each, the usual training data) and "rest" (what
        follows). Each realization begins and ends at rest. Realization is -1 outside multisines.

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If the file has another layout.

    Notes
    -----
    Wigren & Schoukens 2013, Three free data sets for development and benchmarking in nonlinear
    system identification, European Control Conference. The whole record of 2^17 rows is one period
    of the measurement. Its input and output are band limited and have offsets of some millivolt.

    Examples
    --------
    >>> from discoverers.datasets import load_silverbox
    >>> load_silverbox()  # doctest: +SKIP
    """
    file = _find(
        "silverbox/SNLS80mV.csv",
        path,
        "the Silverbox data of nonlinearbenchmark.org (Wigren & Schoukens 2013)",
    )
    table = _read_table(file, ["V1", "V2"])
    rows = np.arange(len(table))
    realization = np.where(rows < _ARROW_END, -1, (rows - _ARROW_END) // _MULTISINE_ROWS)
    part = np.where(realization < 0, "arrow", "multisine")
    beyond = realization >= _MULTISINES
    part[beyond], realization[beyond] = "rest", -1
    return pd.DataFrame(
        {
            "t": rows / SILVERBOX_RATE,
            "force": table["V1"],
            "position": table["V2"],
            "part": part,
            "realization": realization,
        }
    )


def load_bouc_wen(path: Location = None) -> pd.DataFrame:
    """Read a simulated magneto-rheological damper with Bouc-Wen hysteresis.

    Parameters
    ----------
    path : path-like, optional
        The file ``boucwen_histeretic_system.csv`` (its authors' spelling). The default is looked
        for as `data_file` describes, under ``bouc_wen_sysidentpy/``.

    Returns
    -------
    DataFrame
        4000 rows: ``t`` (s, 500 Hz; the step follows from the ratio of displacements and
        velocities, the file does not name it), ``displacement``, ``velocity``, ``acceleration``,
        ``voltage`` (of the damper) and ``force``, in the units of the simulation. At some rows the
        acceleration is not finite in practice (up to 1e13); differentiate the velocity instead.

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If the file has another layout.

    Notes
    -----
    Data of the SysIdentPy examples, Lacerda et al. 2020, J. Open Source Softw. 5:2384. `bouc_wen`
    generates records of the hysteretic oscillator that the theory is about.

    Examples
    --------
    >>> from discoverers.datasets import load_bouc_wen
    >>> load_bouc_wen()  # doctest: +SKIP
    """
    file = _find(
        "bouc_wen_sysidentpy/boucwen_histeretic_system.csv",
        path,
        "boucwen_histeretic_system.csv of the SysIdentPy data sets (Lacerda et al. 2020)",
    )
    columns = ["x", "v", "a", "E", "f"]
    table = _read_table(file, columns)[columns]
    table.columns = ["displacement", "velocity", "acceleration", "voltage", "force"]
    table.insert(0, "t", _BOUC_WEN_STEP * np.arange(len(table)))
    return table


def load_pendulum(path: Location = None, *, record: str = "real_pend_h_1") -> pd.DataFrame:
    """Read one of the motion-tracked pendulums and oscillators of Schmidt and Lipson.

    Parameters
    ----------
    path : path-like, optional
        One of the text files of the paper's supplement. The default is looked for as `data_file`
        describes, under ``schmidt_lipson_pendulum/``.
    record : str, default="real_pend_h_1"
        Which file, without ``.txt``, where `path` is not given: ``real_pend_h_1`` and
        ``real_pend_a_1`` (pendulum, without and with acceleration), ``real_linear_h_1`` and
        ``real_linear_a_1`` (mass on a spring).

    Returns
    -------
    DataFrame
        Columns ``run``, ``t`` (s), ``angle`` (rad) or ``position`` (pixels of the camera),
        ``velocity`` and, where the file has it, ``acceleration``; both differentiated by the
        authors.

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If the file has another layout.

    Notes
    -----
    Schmidt & Lipson 2009, Distilling free-form natural laws from experimental data, Science 324:81.

    Examples
    --------
    >>> from discoverers.datasets import load_pendulum
    >>> load_pendulum(record="real_linear_a_1")  # doctest: +SKIP
    """
    file = _find(
        f"schmidt_lipson_pendulum/{record}.txt",
        path,
        "the data of the supplement of Schmidt & Lipson 2009, Science 324:81",
    )
    with file.open(encoding="utf-8") as lines:
        header = lines.readline()
    names = header.lstrip("%").split()
    kinds = dict(_PENDULUM_NAMES, a="acceleration")
    if not header.startswith("%") or not set(names) <= set(kinds):
        raise ValueError(
            f"{file} begins with {header.strip()!r}; a line such as '% o a w' that names the "
            "columns after trial and time is needed (o angle, x position, v or w velocity, a "
            "acceleration)"
        )
    values = np.loadtxt(file, comments="%", ndmin=2)
    columns = ["run", "t", *(kinds[name] for name in names)]
    if values.shape[1] != len(columns):
        raise ValueError(f"{file} has {values.shape[1]} columns; its header says {len(columns)}")
    return pd.DataFrame(values, columns=columns).astype({"run": int})


def load_nino(path: Location = None) -> pd.DataFrame:
    """Read the weekly sea-surface temperatures of the four Niño regions, in either layout.

    Parameters
    ----------
    path : path-like, optional
        ``nino_weekly.csv``, or NOAA's own file ``wksst8110.for``. The default looks for the first
        as `data_file` describes, under ``noaa_nino_weekly/``, then for the second.

    Returns
    -------
    DataFrame
        Index ``week`` (the day that the week is centred on); columns ``nino12``, ``nino3``,
        ``nino34``, ``nino4`` in degrees Celsius and the same with ``_anomaly``.

    Raises
    ------
    FileNotFoundError
        If neither file is there.
    ValueError
        If the file has another layout.

    Notes
    -----
    Area means of NOAA's optimum interpolation analysis, Reynolds et al. 2002, J. Climate 15:1609.

    Examples
    --------
    >>> from discoverers.datasets import load_nino
    >>> load_nino()  # doctest: +SKIP
    """
    what = "weekly Niño indices of NOAA's Climate Prediction Center (Reynolds et al. 2002)"
    if path is None:
        try:
            file = data_file("noaa_nino_weekly/nino_weekly.csv")
        except FileNotFoundError:
            file = _find("noaa_nino_weekly/wksst8110.for", None, what)
    else:
        file = _find("noaa_nino_weekly/nino_weekly.csv", path, what)
    if file.suffix != ".csv":
        return _read_noaa(file)
    kinds = {"_sst": "", "_ssta": "_anomaly"}
    renamed = {r + kind: r + ours for r in _REGIONS for kind, ours in kinds.items()}
    table = _read_table(file, ["week", *renamed])
    table["week"] = pd.to_datetime(table["week"])
    return table.set_index("week")[list(renamed)].rename(columns=renamed).astype(float)


def _read_noaa(file: Path) -> pd.DataFrame:
    """Read NOAA's own layout, ``wksst8110.for``."""
    names = ["week", *(n for region in _REGIONS for n in (region, f"{region}_anomaly"))]
    # The fields touch where an anomaly is negative, so they are cut by position.
    edges = [(1, 10)] + [(start, start + 4) for c in range(15, 55, 13) for start in (c, c + 4)]
    table = pd.read_fwf(file, colspecs=edges, skiprows=4, header=None, names=names)
    try:
        table["week"] = pd.to_datetime(table["week"], format="%d%b%Y")
        return table.set_index("week").astype(float)
    except ValueError as error:
        raise ValueError(f"{file} has not the layout of NOAA's wksst8110.for: {error}") from error


def _find(name: str, path: Location, what: str) -> Path:
    """Find a file, or say what to get and where to put it."""
    try:
        return data_file(name, path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}. Download {what}, and pass the file as path= or keep it as {name} in the "
            "folder named by DISCOVERERS_DATA"
        ) from error


def _read_table(file: Path, columns: list[str]) -> pd.DataFrame:
    """Read comma-separated columns, whatever else the file holds beside them."""
    table = pd.read_csv(file)
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(
            f"{file} has the columns {', '.join(map(str, table.columns))}; "
            f"{', '.join(missing)} is missing. Is it another file?"
        )
    return table
