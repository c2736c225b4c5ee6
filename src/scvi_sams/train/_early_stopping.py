"""When training stops."""

from __future__ import annotations

from typing import Any

from scvi.train import LoudEarlyStopping

_PREFIX = "early_stopping_"


def early_stopping_callback(patience: int, trainer_kwargs: dict[str, Any]) -> LoudEarlyStopping:
    """Early stopping of scvi-tools, which takes it away from several devices, for any number.

    Parameters
    ----------
    patience
        Validations without improvement after which to stop.
    trainer_kwargs
        Keyword arguments of the trainer; those of early stopping are taken out.
    """
    given = {
        name.removeprefix(_PREFIX): trainer_kwargs.pop(name)
        for name in list(trainer_kwargs)
        if name.startswith(_PREFIX)
    }
    settings = {"monitor": "elbo_validation", "mode": "min", "min_delta": 0.0, "warmup_epochs": 0}
    return LoudEarlyStopping(**settings | given | {"patience": patience})
