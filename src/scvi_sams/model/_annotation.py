"""Results where scanpy finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scvi_sams._constants import ADATA_KEYS
from scvi_sams.model._effects import PerturbationEffectsMixin
from scvi_sams.model._latent import LatentStateMixin

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


class AnnotationMixin(LatentStateMixin):
    """Results in obsm and uns."""

    def annotate(self, adata: AnnData | MuData | None = None) -> None:
        """Write the results where scanpy finds them.

        Adds to ``adata``

        - ``obsm["X_sams"]``, ``obsm["X_sams_basal"]``: perturbed and basal state of each cell
        - ``uns["sams"]``: ``effects`` and ``inclusion_probability`` (perturbations × latent
          dimensions; not of models without effects on them), ``perturbation_names``,
          ``n_cells`` and the ``settings`` of the model

        All of it survives ``write_h5ad``.

        Parameters
        ----------
        adata
            Data set up like the model's; the model's own by default.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        """
        self._check_if_trained(warn=False)
        adata = self._validate_anndata(adata)
        adata.obsm[ADATA_KEYS.X_PERTURBED] = self.get_latent_representation(adata)
        adata.obsm[ADATA_KEYS.X_BASAL] = self.get_latent_representation(adata, kind="basal")
        settings = {
            # HDF5 has no tuples and no None
            name: value if isinstance(value, str | bool | int | float) else str(value)
            for name, value in self._settings.items()
        }
        results: dict[str, Any] = {
            "perturbation_names": self.perturbation_names,
            "n_cells": self.module.perturbations.n_cells.cpu().numpy().astype(int),
            "settings": {"model": type(self).__name__, **settings},
        }
        if isinstance(self, PerturbationEffectsMixin):
            effects = self.get_perturbation_effects()
            results["effects"] = np.asarray(effects.X)
            results["inclusion_probability"] = effects.layers["inclusion_probability"]
        adata.uns[ADATA_KEYS.RESULTS] = results
