"""What all models of the family do, on every likelihood."""

import anndata as ad
import numpy as np
import pytest
import scvi
import torch

import scvi_sams as sams
from tests.conftest import FEW_STEPS, MODELS, SMALL, real_valued, set_up, trained

LIKELIHOODS = ["nb", "zinb", "poisson", "normal"]
VALUES = pytest.mark.parametrize("likelihood", LIKELIHOODS)
CLASSES = pytest.mark.parametrize("cls", MODELS.values(), ids=MODELS)


def screen_for(screen, likelihood):
    return real_valued(screen) if likelihood == "normal" else screen


@VALUES
@CLASSES
def test_every_model_does_what_it_promises_on_every_likelihood(screen, tmp_path, cls, likelihood):
    adata = screen_for(screen, likelihood)
    model = trained(adata, cls=cls, gene_likelihood=likelihood)
    history = model.history["elbo_train"].to_numpy(dtype=float)
    assert np.isfinite(history).all()
    assert history[-1] < history[0]
    iwelbo = model.get_predictive_iwelbo(n_particles=5)
    assert np.isfinite(iwelbo).all()
    assert np.isfinite(model.get_elbo().item())
    ate = model.get_average_treatment_effects(n_samples=30)
    assert list(ate.obs_names) == list(model.perturbation_names)
    assert np.isfinite(ate.X).all()
    assert (ate.X != 0).any()

    model.annotate()
    adata.write_h5ad(tmp_path / "screen.h5ad")
    back = ad.read_h5ad(tmp_path / "screen.h5ad")
    np.testing.assert_allclose(back.obsm["X_sams"], model.get_latent_representation(), atol=1e-6)
    result = back.uns["sams"]
    assert result["settings"]["model"] == cls.__name__
    assert result["settings"]["gene_likelihood"] == likelihood
    assert list(result["perturbation_names"]) == list(model.perturbation_names)
    has_effects = cls is not sams.ConditionalVAE
    assert {"effects", "inclusion_probability"} <= set(result) or not has_effects
    assert has_effects or "effects" not in result


@CLASSES
def test_every_setting_is_in_the_annotation(plain_screen, cls):
    model = trained(plain_screen, cls=cls)
    model.annotate()
    settings = plain_screen.uns["sams"]["settings"]
    assert set(settings) >= {"model", *model.init_params_["non_kwargs"]}
    assert settings["dropout_rate"] == 0.1
    if cls is sams.SVAEPlus:
        assert settings["mask_prior"] == "('beta', 1.0, 5.0)"


@CLASSES
def test_untrained_model_gives_no_results(screen, cls):
    set_up(screen, cls)
    model = cls(screen, **SMALL)
    names = [
        "get_latent_representation",
        "get_perturbation_effects",
        "annotate",
        "get_average_treatment_effects",
        "get_predictive_iwelbo",
    ]
    for name in [name for name in names if hasattr(cls, name)]:
        with pytest.raises(RuntimeError, match="untrained model"):
            getattr(model, name)()


@VALUES
def test_scale_of_effects_is_that_which_fits_the_likelihood(screen, likelihood):
    model = trained(screen_for(screen, likelihood), gene_likelihood=likelihood)
    ate = model.get_average_treatment_effects("pert_1", n_samples=20)
    expected = "mean" if likelihood == "normal" else "log2_cp10k"
    assert ate.uns["ate"]["normalization"] == expected
    mean = model.get_average_treatment_effects("pert_1", n_samples=20, normalization="mean")
    assert np.isfinite(mean.X).all()
    if likelihood == "normal":
        np.testing.assert_array_equal(mean.X, ate.X)
        with pytest.raises(ValueError, match=r"'log2_cp10k'` is of counts.*normalization='mean'"):
            model.get_average_treatment_effects("pert_1", normalization="log2_cp10k")


