"""Settings, and the parts that they stand for."""

import pytest

from scvi_sams.module._correlated import CorrelatedEffects
from scvi_sams.module._inclusion_priors import BetaInclusion, BetaPointInclusion, FixedInclusion
from scvi_sams.module._mask import BernoulliMask, FullMask
from scvi_sams.module._mean_field import MeanFieldEffects
from scvi_sams.module._networks import BasalEncoder, PerturbedStateEncoder
from scvi_sams.module._point_effects import NoEffects, PointEffects
from scvi_sams.module._spike_slab import SpikeSlabEffects
from tests.module.helpers import VARIANTS, module_of

PARTS = {
    "spike-slab": (SpikeSlabEffects, FixedInclusion, BasalEncoder),
    "mean-field": (MeanFieldEffects, FixedInclusion, BasalEncoder),
    "correlated": (CorrelatedEffects, FixedInclusion, BasalEncoder),
    "beta": (SpikeSlabEffects, BetaInclusion, BasalEncoder),
    "point": (SpikeSlabEffects, BetaPointInclusion, BasalEncoder),
    "cpa-vae": (MeanFieldEffects, None, BasalEncoder),
    "svae-plus": (PointEffects, BetaPointInclusion, PerturbedStateEncoder),
    "conditional": (NoEffects, None, BasalEncoder),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_settings_stand_for_their_parts(name):
    module, (effects, prior, encoder) = module_of(**VARIANTS[name]), PARTS[name]
    masks = module.perturbations.masks
    assert type(module.perturbations.effects) is effects
    assert type(module.encoder) is encoder
    assert type(masks) is (FullMask if prior is None else BernoulliMask)
    assert module.has_masks == (prior is not None)
    if prior is not None:
        assert type(masks.prior) is prior
    assert (module.dosage_inputs is not None) == (name == "conditional")
    sees_offset = name not in ("svae-plus", "conditional")
    assert (module.encoder.from_offset is not None) == sees_offset


def test_mean_field_encoder_leaves_out_the_offset():
    assert module_of(mean_field_encoder=True).encoder.from_offset is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(
            pytest.param({name: value}, f"`{name}` must be an integer of at least 1", id=name)
            for name, value in [
                ("n_latent", 0),
                ("n_hidden", 8.0),
                ("n_layers", -1),
                ("n_particles", None),
            ]
        ),
        *(
            pytest.param({name: "nope"}, f"`{name}` must be .*; it is 'nope'", id=name)
            for name in (
                "effect_guide",
                "inclusion_posterior",
                "latent_prior",
                "gene_likelihood",
                "dispersion",
                "objective",
            )
        ),
        pytest.param({"mask_kl_weight": -0.1}, "`mask_kl_weight` must not be", id="weight"),
        pytest.param({"mask_kl_weight": "a"}, "`mask_kl_weight` must not be", id="weight-text"),
        pytest.param({"mask_prior": 1.5}, "`mask_prior` must be", id="mask_prior"),
        pytest.param({"effect_prior_scale": 0.0}, "`effect_prior_scale` must be", id="scale"),
        pytest.param(
            {"gene_likelihood": "normal", "use_size_factor": True},
            "gene_likelihood='normal' has no library size",
            id="normal-with-size-factors",
        ),
    ],
)
def test_impossible_setting_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        module_of(**settings)
