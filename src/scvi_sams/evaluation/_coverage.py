"""Intervals of average treatment effects, looked up by condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_sams.data._names import as_tuple, listed
from scvi_sams.evaluation._ates import interval_coverage
from scvi_sams.evaluation._condition_cells import Key
from scvi_sams.evaluation._condition_table import Parts, column, perturbations_of
from scvi_sams.evaluation._means import Profiles
from scvi_sams.evaluation._profiles import Array, Floats

if TYPE_CHECKING:
    from anndata import AnnData

_SCALE = "log2_cp10k"
_LAYERS = ("lower", "upper")


@dataclass(frozen=True)
class Intervals:
    """Credible intervals of effects on log2(1 + counts per 10,000).

    Attributes
    ----------
    lower, upper
        Conditions × genes.
    row
        Row of each condition; the context is empty where it holds for all contexts.
    credible_mass
        Probability within the intervals.
    """

    lower: Floats
    upper: Floats
    row: dict[Key, int]
    credible_mass: float

    @classmethod
    def of(
        cls,
        effects: AnnData,
        genes: pd.Index,
        name: str,
        *,
        control: str | Sequence[str],
        delimiter: str | None,
        covariate_keys: str | Sequence[str] | None,
    ) -> Intervals:
        """Read what ``get_average_treatment_effects`` returned for the model of some name.

        Labels are those of column ``"perturbation"`` of obs, or else the index.

        Raises
        ------
        ValueError
            If layers or genes are missing, the scale is another, effects are not against control,
            or a condition has several rows.
        """
        about = effects.uns.get("ate", {})
        absent = [layer for layer in _LAYERS if layer not in effects.layers]
        if absent or "credible_mass" not in about:
            raise ValueError(
                f"`effects` of {name!r} lack {listed(absent or ['credible_mass in uns'])}; give "
                "what `get_average_treatment_effects` returns."
            )
        if about.get("normalization", _SCALE) != _SCALE:
            raise ValueError(
                f"`effects` of {name!r} are on the scale {about['normalization']!r}; they must be "
                f"on {_SCALE!r} (`normalization=`)."
            )
        labels = as_tuple(control)
        if about.get("control", "control") not in (*labels, "control"):
            raise ValueError(
                f"`effects` of {name!r} are against {about['control']!r}; give those against "
                "control."
            )
        unknown = genes.difference(effects.var_names)
        if len(unknown):
            raise ValueError(
                f"`effects` of {name!r} lack {len(unknown)} gene(s) that are compared: "
                f"{listed(unknown)}."
            )
        lower, upper = (
            pd.DataFrame(effects.layers[layer], columns=effects.var_names)[genes].to_numpy()
            for layer in _LAYERS
        )
        rows = cls._rows(effects, name, labels, delimiter, as_tuple(covariate_keys))
        return cls(lower, upper, rows, float(about["credible_mass"]))

    @staticmethod
    def _rows(
        effects: AnnData, name: str, control: Parts, delimiter: str | None, covariates: Parts
    ) -> dict[Key, int]:
        given = "perturbation" in effects.obs
        names = column(effects, "perturbation") if given else effects.obs_names.astype(str)
        known = [column(effects, key) for key in covariates if key in effects.obs]
        if known and len(known) < len(covariates):
            raise ValueError(
                f"obs of the `effects` of {name!r} holds some of the columns {listed(covariates)} "
                "and not others."
            )
        contexts = list(zip(*known, strict=True)) if known else [()] * effects.n_obs
        rows: dict[Key, int] = {}
        for number, (label, context) in enumerate(zip(names, contexts, strict=True)):
            key = perturbations_of(label, control, delimiter, "effects"), tuple(context)
            if key in rows:
                raise ValueError(
                    f"`effects` of {name!r} have several rows of {label!r}; keep that of the dose "
                    "and covariate values that were observed."
                )
            rows[key] = number
        return rows

    def coverage(self, key: Key, observed: Profiles, control: Profiles) -> float:
        r"""Share of the genes of a condition whose observed effect is within its interval.

        The sampling error of the effect is :math:`\sqrt{v_p / n_p + v_0 / n_0}`, with the variance
        v between the n cells of the condition p and of control (0).

        Parameters
        ----------
        key
            The condition.
        observed, control
            One row each, with variances.

        Returns
        -------
        The share; NaN without an interval, or with fewer than two cells on a side.
        """
        row = self.row.get(key, self.row.get((key[0], ())))
        if row is None or min(observed.n_cells[0], control.n_cells[0]) < 2:
            return float("nan")
        error = np.sqrt(_error(observed) + _error(control)) / np.log(2)
        effect = (observed.log.astype(float) - control.log) / np.log(2)
        return interval_coverage(
            self.lower[[row]],
            self.upper[[row]],
            effect,
            sampling_sd=error,
            credible_mass=self.credible_mass,
        )


def _error(profile: Profiles) -> Array:
    assert profile.variance is not None
    return profile.variance.astype(float) / profile.n_cells[:, None]
