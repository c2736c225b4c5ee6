"""The Gaussian screen is what it says."""

import anndata as ad
import numpy as np
import pytest

import scvi_sams as sams
from scvi_sams.datasets import simulate_gaussian

SMALL = {
    "n_perturbations": 6,
    "n_genes": 12,
    "n_latent": 4,
    "n_hidden": 10,
    "inclusion": 0.5,
    "n_cells_per_perturbation": (300, 20, 30),
}


@pytest.fixture(scope="module")
def screen():
    return simulate_gaussian("D", **SMALL, seed=2)


@pytest.fixture(scope="module")
def noiseless():
    """The same cells without noise."""
    return simulate_gaussian("D", **SMALL, noise_fraction=0, seed=2)


@pytest.mark.parametrize(
    ("protocol", "n_perturbations", "n_genes", "n_latent", "n_cells", "inclusion"),
    [
        pytest.param("N", 100, 50, 8, (20, 100, 100), 0.2, id="N"),
        pytest.param("S", 50, 50, 8, (500, 100, 100), 0.2, id="S"),
        pytest.param("D", 100, 100, 15, (500, 100, 100), 2 / 15, id="D"),
    ],
)
def test_protocols_have_the_sizes_of_the_paper(
    protocol, n_perturbations, n_genes, n_latent, n_cells, inclusion
):
    screen = simulate_gaussian(protocol)
    assert screen.shape == (n_perturbations * sum(n_cells), n_genes)
    per_split = screen.obs.groupby(["perturbation", "split"], observed=False).size().unstack()
    assert per_split.columns.tolist() == ["train", "val", "test"]
    assert (per_split.to_numpy() == n_cells).all()
    assert len(per_split) == n_perturbations
    masks = screen.uns["truth"]["masks"]
    assert masks.shape == (n_perturbations, n_latent)
    margin = 4 * np.sqrt(inclusion * (1 - inclusion) / masks.size)
    assert masks.mean() == pytest.approx(inclusion, abs=margin)
    assert (masks.sum(1) == 0).any()


def test_layout(screen):
    truth = screen.uns["truth"]
    assert isinstance(screen.X, np.ndarray)
    assert screen.X.dtype == np.float32
    assert screen.obs["perturbation"].cat.categories.tolist() == [f"pert_{t}" for t in range(6)]
    assert truth["perturbation_names"].tolist() == [f"pert_{t}" for t in range(6)]
    assert truth["masks"].dtype == np.int8
    assert truth["effects"].shape == (6, 4)
    assert truth["average_treatment_effects"].shape == (6, 12)
    assert set(truth) == set(sams.datasets.simulate(2, n_genes=3).uns["truth"])


def test_arguments_replace_those_of_the_protocol():
    screen = simulate_gaussian("N", n_genes=7, n_cells_per_perturbation=(1, 0, 0))
    assert screen.shape == (100, 7)
    assert screen.obs["split"].unique().tolist() == ["train"]


def test_latent_states_are_basal_states_plus_masked_effects(screen):
    truth = screen.uns["truth"]
    shift = (truth["masks"] * truth["effects"])[screen.obs["perturbation"].cat.codes]
    basal = screen.obsm["z_basal_true"]
    np.testing.assert_allclose(screen.obsm["z_true"] - basal, shift, atol=1e-12)
    np.testing.assert_allclose(basal.mean(0), 0, atol=4 / np.sqrt(len(basal)))
    np.testing.assert_allclose(np.cov(basal.T), np.eye(4), atol=0.15)


@pytest.mark.parametrize("effect_size", [5.0, 1.0, 0.0])
def test_effects_scale_with_their_size(effect_size):
    effects = simulate_gaussian("N", effect_size=effect_size, n_genes=3).uns["truth"]["effects"]
    size = np.abs(effects)
    assert size.mean() == pytest.approx(effect_size, abs=0.02 * effect_size)
    assert size.std() == pytest.approx(effect_size / 10, rel=0.1, abs=1e-12)
    if effect_size:
        assert 0.4 < (effects > 0).mean() < 0.6


def test_noise_free_genes_have_unit_sd_over_training_cells(noiseless):
    train = (noiseless.obs["split"] == "train").to_numpy()
    np.testing.assert_allclose(noiseless.X[train].std(0), 1, rtol=1e-5)


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
def test_noise_holds_its_share_of_each_gene(noiseless, fraction):
    noisy = simulate_gaussian("D", **SMALL, noise_fraction=fraction, seed=2)
    np.testing.assert_array_equal(noisy.obsm["z_true"], noiseless.obsm["z_true"])
    noise = noisy.X - noiseless.X
    standard_error = np.sqrt(2 / len(noise))
    np.testing.assert_allclose(noise.var(0), fraction / (1 - fraction), rtol=4 * standard_error)
    train = (noisy.obs["split"] == "train").to_numpy()
    share = noise[train].var(0) / noisy.X[train].var(0)
    np.testing.assert_allclose(share, fraction, rtol=0.2)
    assert np.abs(np.corrcoef(noise.T) - np.eye(12)).max() < 5 / np.sqrt(len(noise))


