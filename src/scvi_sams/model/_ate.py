"""Average treatment effects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import anndata as ad
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi.data._constants import _SETUP_ARGS_KEY

from scvi_sams._constants import REGISTRY_KEYS
from scvi_sams.data._field import PerturbationField
from scvi_sams.data._labels import split_label
from scvi_sams.data._names import as_tuple, positions
from scvi_sams.model._base import PerturbationModel

if TYPE_CHECKING:
    from anndata import AnnData


class TreatmentEffectsMixin(PerturbationModel):
    """What perturbations do to genes."""

    @torch.inference_mode()
    def get_average_treatment_effects(
        self,
        perturbations: str | Sequence[str] | None = None,
        *,
        n_samples: int = 2_500,
        normalization: Literal["log2_cp10k", "mean"] = "log2_cp10k",
        seed: int = 0,
    ) -> AnnData:
        r"""Average treatment effect of perturbations on each gene, against no perturbation.

        .. math::
            \mathrm{ATE}(d) = E[y | do(d)] - E[y | do(0)]

        with masks and effects from their posterior, basal states from their prior, and library
        sizes and covariates from training cells (Bereket & Karaletsos 2023). Both arms share the
        basal states, library sizes and covariates (common random numbers), which takes most of
        the Monte-Carlo noise out of the difference.

        Parameters
        ----------
        perturbations
            Conditions, written like the labels of the setup, such as ``"KLF1"`` or
            ``"KLF1+MAP2K6"``, at dose 1; every perturbation by default.
        n_samples
            Cells simulated per condition and arm.
        normalization
            Scale of y: ``"log2_cp10k"`` for :math:`\log_2(1 + 10^4 x / \sum x)` of sampled
            counts, ``"mean"`` for expected counts.
        seed
            Of the random numbers; the global state is not touched.

        Returns
        -------
        AnnData of shape conditions × genes with the posterior mean of the ATE in ``X``, and
        ``obs["trained"]``: whether every perturbation of the condition has training cells.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If a perturbation is unknown (the nearest known ones are named), or an argument is out
            of range.
        """
        self._check_if_trained(warn=False)
        if n_samples < 2:
            raise ValueError(f"`n_samples` must be at least 2; it is {n_samples}.")
        if normalization not in ("log2_cp10k", "mean"):
            raise ValueError(
                f"`normalization` must be 'log2_cp10k' or 'mean'; it is {normalization!r}."
            )
        names = as_tuple(self.perturbation_names if perturbations is None else perturbations)
        members = [torch.as_tensor(self._members(name), device=self.device) for name in names]
        posterior = self.module.perturbations
        with _seeded(seed):
            tensors = self._sample_reference_cells(n_samples, seed)
            z_basal = torch.randn(n_samples, self.module.n_latent, device=self.device)
            unperturbed = self._mean_outcome(z_basal, tensors, normalization)
            effects = [
                self._mean_outcome(
                    z_basal + posterior.rsample_shifts(member, n_samples).sum(1),
                    tensors,
                    normalization,
                )
                - unperturbed
                for member in members
            ]  # each G
        return ad.AnnData(
            X=torch.stack(effects).cpu().numpy(),
            obs=pd.DataFrame(
                {"trained": [bool((posterior.n_cells[m] > 0).all()) for m in members]},
                index=pd.Index(names),
            ),
            var=pd.DataFrame(index=self.gene_names),
        )

    def _members(self, condition: str) -> npt.NDArray[np.intp]:
        """Positions of the perturbations of a condition, read as the setup reads labels."""
        control = self.get_state_registry(REGISTRY_KEYS.PERTURBATIONS)[
            PerturbationField.CONTROL_KEY
        ]
        known = self.perturbation_names
        parts: tuple[str, ...] = (condition,)
        if condition not in known:
            delimiter = self.registry[_SETUP_ARGS_KEY]["delimiter"]
            parts = split_label(condition, control, delimiter, "perturbations")
        return positions([part for part in dict.fromkeys(parts) if part not in control], known)

    def _sample_reference_cells(self, n_cells: int, seed: int) -> dict[str, torch.Tensor]:
        """Library sizes and covariates of random training cells, n_cells x columns each."""
        reference = self.reference_cells_
        chosen = np.random.default_rng(seed).integers(
            len(reference[SCVI_KEYS.OBSERVED_LIB_SIZE]), size=n_cells
        )
        return {
            key: torch.as_tensor(values[chosen], device=self.device)
            for key, values in reference.items()
        }

    def _mean_outcome(
        self, z: torch.Tensor, tensors: dict[str, torch.Tensor], normalization: str
    ) -> torch.Tensor:
        """Mean of y over cells with states ``z`` (cells x K); G."""
        library = torch.log(tensors[SCVI_KEYS.OBSERVED_LIB_SIZE])
        inputs = self.module._get_generative_input(tensors, {"z": z, "library": library})
        px = self.module.generative(**inputs)["px"]
        if normalization == "mean":
            return px.mean.mean(0)
        sampled = px.sample()
        total = sampled.sum(-1, keepdim=True).clamp(min=1)
        return torch.log2(1 + 1e4 * sampled / total).mean(0)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
