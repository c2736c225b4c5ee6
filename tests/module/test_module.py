"""The module: shapes, shifts, libraries, covariates and the turn to sparse axes."""

import pytest
import torch

from scvi_sams.data._statistics import TrainingStatistics
from scvi_sams.module._effects import inverse_softplus
from scvi_sams.module._perturbations import unpack
from scvi_sams.module._rotation import sparse_rotation
from tests.module.helpers import VARIANTS, G, T, cells, module_of


@pytest.mark.parametrize("n_samples", [1, 3])
def test_shapes_are_those_scvi_tools_expects(n_samples):
    module, tensors = module_of(), cells()
    inference, generative = module(
        tensors, inference_kwargs={"n_samples": n_samples}, compute_loss=False
    )
    lead = () if n_samples == 1 else (n_samples,)
    assert inference["z"].shape == (*lead, 12, 3)
    assert inference["qz"].loc.shape == (*lead, 12, 3)
    assert generative["px"].mean.shape == (*lead, 12, G)
    counts = module.sample(tensors, n_samples=n_samples)
    assert counts.shape == ((12, G) if n_samples == 1 else (12, G, n_samples))


def test_controls_are_not_shifted():
    module, tensors = module_of(), cells()
    inference, _ = module(tensors, compute_loss=False)
    control = unpack(tensors["perturbations"])[1].sum(1) == 0
    difference = (inference["z"] - inference["z_basal"]).abs().sum(1)
    assert (difference[control] == 0).all()
    assert (difference[~control] > 0).any()


def test_share_per_cell_times_library_is_the_mean():
    module, tensors = module_of(), cells()
    px = module(tensors, compute_loss=False)[1]["px"]
    torch.testing.assert_close(px.scale.sum(-1), torch.ones(12))
    torch.testing.assert_close(px.mean, px.scale * tensors["X"].sum(1, keepdim=True))


def test_size_factors_are_scaled_to_a_mean_of_one():
    module = module_of(use_size_factor=True)
    module.mean_size_factor.fill_(4.0)
    tensors = cells() | {"size_factor": torch.full((12, 1), 8.0)}
    px = module(tensors, compute_loss=False)[1]["px"]
    torch.testing.assert_close(px.mean, 2 * px.scale)


def test_covariates_change_the_decoded_expression():
    module = module_of(n_batch=2, n_cats_per_cov=[3], n_continuous_cov=1)
    assert module.decoder.from_covariates.in_features == 6
    tensors = cells() | {
        "extra_categorical_covs": torch.zeros(12, 1),
        "extra_continuous_covs": torch.zeros(12, 1),
    }
    inputs = module._get_generative_input(
        tensors, {"z": torch.zeros(12, 3), "library": torch.zeros(12, 1)}
    )
    base = module.generative(**inputs)["px"].scale
    for change in [
        {"batch_index": torch.ones(12, 1)},
        {"cat_covs": torch.full((12, 1), 2.0)},
        {"cont_covs": torch.ones(12, 1)},
        {"transform_batch": 1},
    ]:
        assert not torch.allclose(module.generative(**inputs | change)["px"].scale, base)


def test_state_that_was_cached_is_sampled_as_stored():
    module = module_of()
    qzm, qzv = torch.randn(5, 3), torch.full((5, 3), 0.04)
    outputs = module.inference(
        qzm=qzm, qzv=qzv, observed_lib_size=torch.ones(5, 1), n_samples=4_000
    )
    torch.testing.assert_close(outputs["z"].mean(0), qzm, atol=0.02, rtol=0)
    torch.testing.assert_close(outputs["z"].std(0), qzv.sqrt(), atol=0.02, rtol=0)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_states_follow_the_prior_of_the_variant(settings):
    module, tensors = module_of(**settings), cells()
    inference, _ = module(tensors, compute_loss=False)
    index, dosage = unpack(tensors["perturbations"])
    shift = (inference["z"] - inference["z_basal"]).detach()
    draw = dict(zip(inference["draw"].rows.tolist(), inference["draw"].shift[0], strict=True))
    expected = torch.stack(
        [
            sum(d * draw[t] for t, d in zip(ts.tolist(), ds, strict=True))
            for ts, ds in zip(index, dosage, strict=True)
        ]
    ).detach()
    torch.testing.assert_close(shift, expected, atol=1e-5, rtol=1e-5)
    if settings.get("effect_guide") == "none":
        assert (shift == 0).all()


