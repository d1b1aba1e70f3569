"""Estimators to one file and back, without pickle and without running anything in the file.

The file is a zip archive of ``estimator.json`` (class, parameters, fitted attributes; expressions
as text that is parsed over a whitelist) and ``arrays.safetensors``. Classes are looked up among
those of this distribution and the estimator classes that are already defined, never imported from
elsewhere.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from .codec import Decoder, Encoder, class_name

if TYPE_CHECKING:
    from .base import BaseDiscoverer
    from .pde import PDEDiscoverer

__all__ = ["Persistent", "load_estimator", "save_estimator"]

FORMAT = "discoverers.estimator/1"
_STATE, _ARRAYS = "estimator.json", "arrays.safetensors"


class Persistent:
    """Mixin of `save` and `load`."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimator, fitted or not, to one file without pickle; `load` reads it.

        Parameters
        ----------
        path : str or path-like
            File to write (a zip archive of JSON, expressions as text, and safetensors).

        Raises
        ------
        TypeError
            If a parameter or attribute cannot be stored, for instance a user's function.
        FileNotFoundError, IsADirectoryError
            If the folder of the file does not exist, or `path` is a folder.
        """
        save_estimator(cast("BaseDiscoverer", self), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read an estimator that `save` wrote; no code in the file is ever run.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        estimator of this class

        Raises
        ------
        ValueError
            If the file is no saved estimator, or one of another class.
        """
        estimator = load_estimator(path)
        if not isinstance(estimator, cls):
            raise ValueError(
                f"{os.fspath(path)} holds a {type(estimator).__name__}, not a {cls.__name__}. "
                f"Use discoverers.load."
            )
        return estimator


def save_estimator(estimator: BaseDiscoverer | PDEDiscoverer, path: str | os.PathLike[str]) -> None:
    """Write an estimator to a file; see `discoverers.base.BaseDiscoverer.save`."""
    encoder = Encoder()
    fitted = {
        name: value
        for name, value in vars(estimator).items()
        if name.endswith("_") and not name.startswith("_")
    }
    document = {
        "format": FORMAT,
        "class": class_name(type(estimator)),
        "parameters": {
            name: encoder.encode(value, f"parameter {name}")
            for name, value in estimator.get_params(deep=False).items()
        },
        "fitted": {
            name: encoder.encode(value, f"attribute {name}") for name, value in fitted.items()
        },
    }
    text = json.dumps(document, allow_nan=False, indent=1)
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"path={os.fspath(path)!r} is a folder; name a file in it.")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"path={os.fspath(path)!r}: there is no folder {str(target.parent)!r}; make it first."
        )
    # A crash while writing must not leave half a file where a whole one was.
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name)
    try:
        with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            for name, data in ((_STATE, text.encode()), (_ARRAYS, save_arrays(encoder.arrays))):
                # A fixed date: the same estimator gives the same bytes.
                entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_estimator(path: str | os.PathLike[str]) -> BaseDiscoverer | PDEDiscoverer:
    """Read an estimator that `save` wrote, of whatever class.

    Parameters
    ----------
    path : str or path-like
        File to read.

    Returns
    -------
    BaseDiscoverer or PDEDiscoverer

    Raises
    ------
    ValueError
        If the file is no saved estimator, holds what this version does not know, or is of a class
        that is not defined.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            document = json.loads(archive.read(_STATE))
            arrays = load_arrays(archive.read(_ARRAYS))
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{os.fspath(path)} is no saved estimator: {error}") from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"{os.fspath(path)} has the format {found!r}; this version reads {FORMAT!r}."
        )
    decoder = Decoder(arrays)
    # Only classes that have these methods are read, so naming another one runs nothing.
    cls = decoder.find_class(document["class"], Persistent)
    parameters = {name: decoder.decode(item) for name, item in document["parameters"].items()}
    estimator: BaseDiscoverer | PDEDiscoverer = cls(**parameters)
    fitted = {name: decoder.decode(item) for name, item in document["fitted"].items()}
    estimator.__dict__.update(fitted)
    return estimator
