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

    from scvi_sams.module._distributions import CountDistribution


class TreatmentEffectsMixin(PerturbationModel):
    """What perturbations do to genes."""

    @torch.inference_mode()
    def get_average_treatment_effects(
        self,
        perturbations: str | Sequence[str] | None = None,
        *,
        n_samples: int = 2_500,
        normalization: Literal["log2_cp10k", "mean"] | None = None,
        seed: int = 0,
    ) -> AnnData:
        r"""Average treatment effect of perturbations on each gene, against no perturbation.

        .. math::
            \mathrm{ATE}(d) = E[y | do(d)] - E[y | do(0)]

        with masks and effects from their posterior, basal states from their prior, and library
        sizes and covariates from training cells (Bereket & Karaletsos 2023). Both arms share their
        random numbers, basal states and counting noise included, which takes most of the
        Monte-Carlo noise out of the difference. On panels with few counts per cell, where one
        count is a large step in counts per 10,000, ``normalization="mean"`` is the quieter scale.

        Parameters
        ----------
        perturbations
            Conditions, written like the labels of the setup, such as ``"KLF1"`` or
            ``"KLF1+MAP2K6"``, at dose 1; every perturbation by default.
        n_samples
            Cells simulated per condition and arm.
        normalization
            Scale of y: ``"log2_cp10k"`` for :math:`\log_2(1 + 10^4 x / \sum x)` of sampled
            counts, relative to the genes of the model; ``"mean"`` for expected values (counts per
            cell). By default ``"log2_cp10k"`` of counts and ``"mean"`` of real values.
        seed
            Of the random numbers; the global state is not touched.

        Returns
        -------
        AnnData of shape conditions × genes with the posterior mean of the ATE in ``X``,
        ``obs["trained"]``: whether every perturbation of the condition has training cells, and
        the settings in ``uns["ate"]``.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If a perturbation is unknown (the nearest known ones are named), none is given, or an
            argument is out of range.
        """
        self._check_if_trained(warn=False)
        if n_samples < 2:
            raise ValueError(f"`n_samples` must be at least 2; it is {n_samples}.")
        is_of_counts = self.module.likelihood.is_of_counts
        if normalization is None:
            normalization = "log2_cp10k" if is_of_counts else "mean"
        if normalization not in ("log2_cp10k", "mean"):
            raise ValueError(
                f"`normalization` must be 'log2_cp10k' or 'mean'; it is {normalization!r}."
            )
        if normalization == "log2_cp10k" and not is_of_counts:
            raise ValueError(
                "`normalization='log2_cp10k'` is of counts, and this model is one of real values. "
                "Use `normalization='mean'`."
            )
        names = as_tuple(self.perturbation_names if perturbations is None else perturbations)
        if not names:
            raise ValueError("`perturbations` is empty; None takes every perturbation.")
        members = [torch.as_tensor(self._members(name), device=self.device) for name in names]
        cells = self._sample_reference_cells(n_samples, seed)
        n_cells = self.module.perturbations.n_cells
        effects = [self._effect(member, cells, normalization, seed) for member in members]
        return ad.AnnData(
            X=torch.stack(effects).cpu().numpy(),
            obs=pd.DataFrame(
                {"trained": [bool((n_cells[member] > 0).all()) for member in members]},
                index=pd.Index(names),
            ),
            var=pd.DataFrame(index=self.gene_names),
            uns={"ate": {"normalization": normalization, "n_samples": n_samples, "seed": seed}},
        )

    def _effect(
        self,
        members: torch.Tensor,
        cells: dict[str, torch.Tensor],
        normalization: str,
        seed: int,
    ) -> torch.Tensor:
        """ATE of the perturbations ``members`` together; G."""
        n_samples = len(cells[SCVI_KEYS.OBSERVED_LIB_SIZE])
        index = members.expand(n_samples, -1)
        with _seeded(seed):
            z_basal = torch.randn(n_samples, self.module.n_latent, device=self.device)
            shift = self.module.perturbations.rsample(members, n_samples).shift.sum(1)
            perturbed = self._expression_given(z_basal + shift, index, 1.0, cells)
            unperturbed = self._expression_given(z_basal, index, 0.0, cells)
            if normalization == "mean":
                return (perturbed.mean - unperturbed.mean).mean(0)
            x, x0 = perturbed.sample_coupled(unperturbed)
        return (_log2_cp10k(x) - _log2_cp10k(x0)).mean(0)

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
        # in one order, so that A+B and B+A share their random numbers
        members = sorted({part for part in parts if part not in control})
        if self._one_perturbation_per_cell and len(members) > 1:
            raise ValueError(
                f"{condition!r} is a combination, and this model takes one perturbation per cell. "
                "Set the data up with `delimiter=None` to take combinations as perturbations of "
                "their own."
            )
        return positions(members, known)

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

    def _expression_given(
        self, z: torch.Tensor, index: torch.Tensor, dose: float, cells: dict[str, torch.Tensor]
    ) -> CountDistribution:
        """Distribution of what is measured of cells with states ``z`` (cells x K).

        They received the perturbations ``index`` (cells x D) at one dose.
        """
        received = torch.cat([index, torch.full_like(index, dose, dtype=z.dtype)], dim=-1)
        library = torch.log(cells[SCVI_KEYS.OBSERVED_LIB_SIZE])
        inputs = self.module._get_generative_input(
            {**cells, REGISTRY_KEYS.PERTURBATIONS: received}, {"z": z, "library": library}
        )
        return self.module.generative(**inputs)["px"]


def _log2_cp10k(counts: torch.Tensor) -> torch.Tensor:
    """Logarithm of one plus counts per 10,000; a cell without counts reads as zeros."""
    total = counts.sum(-1, keepdim=True).clamp(min=1)
    return torch.log2(1 + 1e4 * counts / total)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