@pytest.mark.parametrize("objective", ["elbo", "iwelbo"])
@pytest.mark.parametrize("guide", ["mean_field", "spike_slab"])
def test_no_masks_make_a_cpa_vae_bit_for_bit(screen, guide, objective):
    """Without masks the two guides are one, and nothing else differs."""
    models = []
    for cls, settings in [
        (sams.SAMSVAE, {"mask_prior": None, "effect_guide": guide}),
        (sams.CPAVAE, {}),
    ]:
        scvi.settings.seed = 3
        models.append(
            trained(
                screen.copy(), cls=cls, objective=objective, effect_prior_scale=2.0, **settings
            )
        )
    one, other = models
    assert set(one.history) == set(other.history)
    for key in one.history:
        np.testing.assert_array_equal(
            one.history[key].to_numpy(dtype=float), other.history[key].to_numpy(dtype=float), key
        )
    assert list(one.module.state_dict()) == list(other.module.state_dict())
    for key, value in one.module.state_dict().items():
        assert torch.equal(value, other.module.state_dict()[key]), key
    for name in ("get_latent_representation", "get_perturbation_effects"):
        found, expected = (getattr(model, name)() for model in models)
        np.testing.assert_array_equal(getattr(found, "X", found), getattr(expected, "X", expected))


def test_effects_of_a_model_without_masks_are_surely_included(screen):
    effects = trained(screen, cls=sams.CPAVAE).get_perturbation_effects()
    assert (effects.layers["inclusion_probability"] == 1).all()
    np.testing.assert_array_equal(effects.X, effects.layers["effect_mean"])


@CLASSES
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"n_latent": 0}, "`n_latent` must be", id="n_latent"),
        pytest.param({"n_particles": 0}, "`n_particles` must be", id="n_particles"),
        pytest.param(
            {"gene_likelihood": "gamma"},
            "`gene_likelihood` must be 'nb' or 'zinb' or 'poisson' or 'normal'; it is 'gamma'",
            id="gene_likelihood",
        ),
        pytest.param({"dispersion": "cell"}, "`dispersion` must be", id="dispersion"),
        pytest.param({"objective": "kl"}, "`objective` must be", id="objective"),
    ],
)
def test_impossible_settings_raise_at_once_and_are_named(screen, cls, settings, message):
    set_up(screen, cls)
    with pytest.raises(ValueError, match=message):
        cls(screen, **settings)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"mask_prior": 1.5}, r"must be a probability in \(0, 1\)", id="mask_prior"),
        pytest.param(
            {"mask_prior": ("beta", 0, 1)}, "positive numbers a and b", id="mask_prior-beta"
        ),
        pytest.param({"effect_prior_scale": 0}, "must be positive", id="effect_prior_scale"),
        pytest.param({"effect_guide": "flow"}, "`effect_guide` must be", id="effect_guide"),
        pytest.param({"mask_kl_weight": -1}, "mask_kl_weight", id="mask_kl_weight"),
        pytest.param(
            {"inclusion_posterior": "dirac"}, "`inclusion_posterior` must be", id="posterior"
        ),
        pytest.param(
            {"mask_prior": ("beta", 0.5, 1), "inclusion_posterior": "point"},
            "at least 1",
            id="unbounded-point",
        ),
    ],
)
def test_impossible_settings_of_a_samsvae_raise_at_once(screen, kwargs, message):
    set_up(screen)
    with pytest.raises(ValueError, match=message):
        sams.SAMSVAE(screen, **kwargs)


@CLASSES
def test_setting_that_a_model_does_not_have_is_named(screen, cls):
    set_up(screen, cls)
    with pytest.raises(TypeError, match="'n_latents'"):
        cls(screen, n_latents=3)
    absent = {
        sams.CPAVAE: "mask_prior",
        sams.SVAEPlus: "effect_guide",
        sams.ConditionalVAE: "effect_prior_scale",
    }
    if cls in absent:
        with pytest.raises(TypeError, match=f"'{absent[cls]}'"):
            cls(screen, **{absent[cls]: 0.1})


