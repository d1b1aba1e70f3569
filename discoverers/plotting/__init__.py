"""Pictures of fitted estimators: states over time, phase portrait, Pareto front, coefficients.

Every function takes a fitted estimator and draws into Matplotlib axes, its own or given ones.
An estimator does not keep the measurements that it was fitted to; where they are to be seen beside
the fit, they are passed again. Matplotlib is imported when a picture is drawn.
"""

from discoverers.plotting.edges import plot_edges
from discoverers.plotting.models import plot_coefficients, plot_pareto
from discoverers.plotting.states import plot_fit, plot_phase, plot_states
from discoverers.plotting.style import save_figure

__all__ = [
    "plot_coefficients",
    "plot_edges",
    "plot_fit",
    "plot_pareto",
    "plot_phase",
    "plot_states",
    "save_figure",
]
