"""What all pictures share: colours, markers, axes, files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from discoverers.base import BaseDiscoverer

# Okabe and Ito's colours, which people with colour blindness can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DATA: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "color": "0.35",
    "alpha": 0.55,
    "markeredgewidth": 0,
}


def save_figure(figure: "Figure", path: str | os.PathLike[str], *, dpi: int = 110) -> Path:
    """Write a figure to a file and close it.

    Parameters
    ----------
    figure : Figure
        What to write, such as ``ax.figure``.
    path : path-like
        The file; its ending chooses the format. Missing folders are made.
    dpi : int, default=110
        Dots per inch, for formats made of dots.

    Returns
    -------
    pathlib.Path
        The file.

    Examples
    --------
    >>> import tempfile
    >>> from matplotlib.figure import Figure
    >>> from discoverers.plotting import save_figure
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_figure(Figure(), f"{folder}/new/picture.png").name
    'picture.png'
    """
    import matplotlib.pyplot as plt

    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=dpi, bbox_inches="tight")
    plt.close(figure)
    return file


def check_fitted(estimator: "BaseDiscoverer") -> None:
    """Raise scikit-learn's own error for an estimator that was not fitted."""
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator)


def new_panel(*, height: float = 4.5, three_d: bool = False) -> "Axes":
    """Return the Axes of a new figure."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(6.0, height), layout="constrained")
    return figure.add_subplot(projection="3d" if three_d else None)


def markers(n: int) -> dict[str, Any]:
    """Return the style of n measured points, small enough to be told apart."""
    return _DATA | {"markersize": float(np.clip(60.0 / np.sqrt(n), 2.0, 5.0))}


def tidy(panel: "Axes") -> None:
    """Take away what does not inform."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(visible=True, color="0.9", linewidth=0.7)
    panel.set_axisbelow(True)