def test_expression_is_a_function_of_the_state_up_to_noise_of_the_stated_variance():
    """With one latent dimension f is linear on each side of 0, so least squares finds it."""
    screen = simulate_gaussian("N", n_latent=1, n_hidden=5, n_genes=4, noise_fraction=0.2, seed=1)
    z = screen.obsm["z_true"][:, 0]
    for side in (z > 0, z < 0):
        slope = (z[side] @ screen.X[side]) / (z[side] @ z[side])
        residual = screen.X[side] - np.outer(z[side], slope)
        assert side.sum() > 1_000
        np.testing.assert_allclose(residual.var(0), 0.25, rtol=0.1)


def test_true_effects_agree_with_the_cells(screen):
    many = simulate_gaussian("D", **(SMALL | {"n_cells_per_perturbation": (4_000, 0, 0)}), seed=2)
    for adata, n_cells in ((screen, 350), (many, 4_000)):
        label = adata.obs["perturbation"].to_numpy()
        mean = np.stack([adata.X[label == f"pert_{t}"].mean(0) for t in range(6)])
        truth = adata.uns["truth"]["average_treatment_effects"]
        # total variance is at most about 1.25 in each arm; 2,000 states stand behind the truth
        margin = 4.5 * np.sqrt(2 * 1.25 * (1 / n_cells + 1 / 2_000))
        for t in range(1, 6):
            np.testing.assert_allclose(mean[t] - mean[0], truth[t] - truth[0], atol=margin)
        assert np.abs(truth).max() > 1


def test_perturbations_without_shift_have_no_effect():
    screen = simulate_gaussian("N", seed=0)
    truth = screen.uns["truth"]
    null = truth["masks"].sum(1) == 0
    assert null.any()
    assert (truth["average_treatment_effects"][null] == 0).all()
    assert np.abs(truth["average_treatment_effects"][~null]).max(1).min() > 0.1


def test_same_seed_same_screen_and_global_state_untouched():
    state = np.random.get_state()[1].copy()
    first, second, other = (simulate_gaussian("N", seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.X, second.X)
    for key, value in first.uns["truth"].items():
        np.testing.assert_array_equal(value, second.uns["truth"][key], err_msg=key)
    assert (first.X != other.X).all(axis=1).any()
    assert (np.random.get_state()[1] == state).all()


def test_screen_survives_writing(screen, tmp_path):
    screen.write_h5ad(tmp_path / "screen.h5ad")
    back = ad.read_h5ad(tmp_path / "screen.h5ad")
    np.testing.assert_array_equal(back.X, screen.X)
    for key, value in screen.uns["truth"].items():
        np.testing.assert_array_equal(back.uns["truth"][key], value, err_msg=key)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"protocol": "X"}, r"'X'; choose one of \['N', 'S', 'D'\]", id="protocol"),
        pytest.param({"n_perturbations": 0}, "`n_perturbations` is 0", id="perturbations"),
        pytest.param({"n_genes": 2.5}, "`n_genes` is 2.5", id="genes"),
        pytest.param({"n_latent": -1}, "`n_latent` is -1", id="latent"),
        pytest.param({"n_layers": 0}, "`n_layers` is 0", id="layers"),
        pytest.param({"n_hidden": float("nan")}, "`n_hidden` is nan", id="hidden"),
        pytest.param({"inclusion": 1.1}, "`inclusion` is 1.1", id="inclusion"),
        pytest.param({"n_cells_per_perturbation": (5, 5)}, "give three whole", id="two-splits"),
        pytest.param({"n_cells_per_perturbation": 5}, "give three whole", id="one-number"),
        pytest.param({"n_cells_per_perturbation": (5, -1, 0)}, "give three", id="negative-cells"),
        pytest.param({"n_cells_per_perturbation": (0, 5, 5)}, "raise its first", id="no-training"),
        pytest.param({"effect_size": -1}, "`effect_size` is -1", id="effect-size"),
        pytest.param({"noise_fraction": 1}, "`noise_fraction` is 1", id="noise"),
        pytest.param({"noise_fraction": -0.1}, "`noise_fraction` is -0.1", id="negative-noise"),
    ],
)
def test_impossible_numbers_raise(kwargs, message):
    with pytest.raises(ValueError, match=message):
        simulate_gaussian(**kwargs)
