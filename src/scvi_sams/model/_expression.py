"""Expression: scvi-tools' methods, where a MuData or this model's prior needs more."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from numbers import Number
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from mudata import MuData
from scvi.model.base import RNASeqMixin

from scvi_sams._scvi import _de_core, scrna_raw_counts_properties
from scvi_sams.data._names import as_tuple
from scvi_sams.model._base import PerturbationModel

if TYPE_CHECKING:
    from anndata import AnnData
    from sparse import GCXS


class ExpressionMixin(RNASeqMixin, PerturbationModel):
    """scvi-tools' methods on expression.

    Latent states are sampled from the joint posterior of masks, effects and basal states.
    """

    def get_normalized_expression(
        self,
        adata: AnnData | MuData | None = None,
        indices: Sequence[int] | None = None,
        transform_batch: Sequence[Number | str] | Number | str | None = None,
        gene_list: Sequence[str] | None = None,
        library_size: float | Literal["latent"] = 1,
        n_samples: int = 1,
        n_samples_overall: int | None = None,
        weights: Literal["uniform", "importance"] | None = None,
        batch_size: int | None = None,
        return_mean: bool = True,
        return_numpy: bool | None = None,
        **kwargs: Any,
    ) -> npt.NDArray[np.float32] | pd.DataFrame:
        """Decoded expression; see :meth:`scvi.model.base.RNASeqMixin.get_normalized_expression`.

        Genes are those of the model, also when the data is a MuData. With
        ``gene_likelihood="normal"`` the values are expected ones in the unit of the data, which
        have no library size. Importance weights are refused: their derivation takes a standard
        normal prior for the states, while here a perturbed state's prior is shifted by its
        perturbations.

        Parameters
        ----------
        adata
            Data set up like the model's; the model's own by default.
        indices
            Cells to use; all by default.
        transform_batch
            Batch, or batches to average over, to decode all cells in; their own by default.
        gene_list
            Genes to return; all by default.
        library_size
            Sum that the expression of a cell is scaled to; ``"latent"`` for its own library size.
        n_samples
            Posterior samples of each cell.
        n_samples_overall
            Samples of all cells together, in place of ``n_samples`` of each.
        weights
            ``"uniform"``, which is the default.
        batch_size
            Cells at a time.
        return_mean
            Whether to average over the samples.
        return_numpy
            Whether to return an array in place of a DataFrame.
        **kwargs
            Further arguments of scvi-tools' method.

        Returns
        -------
        DataFrame of cells × genes; an array with ``return_numpy``, of samples × cells × genes if
        several are not averaged.

        Raises
        ------
        NotImplementedError
            For importance weights, and for library sizes of real values.
        """
        if library_size not in (1, "latent"):
            self._check_supports("normal", "`library_size`", "Leave it out.")
        if weights == "importance":
            raise NotImplementedError(
                "Importance weights assume a standard normal prior of the latent state, which "
                "perturbed states do not have. Leave out `weights`."
            )
        values = super().get_normalized_expression(
            adata,
            indices,
            transform_batch,
            library_size=library_size,
            n_samples=n_samples,
            n_samples_overall=n_samples_overall,
            batch_size=batch_size,
            return_mean=return_mean,
            return_numpy=True,
            **kwargs,
        )
        genes = self.gene_names
        if gene_list is not None:
            chosen = genes.isin(gene_list)
            values, genes = values[..., chosen], genes[chosen]
        if return_numpy or values.ndim == 3 or kwargs.get("dataloader") is not None:
            return values
        if n_samples_overall is not None:
            return pd.DataFrame(values, columns=genes)
        data = self.adata if adata is None else adata
        cells = data.obs_names if indices is None else data.obs_names[indices]
        return pd.DataFrame(values, columns=genes, index=cells)

    def get_likelihood_parameters(
        self, *args: Any, **kwargs: Any
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Parameters of a negative binomial likelihood.

        Parameters
        ----------
        *args, **kwargs
            Those of :meth:`scvi.model.base.RNASeqMixin.get_likelihood_parameters`.

        Returns
        -------
        ``"mean"`` and ``"dispersions"``, and ``"dropout"`` of a zero-inflated one, each of shape
        cells × genes.

        Raises
        ------
        NotImplementedError
            If the likelihood is ``"poisson"`` or ``"normal"``.
        """
        advice = "Their means are `get_normalized_expression(library_size='latent')`."
        self._check_supports(("poisson", "normal"), "`get_likelihood_parameters`", advice)
        return super().get_likelihood_parameters(*args, **kwargs)

    def get_feature_correlation_matrix(self, *args: Any, **kwargs: Any) -> pd.DataFrame:
        """Correlations of genes under a negative binomial likelihood.

        Parameters
        ----------
        *args, **kwargs
            Those of :meth:`scvi.model.base.RNASeqMixin.get_feature_correlation_matrix`.

        Returns
        -------
        DataFrame of genes × genes.

        Raises
        ------
        NotImplementedError
            If the likelihood is ``"poisson"`` or ``"normal"``.
        """
        advice = "Correlate `get_normalized_expression()` or `posterior_predictive_sample()`."
        self._check_supports(("poisson", "normal"), "`get_feature_correlation_matrix`", advice)
        return super().get_feature_correlation_matrix(*args, **kwargs)

    def posterior_predictive_sample(
        self, *args: Any, gene_list: Sequence[str] | None = None, **kwargs: Any
    ) -> GCXS:
        """Replicated data; see :meth:`scvi.model.base.RNASeqMixin.posterior_predictive_sample`.

        Genes are those of the model, also when the data is a MuData.

        Parameters
        ----------
        gene_list
            Genes to return; all by default.
        *args, **kwargs
            Further arguments of scvi-tools' method, such as ``adata``, ``indices`` and
            ``n_samples``.

        Returns
        -------
        Sparse array of cells × genes, or cells × genes × samples if there are several.
        """
        samples = super().posterior_predictive_sample(*args, **kwargs)
        if gene_list is None:
            return samples
        return samples[:, np.flatnonzero(self.gene_names.isin(gene_list))]

    def differential_expression(
        self,
        adata: AnnData | MuData | None = None,
        groupby: str | None = None,
        group1: Sequence[str] | None = None,
        group2: str | None = None,
        idx1: Sequence[int] | Sequence[bool] | str | None = None,
        idx2: Sequence[int] | Sequence[bool] | str | None = None,
        mode: Literal["vanilla", "change"] = "vanilla",
        **kwargs: Any,
    ) -> pd.DataFrame:
        """Compare groups of cells.

        See :meth:`scvi.model.base.RNASeqMixin.differential_expression`.

        On a MuData the groups are columns of ``mdata.obs`` and the genes those of the RNA
        modality. With ``gene_likelihood="normal"`` there are no fold changes to compare.

        Parameters
        ----------
        adata
            Data set up like the model's; the model's own by default.
        groupby
            Column of obs with the groups.
        group1
            Groups to compare; all by default.
        group2
            Group to compare them with; the rest of the cells by default.
        idx1, idx2
            The two groups as positions, boolean masks or queries of obs, in place of the above.
        mode
            ``"vanilla"`` or ``"change"``.
        **kwargs
            Further arguments of scvi-tools' method, such as ``delta`` and ``fdr_target``.

        Returns
        -------
        DataFrame with one row per gene and comparison.

        Raises
        ------
        NotImplementedError
            If the likelihood is ``"normal"``.
        """
        advice = "Compare `get_normalized_expression()`, or `get_average_treatment_effects()`."
        self._check_supports("normal", "`differential_expression`", advice)
        groups = {
            "groupby": groupby,
            "group1": group1,
            "group2": group2,
            "idx1": idx1,
            "idx2": idx2,
            "mode": mode,
        }
        data = self.adata if adata is None else adata
        if not isinstance(data, MuData):
            return super().differential_expression(adata, **groups, **kwargs)
        data = self._validate_anndata(data)
        expression = partial(
            self.get_normalized_expression,
            return_numpy=True,
            n_samples=1,
            batch_size=kwargs.pop("batch_size", None),
            weights=kwargs.pop("weights", "uniform"),
        )
        # the defaults of scvi-tools' method, which names genes by all modalities of a MuData
        options = {
            "all_stats": True,
            "batchid1": None,
            "batchid2": None,
            "delta": 0.25,
            "batch_correction": False,
            "silent": False,
        }
        return _de_core(
            self.get_anndata_manager(data, required=True),
            expression,
            None,
            fdr=kwargs.pop("fdr_target", 0.05),
            all_stats_fn=scrna_raw_counts_properties,
            col_names=self.gene_names,
            **groups,
            **(options | kwargs),
        )

    def _check_supports(self, without: str | tuple[str, ...], what: str, advice: str) -> None:
        """Raise if the model's likelihood is one of those ``without`` the meaning of ``what``."""
        likelihood = self.module.gene_likelihood
        if likelihood in as_tuple(without):
            raise NotImplementedError(
                f"{what} means nothing with gene_likelihood={likelihood!r}. {advice}"
            )
