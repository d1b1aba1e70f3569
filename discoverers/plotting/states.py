"""Pictures of the states: over time, and against each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from discoverers.plotting.runs import (
    Measured,
    dense,
    fitted_channels,
    fitted_runs,
    measured_runs,
    simulated_channels,
)
from discoverers.plotting.style import COLOURS, check_fitted, markers, new_panel, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from discoverers.base import BaseDiscoverer, FittedTrajectory


def plot_fit(
    estimator: "BaseDiscoverer",
    ax: "Axes | Sequence[Axes] | None" = None,
    *,
    t: Any = None,
    X: Any = None,
    trajectory: Any = None,
    simulated: bool = False,
) -> "NDArray[np.object_]":
    """Draw what was measured over time, as fitted, with the measurements if they are known.

    Parameters
    ----------
    estimator : BaseDiscoverer
        A fitted estimator.
    ax : Axes or sequence of C Axes, optional
        Where to draw: one panel for all columns, or one for each. The default is a new figure with
        one panel for each column of ``X``: the states, or the channels observed of them.
    t, X, trajectory : array-like, optional
        The measurements that were passed to ``fit``, in the same form. `SKANODERegressor` keeps
        them, and they are drawn without asking.
    simulated : bool, default=False
        Whether to add the equations on their own, integrated from the first fitted state of each
        run: a dashed line that ends where the integration blows up.

    Returns
    -------
    ndarray of Axes
        The panel of each column, in order.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If `ax` holds neither one nor C panels, or if the measurements do not match the fit.

    Examples
    --------
    >>> from discoverers import SMNNDiscoverer
    >>> from discoverers.datasets import generate, van_der_pol
    >>> from discoverers.plotting import plot_fit
    >>> record = generate(van_der_pol(), 300, noise=0.01, seed=0).to_frame()
    >>> model = SMNNDiscoverer().fit(record["t"], record[["x", "y"]])
    >>> [panel.get_ylabel() for panel in plot_fit(model, t=record["t"], X=record[["x", "y"]])]
    ['x', 'y']
    """
    check_fitted(estimator)
    names = estimator.channel_names_
    runs = measured_runs(estimator, t, X, trajectory)
    curves = [
        Curve("fitted", lambda fitted, times: fitted_channels(estimator, fitted, times)),
    ]
    if simulated:
        curves.append(
            Curve(
                "equations alone",
                lambda fitted, times: simulated_channels(estimator, fitted, times),
                color="black",
                linewidth=1.1,
                linestyle="--",
            )
        )
    return _over_time(estimator, names, runs, curves, ax, "measured")


def plot_states(
    estimator: "BaseDiscoverer",
    ax: "Axes | Sequence[Axes] | None" = None,
    *,
    t: Any = None,
    X: Any = None,
    trajectory: Any = None,
) -> "NDArray[np.object_]":
    """Draw all fitted states over time, those that were never measured included.

    Parameters
    ----------
    estimator : BaseDiscoverer
        A fitted estimator.
    ax : Axes or sequence of V Axes, optional
        Where to draw: one panel for all states, or one for each. The default is a new figure with
        one panel for each state.
    t, X, trajectory : array-like, optional
        Times and states known from elsewhere, to compare with.

    Returns
    -------
    ndarray of Axes
        The panel of each state, in order.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If `ax` holds neither one nor V panels, or if `X` does not have a column for each state.

    Examples
    --------
    >>> from discoverers import SMNNDiscoverer
    >>> from discoverers.datasets import generate, van_der_pol
    >>> from discoverers.plotting import plot_states
    >>> record = generate(van_der_pol(), 300, noise=0.01, seed=0).to_frame()
    >>> model = SMNNDiscoverer().fit(record["t"], record[["x", "y"]])
    >>> [panel.get_ylabel() for panel in plot_states(model)]
    ['x', 'y']
    """
    check_fitted(estimator)
    names = estimator.state_names_
    runs = fitted_runs(estimator, t, X, trajectory, names)
    curve = Curve("fitted", lambda fitted, times: fitted(times))
    return _over_time(estimator, names, runs, [curve], ax, _given(estimator))


@dataclass(frozen=True)
class Curve:
    """A kind of line: what it is called, its values (n, columns) at times, and its style."""

    label: str
    values: "Callable[[FittedTrajectory, NDArray[np.float64]], NDArray[np.float64]]"
    color: str | None = None
    linewidth: float = 1.6
    linestyle: str = "-"


def _over_time(
    estimator: "BaseDiscoverer",
    names: Sequence[str],
    runs: "list[tuple[Measured | None, FittedTrajectory]]",
    curves: Sequence[Curve],
    ax: "Axes | Sequence[Axes] | None",
    given: str,
) -> "NDArray[np.object_]":
    """Draw columns over time, one panel for each or one for all."""
    panels = _state_panels(ax, len(names))
    shared = len(set(map(id, panels))) == 1 and len(names) > 1
    for position, (run, fitted) in enumerate(runs):
        times = dense(fitted.t)
        drawn = [(curve, curve.values(fitted, times)) for curve in curves]
        for v, (name, panel) in enumerate(zip(names, panels, strict=True)):
            colour = COLOURS[v % len(COLOURS)]
            first = position == 0
            if run is not None:
                marker = markers(run.t.size) | ({"color": colour} if shared else {})
                label = _label(given, name, shared, first)
                panel.plot(run.t, run.X[:, v], label=label, **marker)
            for curve, values in drawn:
                panel.plot(
                    times,
                    values[:, v],
                    color=curve.color or colour,
                    linewidth=curve.linewidth,
                    linestyle=curve.linestyle,
                    label=_label(curve.label, name, shared, first),
                )
    for name, panel in zip(names, panels, strict=True):
        panel.set_ylabel("states" if shared else name)
        tidy(panel)
    panels[-1].set_xlabel(_time_label(estimator))
    # Above the panels, where it hides nothing.
    panels[0].legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, fontsize="small", frameon=False
    )
    return panels


def _given(estimator: "BaseDiscoverer") -> str:
    """Name states that are passed: measured, or, where they never were, true."""
    return "measured" if estimator.observation_ is None else "true"


def plot_phase(
    estimator: "BaseDiscoverer",
    ax: "Axes | None" = None,
    *,
    states: Sequence[str] | None = None,
    t: Any = None,
    X: Any = None,
    trajectory: Any = None,
) -> "Axes":
    """Draw the path of the fitted states, with the measured ones if they are given.

    Parameters
    ----------
    estimator : BaseDiscoverer
        A fitted estimator.
    ax : Axes, optional
        Where to draw; three states need an Axes made with ``projection="3d"``. The default is a new
        figure.
    states : sequence of str, optional
        Two or three states. The default are the first three, or both, or one state against its
        derivative, with the found law.
    t, X, trajectory : array-like, optional
        The measurements that were passed to ``fit``, in the same form; of states that were not
        measured, times and states known from elsewhere.

    Returns
    -------
    Axes
        What was drawn into.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If `states` are unknown or of a wrong number, if `ax` has the wrong projection, or if the
        measurements do not match the fit.

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
    check_fitted(estimator)
    names = _phase_states(estimator.state_names_, states)
    if len(names) == 1:
        return _plot_derivative(estimator, names[0], ax)
    panel = ax if ax is not None else new_panel(three_d=len(names) == 3)
    if (panel.name == "3d") != (len(names) == 3):
        raise ValueError(
            f"ax has the projection {panel.name!r}, which does not suit {len(names)} states; use "
            "states= to draw others, or an Axes made with projection='3d' for three"
        )
    columns = [estimator.state_names_.index(name) for name in names]
    runs = fitted_runs(estimator, t, X, trajectory, estimator.state_names_)
    for position, (run, fitted) in enumerate(runs):
        if run is not None:
            label = _given(estimator) if position == 0 else None
            panel.plot(*run.X[:, columns].T, label=label, **markers(run.t.size))
        panel.plot(
            *fitted(dense(fitted.t))[:, columns].T,
            color=COLOURS[position % len(COLOURS)],
            linewidth=float(np.clip(50.0 / np.sqrt(fitted.t.size), 0.5, 1.5)),
            label="fitted" if position == 0 else None,
        )
    panel.set_xlabel(names[0])
    panel.set_ylabel(names[1])
    if len(names) == 3:
        panel.set_zlabel(names[2])  # type: ignore[attr-defined]
        panel.locator_params(nbins=5)
    else:
        tidy(panel)
    panel.legend(loc="upper right", fontsize="small", framealpha=0.85)
    return panel


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