def test_dosages_reach_both_networks_of_the_conditional_vae_and_no_other():
    for name, settings in VARIANTS.items():
        module, tensors = module_of(**settings), cells()
        other = tensors | {"perturbations": torch.zeros(12, 4)}
        changed = {}
        with torch.no_grad():
            states = [
                module.encoder(
                    given["X"],
                    torch.zeros(12, 3),
                    module._condition("encoder", given["perturbations"]),
                ).loc
                for given in (tensors, other)
            ]
            changed["encoder"] = not torch.equal(*states)
            means = [
                module.generative(
                    **module._get_generative_input(
                        given, {"z": torch.zeros(12, 3), "library": torch.zeros(12, 1)}
                    )
                )["px"].mean
                for given in (tensors, other)
            ]
            changed["decoder"] = not torch.equal(*means)
        assert set(changed.values()) == {name == "conditional"}, name


def expressed(module, z):
    """What the module decodes from states, in every particle."""
    inputs = module._get_generative_input(
        cells(len(z)), {"z": z, "library": torch.zeros(len(z), 1)}
    )
    return module.generative(**inputs)["px"].mean


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(VARIANTS[name], id=name)
        for name in ("spike-slab", "mean-field", "correlated", "beta", "svae-plus")
    ],
)
def test_settling_the_axes_leaves_what_the_model_says(settings, monkeypatch):
    rotations = []

    def record(shifts):
        rotations.append(sparse_rotation(shifts))
        return rotations[-1]

    monkeypatch.setattr("scvi_sams.module._module.sparse_rotation", record)
    module, tensors, z = module_of(**settings), cells(), torch.randn(12, 3)
    module.start_dense()
    posterior = module.perturbations
    with torch.no_grad():
        expression, shifts = expressed(module, z), posterior.expected_shifts()
        states = module.latent_state(tensors, shifts, basal=True)
        module.settle_axes()
        (rotation,) = rotations
        assert not torch.allclose(rotation, torch.eye(3), atol=0.1)
        torch.testing.assert_close(
            expressed(module, z @ rotation), expression, rtol=1e-4, atol=1e-5
        )
        # masks are free now; the effects where they are on are those of before
        posterior.masks_are_free.fill_(False)
        rotated = posterior.expected_shifts()
        torch.testing.assert_close(rotated, shifts @ rotation, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(rotated @ rotated.T, shifts @ shifts.T, rtol=1e-4, atol=1e-4)
        after = module.latent_state(tensors, rotated, basal=True)
    torch.testing.assert_close(after.loc, states.loc @ rotation, rtol=1e-4, atol=1e-5)


def test_dense_start_ends_with_free_masks_and_says_so_in_what_is_saved():
    module = module_of()
    assert module.perturbations.masks_are_free
    assert not module.is_settled
    module.start_dense()
    assert not module.perturbations.masks_are_free
    assert (module.perturbations.inclusion_probability == 1).all()
    module.settle_axes()
    assert module.perturbations.masks_are_free
    assert module.is_settled
    assert module.state_dict()["is_settled"]


def test_statistics_are_taken_once_and_numbers_of_cells_at_every_call():
    def statistics(scale):
        values = scale * torch.ones(G)
        n_cells = torch.full((T,), 10.0 * scale)
        return TrainingStatistics(n_cells, values, values, values, torch.tensor(scale))

    module = module_of(use_size_factor=True)
    module.prepare(statistics(2.0))
    module.prepare(statistics(5.0))
    assert (module.encoder.input_mean == 2).all()
    assert (module.encoder.inverse_sd == 0.5).all()
    assert module.mean_size_factor == 2
    torch.testing.assert_close(
        module.likelihood.to_genes.bias, inverse_softplus(2 * torch.ones(G))
    )
    assert (module.perturbations.n_cells == 50).all()
