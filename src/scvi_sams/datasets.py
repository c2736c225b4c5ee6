"""Screens to try things on."""

from scvi_sams.data._simulate import simulate
from scvi_sams.data._simulate_gaussian import simulate_gaussian
from scvi_sams.data._simulate_poisson import simulate_poisson

__all__ = ["simulate", "simulate_gaussian", "simulate_poisson"]
