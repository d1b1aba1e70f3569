"""Sparse selection on normal equations, wherever they come from."""

from .criterion import GradedCriterion
from .normal_equations import NormalEquations
from .pareto import ParetoFront, combine
from .search import SubsetSearch, search_subsets

__all__ = [
    "GradedCriterion",
    "NormalEquations",
    "ParetoFront",
    "SubsetSearch",
    "combine",
    "search_subsets",
]
