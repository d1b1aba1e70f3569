"""Structures: what is known beforehand of the equations that `SKANODERegressor` looks for.

A structure says which states there are and how the unknown laws enter their rates (a chain of
derivatives, masses joined by elements, modes of vibration), and discovers the laws. New ones are
subclasses of `Structure`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from discoverers.structures.base import (
    Channel,
    Data,
    Note,
    Options,
    StructuralFit,
    Structure,
    resolve_structure,
)

if TYPE_CHECKING:
    from discoverers.structures.chain.structure import ChainStructure
    from discoverers.structures.edges import EdgeFunction
    from discoverers.structures.elements.structure import ElementStructure
    from discoverers.structures.modal.structure import ModalStructure

_HOMES = {
    "ChainStructure": "chain",
    "EdgeFunction": "edges",
    "ElementStructure": "elements",
    "ModalStructure": "modal",
}

__all__ = [
    "ChainStructure",
    "Channel",
    "Data",
    "EdgeFunction",
    "ElementStructure",
    "ModalStructure",
    "Note",
    "Options",
    "StructuralFit",
    "Structure",
    "resolve_structure",
]


def __getattr__(name: str) -> Any:
    """Load a structure from its module when it is first asked for: it needs Numba."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
