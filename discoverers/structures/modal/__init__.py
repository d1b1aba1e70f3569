"""Modes of vibration, and forces that bend them."""

from .structure import ModalStructure

__all__ = ["ModalStructure"]
