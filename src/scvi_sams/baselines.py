"""Simple predictions of perturbed cells, to be beaten."""

from scvi_sams.evaluation._baseline import Baseline
from scvi_sams.evaluation._mean_baselines import (
    Additive,
    ControlMean,
    LinearAdditive,
    PerturbedMean,
)
from scvi_sams.evaluation._network_baselines import DecoderOnly, LatentAdditive

__all__ = [
    "Additive",
    "Baseline",
    "ControlMean",
    "DecoderOnly",
    "LatentAdditive",
    "LinearAdditive",
    "PerturbedMean",
]
