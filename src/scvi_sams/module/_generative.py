"""From latent states to distributions of what was measured."""

from __future__ import annotations

import torch
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi.module.base import auto_move_data
from torch import nn
from torch.nn import functional as F

from scvi_sams._constants import MODULE_KEYS, REGISTRY_KEYS
from scvi_sams._scvi import MODULE_KEYS as SCVI_MODULE_KEYS
from scvi_sams.module._likelihoods import GeneLikelihood
from scvi_sams.module._measured import Measured
from scvi_sams.module._networks import Decoder
from scvi_sams.module._perturbations import unpack
from scvi_sams.module._predictive import Tensors


class GenerativeMixin(nn.Module):
    """The generative half of the module."""

    decoder: Decoder
    likelihood: GeneLikelihood
    dosage_inputs: nn.ModuleDict | None
    use_size_factor: bool
    n_categories: list[int]
    mean_size_factor: torch.Tensor

    def _get_generative_input(
        self,
        tensors: Tensors,
        inference_outputs: dict[str, torch.Tensor],
        **kwargs: object,
    ) -> dict[str, object]:
        return {
            SCVI_MODULE_KEYS.Z_KEY: inference_outputs[SCVI_MODULE_KEYS.Z_KEY],
            SCVI_MODULE_KEYS.LIBRARY_KEY: inference_outputs[SCVI_MODULE_KEYS.LIBRARY_KEY],
            MODULE_KEYS.PERTURBATIONS: tensors[REGISTRY_KEYS.PERTURBATIONS],
            SCVI_MODULE_KEYS.BATCH_INDEX_KEY: tensors[SCVI_KEYS.BATCH_KEY],
            SCVI_MODULE_KEYS.CAT_COVS_KEY: tensors.get(SCVI_KEYS.CAT_COVS_KEY),
            SCVI_MODULE_KEYS.CONT_COVS_KEY: tensors.get(SCVI_KEYS.CONT_COVS_KEY),
            SCVI_MODULE_KEYS.SIZE_FACTOR_KEY: tensors.get(SCVI_KEYS.SIZE_FACTOR_KEY),
        }

    @auto_move_data
    def generative(
        self,
        z: torch.Tensor,
        library: torch.Tensor,
        perturbations: torch.Tensor,
        batch_index: torch.Tensor,
        cat_covs: torch.Tensor | None = None,
        cont_covs: torch.Tensor | None = None,
        size_factor: torch.Tensor | None = None,
        transform_batch: int | None = None,
    ) -> dict[str, Measured]:
        """Distribution of counts given latent states.

        Parameters
        ----------
        z
            Perturbed states, of shape ... x B x K.
        library
            Log library sizes, of shape B x 1.
        perturbations
            The cells' packed perturbations, of shape B x 2D; read by the conditional VAE only.
        batch_index, cat_covs, cont_covs
            Covariates, of shape B x 1, B x number of covariates.
        size_factor
            Size factors as the user gave them, of shape B x 1.
        transform_batch
            Batch to decode every cell in, instead of its own.
        """
        hidden, library = self.decode(
            z,
            library,
            perturbations,
            batch_index,
            cat_covs,
            cont_covs,
            size_factor,
            transform_batch,
        )
        return {SCVI_MODULE_KEYS.PX_KEY: Measured(self.likelihood, hidden, library)}

    @auto_move_data
    def decode(
        self,
        z: torch.Tensor,
        library: torch.Tensor,
        perturbations: torch.Tensor,
        batch_index: torch.Tensor,
        cat_covs: torch.Tensor | None = None,
        cont_covs: torch.Tensor | None = None,
        size_factor: torch.Tensor | None = None,
        transform_batch: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the likelihood reads: hidden states (... x B x H) and log library sizes (B x 1).

        Arguments are those of :meth:`generative`.
        """
        if transform_batch is not None:
            batch_index = torch.full_like(batch_index, transform_batch)
        if self.use_size_factor:
            assert size_factor is not None
            library = torch.log(size_factor / self.mean_size_factor)
        hidden = self.decoder(
            z,
            self._covariates(batch_index, cat_covs, cont_covs),
            self._condition("decoder", perturbations),
        )
        return hidden, library

    def _covariates(
        self,
        batch_index: torch.Tensor,
        cat_covs: torch.Tensor | None,
        cont_covs: torch.Tensor | None,
    ) -> torch.Tensor:
        """One-hot batch and categories beside the continuous covariates; B x C."""
        codes = batch_index if cat_covs is None else torch.cat([batch_index, cat_covs], dim=-1)
        columns = [
            F.one_hot(code.long(), n).to(self.mean_size_factor.dtype)
            for code, n in zip(codes.unbind(-1), self.n_categories, strict=True)
            if n
        ]
        if cont_covs is not None:
            columns.append(cont_covs)
        return (
            torch.cat(columns, dim=-1)
            if columns
            else self.mean_size_factor.new_zeros(len(codes), 0)
        )

    def _condition(self, part: str, perturbations: torch.Tensor) -> torch.Tensor | None:
        """What a network sees of the dosages beside the latent state, B x H."""
        if self.dosage_inputs is None:
            return None
        return self.dosage_inputs[part](*unpack(perturbations))
