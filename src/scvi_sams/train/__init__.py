"""Training plans."""

from scvi_sams.train._plan import SAMSTrainingPlan

__all__ = ["SAMSTrainingPlan"]
