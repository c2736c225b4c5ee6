"""Results where scanpy finds them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from scvi_sams._constants import ADATA_KEYS
from scvi_sams.model._effects import PerturbationEffectsMixin
from scvi_sams.model._latent import LatentStateMixin
from scvi_sams.model._received import CellConditions

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

_WRITTEN = r"sams_(condition|shift|z\d+)"


class AnnotationMixin(LatentStateMixin):
    """Results in obsm, obs and uns."""

    def annotate(self, adata: AnnData | MuData | None = None, *, n_dimensions: int = 10) -> None:
        r"""Write the results where scanpy finds them.

        Adds to ``adata``

        - ``obsm["X_sams"]``, ``obsm["X_sams_basal"]``: perturbed and basal state of each cell;
          the difference of the two is what its perturbations add
        - ``obs["sams_condition"]``: what each cell received, such as ``"KLF1+MAP2K6"``; also where
          the setup read a matrix. A dose other than 1 stands beside its name, ``"KLF1 (0.5)"``.
        - ``obs["sams_shift"]``: the length :math:`\lVert E[o_i] \rVert` of what they add, 0 of a
          control
        - ``obs["sams_z<k>"]``: perturbed state on latent dimension k, for the ``n_dimensions``
          that perturbations shift most
        - ``uns["sams"]``: ``effects``, ``effect_mean``, ``effect_sd`` and
          ``inclusion_probability`` (perturbations × latent dimensions, as in
          :meth:`~scvi_sams.SAMSVAE.get_perturbation_effects`); ``columns``, the names of those
          dimensions in obs, of the largest shift first; ``perturbation_names``,
          ``dimension_names``, ``n_cells`` of training, and the ``settings`` of the model, of
          which tuples and None are text

        A model without effects on latent dimensions writes nothing of them. What an earlier
        annotation wrote is replaced. All of it survives ``write_h5ad`` and ``write_zarr``.

        Parameters
        ----------
        adata
            Data set up like the model's; the model's own by default.
        n_dimensions
            Most latent dimensions to write to obs. They are those with an inclusion probability
            above 0.5 for a perturbation at least, ordered by their largest expected shift.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If ``n_dimensions`` is negative.

        Examples
        --------
        >>> model.annotate(adata)
        >>> columns = list(adata.uns["sams"]["columns"])
        >>> sc.pl.embedding(adata, "X_sams", color=["sams_condition", "sams_shift", *columns])
        >>> sc.pl.heatmap(adata, columns, groupby="sams_condition")
        """
        if n_dimensions < 0:
            raise ValueError(f"`n_dimensions` must not be negative; it is {n_dimensions}.")
        self._check_if_trained(warn=False)
        adata = self._validate_anndata(adata)
        z, z_basal = (
            np.asarray(self.get_latent_representation(adata, kind=kind))  # cells x K
            for kind in ("perturbed", "basal")
        )
        names = np.array([f"z{k}" for k in range(self.module.n_latent)], dtype=object)
        results: dict[str, Any] = {
            "perturbation_names": self.perturbation_names,
            "dimension_names": names,
            "n_cells": self.module.perturbations.n_cells.cpu().numpy().astype(int),
            "settings": {
                "model": type(self).__name__,
                **{name: _writable(value) for name, value in self._settings.items()},
            },
        }
        columns: dict[str, npt.NDArray[np.float32]] = {}
        if isinstance(self, PerturbationEffectsMixin):
            effects = self.get_perturbation_effects()
            results["effects"] = np.asarray(effects.X)
            layers = {name: layer for name, layer in effects.layers.items() if name is not None}
            results |= {name: np.asarray(layer) for name, layer in layers.items()}
            shown = _most_shifted(effects)[:n_dimensions]
            columns = {f"sams_{names[k]}": z[:, k] for k in shown}
            results["columns"] = np.array(list(columns), dtype=object)
            columns["sams_shift"] = np.linalg.norm(z - z_basal, axis=1)
        received = CellConditions.of(self, adata, np.arange(adata.n_obs))
        condition = pd.Categorical.from_codes(received.code, received.table.index)
        adata.obsm[ADATA_KEYS.X_PERTURBED] = z
        adata.obsm[ADATA_KEYS.X_BASAL] = z_basal
        adata.uns[ADATA_KEYS.RESULTS] = results
        written = pd.DataFrame({"sams_condition": condition, **columns}, index=adata.obs_names)
        earlier = [name for name in adata.obs if re.fullmatch(_WRITTEN, str(name))]
        adata.obs = pd.concat([adata.obs.drop(columns=earlier), written], axis=1)


def _most_shifted(effects: AnnData) -> npt.NDArray[np.intp]:
    """Dimensions that some perturbation shifts, from the largest shift to the smallest."""
    order = np.argsort(-np.abs(np.asarray(effects.X)).max(axis=0), kind="stable")  # K
    largest_inclusion = np.asarray(effects.layers["inclusion_probability"]).max(axis=0)
    return order[largest_inclusion[order] > 0.5]


def _writable(value: object) -> str | bool | int | float:
    """A setting as HDF5 and zarr take it: they have no tuples and no None."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, str | bool | int | float) else str(value)
