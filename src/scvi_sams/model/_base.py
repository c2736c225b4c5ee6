"""What all models of a screen know."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from mudata import MuData
from scvi import REGISTRY_KEYS as SCVI_KEYS

from scvi_sams._constants import REGISTRY_KEYS
from scvi_sams.data._disk import is_on_disk
from scvi_sams.data._field import PerturbationField, unchanged_on_error
from scvi_sams.data._loader import screen_loader
from scvi_sams.model._pickling import PicklingMixin
from scvi_sams.model._saving import SavingMixin
from scvi_sams.module._module import SAMSVAEModule

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.data import AnnDataManager


class PerturbationModel(PicklingMixin, SavingMixin):
    """A scvi-tools model of a perturbation screen."""

    module: SAMSVAEModule
    _data_loader_cls = staticmethod(screen_loader)
    _one_perturbation_per_cell: ClassVar[bool] = False
    _settings: dict[str, Any]

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

    def _own_managers(self) -> dict[str, AnnDataManager]:
        """Managers of data that this model was given, which go when it goes."""
        store = self._per_instance_manager_store
        if self.id not in store:
            store[self.id] = {}
            weakref.finalize(self, store.pop, self.id, None).atexit = False
        return store[self.id]

    def _register_manager_for_instance(self, adata_manager: AnnDataManager) -> None:
        self._own_managers()
        super()._register_manager_for_instance(adata_manager)

    def _validate_anndata(
        self, adata: AnnData | MuData | None = None, copy_if_view: bool = True
    ) -> AnnData | MuData:
        """Set up data like the model's; data that cannot be is left as it was."""
        data = self._given(adata)
        with unchanged_on_error(data):
            return super()._validate_anndata(data, copy_if_view)

    def _given(self, adata: AnnData | MuData | None) -> AnnData | MuData:
        """The data given, or else the model's own."""
        data = self.adata if adata is None else adata
        if data is None:
            raise ValueError("The model was loaded without data; pass `adata`.")
        return data

    def minify_adata(self, *args: Any, **kwargs: Any) -> None:
        """Keep latent states in place of counts.

        Parameters
        ----------
        *args, **kwargs
            Those of scvi-tools' ``minify_adata``.

        Raises
        ------
        NotImplementedError
            If the model's data is a MuData, or its counts are on a disk.
        """
        if isinstance(self.adata, MuData):
            raise NotImplementedError(
                "Minified mode is for AnnData. Train on the RNA modality with `setup_anndata`, "
                "its perturbations as labels in obs, to minify it."
            )
        if is_on_disk(self.adata_manager.get_from_registry(SCVI_KEYS.X_KEY)):
            raise NotImplementedError(
                "Minified mode is for counts in memory, and these are on a disk. Load the model "
                "with cells in memory to minify it."
            )
        super().minify_adata(*args, **kwargs)
