"""Screens to try things on."""

from scvi_sams.data._simulate import simulate

__all__ = ["simulate"]
