"""Simple predictions of perturbed cells, to be beaten."""

from scvi_sams.evaluation._baseline import Baseline
from scvi_sams.evaluation._mean_baselines import (
    Additive,
    ControlMean,
    LinearAdditive,
    PerturbedMean,
)

__all__ = ["Additive", "Baseline", "ControlMean", "LinearAdditive", "PerturbedMean"]
