"""Measured records: figures typed in as facts, and files that the user has."""

import os
from pathlib import Path

import pandas as pd

# Year, snowshoe hare, Canadian lynx: pelts taken by the Hudson's Bay Company, in thousands.
_LYNX_HARE = (
    (1900, 30.0, 4.0),
    (1901, 47.2, 6.1),
    (1902, 70.2, 9.8),
    (1903, 77.4, 35.2),
    (1904, 36.3, 59.4),
    (1905, 20.6, 41.7),
    (1906, 18.1, 19.0),
    (1907, 21.4, 13.0),
    (1908, 22.0, 8.3),
    (1909, 25.4, 9.1),
    (1910, 27.1, 7.4),
    (1911, 40.3, 8.0),
    (1912, 57.0, 12.3),
    (1913, 76.6, 19.5),
    (1914, 52.3, 45.7),
    (1915, 19.5, 51.1),
    (1916, 11.2, 29.7),
    (1917, 7.6, 15.8),
    (1918, 14.6, 9.7),
    (1919, 16.2, 10.1),
    (1920, 24.7, 8.6),
)


def lynx_hare() -> pd.DataFrame:
    """Return the pelts of lynx and hare traded by the Hudson's Bay Company, 1900 to 1920.

    Returns
    -------
    DataFrame of shape (21, 3)
        Columns ``year``, ``hare`` and ``lynx``; pelts in thousands a year.

    Notes
    -----
    Figures published in Hewitt 1921, The Conservation of the Wild Life of Canada, and discussed in
    Elton & Nicholson 1942, J. Anim. Ecol. 11:215. Pelts stand for animals only roughly: they count
    what was trapped and sold, so noise of ten per cent and more is to be expected.

    Examples
    --------
    >>> from discoverers.datasets import lynx_hare
    >>> lynx_hare().head(2)
       year  hare  lynx
    0  1900  30.0   4.0
    1  1901  47.2   6.1
    """
    return pd.DataFrame(list(_LYNX_HARE), columns=["year", "hare", "lynx"])


def data_file(name: str, path: str | os.PathLike[str] | None = None) -> Path:
    """Find a file of measured data that is not part of the package.

    Parameters
    ----------
    name : str
        Name of the file, with its folder, such as ``"noaa_nino_weekly/wksst8110.for"``.
    path : path-like, optional
        The file itself. The default looks for `name` in the folder that the environment variable
        ``DISCOVERERS_DATA`` names, then in ``~/.cache/discoverers`` (``XDG_CACHE_HOME`` is heeded).

    Returns
    -------
    pathlib.Path
        A file that exists.

    Raises
    ------
    FileNotFoundError
        If there is no such file; the message says where it was looked for.

    Examples
    --------
    >>> from discoverers.datasets import data_file
    >>> data_file("none.csv", path="/nowhere/none.csv")
    Traceback (most recent call last):
    ...
    FileNotFoundError: no file /nowhere/none.csv
    """
    if path is not None:
        given = Path(path)
        if not given.is_file():
            raise FileNotFoundError(f"no file {given}")
        return given
    folder = os.environ.get("DISCOVERERS_DATA")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "discoverers"
    places = [*([Path(folder)] if folder else []), cache]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise FileNotFoundError(
        f"no file {name} in {' or '.join(map(str, places))}; give path=, or set DISCOVERERS_DATA "
        "to the folder that holds it"
    )
