"""What all models of a screen know."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi.model.base import BaseMinifiedModeModelClass

from scvi_sams._constants import REGISTRY_KEYS
from scvi_sams.data._field import PerturbationField
from scvi_sams.module._module import SAMSVAEModule


class PerturbationModel(BaseMinifiedModeModelClass):
    """A scvi-tools model of a perturbation screen."""

    module: SAMSVAEModule

    @property
    def perturbation_names(self) -> npt.NDArray[np.object_]:
        """Names of the perturbations, in the order of the model; of shape T."""
        state = self.get_state_registry(REGISTRY_KEYS.PERTURBATIONS)
        return np.asarray(state[PerturbationField.NAMES_KEY], dtype=object)

    @property
    def gene_names(self) -> pd.Index:
        """Names of the genes, in the order of the model; of shape G."""
        names = self.get_state_registry(SCVI_KEYS.X_KEY)["column_names"]
        return pd.Index(np.asarray(names).astype(str))
