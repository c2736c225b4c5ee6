"""Latent states of cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from scvi.model.base import VAEMixin

from scvi_sams._scvi import _validate_adata_dataloader_input
from scvi_sams.model._base import PerturbationModel

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


class LatentStateMixin(VAEMixin, PerturbationModel):
    """scvi-tools' latent representation, for perturbed and for basal states."""

    @torch.inference_mode()
    def get_latent_representation(
        self,
        adata: AnnData | MuData | None = None,
        indices: Sequence[int] | None = None,
        *,
        kind: Literal["perturbed", "basal"] = "perturbed",
        give_mean: bool = True,
        batch_size: int | None = None,
        return_dist: bool = False,
        dataloader: Iterator[dict[str, torch.Tensor]] | None = None,
        **data_loader_kwargs: Any,
    ) -> npt.NDArray[np.float32] | tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        r"""Latent state of each cell.

        .. math::
            z_i = z^b_i + o_i, \qquad o_i = \sum_t d_{it} (m_t \odot e_t)

        The mean is taken at the expected offset, :math:`E_q[z^b_i | x_i, E[o_i]] + E[o_i]`: it
        is the same at every call, and cells of one perturbation share no sampling noise.

        Parameters
        ----------
        adata
            Data set up like the model's; the model's own by default.
        indices
            Cells to use; all by default.
        kind
            ``"perturbed"`` for z, ``"basal"`` for z^b, the state without the perturbations'
            offset.
        give_mean
            Whether to return the mean, rather than one posterior sample of all latent variables.
        batch_size
            Cells at a time.
        return_dist
            Whether to return mean and variance of the state at the expected offset. The
            uncertainty of the offset itself is that of
            :meth:`~scvi_sams.SAMSVAE.get_perturbation_effects`.
        dataloader
            Mini-batches to read instead of ``adata``.
        **data_loader_kwargs
            Passed on to the data loader.

        Returns
        -------
        Array of shape ``(n_cells, n_latent)``, or two of them with ``return_dist``.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If ``kind`` is neither of the two.
        """
        if kind not in ("perturbed", "basal"):
            raise ValueError(f"`kind` must be 'perturbed' or 'basal'; it is {kind!r}.")
        self._check_if_trained(warn=False)
        _validate_adata_dataloader_input(self, adata, dataloader)
        if dataloader is None:
            adata = self._validate_anndata(adata)
            dataloader = self._make_data_loader(
                adata=adata, indices=indices, batch_size=batch_size, **data_loader_kwargs
            )
        posterior = self.module.perturbations
        expected = give_mean or return_dist
        means, variances = [], []
        shifts = posterior.expected_shifts()
        for tensors in dataloader:
            if not expected:
                shifts = posterior.rsample(posterior.everything, 1).shift.squeeze(0)
            state = self.module.latent_state(tensors, shifts, basal=kind == "basal")
            means.append((state.loc if expected else state.sample()).cpu())
            variances.append(state.variance.cpu())
        mean = torch.cat(means).numpy()
        return (mean, torch.cat(variances).numpy()) if return_dist else mean
