"""The Poisson screen is what it says."""

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import scvi_sams as sams
from scvi_sams.datasets import simulate_poisson

SMALL = {"n_genes": 20, "n_latent": 5, "n_hidden": 10, "n_cells_per_perturbation": (40, 10, 20)}


@pytest.fixture(scope="module")
def screen():
    return simulate_poisson(12, **SMALL, seed=2)


def test_layout(screen):
    truth = screen.uns["truth"]
    assert screen.shape == (12 * 70, 20)
    assert isinstance(screen.X, sparse.csr_matrix)
    assert screen.X.dtype == np.float32
    assert (screen.X.data == np.round(screen.X.data)).all()
    per_split = screen.obs.groupby(["perturbation", "split"], observed=False).size().unstack()
    assert per_split.columns.tolist() == ["train", "val", "test"]
    assert (per_split.to_numpy() == (40, 10, 20)).all()
    assert truth["perturbation_names"].tolist() == per_split.index.tolist()
    assert per_split.index[3] == "pert_03"
    assert truth["masks"].dtype == np.int8
    assert truth["average_treatment_effects"].shape == (12, 20)
    assert set(truth) == set(sams.datasets.simulate(2, n_genes=3).uns["truth"])


@pytest.mark.parametrize(
    ("n_latent", "possible"),
    [
        pytest.param(15, [1, 2, 3], id="three"),
        pytest.param(2, [1, 2], id="two-dimensions"),
        pytest.param(1, [1], id="one-dimension"),
    ],
)
def test_number_and_choice_of_targets_are_uniform(n_latent, possible):
    screen = simulate_poisson(
        3_000, n_latent=n_latent, n_cells_per_perturbation=(1, 0, 0), n_genes=2, n_layers=1
    )
    masks = screen.uns["truth"]["masks"]
    number, how_many = np.unique(masks.sum(1), return_counts=True)
    assert number.tolist() == possible
    np.testing.assert_allclose(how_many / 3_000, 1 / len(possible), atol=4 * 0.5 / np.sqrt(3_000))
    np.testing.assert_allclose(masks.mean(0), np.mean(possible) / n_latent, atol=0.04)


def test_latent_states_are_basal_states_plus_masked_effects(screen):
    truth = screen.uns["truth"]
    shift = (truth["masks"] * truth["effects"])[screen.obs["perturbation"].cat.codes]
    offset = screen.obsm["z_true"] - screen.obsm["z_basal_true"]
    np.testing.assert_allclose(offset, shift, atol=1e-12)
    assert np.abs(truth["effects"]).mean() == pytest.approx(5, abs=4 * 0.5 / np.sqrt(60))


def test_counts_of_a_cell_are_poisson_in_total():
    totals = simulate_poisson(50, **SMALL, library_size=200).X.sum(1).A1
    margin = 4 * np.sqrt(200 / len(totals))
    assert totals.mean() == pytest.approx(200, abs=margin)
    assert totals.var() == pytest.approx(200, rel=4 * np.sqrt(2 / len(totals)))


def test_counts_are_poisson_given_the_state():
    """With one latent dimension the log-ratio of two genes' shares is linear on each side of 0.

    What Poisson noise adds to the log-ratio of two large counts has variance 1/x + 1/y.
    """
    screen = simulate_poisson(
        2,
        n_cells_per_perturbation=(2_000, 0, 0),
        n_latent=1,
        n_layers=1,
        n_genes=3,
        library_size=1e5,
        effect_size=1,
    )
    z = screen.obsm["z_true"][:, 0]
    counts = screen.X.toarray().astype(float)
    ratio = np.log(counts[:, 0] / counts[:, 1])
    precision = 1 / (1 / counts[:, 0] + 1 / counts[:, 1])
    for side in (z > 0, z < 0):
        assert side.sum() > 500
        slope = np.average(ratio[side] / z[side], weights=precision[side] * z[side] ** 2)
        chi = (ratio[side] - slope * z[side]) * np.sqrt(precision[side])
        assert chi.var() == pytest.approx(1, rel=4 * np.sqrt(2 / side.sum()))


def test_counts_are_informative():
    """Logits of sd 1 make counts of 1,000 far more variable than Poisson noise alone."""
    counts = simulate_poisson(30, n_cells_per_perturbation=(40, 0, 0)).X.toarray()
    logs = np.log(counts + 0.5)
    centred = logs - logs.mean(1, keepdims=True)
    assert 0.7 < centred.std(0).mean() < 1.4
    assert np.median(counts.var(0) / counts.mean(0)) > 3


def test_true_effects_agree_with_many_cells():
    screen = simulate_poisson(
        4, **(SMALL | {"n_cells_per_perturbation": (4_000, 0, 0)}), library_size=300, seed=1
    )
    counts = screen.X.toarray()
    logs = np.log2(1 + 1e4 * counts / counts.sum(1, keepdims=True))
    label = screen.obs["perturbation"].to_numpy()
    mean = np.stack([logs[label == f"pert_{t}"].mean(0) for t in range(4)])
    sd = np.stack([logs[label == f"pert_{t}"].std(0) for t in range(4)])
    truth = screen.uns["truth"]["average_treatment_effects"]
    for t in range(1, 4):
        error = np.sqrt((sd[t] ** 2 + sd[0] ** 2) * (1 / 4_000 + 1 / 2_000))
        assert (np.abs(mean[t] - mean[0] - truth[t] + truth[0]) < 4.5 * error).all()
    assert np.abs(truth).max() > 1


def test_cells_without_counts_are_left_out_with_their_truth():
    screen = simulate_poisson(5, **SMALL, library_size=1.0)
    assert 0 < screen.n_obs < 5 * 70
    assert screen.n_obs == pytest.approx(350 * (1 - np.exp(-1)), abs=4 * np.sqrt(350) / 2)
    assert screen.X.sum(1).min() >= 1
    assert len(screen.obsm["z_true"]) == screen.n_obs


def test_same_seed_same_screen_and_global_state_untouched():
    state = np.random.get_state()[1].copy()
    first, second, other = (simulate_poisson(4, **SMALL, seed=s) for s in (0, 0, 1))
    assert (first.X != second.X).nnz == 0
    assert (first.X != other.X).nnz > 0
    assert (np.random.get_state()[1] == state).all()


def test_screen_survives_writing(screen, tmp_path):
    screen.write_h5ad(tmp_path / "screen.h5ad")
    back = ad.read_h5ad(tmp_path / "screen.h5ad")
    assert (back.X != screen.X).nnz == 0
    for key, value in screen.uns["truth"].items():
        np.testing.assert_array_equal(back.uns["truth"][key], value, err_msg=key)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"n_perturbations": 0}, "`n_perturbations` is 0", id="perturbations"),
        pytest.param({"n_genes": 1}, "`n_genes` is 1", id="genes"),
        pytest.param({"n_latent": 0}, "`n_latent` is 0", id="latent"),
        pytest.param({"n_layers": 0}, "`n_layers` is 0", id="layers"),
        pytest.param({"n_hidden": 1.5}, "`n_hidden` is 1.5", id="hidden"),
        pytest.param({"n_cells_per_perturbation": (1, 2)}, "three whole numbers", id="cells"),
        pytest.param({"effect_size": float("inf")}, "`effect_size` is inf", id="effect-size"),
        pytest.param({"library_size": 0}, "`library_size` is 0", id="library"),
    ],
)
def test_impossible_numbers_raise(kwargs, message):
    with pytest.raises(ValueError, match=message):
        simulate_poisson(**kwargs)
