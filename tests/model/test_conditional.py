"""The conditional VAE: perturbations are inputs of the networks."""

import numpy as np
import pytest
import torch

import scvi_sams as sams
from tests.conftest import SMALL, set_up, trained


@pytest.fixture
def conditional(screen):
    model = trained(screen, cls=sams.ConditionalVAE, setup={"dosage_key": "dosage"})
    for part in model.module.dosage_inputs.values():
        part.weight.data.normal_(std=0.3)
    return model


def test_there_are_no_effects_on_latent_dimensions(conditional):
    assert not hasattr(conditional, "get_perturbation_effects")
    conditional.annotate()
    assert not {"effects", "inclusion_probability"} & set(conditional.adata.uns["sams"])


@pytest.mark.parametrize("give_mean", [True, False])
def test_perturbed_and_basal_states_are_one(conditional, give_mean):
    states = []
    for kind in ("perturbed", "basal"):
        torch.manual_seed(0)
        states.append(conditional.get_latent_representation(kind=kind, give_mean=give_mean))
    np.testing.assert_array_equal(*states)


def test_state_is_the_encoder_at_the_dosages(conditional):
    module, adata = conditional.module, conditional.adata
    dosages = torch.as_tensor(adata.obsm["perturbations"].toarray(), dtype=torch.float32)
    with torch.no_grad():
        condition = dosages @ module.dosage_inputs["encoder"].weight
        state = module.encoder(
            torch.as_tensor(adata.X.toarray()), torch.zeros(adata.n_obs, 4), condition
        )
    np.testing.assert_allclose(conditional.get_latent_representation(), state.loc, atol=1e-5)


def test_ate_of_means_equals_a_direct_computation(conditional):
    module = conditional.module
    module.decoder.from_covariates.weight.data.zero_()
    found = conditional.get_average_treatment_effects(
        ["pert_0", "pert_0+pert_2"], n_samples=20_000, normalization="mean"
    )
    library = conditional.adata.X.sum(1)[conditional.train_indices].mean()
    weight = module.dosage_inputs["decoder"].weight.detach()
    torch.manual_seed(1)
    z, nothing = torch.randn(20_000, 4), torch.zeros(20_000, 2)

    def share(condition):
        with torch.no_grad():
            hidden = module.decoder(z, nothing, condition.expand(20_000, -1))
            return module.likelihood.to_genes(hidden).softmax(-1).numpy()

    for row, condition in enumerate([weight[0], weight[0] + weight[2]]):
        effect = (share(condition) - share(0 * condition)) * library  # cells x G
        # two independent simulations of 20,000 cells, library sizes with a relative sd of 0.3
        error = np.hypot(effect.std(0), 0.3 * effect.mean(0)) * np.sqrt(2 / 20_000)
        assert (np.abs(found.X[row] - effect.mean(0)) < 5 * error + 1e-3).all()


def test_control_has_no_effect(conditional):
    for normalization in ("mean", "log2_cp10k"):
        ate = conditional.get_average_treatment_effects(
            "control", n_samples=50, normalization=normalization
        )
        np.testing.assert_array_equal(ate.X, 0)


def test_perturbation_without_training_cell_is_as_no_perturbation(screen):
    held_out = screen.obs["perturbation"].astype(str).str.contains("pert_3").to_numpy()
    screen.obs["split"] = np.where(
        held_out, "test", np.where(np.arange(len(held_out)) % 5, "train", "val")
    )
    set_up(screen, sams.ConditionalVAE)
    model = sams.ConditionalVAE(screen, **SMALL)
    with pytest.warns(UserWarning, match="have no training cell: 'pert_3'"):
        model.train(max_epochs=3, enable_progress_bar=False, accelerator="cpu", split_key="split")
    ate = model.get_average_treatment_effects(["pert_3", "pert_1"], n_samples=50)
    assert list(ate.obs["trained"]) == [False, True]
    np.testing.assert_array_equal(ate["pert_3"].X, 0)
    assert (ate["pert_1"].X != 0).any()
