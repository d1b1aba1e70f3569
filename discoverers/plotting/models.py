"""Pictures of the equations: the trade-off they were chosen from, and their coefficients."""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from discoverers.formatting import readable_name, readable_terms
from discoverers.plotting.style import COLOURS, check_fitted, new_panel, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from discoverers.base import BaseDiscoverer
    from discoverers.equations import Equations

_TWO_SIDED_95 = 1.96


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
        What was drawn into: a line through the front, and a ring around the chosen equations.

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
    check_fitted(estimator)
    panel = ax if ax is not None else new_panel()
    front = estimator.pareto_front_.sort_values("complexity")
    chosen = front[front["selected"].astype(bool)]
    panel.plot(
        front["complexity"],
        front["loss"],
        color=COLOURS[0],
        marker="o",
        markersize=4,
        linewidth=1.4,
        label="best of each size",
    )
    panel.plot(
        chosen["complexity"],
        chosen["loss"],
        linestyle="none",
        marker="o",
        markersize=11,
        markerfacecolor="none",
        markeredgecolor=COLOURS[1],
        markeredgewidth=1.8,
        label="chosen",
    )
    if (front["loss"] > 0).all():
        panel.set_yscale("log")
    panel.set_xlabel("complexity")
    panel.set_ylabel("loss")
    tidy(panel)
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
    check_fitted(estimator)
    true_terms = truth.terms() if truth is not None else {}
    rows: list[tuple[str, str, float, float]] = []
    crosses: list[tuple[int, float]] = []
    for v, state in enumerate(estimator.state_names_):
        expected = {_factors(str(term)): value for term, value in true_terms.get(state, {}).items()}
        for k, term in enumerate(estimator.terms_):
            value = float(estimator.coef_[v, k])
            true_value = expected.get(_factors(term))
            if value == 0 and true_value is None:
                continue
            if true_value is not None:
                crosses.append((len(rows), true_value))
            rows.append((state, term, value, float(estimator.coef_std_[v, k])))
    equations = estimator.equations_
    texts = readable_terms(
        chain(*equations.terms().values(), *true_terms.values()), equations.variables
    )
    sides = {
        name: readable_name(name) + "'" * order
        for name, order in zip(equations.state_names, equations.orders, strict=True)
    }
    panel = ax if ax is not None else new_panel(height=1.2 + 0.3 * len(rows))
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
                color=COLOURS[v % len(COLOURS)],
                label=sides[state],
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
    labels = [f"{sides[state]}:  {texts.get(term, term)}" for state, term, _, _ in rows]
    panel.set_yticks(range(len(rows)), labels)
    panel.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    panel.set_xlabel("coefficient, with 95 % interval")
    tidy(panel)
    if rows:
        panel.legend(fontsize="small", framealpha=0.85)
    return panel


def _spread_scale(panel: "Axes", values: Sequence[float]) -> None:
    """Use a symmetric logarithmic axis where coefficients span more than two decades."""
    sizes = np.abs([value for value in values if value])
    if sizes.size and sizes.max() > 100 * sizes.min():
        # Below a thousandth of the largest the axis is linear, or its labels would collide.
        threshold = float(max(sizes.min(), sizes.max() / 1000))
        panel.set_xscale("symlog", linthresh=threshold)


def _factors(term: str) -> tuple[str, ...]:
    """Return the factors of a term's name, whatever their order: "x*y" and "y*x" are one term."""
    return tuple(sorted(term.replace("**", "^").split("*")))
