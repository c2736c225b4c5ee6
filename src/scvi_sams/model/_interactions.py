"""Interactions of two perturbations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from scipy.special import ndtr, ndtri
from scvi.data._constants import _SETUP_ARGS_KEY
from scvi.utils import unsupported_if_adata_minified

from scvi_sams.data._names import listed
from scvi_sams.model._ate import TreatmentEffectsMixin
from scvi_sams.model._conditions import Condition, as_names
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

        with the effect :math:`\hat a_g` that cells of the combination show against control cells,
        of sampling variance :math:`\sigma_g^2`, and the average treatment effect :math:`a_g` of
        the model, of posterior variance :math:`s_g^2`. In the model shifts of the latent state
        add up, so what it predicts is the combination without an interaction. It is a fair
        prediction of combinations that it was not trained on; of those that it was, interactions
        come out smaller than they are.

        Parameters
        ----------
        pairs
            Combinations such as ``"KLF1+MAP2K6"``; by default all that the data has cells of.
            Those without cells are predicted alone.
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

        Without cells of the pair, or without control cells, all but the first three are NaN.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If a perturbation is unknown, a condition is no combination, there are none, or the
            model's data is minified and so has no counts to compare with.
        """
        self._check_if_trained(warn=False)
        asked = None if pairs is None else as_names(pairs)
        if asked is not None:
            self._read_pairs(asked)
        adata = self._set_up(adata)
        if asked is None:
            asked = self._pairs_of(adata)
        conditions = self._read_pairs(asked)
        ate = self.get_average_treatment_effects(
            asked,
            n_samples=n_samples,
            normalization=normalization,
            credible_mass=credible_mass,
            seed=seed,
        )
        response = Response(normalization, self.module.likelihood)
        with seeded(seed):  # data loaders draw from the global state
            _, observed, variance = self._observed_effects(
                adata, np.arange(adata.n_obs), conditions, response
            )
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
        }
        index = pd.MultiIndex.from_product([ate.obs_names, ate.var_names], names=["pair", "gene"])
        return pd.DataFrame({key: np.ravel(x) for key, x in columns.items()}, index=index)

    def _read_pairs(self, pairs: Sequence[str]) -> list[Condition]:
        if not pairs:
            raise ValueError("`pairs` is empty; None takes those that the data has cells of.")
        conditions = self._read_conditions(pairs, None)
        single = [one.label for one in conditions if len(one.members) < 2]
        if single:
            raise ValueError(
                f"{listed(single)} is no combination; `pairs` takes those, such as 'A+B'."
            )
        return conditions

    def _pairs_of(self, adata: AnnData) -> tuple[str, ...]:
        """Labels of the combinations that cells received, at whatever doses."""
        names = self.perturbation_names
        delimiter = self.registry[_SETUP_ARGS_KEY].get("delimiter") or "+"
        seen, _ = self._conditions_of(adata, np.arange(adata.n_obs))
        pairs = [delimiter.join(names[one.members]) for one in seen if len(one.members) > 1]
        if not pairs:
            raise ValueError(
                "The data has no cells that received several perturbations; name the "
                "combinations to predict: `pairs=`."
            )
        return tuple(dict.fromkeys(pairs))
