"""The arms of a comparison, and what is known of their difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scvi.utils import track

from scvi_sams.model._conditions import Condition
from scvi_sams.model._posterior import Array, SpikeSlab
from scvi_sams.model._response import Response
from scvi_sams.model._simulation import ReferenceCells, SimulationMixin, with_one
from scvi_sams.model._uncertainty import Uncertainty

_N_DRAWS = 100
_CELLS_PER_DRAW = 5
_CONDITIONS_WITHOUT_BAR = 100
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

    @property
    def mean(self) -> Array:
        """Mean over masks and effects, C x G."""
        return (1 - self.p_zero) * self.loc

    @property
    def variance(self) -> Array:
        """Variance over masks, effects and decoder, C x G: all of it but the model's misfit."""
        second = (1 - self.p_zero) * (self.known + self.decoder + self.loc**2)
        return np.maximum(second - self.mean**2, 0)

    def posterior(self, uncertainty: Uncertainty, name: str) -> SpikeSlab:
        """All of it together, and the misfit of the model on a scale."""
        unmodelled, model = uncertainty.of_model(name, self.decoder)
        return SpikeSlab(self.p_zero, np.sqrt(unmodelled), self.loc, np.sqrt(self.known + model))


class ArmsMixin(SimulationMixin):
    """Responses of common cells to conditions."""

    uncertainty_: dict[str, Any]

    def _effects(
        self,
        conditions: Sequence[Condition],
        other: Condition,
        cells: ReferenceCells,
        response: Response,
        seed: int,
        *,
        description: str = "Effects of conditions",
    ) -> Effects:
        """What is known of the ATE of each condition against another."""
        inclusion = self.module.perturbations.inclusion_probability
        uncertainty = Uncertainty(**self.uncertainty_)
        n_draws = min(_N_DRAWS, len(cells) // 2)  # two cells of each, or more
        reference = self._arm(other, cells, response, seed)
        rows = []
        few = len(conditions) < _CONDITIONS_WITHOUT_BAR
        for condition in track(conditions, description=description, disable=few):
            arm = self._arm(condition, cells, response, seed)
            # draws move the response of a few cells away from that at the expected offset
            moves = (arm.few_at_draws - arm.few_at_mean) - (
                reference.few_at_draws - reference.few_at_mean
            )
            moves = moves.unflatten(0, (-1, n_draws))  # cells x draws x G
            draws = moves.mean(0) + (arm.at_mean - reference.at_mean)  # draws x G
            p_zero, is_on = self._spike(condition, other, inclusion, n_draws, seed)
            on = is_on if is_on.sum() > 1 else torch.ones_like(is_on)
            known = _variance(draws[on])
            if len(moves) > 1:  # draws also differ since the few cells of each do
                known = (known - _variance(moves[:, on]).mean(0) / len(moves)).clamp(min=0)
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
        n_draws = min(_N_DRAWS, len(cells) // 2)  # two cells of each, or more
        per_draw = min(_CELLS_PER_DRAW, len(cells) // n_draws)
        few = cells.take(slice(0, n_draws * per_draw))
        draws = self._draw_offsets(condition, n_draws, seed).repeat(per_draw, 1)
        hidden, library = self.module.decode(**self._generative_input(few, condition, offset))
        slope = response.slope(hidden, library)  # n x G
        few_at_mean = response.expected(hidden, library)
        return _Arm(
            at_mean=few_at_mean.mean(0)
            if len(few) == len(cells)
            else self._mean_response(response, cells, condition, offset),
            few_at_mean=few_at_mean,
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


def _variance(values: torch.Tensor) -> torch.Tensor:
    """Variance along the first axis, for which torch's own takes several times as long."""
    return (values - values.mean(0)).square_().sum(0) / (len(values) - 1)


def _difference(one: Condition, other: Condition) -> np.ndarray:
    """Perturbations, and doses of them, that two conditions do not share."""
    first = dict(zip(one.members.tolist(), one.doses, strict=True))
    second = dict(zip(other.members.tolist(), other.doses, strict=True))
    members = sorted(first.keys() | second.keys())
    # a dose of 0 is as none
    different = [t for t in members if first.get(t, 0) != second.get(t, 0)]
    return np.array(different, dtype=np.intp)