@CLASSES
def test_size_factors_mean_nothing_to_real_values(screen, cls):
    set_up(screen, cls, size_factor_key="depth")
    with pytest.raises(ValueError, match="'normal' has no library size"):
        cls(screen, gene_likelihood="normal", **SMALL)


@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson"])
@CLASSES
def test_negative_values_are_refused_by_likelihoods_of_counts(screen, cls, likelihood):
    adata = real_valued(screen)
    set_up(adata, cls)
    with pytest.raises(ValueError, match=f"negative values, and gene_likelihood='{likelihood}'"):
        cls(adata, gene_likelihood=likelihood, **SMALL)


@pytest.mark.parametrize("likelihood", ["nb", "poisson"])
def test_negative_values_of_a_query_are_refused_by_likelihoods_of_counts(screen, likelihood):
    model = trained(screen, gene_likelihood=likelihood)
    query = real_valued(screen)
    for key in ("perturbations", "_scvi_perturbations"):
        del query.obsm[key]
    before = sorted(query.obsm), sorted(query.uns)
    with pytest.raises(ValueError, match="negative values"):
        model.get_latent_representation(query)
    assert (sorted(query.obsm), sorted(query.uns)) == before


def test_real_values_of_a_query_are_taken_by_a_model_of_real_values(screen):
    adata = real_valued(screen)
    model = trained(adata, gene_likelihood="normal")
    query = adata[::2].copy()
    np.testing.assert_allclose(
        model.get_latent_representation(query), model.get_latent_representation()[::2], atol=1e-5
    )


def test_unit_of_real_values_does_not_matter(screen):
    """But for the change of measure: the same losses, the same states."""
    adata = real_valued(screen)
    other = adata.copy()
    other.X = other.X * 1024  # a power of two changes no digit
    results = []
    for data in (adata, other):
        scvi.settings.seed = 5
        results.append(trained(data, gene_likelihood="normal"))
    one, rescaled = (model.get_latent_representation() for model in results)
    np.testing.assert_allclose(one, rescaled, rtol=1e-2, atol=1e-3)
    effects = [model.get_average_treatment_effects(n_samples=50).X for model in results]
    np.testing.assert_allclose(1024 * effects[0], effects[1], rtol=2e-2, atol=1)


def test_expected_shifts_of_correlated_effects_equal_monte_carlo(screen):
    model = trained(screen, effect_guide="correlated")
    posterior = model.module.perturbations
    posterior.masks.logits.data.normal_()
    posterior.effects.loc.weight.data.mul_(4)
    effects = model.get_perturbation_effects()
    draws = posterior.rsample(posterior.everything, 20_000).shift.detach()
    np.testing.assert_allclose(effects.X, draws.mean(0), atol=0.06, rtol=0.05)
    assert (effects.layers["effect_sd"] > 0).all()
    np.testing.assert_array_equal(effects.X, model.get_perturbation_effects().X)


@CLASSES
def test_settings_reach_the_module(screen, cls):
    set_up(screen, cls)
    module = cls(
        screen,
        n_latent=3,
        n_hidden=7,
        n_layers=2,
        objective="iwelbo",
        dispersion="gene-cell",
        n_particles=2,
        gene_likelihood="zinb",
    ).module
    assert (module.n_latent, module.n_particles, module.objective) == (3, 2, "iwelbo")
    assert module.decoder.from_state.weight.shape == (7, 3)
    assert len(module.decoder.trunk.layers) == 1
    assert isinstance(module.likelihood.log_dispersion, torch.nn.Linear)


@CLASSES
def test_covariates_and_size_factors_train(screen, cls):
    model = trained(
        screen,
        cls=cls,
        setup={
            "size_factor_key": "depth",
            "dosage_key": None if cls is sams.SVAEPlus else "dosage",
            "categorical_covariate_keys": ["donor"],
            "continuous_covariate_keys": ["age"],
        },
    )
    assert np.isfinite(model.get_average_treatment_effects(n_samples=20).X).all()
    assert model.is_trained
    model.train(**FEW_STEPS)
