"""Models, baselines and the ceiling on splits of datasets, from one file."""

from scvi_sams.benchmark._benchmark import Results, run
from scvi_sams.benchmark._config import Benchmark, ConfigError, read_config
from scvi_sams.benchmark._given import GivenPredictions
from scvi_sams.benchmark._predictor import ModelPredictor, Predictor

__all__ = [
    "Benchmark",
    "ConfigError",
    "GivenPredictions",
    "ModelPredictor",
    "Predictor",
    "Results",
    "read_config",
    "run",
]
