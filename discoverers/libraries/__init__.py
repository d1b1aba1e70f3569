"""Libraries of candidate terms: what the right-hand sides may be made of.

A library is a value that only stores its parameters; ``library.bind(state_names, input_names)``
makes the `BoundLibrary` that evaluates terms. Libraries add (`a + b`, all terms of both) and
multiply (`a * b`, all products of a term of each).
"""

from discoverers.libraries.automatic import AutoLibrary
from discoverers.libraries.base import Candidates, Library, ProductLibrary, SumLibrary, Variables
from discoverers.libraries.bound import BoundLibrary, Term
from discoverers.libraries.custom import CustomLibrary
from discoverers.libraries.elementary import ExponentialLibrary, FourierLibrary
from discoverers.libraries.per_state import PerStateLibrary
from discoverers.libraries.polynomial import PolynomialLibrary
from discoverers.libraries.shorthand import resolve_library

__all__ = [
    "AutoLibrary",
    "BoundLibrary",
    "Candidates",
    "CustomLibrary",
    "ExponentialLibrary",
    "FourierLibrary",
    "Library",
    "PerStateLibrary",
    "PolynomialLibrary",
    "ProductLibrary",
    "SumLibrary",
    "Term",
    "Variables",
    "resolve_library",
]
