"""Pictures of fitted estimators: record and fit, phase portrait, Pareto front, coefficients.

Every function takes a fitted estimator and draws into Matplotlib axes, its own or given ones.
Matplotlib is imported when a picture is drawn.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from discoverers.base import BaseDiscoverer, FittedTrajectory
    from discoverers.equations import Equations

# Okabe and Ito's colours, which people with colour blindness can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DATA: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "color": "0.35",
    "alpha": 0.55,
    "markeredgewidth": 0,
}
_TWO_SIDED_95 = 1.96


def plot_fit(
    estimator: "BaseDiscoverer",
    ax: "Axes | Sequence[Axes] | None" = None,
    *,
    simulated: bool = False,
) -> "NDArray[np.object_]":
    """Draw the measured states with the fitted ones over time.

    Parameters
    ----------
    estimator : BaseDiscoverer
        A fitted estimator.
    ax : Axes or sequence of V Axes, optional
        Where to draw: one panel for all states, or one for each. The default is a new figure with
        one panel for each state.
    simulated : bool, default=False
        Whether to add the equations on their own, integrated from the first fitted state of each
        run: a dashed line that ends where the integration blows up.

    Returns
    -------
    ndarray of Axes
        The panel of each state, in order.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If `ax` holds neither one nor V panels.

    Examples
    --------
    >>> from discoverers import SMNNDiscoverer
    >>> from discoverers.datasets import generate, van_der_pol
    >>> from discoverers.plotting import plot_fit
    >>> record = generate(van_der_pol(), 300, noise=0.01, seed=0).to_frame()
    >>> model = SMNNDiscoverer().fit(record["t"], record[["x", "y"]])
    >>> [panel.get_ylabel() for panel in plot_fit(model)]
    ['x', 'y']
    """
    _check_fitted(estimator)
    names = estimator.state_names_
    panels = _state_panels(ax, len(names))
    shared = len(set(map(id, panels))) == 1 and len(names) > 1
    for v, (name, panel) in enumerate(zip(names, panels, strict=True)):
        colour = _COLOURS[v % len(_COLOURS)]
        for position, (run, fitted) in enumerate(_runs(estimator)):
            first = position == 0
            marker = {**_DATA, "markersize": _marker_size(run.t.size)}
            if shared:
                marker["color"] = colour
            panel.plot(run.t, run.X[:, v], label=_label("measured", name, shared, first), **marker)
            panel.plot(
                fitted.t,
                fitted.X[:, v],
                color=colour,
                linewidth=1.6,
                label=_label("fitted", name, shared, first),
            )
            if simulated:
                t, X = _simulate(estimator, fitted)
                panel.plot(
                    t,
                    X[:, v],
                    color="black",
                    linewidth=1.1,
                    linestyle="--",
                    label=_label("equations alone", name, shared, first),
                )
        panel.set_ylabel("states" if shared else name)
        _tidy(panel)
    panels[-1].set_xlabel(_time_label(estimator))
    panels[0].legend(loc="upper right", fontsize="small", framealpha=0.85)
    return panels


def plot_phase(
    estimator: "BaseDiscoverer",
    ax: "Axes | None" = None,
    *,
    states: Sequence[str] | None = None,
) -> "Axes":
    """Draw the path of the states: measured points and the fitted line.

    Parameters
    ----------
    estimator : BaseDiscoverer
        A fitted estimator.
    ax : Axes, optional
        Where to draw; three states need an Axes made with ``projection="3d"``. The default is a new
        figure.
    states : sequence of str, optional
        Two or three states. The default are the first three, or both, or one state against its
        derivative.

    Returns
    -------
    Axes
        What was drawn into.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If `states` are unknown or of a wrong number, or if `ax` has the wrong projection.

    Examples
    --------
    >>> from discoverers import SMNNDiscoverer
    >>> from discoverers.datasets import generate, van_der_pol
    >>> from discoverers.plotting import plot_phase
    >>> record = generate(van_der_pol(), 300, noise=0.01, seed=0).to_frame()
    >>> model = SMNNDiscoverer().fit(record["t"], record[["x", "y"]])
    >>> plot_phase(model).get_xlabel()
    'x'
    """
    _check_fitted(estimator)
    names = _phase_states(estimator.state_names_, states)
    if len(names) == 1:
        return _plot_derivative(estimator, names[0], ax)
    panel = ax if ax is not None else _new_panel(three_d=len(names) == 3)
    if (panel.name == "3d") != (len(names) == 3):
        raise ValueError(
            f"ax has the projection {panel.name!r}, which does not suit {len(names)} states; use "
            "states= to draw others, or an Axes made with projection='3d' for three"
        )
    columns = [estimator.state_names_.index(name) for name in names]
    for position, (run, fitted) in enumerate(_runs(estimator)):
        marker = {**_DATA, "markersize": _marker_size(run.t.size)}
        panel.plot(*run.X[:, columns].T, label="measured" if position == 0 else None, **marker)
        panel.plot(
            *fitted.X[:, columns].T,
            color=_COLOURS[position % len(_COLOURS)],
            linewidth=1.2,
            label="fitted" if position == 0 else None,
        )
    panel.set_xlabel(names[0])
    panel.set_ylabel(names[1])
    if len(names) == 3:
        panel.set_zlabel(names[2])  # type: ignore[attr-defined]
    else:
        _tidy(panel)
    panel.legend(loc="upper right", fontsize="small", framealpha=0.85)
    return panel


def plot_pareto(estimator: "BaseDiscoverer", ax: "Axes | None" = None) -> "Axes":
    """Draw the loss of the candidate equations over their complexity.

    Parameters
    ----------
    estimator : BaseDiscoverer
        A fitted estimator.
    ax : Axes, optional
        Where to draw. The default is a new figure.

    Returns
    -------
    Axes
        What was drawn into: one line for each state's front, a ring around each chosen equation.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> from discoverers import SMNNDiscoverer
    >>> from discoverers.datasets import generate, van_der_pol
    >>> from discoverers.plotting import plot_pareto
    >>> record = generate(van_der_pol(), 300, noise=0.01, seed=0).to_frame()
    >>> model = SMNNDiscoverer().fit(record["t"], record[["x", "y"]])
    >>> plot_pareto(model).get_xlabel()
    'complexity'
    """
    _check_fitted(estimator)
    panel = ax if ax is not None else _new_panel()
    front = estimator.pareto_front_
    groups = (
        list(front.groupby("state", sort=False))
        if "state" in front.columns
        else [("candidates", front)]
    )
    for position, (name, rows) in enumerate(groups):
        colour = _COLOURS[position % len(_COLOURS)]
        ordered = rows.sort_values("complexity")
        panel.plot(
            ordered["complexity"],
            ordered["loss"],
            color=colour,
            marker="o",
            markersize=4,
            linewidth=1.4,
            label=f"{name}'" if "state" in front.columns else str(name),
        )
        chosen = ordered[ordered["selected"].astype(bool)]
        panel.plot(
            chosen["complexity"],
            chosen["loss"],
            linestyle="none",
            marker="o",
            markersize=11,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=1.6,
            label="chosen" if position == len(groups) - 1 else None,
        )
    if (front["loss"] > 0).all():
        panel.set_yscale("log")
    panel.set_xlabel("complexity")
    panel.set_ylabel("loss")
    _tidy(panel)
    panel.legend(fontsize="small", framealpha=0.85)
    return panel


def plot_coefficients(
    estimator: "BaseDiscoverer",
    ax: "Axes | None" = None,
    *,
    truth: "Equations | None" = None,
) -> "Axes":
    """Draw the coefficients with their 95 % intervals.

    Parameters
    ----------
    estimator : BaseDiscoverer
        A fitted estimator.
    ax : Axes, optional
        Where to draw. The default is a new figure.
    truth : Equations, optional
        True equations, whose coefficients are added as crosses.

    Returns
    -------
    Axes
        What was drawn into: one row for each term of each equation, from the top.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> from discoverers import SMNNDiscoverer
    >>> from discoverers.datasets import generate, van_der_pol
    >>> from discoverers.plotting import plot_coefficients
    >>> record = generate(van_der_pol(), 300, noise=0.01, seed=0).to_frame()
    >>> model = SMNNDiscoverer().fit(record["t"], record[["x", "y"]])
    >>> plot_coefficients(model).get_xlabel()
    'coefficient, with 95 % interval'
    """
    _check_fitted(estimator)
    true_terms = truth.terms() if truth is not None else {}
    rows: list[tuple[str, str, float, float]] = []
    crosses: list[tuple[int, float]] = []
    for v, state in enumerate(estimator.state_names_):
        expected = {str(term): value for term, value in true_terms.get(state, {}).items()}
        for k, term in enumerate(estimator.terms_):
            value = float(estimator.coef_[v, k])
            if value == 0 and term not in expected:
                continue
            if term in expected:
                crosses.append((len(rows), expected[term]))
            rows.append((state, term, value, float(estimator.coef_std_[v, k])))
    panel = ax if ax is not None else _new_panel(height=1.2 + 0.3 * len(rows))
    for v, state in enumerate(estimator.state_names_):
        mine = [(row, entry) for row, entry in enumerate(rows) if entry[0] == state]
        if mine:
            panel.errorbar(
                [entry[2] for _, entry in mine],
                [row for row, _ in mine],
                xerr=[_TWO_SIDED_95 * entry[3] for _, entry in mine],
                linestyle="none",
                marker="o",
                markersize=5,
                capsize=3,
                color=_COLOURS[v % len(_COLOURS)],
                label=f"{state}'",
            )
    if crosses:
        panel.plot(
            [value for _, value in crosses],
            [row for row, _ in crosses],
            linestyle="none",
            marker="x",
            markersize=8,
            color="black",
            label="true",
        )
    panel.axvline(0.0, color="0.6", linewidth=0.8)
    _spread_scale(panel, [entry[2] for entry in rows])
    panel.set_yticks(range(len(rows)), [f"{state}':  {term}" for state, term, _, _ in rows])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlabel("coefficient, with 95 % interval")
    _tidy(panel)
    panel.legend(fontsize="small", framealpha=0.85)
    return panel


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


def _check_fitted(estimator: "BaseDiscoverer") -> None:
    """Raise scikit-learn's own error for an estimator that was not fitted."""
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator)