def _phase_states(known: Sequence[str], states: Sequence[str] | None) -> tuple[str, ...]:
    """Check the states of a phase portrait."""
    if states is None:
        return tuple(known[:3])
    unknown = [name for name in states if name not in known]
    if unknown or len(states) not in (2, 3):
        raise ValueError(f"states={list(states)}: two or three of {list(known)} are needed")
    return tuple(states)


def _plot_derivative(estimator: "BaseDiscoverer", name: str, ax: "Axes | None") -> "Axes":
    """Draw a single state against its derivative: the fitted path and the found law.

    Of higher order the law is no curve in this plane, and the path alone is drawn.
    """
    panel = ax if ax is not None else new_panel()
    for position, fitted in enumerate(estimator.solution_):
        if fitted.chain is not None:
            panel.plot(
                fitted.X[:, 0],
                fitted.derivative[:, 0],
                color=COLOURS[position % len(COLOURS)],
                label="fitted" if position == 0 else None,
            )
            continue
        order = np.argsort(fitted.X[:, 0])
        rate = estimator.derivative(fitted.X, u=fitted.u if fitted.u.shape[1] else None)
        first = position == 0
        panel.plot(
            fitted.X[:, 0],
            fitted.derivative[:, 0],
            label="fitted" if first else None,
            **markers(fitted.t.size),
        )
        panel.plot(
            fitted.X[order, 0],
            np.asarray(rate).reshape(-1)[order],
            color=COLOURS[position % len(COLOURS)],
            linewidth=1.6,
            label="equation" if first else None,
        )
    panel.set_xlabel(name)
    panel.set_ylabel(f"{name}'")
    tidy(panel)
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
    return f"t ({clock.unit} after {np.datetime_as_string(clock.origin, unit='auto')})"
