"""Average treatment effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from scvi_sams.model._arms import ArmsMixin, Effects
from scvi_sams.model._conditions import NO_PERTURBATION, Condition, Doses
from scvi_sams.model._posterior import SpikeMixture, SpikeSlab
from scvi_sams.model._response import Normalization, Response
from scvi_sams.model._simulation import Basal, with_entries
from scvi_sams.model._uncertainty import Uncertainty
from scvi_sams.module._numbers import check_whole, is_number

if TYPE_CHECKING:
    from anndata import AnnData


class TreatmentEffectsMixin(ArmsMixin):
    """What perturbations do to genes."""

    @torch.inference_mode()
    def get_average_treatment_effects(
        self,
        perturbations: str | Sequence[str] | None = None,
        *,
        control: str | None = None,
        doses: Doses | None = None,
        n_samples: int = 2_500,
        normalization: Normalization | None = None,
        basal: Basal | AnnData = "prior",
        library_size: float | Literal["observed"] = "observed",
        covariates: Mapping[str, Any] | None = None,
        credible_mass: float = 0.95,
        seed: int = 0,
    ) -> AnnData:
        r"""Average treatment effect of conditions on each gene.

        .. math::
            \mathrm{ATE}(d) = E[y | do(d)] - E[y | do(d_0)]

        over basal states, and covariates and library sizes of training cells (Bereket &
        Karaletsos 2023). Both arms share all random numbers, and the counting noise is taken in
        expectation, so the Monte-Carlo noise is small.

        The posterior of an ATE is a spike at zero, where every mask of the perturbations is off,
        beside a normal slab. The variance of the slab adds up what is not known: masks and
        effects, from their posterior; the decoder, from a Laplace approximation of its output
        layer (MacKay 1992; Daxberger et al. 2021); and the misfit of the model, from the effects
        that training cells show (Kennedy & O'Hagan 2001).

        Parameters
        ----------
        perturbations
            Conditions, written like the labels of the setup, such as ``"KLF1"`` or
            ``"KLF1+MAP2K6"``; every perturbation by default.
        control
            Condition of the other arm; no perturbation by default. Against another condition
            this is a paired differential expression.
        doses
            One dose for all conditions or one for each, a number or, for combinations, text such
            as ``"1.0+0.5"``; 1 by default. Several doses of one condition are several rows.
        n_samples
            Cells simulated per condition and arm, at least 4, over which responses are averaged.
            Uncertainty of masks and effects always comes from up to 100 draws, each on five of
            the cells.
        normalization
            Scale of y: ``"log2_cp10k"`` for :math:`\log_2(1 + 10^4 x / \ell)` of counts x in a
            cell of total :math:`\ell`, over the genes of the model; ``"mean"`` for x itself
            (counts per cell). By default ``"log2_cp10k"`` of counts and ``"mean"`` of real values.
        basal
            Where basal states come from: ``"prior"``; ``"control_cells"`` for those of the control
            cells of the model's data, with their covariates and library sizes; or an AnnData of
            cells, set up like the model's, for theirs.
        library_size
            Library size of every cell (with size factors: size factor), in place of observed ones.
        covariates
            Values that all cells take, such as ``{"cell_type": "K562"}``. Of a list of values each
            makes its own rows, with the values in columns of ``obs``.
        credible_mass
            Posterior probability between ``lower`` and ``upper``.
        seed
            Of the random numbers; the global state is not touched.

        Returns
        -------
        AnnData of shape conditions × genes.

        - ``X``: posterior mean
        - ``layers["sd"]``, ``layers["lower"]``, ``layers["upper"]``: posterior standard deviation
          and credible interval of equal tails
        - ``layers["lfsr"]``: local false sign rate, the probability that the sign is not that of
          the mean (Stephens 2017)
        - ``obs``: ``perturbation`` and ``dose`` (NaN if the parts of a combination differ),
          ``trained`` and ``n_cells`` (whether training cells received these perturbations
          together, and how many), ``dose_support`` (doses ``"seen"`` in training, ``"between"`` or
          ``"beyond"`` those; ``"untrained"`` if a perturbation has no training cell)
        - ``uns["ate"]``: the settings

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If a perturbation, covariate or value is unknown (the nearest known ones are named),
            none is given, or an argument is out of range.
        """
        self._check_if_trained(warn=False)
        ate, _ = self._treatment_effects(
            self._read_conditions(perturbations, doses),
            control=control,
            n_samples=n_samples,
            normalization=normalization,
            basal=basal,
            library_size=library_size,
            covariates=covariates,
            credible_mass=credible_mass,
            seed=seed,
        )
        return ate

    def _treatment_effects(
        self,
        conditions: Sequence[Condition],
        *,
        n_samples: int,
        normalization: Normalization | None,
        credible_mass: float,
        seed: int,
        control: str | None = None,
        basal: Basal | AnnData = "prior",
        library_size: float | Literal["observed"] = "observed",
        covariates: Mapping[str, Any] | None = None,
    ) -> tuple[AnnData, Effects]:
        """What :meth:`get_average_treatment_effects` returns, and what it is made of."""
        # two draws of masks and effects, each on two cells
        check_whole(n_samples, "n_samples", least=4)
        check_whole(seed, "seed")
        if not is_number(credible_mass) or not 0 < credible_mass < 1:
            raise ValueError(f"`credible_mass` must lie in (0, 1); it is {credible_mass!r}.")
        response = Response(normalization, self.module.likelihood)
        other = NO_PERTURBATION if control is None else self._condition(control, 1.0)
        settings = self._covariate_settings(covariates)
        cells = self._reference(n_samples, basal, library_size, seed)
        parts, obs = [], []
        for values, entries in settings:
            parts.append(
                self._effects(conditions, other, with_entries(cells, entries), response, seed)
            )
            obs.append(self._obs_of(conditions).assign(**values))
            obs[-1].index = [
                ", ".join([name, *map(str, values.values())]) for name in obs[-1].index
            ]
        effects = Effects(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        posterior = effects.posterior(Uncertainty(**self.uncertainty_), response.name)
        ate = ad.AnnData(
            X=posterior.mean.astype(np.float32),
            obs=pd.concat(obs),
            var=pd.DataFrame(index=self.gene_names),
            layers=layers_of(posterior, credible_mass),
            uns={
                "ate": {
                    "control": other.label,
                    "normalization": response.name,
                    "basal": basal if isinstance(basal, str) else "cells",
                    "library_size": library_size,
                    "covariates": {key: str(value) for key, value in (covariates or {}).items()},
                    "n_samples": n_samples,
                    "credible_mass": credible_mass,
                    "seed": seed,
                    # without them no effect is zero, and rates are of signs alone
                    "has_masks": self.module.has_masks,
                }
            },
        )
        return ate, effects


def layers_of(
    posterior: SpikeSlab | SpikeMixture, credible_mass: float
) -> dict[str, npt.NDArray[np.float32]]:
    """Layers of a result: sd, credible interval and local false sign rate."""
    tail = (1 - credible_mass) / 2
    layers = {
        "sd": posterior.sd,
        "lower": posterior.quantile(tail),
        "upper": posterior.quantile(1 - tail),
        "lfsr": posterior.local_false_sign_rate,
    }
    return {key: values.astype(np.float32) for key, values in layers.items()}
