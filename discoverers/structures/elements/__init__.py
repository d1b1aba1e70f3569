"""Masses joined by unknown springs and dampers."""

from .structure import ElementStructure

__all__ = ["ElementStructure"]
