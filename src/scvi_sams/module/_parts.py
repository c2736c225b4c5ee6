"""Settings, checked, and the parts that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Literal

from scvi_sams.module._correlated import CorrelatedEffects
from scvi_sams.module._effects import EffectGuide
from scvi_sams.module._inclusion_priors import inclusion_prior
from scvi_sams.module._likelihoods import GENE_LIKELIHOODS
from scvi_sams.module._mask import BernoulliMask, FullMask, Mask
from scvi_sams.module._mean_field import MeanFieldEffects
from scvi_sams.module._numbers import is_number
from scvi_sams.module._perturbations import PerturbationPosterior
from scvi_sams.module._point_effects import NoEffects, PointEffects
from scvi_sams.module._spike_slab import SpikeSlabEffects

EffectGuideName = Literal["spike_slab", "mean_field", "correlated", "point", "none"]
MaskPrior = float | tuple[Literal["beta"], float, float] | None

EFFECT_GUIDES: dict[str, Callable[..., EffectGuide]] = {
    "spike_slab": SpikeSlabEffects,
    "mean_field": MeanFieldEffects,
    "correlated": CorrelatedEffects,
    "point": PointEffects,
    "none": NoEffects,
}
_CHOICES = {
    "effect_guide": tuple(EFFECT_GUIDES),
    "inclusion_posterior": ("beta", "point"),
    "latent_prior": ("basal", "shifted", "standard"),
    "gene_likelihood": tuple(GENE_LIKELIHOODS),
    "dispersion": ("gene", "gene-cell"),
    "objective": ("elbo", "iwelbo"),
}
_COUNTS = ("n_latent", "n_hidden", "n_layers", "n_particles")


def check_settings(settings: dict[str, object]) -> None:
    """Raise a ValueError that names the first impossible setting, by its name."""
    for name in _COUNTS:
        value = settings[name]
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"`{name}` must be an integer of at least 1; it is {value!r}.")
    for name, known in _CHOICES.items():
        if settings[name] not in known:
            raise ValueError(
                f"`{name}` must be {' or '.join(map(repr, known))}; it is {settings[name]!r}."
            )
    rate, weight = settings["dropout_rate"], settings["mask_kl_weight"]
    if not is_number(rate) or not 0 <= rate < 1:
        raise ValueError(f"`dropout_rate` must lie in [0, 1); it is {rate!r}.")
    if not is_number(weight) or weight < 0:
        raise ValueError(f"`mask_kl_weight` must not be negative; it is {weight!r}.")
    if settings["use_size_factor"] and settings["gene_likelihood"] == "normal":
        raise ValueError(
            "gene_likelihood='normal' has no library size, so size factors mean nothing to it. "
            "Set the data up without `size_factor_key`, or model raw counts."
        )
    if settings["dispersion"] == "gene-cell" and settings["gene_likelihood"] == "poisson":
        raise ValueError(
            "gene_likelihood='poisson' has no dispersion. Leave out `dispersion`, or take 'nb'."
        )


def make_perturbations(
    n_perturbations: int,
    n_latent: int,
    *,
    effect_guide: EffectGuideName,
    mask_prior: MaskPrior,
    inclusion_posterior: Literal["beta", "point"],
    effect_prior_scale: float,
) -> PerturbationPosterior:
    """Posterior of masks and effects from their settings."""
    masks: Mask
    if mask_prior is None:
        masks = FullMask(n_latent)
    else:
        prior = inclusion_prior(mask_prior, inclusion_posterior)
        masks = BernoulliMask(n_perturbations, n_latent, prior=prior)
    guide = EFFECT_GUIDES[effect_guide]
    effects = guide(n_perturbations, n_latent, prior_scale=effect_prior_scale)
    return PerturbationPosterior(masks, effects, n_perturbations, n_latent)
