"""Setting up AnnData and MuData."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi.data import AnnDataManager
from scvi.utils import setup_anndata_dsp

from scvi_sams._constants import REGISTRY_KEYS
from scvi_sams._scvi import _get_adata_minify_type
from scvi_sams.data._covariates import (
    BatchField,
    CategoricalCovariatesField,
    ContinuousCovariatesField,
    MuDataBatchField,
    MuDataCategoricalCovariatesField,
    MuDataContinuousCovariatesField,
    MuDataSizeFactorField,
    SizeFactorField,
    as_list,
)
from scvi_sams.data._disk import is_on_disk
from scvi_sams.data._field import (
    CountsField,
    MuDataCountsField,
    MuDataPerturbationField,
    PerturbationField,
    unchanged_on_error,
)
from scvi_sams.data._names import as_tuple
from scvi_sams.data._sources import LabelSource, LayerSource, ObsmSource
from scvi_sams.model._base import PerturbationModel

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


class PerturbationSetupMixin(PerturbationModel):
    """The doors of a perturbation screen, shared by all models."""

    @classmethod
    @setup_anndata_dsp.dedent
    def setup_anndata(
        cls,
        adata: AnnData,
        *,
        perturbation_key: str | None = None,
        control: str | Sequence[str] | None = None,
        delimiter: str | None = "+",
        dosage_key: str | None = None,
        perturbation_obsm_key: str | None = None,
        layer: str | None = None,
        batch_key: str | None = None,
        size_factor_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        continuous_covariate_keys: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """%(summary)s.

        Perturbations come from exactly one of ``perturbation_key`` and
        ``perturbation_obsm_key``. Either way their dosages then stand in
        ``adata.obsm["perturbations"]`` (sparse, cells × perturbations), with the names of the
        columns in ``adata.uns["perturbations_names"]``; whatever stood there before is replaced.

        Parameters
        ----------
        %(param_adata)s
        perturbation_key
            Column of ``adata.obs`` with one label per cell; ``"A+B"`` is a combination.
        control
            Label (or column) of control cells, or several, such as all non-targeting guides.
            ``None`` if the screen has none. ``"A+control"`` is A.
        delimiter
            What separates the parts of a combination; ``None`` if labels are never split.
        dosage_key
            Column of ``adata.obs`` with doses: a number per cell, or ``"1.0+0.5"`` beside
            ``"A+B"``. Without it every dose is 1.
        perturbation_obsm_key
            Key of a cells × perturbations matrix of dosages in ``adata.obsm`` (DataFrame, array,
            CSR matrix or CSR array; one-hot, multi-hot or real). Its columns are named by the
            DataFrame or by ``adata.uns[f"{key}_names"]``. An all-zero row is a control.
        %(param_layer)s
        %(param_batch_key)s
        size_factor_key
            Column of ``adata.obs`` with positive size factors, such as counts over the whole
            transcriptome beside a targeted panel. Without it the library size is the sum of a
            cell's counts.
        %(param_cat_cov_keys)s
        %(param_cont_cov_keys)s
        **kwargs
            Passed on to scvi-tools' ``AnnDataManager.register_fields``.

        Raises
        ------
        KeyError
            If a column, layer or matrix does not exist.
        ValueError
            If labels, dosages, counts or size factors are malformed. ``adata`` then is as it was.

        Warns
        -----
        UserWarning
            If counts are no integers, or a perturbation reads like a control and no cell is one.
        """
        setup_method_args = cls._get_setup_method_args(**locals())
        _check_is_no_view(adata, "adata")
        if (perturbation_key is None) == (perturbation_obsm_key is None):
            given = "neither was" if perturbation_key is None else "both were"
            raise ValueError(
                "Perturbations come from exactly one of `perturbation_key` (labels in obs) and "
                f"`perturbation_obsm_key` (a matrix in obsm); {given} given."
            )
        source: LabelSource | ObsmSource
        if perturbation_key is not None:
            source = LabelSource(perturbation_key, as_tuple(control), delimiter, dosage_key)
        else:
            if dosage_key is not None:
                raise ValueError(
                    "`dosage_key` goes with `perturbation_key`; a matrix in obsm holds the "
                    "dosages itself. Leave one of the two out."
                )
            source = ObsmSource(str(perturbation_obsm_key), as_tuple(control))
        fields = [
            CountsField(SCVI_KEYS.X_KEY, layer, may_be_empty=size_factor_key is not None),
            PerturbationField(
                REGISTRY_KEYS.PERTURBATIONS, source, one_per_cell=cls._one_perturbation_per_cell
            ),
            BatchField(SCVI_KEYS.BATCH_KEY, batch_key),
            SizeFactorField(SCVI_KEYS.SIZE_FACTOR_KEY, size_factor_key, required=False),
            CategoricalCovariatesField(
                SCVI_KEYS.CAT_COVS_KEY, as_list(categorical_covariate_keys)
            ),
            ContinuousCovariatesField(SCVI_KEYS.CONT_COVS_KEY, as_list(continuous_covariate_keys)),
        ]
        minify_type = _get_adata_minify_type(adata)
        if minify_type is not None:
            fields += cls._get_fields_for_adata_minification(minify_type)
        manager = AnnDataManager(fields=fields, setup_method_args=setup_method_args)
        with unchanged_on_error(adata):
            manager.register_fields(adata, **kwargs)
        if is_on_disk(manager.get_from_registry(SCVI_KEYS.X_KEY)):
            # registering made pandas keep a table of all names, 80 MB per million cells
            adata.obs.index = pd.Index(adata.obs.index.array, name=adata.obs.index.name)
        cls.register_manager(manager)

    @classmethod
    @setup_anndata_dsp.dedent
    def setup_mudata(
        cls,
        mdata: MuData,
        *,
        rna_layer: str | None = None,
        perturbation_key: str | None = None,
        guide_layer: str | None = None,
        control: str | Sequence[str] | None = None,
        delimiter: str | None = "+",
        dosage_key: str | None = None,
        batch_key: str | None = None,
        size_factor_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        continuous_covariate_keys: list[str] | None = None,
        modalities: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        """%(summary_mdata)s.

        Perturbations come from labels (``perturbation_key``) or from a guide modality, which
        ``modalities={"guide_layer": name}`` names: its matrix (``guide_layer``, or X) says which
        cell received which guide (see :func:`scvi_sams.pp.assign_guides`).

        Parameters
        ----------
        %(param_mdata)s
        rna_layer
            Layer of the RNA modality that holds raw counts; X if ``None``.
        perturbation_key
            Column of obs with one label per cell.
        guide_layer
            Layer of the guide modality with the dosages, cells × guides; X if ``None``.
        control
            Control labels, or control guides.
        delimiter, dosage_key
            As in :meth:`setup_anndata`.
        %(param_batch_key)s
        size_factor_key
            As in :meth:`setup_anndata`.
        %(param_cat_cov_keys)s
        %(param_cont_cov_keys)s
        %(param_modalities)s
            ``"rna_layer"`` is needed.
        **kwargs
            As in :meth:`setup_anndata`.

        Raises
        ------
        KeyError, ValueError
            As :meth:`setup_anndata`.
        """
        setup_method_args = cls._get_setup_method_args(**locals())
        _check_is_no_view(mdata, "mdata")
        if not modalities or "rna_layer" not in modalities:
            raise ValueError(
                "Name the modality of the counts: `modalities={'rna_layer': 'rna', ...}`; "
                f"`mdata` has {sorted(mdata.mod)}."
            )
        from_guides = "guide_layer" in modalities
        if from_guides == (perturbation_key is not None):
            raise ValueError(
                "Perturbations come from exactly one of `perturbation_key` (labels in obs) and "
                "`modalities={'guide_layer': ...}` (a guide modality); "
                f"{'both were' if from_guides else 'neither was'} given."
            )
        where = cls._create_modalities_attr_dict(modalities, setup_method_args)
        source: LabelSource | LayerSource
        if from_guides:
            source = LayerSource(guide_layer, as_tuple(control))
        else:
            source = LabelSource(str(perturbation_key), as_tuple(control), delimiter, dosage_key)
        fields = [
            MuDataCountsField(
                SCVI_KEYS.X_KEY,
                rna_layer,
                may_be_empty=size_factor_key is not None,
                mod_key=where.rna_layer,
                mod_required=True,
            ),
            MuDataPerturbationField(
                REGISTRY_KEYS.PERTURBATIONS,
                source,
                one_per_cell=cls._one_perturbation_per_cell,
                mod_key=where.guide_layer if from_guides else where.perturbation_key,
            ),
            MuDataBatchField(SCVI_KEYS.BATCH_KEY, batch_key, mod_key=where.batch_key),
            MuDataSizeFactorField(
                SCVI_KEYS.SIZE_FACTOR_KEY,
                size_factor_key,
                mod_key=where.size_factor_key,
                required=False,
            ),
            MuDataCategoricalCovariatesField(
                SCVI_KEYS.CAT_COVS_KEY,
                as_list(categorical_covariate_keys),
                mod_key=where.categorical_covariate_keys,
            ),
            MuDataContinuousCovariatesField(
                SCVI_KEYS.CONT_COVS_KEY,
                as_list(continuous_covariate_keys),
                mod_key=where.continuous_covariate_keys,
            ),
        ]
        manager = AnnDataManager(fields=fields, setup_method_args=setup_method_args)
        with unchanged_on_error(mdata):
            manager.register_fields(mdata, **kwargs)
        cls.register_manager(manager)


def _check_is_no_view(data: AnnData | MuData, name: str) -> None:
    if data.is_view:
        raise ValueError(
            f"`{name}` is a view of other data, in which nothing can be registered. Set up a "
            f"copy: `{name} = {name}.copy()`."
        )
