"""The simulated screen is what it says."""

import anndata as ad
import numpy as np
import pytest

import scvi_sams as sams


@pytest.fixture(scope="module")
def screen():
    return sams.datasets.simulate(
        10,
        n_cells_per_perturbation=40,
        n_control=100,
        n_genes=50,
        n_latent=4,
        n_combinations=5,
        doses=(0.5, 2.0),
        n_batches=3,
        null_fraction=0.4,
        seed=4,
    )


def test_sizes_labels_and_batches(screen):
    assert screen.shape == (100 + 15 * 40, 50)
    counts = screen.obs["perturbation"].value_counts()
    assert counts["control"] == 100
    assert (counts.drop("control") == 40).all()
    assert counts.index.str.contains(r"\+").sum() == 5
    assert screen.obs["batch"].nunique() == 3
    assert (screen.X.data == np.round(screen.X.data)).all()


def test_null_perturbations_shift_nothing_and_the_others_something(screen):
    truth = screen.uns["truth"]
    assert (truth["masks"].sum(1) == 0).sum() == 4
    null = truth["masks"].sum(1) == 0
    effects = np.abs(truth["average_treatment_effects"])
    assert effects[null].max() < 0.2
    assert effects[~null].max(1).min() > 0.5


def test_latent_states_are_additive_and_linear_in_dose(screen):
    truth = screen.uns["truth"]
    shifts = truth["masks"] * truth["effects"]
    position = {name: t for t, name in enumerate(truth["perturbation_names"])}
    offset = screen.obsm["z_true"] - screen.obsm["z_basal_true"]
    for label, dosage, found in zip(
        screen.obs["perturbation"], screen.obs["dosage"], offset, strict=True
    ):
        expected = np.zeros(4)
        if label != "control":
            for name, dose in zip(label.split("+"), dosage.split("+"), strict=True):
                expected += float(dose) * shifts[position[name]]
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_true_effects_agree_with_many_cells():
    screen = sams.datasets.simulate(
        3,
        n_cells_per_perturbation=3_000,
        n_control=3_000,
        n_genes=20,
        n_latent=2,
        null_fraction=0,
        seed=0,
    )
    counts = screen.X.toarray()
    logs = np.log2(1 + 1e4 * counts / counts.sum(1, keepdims=True))
    label = screen.obs["perturbation"].to_numpy()
    found = np.stack([logs[label == f"pert_{t}"].mean(0) for t in range(3)])
    found -= logs[label == "control"].mean(0)
    np.testing.assert_allclose(found, screen.uns["truth"]["average_treatment_effects"], atol=0.2)


def test_same_seed_same_screen_and_global_state_untouched():
    state = np.random.get_state()[1].copy()
    first, second, other = (
        sams.datasets.simulate(3, n_cells_per_perturbation=5, n_genes=9, seed=s) for s in (0, 0, 1)
    )
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
        pytest.param({"n_perturbations": 1}, "at least 2 perturbations", id="perturbations"),
        pytest.param({"n_batches": 0}, "n_batches", id="batches"),
        pytest.param({"n_latent": 0}, "latent", id="latent"),
        pytest.param({"inclusion": 0}, "inclusion", id="inclusion"),
        pytest.param({"null_fraction": 1.2}, "null_fraction", id="null_fraction"),
        pytest.param({"n_perturbations": 3, "n_combinations": 4}, "no 4 combinations", id="pairs"),
    ],
)
def test_impossible_numbers_raise(kwargs, message):
    with pytest.raises(ValueError, match=message):
        sams.datasets.simulate(**kwargs)
