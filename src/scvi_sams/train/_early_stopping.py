"""When training stops."""

from __future__ import annotations

from typing import Any

from scvi.train import LoudEarlyStopping

_PREFIX = "early_stopping_"


class ResumableEarlyStopping(LoudEarlyStopping):
    """scvi-tools' early stopping, all of which a checkpoint holds."""

    def state_dict(self) -> dict[str, Any]:
        """Lightning's, and what scvi-tools counts."""
        return super().state_dict() | {"n_checks": self._current_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._current_step = state_dict["n_checks"]
        super().load_state_dict(state_dict)


def early_stopping_callback(
    patience: int, trainer_kwargs: dict[str, Any]
) -> ResumableEarlyStopping:
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
    return ResumableEarlyStopping(**settings | given | {"patience": patience})
