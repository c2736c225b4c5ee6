"""Interactions of two perturbations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.special import ndtr, ndtri
from scvi.utils import unsupported_if_adata_minified

from scvi_sams.data._names import listed
from scvi_sams.model._ate import TreatmentEffectsMixin
from scvi_sams.model._conditions import Condition, Doses, as_names
from scvi_sams.model._observed import ObservedEffectsMixin
from scvi_sams.model._response import Normalization, Response
from scvi_sams.model._simulation import seeded

if TYPE_CHECKING:
    from anndata import AnnData


class InteractionsMixin(TreatmentEffectsMixin, ObservedEffectsMixin):
    """What a combination does beyond its parts."""

    @unsupported_if_adata_minified
    @torch.inference_mode()
    def get_interactions(
        self,
        pairs: str | Sequence[str] | None = None,
        *,
        doses: Doses | None = None,
        adata: AnnData | None = None,
        n_samples: int = 2_500,
        normalization: Normalization | None = None,
        credible_mass: float = 0.95,
        seed: int = 0,
    ) -> pd.DataFrame:
        r"""Compare combinations with what their parts predict.

        .. math::
            \mathrm{interaction}_g = \hat a_g - a_g, \qquad
            \mathrm{Var} = \sigma_g^2 + s_g^2

        with the effect :math:`\hat a_g` that cells of the combination show against control cells
        of the same batch and categorical covariates, of sampling variance
        :math:`\sigma_g^2`, and the average treatment effect :math:`a_g` of
        the model, of posterior variance :math:`s_g^2`. In the model shifts of the latent state
        add up, so what it predicts is the combination without an interaction. It is a fair
        prediction of combinations that it was not trained on; of those that it was, interactions
        come out smaller than they are.

        Parameters
        ----------
        pairs
            Combinations such as ``"KLF1+MAP2K6"``; by default all that the data has several
            cells of, at the doses that they received. Those without cells are predicted alone.
        doses
            Doses of ``pairs``, as in :meth:`get_average_treatment_effects`.
        adata
            Cells to compare with, set up like the model's; the model's own by default.
        n_samples, normalization, credible_mass, seed
            As in :meth:`get_average_treatment_effects`.

        Returns
        -------
        DataFrame with one row per ``pair`` and ``gene``, its index.

        - ``predicted``, ``lower``, ``upper``: the model's effect and its credible interval
        - ``observed``, ``observed_sd``: the effect that cells show, and its standard error
        - ``interaction``, ``interaction_lower``, ``interaction_upper``: their difference
        - ``score``: the difference in its standard deviations
        - ``lfsr``: probability that its sign is wrong, with a flat prior: of genes that do not
          interact, a share of ``2 a`` has a rate of at most ``a``
        - ``n_cells``: cells of the pair that were compared

        Without cells of the pair, or without control cells, all that needs them is NaN.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If a perturbation is unknown, a condition is no combination, there are none, or the
            model's data is minified and so has no counts to compare with.
        """
        self._check_if_trained(warn=False)
        self._check_has_counts(adata)
        asked = None if pairs is None else self._read_pairs(pairs, doses)
        response = Response(normalization, self.module.likelihood)
        with self._reading(adata) as data, seeded(seed):  # data loaders draw of the global state
            cells = np.arange(data.n_obs)
            conditions = self._pairs_of(data, cells) if asked is None else asked
            (shown,) = self._observed_effects(data, cells, conditions, [response])
            self._warn_of_other_doses(data, cells, conditions)
        ate, _ = self._treatment_effects(
            conditions,
            n_samples=n_samples,
            normalization=normalization,
            credible_mass=credible_mass,
            seed=seed,
        )
        observed, variance = shown.effect, shown.error
        interaction = observed - ate.X
        sd = np.sqrt(variance + ate.layers["sd"] ** 2)
        reach = ndtri((1 + credible_mass) / 2) * sd
        with np.errstate(divide="ignore", invalid="ignore"):
            score = interaction / sd
        columns = {
            "predicted": ate.X,
            "lower": ate.layers["lower"],
            "upper": ate.layers["upper"],
            "observed": observed,
            "observed_sd": np.sqrt(variance),
            "interaction": interaction,
            "interaction_lower": interaction - reach,
            "interaction_upper": interaction + reach,
            "score": score,
            "lfsr": ndtr(-np.abs(score)),
            "n_cells": np.repeat(shown.n_cells, len(ate.var_names)),
        }
        index = pd.MultiIndex.from_product([ate.obs_names, ate.var_names], names=["pair", "gene"])
        return pd.DataFrame({key: np.ravel(x) for key, x in columns.items()}, index=index)

    def _read_pairs(self, pairs: str | Sequence[str], doses: Doses | None) -> list[Condition]:
        if not as_names(pairs):
            raise ValueError("`pairs` is empty; None takes those that the data has cells of.")
        conditions = self._read_conditions(pairs, doses)
        single = [one.label for one in conditions if len(one.key[0]) < 2]
        if single:
            raise ValueError(
                f"{listed(single)} is no combination; `pairs` takes those, such as 'A+B'."
            )
        return conditions

    def _pairs_of(self, adata: AnnData, cells: npt.NDArray[np.intp]) -> list[Condition]:
        """Combinations that cells received, at their doses."""
        if self._one_perturbation_per_cell:
            raise ValueError(
                f"{type(self).__name__} takes one perturbation per cell, so it has no "
                "combinations to compare with their parts."
            )
        names = self.perturbation_names
        seen, group = self._conditions_of(adata, cells)
        pairs = [
            one._replace(label=self._delimiter.join(names[one.members]))
            for one, n_cells in zip(seen, np.bincount(group), strict=True)
            if len(one.members) > 1 and n_cells > 1
        ]
        if not pairs:
            raise ValueError(
                "The data has no cells that received several perturbations; name the "
                "combinations to predict: `pairs=`."
            )
        return pairs