def _runs(estimator: "BaseDiscoverer") -> "list[tuple[Any, FittedTrajectory]]":
    """Pair the measured runs with the fitted ones."""
    return list(zip(estimator.training_data_, estimator.solution_, strict=True))


def _simulate(
    estimator: "BaseDiscoverer", fitted: "FittedTrajectory"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Integrate the equations from the first fitted state, densely enough for a smooth line."""
    from discoverers.simulation import simulate

    t, u = fitted.t, fitted.u if fitted.u.shape[1] else None
    if u is None and t.size < 400:
        t = np.linspace(t[0], t[-1], 400)
    return t, simulate(estimator.equations_, t, fitted.X[0], u=u).X


def _state_panels(ax: "Axes | Sequence[Axes] | None", n: int) -> "NDArray[np.object_]":
    """Return one Axes for each state, the same one repeated if there is only one."""
    if ax is None:
        import matplotlib.pyplot as plt

        _, panels = plt.subplots(
            n, 1, sharex=True, squeeze=False, figsize=(8.0, 1.2 + 1.5 * n), layout="constrained"
        )
        return panels[:, 0]
    given = np.array(ax, dtype=object).ravel()
    if given.size not in (1, n):
        raise ValueError(f"ax holds {given.size} panels; 1 or {n}, one for each state, are needed")
    return np.repeat(given, n) if given.size == 1 else given


def _new_panel(*, height: float = 4.5, three_d: bool = False) -> "Axes":
    """Return the Axes of a new figure."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(6.0, height), layout="constrained")
    return figure.add_subplot(projection="3d" if three_d else None)


def _phase_states(known: Sequence[str], states: Sequence[str] | None) -> tuple[str, ...]:
    """Check the states of a phase portrait."""
    if states is None:
        return tuple(known[:3])
    unknown = [name for name in states if name not in known]
    if unknown or len(states) not in (2, 3):
        raise ValueError(f"states={list(states)}: two or three of {list(known)} are needed")
    return tuple(states)


def _plot_derivative(estimator: "BaseDiscoverer", name: str, ax: "Axes | None") -> "Axes":
    """Draw a single state against its derivative: the fitted path and the found law."""
    panel = ax if ax is not None else _new_panel()
    for position, (_, fitted) in enumerate(_runs(estimator)):
        order = np.argsort(fitted.X[:, 0])
        rate = estimator.derivative(fitted.X, u=fitted.u if fitted.u.shape[1] else None)
        first = position == 0
        panel.plot(
            fitted.X[:, 0],
            fitted.derivative[:, 0],
            label="fitted" if first else None,
            **{**_DATA, "markersize": _marker_size(fitted.t.size)},
        )
        panel.plot(
            fitted.X[order, 0],
            np.asarray(rate).reshape(-1)[order],
            color=_COLOURS[position % len(_COLOURS)],
            linewidth=1.6,
            label="equation" if first else None,
        )
    panel.set_xlabel(name)
    panel.set_ylabel(f"{name}'")
    _tidy(panel)
    panel.legend(fontsize="small", framealpha=0.85)
    return panel


def _label(what: str, name: str, shared: bool, first: bool) -> str | None:
    """Return a legend entry, once for each kind of line."""
    if not first:
        return None
    return f"{name} {what}" if shared else what


def _time_label(estimator: "BaseDiscoverer") -> str:
    """Name the time axis, with the unit and origin where dates were given."""
    clock = estimator.training_data_.clock
    if clock.origin is None:
        return "t" if clock.kind == "number" else f"t ({clock.unit})"
    return f"t ({clock.unit} after {clock.origin})"


def _marker_size(n: int) -> float:
    """Return a size at which n points can still be told apart."""
    return float(np.clip(30.0 / np.sqrt(n), 1.2, 5.0))


def _spread_scale(panel: "Axes", values: Sequence[float]) -> None:
    """Use a symmetric logarithmic axis where coefficients span more than two decades."""
    sizes = np.abs([value for value in values if value])
    if sizes.size and sizes.max() > 100 * sizes.min():
        panel.set_xscale("symlog", linthresh=float(sizes.min()))


def _tidy(panel: "Axes") -> None:
    """Take away what does not inform."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(visible=True, color="0.9", linewidth=0.7)
    panel.set_axisbelow(True)
