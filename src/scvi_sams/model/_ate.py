"""Average treatment effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
import torch

from scvi_sams.model._conditions import NO_PERTURBATION, Condition, Doses
from scvi_sams.model._posterior import Array, SpikeSlab
from scvi_sams.model._response import Normalization, Response
from scvi_sams.model._simulation import (
    Basal,
    ReferenceCells,
    SimulationMixin,
    with_entries,
    with_one,
)
from scvi_sams.model._uncertainty import Uncertainty

if TYPE_CHECKING:
    from anndata import AnnData

_N_DRAWS = 100
_CELLS_PER_DRAW = 5
_ELEMENTS_AT_ONCE = 2**19


class _Arm(NamedTuple):
    """One arm of a comparison, evaluated on common cells.

    Attributes
    ----------
    at_mean
        Mean response at the expected offset; G.
    few_at_mean, few_at_draws
        Responses of a few cells at the expected offset and at draws of it; n x G.
    gradient
        Derivative of the mean response with respect to the output weights; G x (H + 1).
    """

    at_mean: torch.Tensor
    few_at_mean: torch.Tensor
    few_at_draws: torch.Tensor
    gradient: torch.Tensor


class Effects(NamedTuple):
    """What is known of the effects of conditions on genes; each C x G.

    Attributes
    ----------
    p_zero
        Probability that every mask is off.
    loc, known
        Mean and variance over masks and effects otherwise.
    decoder
        Variance for the decoder.
    """

    p_zero: Array
    loc: Array
    known: Array
    decoder: Array

    def posterior(self, uncertainty: Uncertainty, name: str) -> SpikeSlab:
        """All of it together, and the misfit of the model on a scale."""
        unmodelled, model = uncertainty.of_model(name, self.decoder)
        return SpikeSlab(self.p_zero, np.sqrt(unmodelled), self.loc, np.sqrt(self.known + model))


class TreatmentEffectsMixin(SimulationMixin):
    """What perturbations do to genes."""

    uncertainty_: dict[str, Any]

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
            Cells simulated per condition and arm.
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
        if n_samples < 2:
            raise ValueError(f"`n_samples` must be at least 2; it is {n_samples}.")
        if not 0 < credible_mass < 1:
            raise ValueError(f"`credible_mass` must lie in (0, 1); it is {credible_mass}.")
        response = Response(normalization, self.module.likelihood)
        conditions = self._read_conditions(perturbations, doses)
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
        tail = (1 - credible_mass) / 2
        layers = {
            "sd": posterior.sd,
            "lower": posterior.quantile(tail),
            "upper": posterior.quantile(1 - tail),
            "lfsr": posterior.local_false_sign_rate,
        }
        return ad.AnnData(
            X=posterior.mean.astype(np.float32),
            obs=pd.concat(obs),
            var=pd.DataFrame(index=self.gene_names),
            layers={key: values.astype(np.float32) for key, values in layers.items()},
            uns={
                "ate": {
                    "control": other.label,
                    "normalization": response.name,
                    "basal": basal if isinstance(basal, str) else "cells",
                    "n_samples": n_samples,
                    "credible_mass": credible_mass,
                    "seed": seed,
                }
            },
        )

    def _effects(
        self,
        conditions: Sequence[Condition],
        other: Condition,
        cells: ReferenceCells,
        response: Response,
        seed: int,
    ) -> Effects:
        """What is known of the ATE of each condition against another."""
        inclusion = self.module.perturbations.inclusion_probability
        uncertainty = Uncertainty(**self.uncertainty_)
        n_draws = min(_N_DRAWS, len(cells))
        reference = self._arm(other, cells, response, seed)
        rows = []
        for condition in conditions:
            arm = self._arm(condition, cells, response, seed)
            # draws move the response of a few cells away from that at the expected offset
            moves = (arm.few_at_draws - arm.few_at_mean) - (
                reference.few_at_draws - reference.few_at_mean
            )
            moves = moves.unflatten(0, (-1, n_draws))  # cells x draws x G
            draws = moves.mean(0) + (arm.at_mean - reference.at_mean)  # draws x G
            p_zero, is_on = self._spike(condition, other, inclusion, n_draws, seed)
            on = is_on if is_on.sum() > 1 else torch.ones_like(is_on)
            known = draws[on].var(0)
            if len(moves) > 1:  # draws also differ since the few cells of each do
                known = (known - moves[:, on].var(0).mean(0) / len(moves)).clamp(min=0)
            gradient = (arm.gradient - reference.gradient).cpu().double().numpy()  # G x (H + 1)
            decoder = uncertainty.of_decoder(gradient[:, -1], gradient[:, :-1])
            rows.append(
                (
                    np.full(len(decoder), p_zero),
                    draws[on].mean(0).cpu().double().numpy(),
                    known.cpu().double().numpy(),
                    decoder,
                )
            )
        return Effects(*(np.stack(column) for column in zip(*rows, strict=True)))

    def _spike(
        self,
        condition: Condition,
        other: Condition,
        inclusion: torch.Tensor,
        n_draws: int,
        seed: int,
    ) -> tuple[float, torch.Tensor]:
        """Probability that two conditions are the same to the model, and draws in which not."""
        members = _difference(condition, other)
        if not len(members):
            return 1.0, torch.ones(n_draws, dtype=torch.bool)
        if not self.module.has_masks:
            return 0.0, torch.ones(n_draws, dtype=torch.bool)
        offset = self._draw_offsets(condition, n_draws, seed)
        is_on = (offset != self._draw_offsets(other, n_draws, seed)).any(-1)
        return float((1 - inclusion[members]).cpu().double().prod()), is_on.cpu()

    def _arm(
        self, condition: Condition, cells: ReferenceCells, response: Response, seed: int
    ) -> _Arm:
        """Responses of cells that receive a condition."""
        offset = self._expected_offset(condition)
        n_draws = min(_N_DRAWS, len(cells))
        per_draw = min(_CELLS_PER_DRAW, len(cells) // n_draws)
        few = cells.take(slice(0, n_draws * per_draw))
        draws = self._draw_offsets(condition, n_draws, seed).repeat(per_draw, 1)
        hidden, library = self.module.decode(**self._generative_input(few, condition, offset))
        slope = response.slope(hidden, library)  # n x G
        return _Arm(
            at_mean=self._mean_response(response, cells, condition, offset),
            few_at_mean=response.expected(hidden, library),
            few_at_draws=self._respond(response, few, condition, draws),
            gradient=slope.T @ with_one(hidden) / len(few),
        )

    def _mean_response(
        self,
        response: Response,
        cells: ReferenceCells,
        condition: Condition,
        offset: torch.Tensor,
    ) -> torch.Tensor:
        """Mean over cells of their expected responses, G."""
        at_once = max(_ELEMENTS_AT_ONCE // len(self.gene_names), 1)
        total = torch.zeros(len(self.gene_names), device=self.device)
        for start in range(0, len(cells), at_once):
            some = cells.take(slice(start, start + at_once))
            total += self._respond(response, some, condition, offset).sum(0)
        return total / len(cells)

    def _respond(
        self,
        response: Response,
        cells: ReferenceCells,
        condition: Condition,
        offset: torch.Tensor,
    ) -> torch.Tensor:
        """Expected responses of cells that receive a condition, n x G."""
        inputs = self._generative_input(cells, condition, offset)
        return response.expected(*self.module.decode(**inputs))


def _difference(one: Condition, other: Condition) -> np.ndarray:
    """Perturbations, and doses of them, that two conditions do not share."""
    first = dict(zip(one.members.tolist(), one.doses, strict=True))
    second = dict(zip(other.members.tolist(), other.doses, strict=True))
    members = sorted(first.keys() | second.keys())
    # a dose of 0 is as none
    different = [t for t in members if first.get(t, 0) != second.get(t, 0)]
    return np.array(different, dtype=np.intp)
