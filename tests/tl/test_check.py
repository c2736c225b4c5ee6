"""Posterior predictive checks, against direct sums and cells that the model made itself."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from mudata import MuData
from scipy import sparse, stats

import scvi_sams as sams
from scvi_sams.tl import _replicates
from tests.conftest import MODELS, dosages_of, real_valued, trained

ALL = ("mean", "variance", "zeros", "ate")
FEW = {"n_samples": 5, "min_cells": 2, "silent": True}


def check_of(model, adata=None, **kwargs):
    return sams.tl.posterior_predictive_check(model, adata, **FEW | kwargs)


def kinds_of(check) -> list[str]:
    return list(check.uns["posterior_predictive_check"]["statistics"])


def labels_of(adata) -> np.ndarray:
    """What each cell received, read off the labels and doses of the simulation."""
    labels = []
    for label, dose in zip(adata.obs["perturbation"], adata.obs["dosage"], strict=True):
        names = [name for name in str(label).split("+") if name != "control"]
        doses = str(dose).split("+")
        doses = doses * len(names) if len(doses) == 1 else doses
        given = [f"{float(one):g}" for _, one in zip(names, doses, strict=False)]
        if len(set(given)) > 1:
            labels.append("+".join(f"{n} ({d})" for n, d in zip(names, given, strict=True)))
        else:
            shared = f" ({given[0]})" if names and given[0] != "1" else ""
            labels.append(("+".join(names) or "control") + shared)
    return np.array(labels)


def made_by(model, adata, seed=1):
    """The same cells with counts of the model: one draw of effects, states of the prior."""
    torch.manual_seed(seed)
    module = model.module
    made = adata.copy()
    rows = []
    with torch.inference_mode():
        draw = module.perturbations.rsample(module.perturbations.everything, 1)
        for tensors in model._make_data_loader(model._validate_anndata(made)):
            index, dose = tensors["perturbations"].chunk(2, dim=-1)
            shift = (draw.shift[0][index.long()] * dose[..., None]).sum(1)
            z = torch.randn_like(shift) + shift
            library = torch.log(tensors["X"].sum(1, keepdim=True))
            inputs = module._get_generative_input(tensors, {"z": z, "library": library})
            rows.append(module.generative(**inputs)["px"].sample().numpy())
    made.X = sparse.csr_matrix(np.concatenate(rows))
    return made


@pytest.fixture
def sized(screen):
    """A model whose library sizes are not those of the counts."""
    return trained(screen, setup={"size_factor_key": "depth"})


@pytest.fixture
def dosed(screen):
    """A model that reads doses."""
    return trained(screen, setup={"dosage_key": "dosage"})


def test_observed_statistics_are_those_of_the_cells(dosed):
    found = check_of(dosed, batch_size=37)
    x = dosed.adata.X.toarray()
    y = np.log2(1 + 1e4 * x / x.sum(1, keepdims=True))
    label = pd.Index(labels_of(dosed.adata))
    assert found.obs_names[0] == "control"
    several = label.value_counts().loc[lambda n: n >= 2].index  # FEW asks for two cells
    assert list(found.obs_names[1:]) == sorted(set(several) - {"control"})
    assert any("(0.5)" in name for name in found.obs_names)
    for row, name in enumerate(found.obs_names):
        cells = x[label == name]
        assert found.obs["n_cells"].iloc[row] == len(cells)
        direct = {
            "mean": cells.mean(0),
            "variance": cells.var(0, ddof=1),
            "zeros": (cells == 0).mean(0),
            "ate": y[label == name].mean(0) - y[label == "control"].mean(0),
        }
        if name == "control":
            direct["ate"] = np.full(x.shape[1], np.nan)
        for kind, expected in direct.items():
            np.testing.assert_allclose(
                found.layers[f"{kind}_observed"][row], expected, rtol=1e-4, atol=1e-5
            )


def test_names_and_doses_of_the_conditions(dosed):
    found = check_of(dosed)
    alone = found.obs.loc["pert_1 (0.5)"]
    assert (alone["perturbation"], alone["dose"]) == ("pert_1", 0.5)
    assert found.obs.loc["control", "perturbation"] == "control"
    assert np.isnan(found.obs.loc["control", "dose"])


@pytest.mark.parametrize("basal", ["posterior", "prior"])
@pytest.mark.parametrize("elements", [2**15, 2**20], ids=["in-parts", "at-once"])
def test_replicates_are_means_of_the_predictive_distribution(model, basal, elements, monkeypatch):
    monkeypatch.setattr(_replicates, "_ELEMENTS_AT_ONCE", elements)
    kinds, n = ["mean", "zeros"], 60
    found = check_of(model, n_samples=n, basal=basal, statistics=kinds)
    label = model.adata.obs["perturbation"].to_numpy()
    if basal == "posterior":
        cells = model.posterior_predictive_sample(n_samples=n).todense()  # N x G x S
    else:
        cells = np.stack([made_by(model, model.adata, s).X.toarray() for s in range(n)], -1)
    for name in ["control", "pert_2"]:
        row, some = found.obs_names.get_loc(name), cells[label == name]
        for kind, value in [("mean", some), ("zeros", some == 0)]:
            draws = value.mean(0)  # G x S
            sd = found.layers[f"{kind}_replicated_sd"][row]
            error = np.maximum(np.sqrt((draws.var(1) + sd**2) / n), 1e-3)
            z = (found.layers[f"{kind}_replicated"][row] - draws.mean(1)) / error
            assert np.abs(z).max() < 5


def test_effects_are_shared_by_the_cells_of_a_replicate(model):
    """With large uncertain effects, replicated means differ far more than cells' noise allows."""
    with torch.no_grad():
        model.module.perturbations.effects.relative_loc[:] = 0
        model.module.perturbations.effects.raw_scale[:] = 5.0
        model.module.perturbations.masks.logits[:] = 20.0
    found = check_of(model, n_samples=40, basal="prior", statistics=["mean", "variance"])
    noise = np.sqrt(found.layers["variance_replicated"] / found.obs[["n_cells"]].to_numpy())
    ratio = found.layers["mean_replicated_sd"] / noise
    assert np.median(ratio[1:]) > 2
    assert np.median(ratio[0]) < 1.5


@pytest.mark.parametrize("basal", ["posterior", "prior"])
def test_cells_of_the_model_itself_have_uniform_pvalues(sized, basal):
    checks = [
        check_of(sized, made_by(sized, sized.adata, seed), n_samples=60, basal=basal)
        for seed in range(3)
    ]
    for kind in ALL:
        p, sd = (
            np.concatenate([check.layers[f"{kind}_{layer}"].ravel() for check in checks])
            for layer in ("pvalue", "replicated_sd")
        )
        # shares of zeros are numbers of cells: of genes that are hardly ever zero, few of them
        size = np.concatenate([np.repeat(check.obs["n_cells"], check.n_vars) for check in checks])
        p = p[sd * size > 1 if kind == "zeros" else sd > 0]
        assert len(p) > 100
        least, reach = (0.01, 0.12) if kind == "zeros" else (0.06, 0.1)
        assert least < ((p < 0.05) | (p > 0.95)).mean() < 0.14
        assert stats.kstest(p, "uniform").statistic < reach
    assert max(len(sams.tl.misfits(check)) for check in checks) <= 2


@pytest.mark.parametrize("basal", ["posterior", "prior"])
def test_counts_multiplied_in_one_perturbation_are_found(sized, basal):
    made = made_by(sized, sized.adata)
    gene = int(np.argmax(made.X.mean(0)))
    x = made.X.toarray()
    label = made.obs["perturbation"].to_numpy() == "pert_3"
    x[label, gene] *= 5
    made.X = x
    table = sams.tl.misfits(check_of(sized, made, n_samples=50, basal=basal), statistic="mean")
    assert len(table)
    top = table.iloc[0]
    assert top["perturbation"].startswith("pert_3")
    assert top["gene"] == made.var_names[gene]
    assert top["observed"] > top["replicated"]
    assert (top["pvalue"], top["z"] > 4) == (0, True)


def test_a_gene_that_was_lost_in_half_of_the_cells_is_found(sized):
    made = made_by(sized, sized.adata)
    gene = int(np.argmax(made.X.mean(0)))
    x = made.X.toarray()
    x[np.random.default_rng(0).random(len(x)) < 0.5, gene] = 0
    made.X = x
    table = sams.tl.misfits(check_of(sized, made, n_samples=50), statistic="zeros")
    assert table["gene"].iloc[0] == made.var_names[gene]
    assert table["gene"].eq(made.var_names[gene]).mean() > 0.7
    assert (table["z"] > 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_checked_in_full(screen, name):
    found = check_of(trained(screen, cls=MODELS[name]))
    assert kinds_of(found) == list(ALL)
    for kind in ALL:
        p = found.layers[f"{kind}_pvalue"]
        assert np.isnan(p[0]).all() == (kind == "ate")
        assert ((p[1:] >= 0) & (p[1:] <= 1)).all()
        assert np.isfinite(found.layers[f"{kind}_replicated_sd"][1:]).all()


@pytest.mark.parametrize("likelihood", ["zinb", "poisson"])
def test_other_counts_are_replicated(screen, likelihood):
    found = check_of(trained(screen, gene_likelihood=likelihood))
    replicated = found.layers["mean_replicated"].mean(0)
    assert np.corrcoef(replicated, found.layers["mean_observed"].mean(0))[0, 1] > 0.8


@pytest.mark.parametrize("origin", [0, -1e4], ids=["near-0", "far-from-0"])
def test_real_values_have_no_zeros_and_a_difference_of_means(screen, origin):
    values = real_valued(screen)
    values.X = values.X + np.float32(origin)
    model = trained(values, gene_likelihood="normal")
    found = check_of(model)
    assert list(found.uns["posterior_predictive_check"]["statistics"]) == [
        "mean",
        "variance",
        "ate",
    ]
    x, label = values.X.astype(float), values.obs["perturbation"].to_numpy()
    of = {name: x[label == name] for name in ("control", "pert_2")}
    row = found.obs_names.get_loc("pert_2")
    observed = {kind: found.layers[f"{kind}_observed"][row] for kind in ("variance", "ate")}
    np.testing.assert_allclose(observed["variance"], of["pert_2"].var(0, ddof=1), rtol=2e-3)
    np.testing.assert_allclose(
        observed["ate"], of["pert_2"].mean(0) - of["control"].mean(0), atol=2e-3
    )
    assert sams.tl.misfits(found, fdr=1)["z"].notna().all()


@pytest.mark.parametrize("kind", ["csr", "array", "layer"])
def test_counts_are_read_wherever_they_are(screen, kind):
    expected = check_of(trained(screen.copy()))
    other, setup = screen.copy(), {}
    if kind == "array":
        other.X = other.X.toarray()
    elif kind == "layer":
        other.layers["counts"], other.X = other.X, None
        setup = {"layer": "counts"}
    else:
        other.X = sparse.csr_array(other.X)
    found = check_of(trained(other, setup=setup))
    np.testing.assert_allclose(
        found.layers["mean_observed"], expected.layers["mean_observed"], rtol=1e-6
    )
    np.testing.assert_array_equal(found.obs_names, expected.obs_names)


@pytest.mark.parametrize("of", ["matrix", "mudata"])
def test_conditions_of_other_setups(plain_screen, of):
    table = dosages_of(plain_screen)
    expected = sorted({*map(str, plain_screen.obs["perturbation"])} - {"control"})
    if of == "matrix":
        plain_screen.obsm["guides"] = table
        sams.SAMSVAE.setup_anndata(plain_screen, perturbation_obsm_key="guides")
        data = plain_screen
    else:
        guides = ad.AnnData(
            sparse.csr_matrix(table.to_numpy()),
            obs=plain_screen.obs[[]],
            var=pd.DataFrame(index=table.columns.astype(str)),
        )
        data = MuData({"rna": plain_screen, "guides": guides})
        sams.SAMSVAE.setup_mudata(data, modalities={"rna_layer": "rna", "guide_layer": "guides"})
    model = sams.SAMSVAE(data, n_latent=3, n_hidden=8)
    model.train(max_epochs=1, batch_size=64, enable_progress_bar=False, accelerator="cpu")
    found = check_of(model)
    assert list(found.obs_names) == ["control", *expected]
    cells = plain_screen.X.toarray()[(plain_screen.obs["perturbation"] == expected[0]).to_numpy()]
    np.testing.assert_allclose(found.layers["mean_observed"][1], cells.mean(0), rtol=1e-5)


def test_several_controls_are_one_condition(screen):
    screen.obs["perturbation"] = screen.obs["perturbation"].astype(str)
    is_control = np.flatnonzero(screen.obs["perturbation"] == "control")
    screen.obs.iloc[is_control[:20], screen.obs.columns.get_loc("perturbation")] = "NT-2"
    model = trained(screen, setup={"control": ["control", "NT-2"]})
    found = check_of(model, perturbations=["NT-2", "pert_1"])
    assert list(found.obs_names) == ["control", "pert_1"]
    assert found.obs["n_cells"].iloc[0] == len(is_control)


def test_conditions_that_are_asked_for_come_in_that_order(dosed):
    several = next(name for name in dosed.adata.obs["perturbation"].unique() if "+" in name)
    turned = "+".join(reversed(several.split("+")))
    found = check_of(dosed, perturbations=["pert_4 (0.5)", turned, "pert_2"])
    assert found.obs_names[0] == "pert_4 (0.5)"
    assert set(found.obs["perturbation"]) == {"pert_4", several, "pert_2"}
    doses = found.obs["dose"][found.obs["perturbation"] == "pert_2"]
    assert sorted(doses) == [0.5, 1, 2]
    assert np.isfinite(found.layers["ate_pvalue"]).all()


def test_cells_that_are_chosen_by_position_or_by_a_mask(model):
    chosen = np.arange(model.adata.n_obs) % 2 == 0
    found = check_of(model, indices=chosen)
    same = check_of(model, indices=np.flatnonzero(chosen))
    assert found.obs["n_cells"].sum() == chosen.sum()
    np.testing.assert_array_equal(found.layers["mean_pvalue"], same.layers["mean_pvalue"])


def test_small_conditions_are_left_out(model):
    label = model.adata.obs["perturbation"].to_numpy()
    few = np.flatnonzero(label == "pert_1")[:4]
    cells = np.concatenate([np.flatnonzero(label != "pert_1"), few])
    found = check_of(model, indices=cells, min_cells=5)
    assert "pert_1" not in found.obs_names
    assert found.uns["posterior_predictive_check"]["n_left_out"] == 1
    assert "pert_1" in check_of(model, indices=cells, min_cells=4).obs_names
    with pytest.raises(ValueError, match="Only 4 cells received 'pert_1', fewer than 5"):
        check_of(model, indices=cells, min_cells=5, perturbations="pert_1")


def test_without_controls_there_is_no_ate(model):
    perturbed = np.flatnonzero(model.adata.obs["perturbation"] != "control")
    found = check_of(model, indices=perturbed)
    assert list(found.uns["posterior_predictive_check"]["statistics"]) == [
        "mean",
        "variance",
        "zeros",
    ]
    assert "control" not in found.obs_names
    with pytest.raises(ValueError, match="'ate' takes at least `min_cells` control cells"):
        check_of(model, indices=perturbed, statistics=["mean", "ate"])


def test_seed_decides_and_the_global_state_is_left_alone(model):
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(3), np.random.random(3)
    torch.manual_seed(3)
    np.random.seed(3)
    first = check_of(model)
    found = torch.rand(3), np.random.random(3)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(
        first.layers["mean_pvalue"], check_of(model).layers["mean_pvalue"]
    )
    other = check_of(model, seed=1)
    assert (other.layers["mean_replicated"] != first.layers["mean_replicated"]).any()


def test_data_are_left_as_they_were_and_the_result_survives_writing(model, tmp_path):
    before = model.adata.copy()
    found = check_of(model)
    assert (model.adata.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(model.adata.obs, before.obs)
    found.write_h5ad(tmp_path / "check.h5ad")
    back = ad.read_h5ad(tmp_path / "check.h5ad")
    for name, values in found.layers.items():
        np.testing.assert_array_equal(back.layers[name], values)
    # text may come back as another type of text
    loosely = {"check_dtype": False, "check_index_type": False}
    pd.testing.assert_frame_equal(back.obs, found.obs, **loosely)
    read, written = (sams.tl.misfits(check, fdr=1) for check in (back, found))
    pd.testing.assert_frame_equal(read, written, **loosely)


def test_progress_is_shown_unless_silenced(model, capsys):
    check_of(model)
    assert not capsys.readouterr().out
    check_of(model, silent=False)
    assert "Replicating cells" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"n_samples": 1}, "`n_samples` must be at least 2; it is 1", id="samples"),
        pytest.param({"min_cells": 1}, "`min_cells` must be at least 2; it is 1", id="cells"),
        pytest.param({"basal": "given"}, "'posterior' or 'prior'; it is 'given'", id="basal"),
        pytest.param({"statistics": "median"}, "some of 'mean'.*'median'", id="statistic"),
        pytest.param({"statistics": ()}, "some of 'mean'", id="no-statistic"),
        pytest.param({"perturbations": ()}, "`perturbations` is empty", id="no-condition"),
        pytest.param({"perturbations": "pert_11"}, "received 'pert_11'; nearest:", id="unknown"),
        pytest.param({"indices": []}, "`indices` chooses no cells", id="no-cells"),
        pytest.param(
            {"indices": [0, 10**6]}, r"mask of the \d+ cells: index 1000000 is out", id="beyond"
        ),
        pytest.param({"indices": [True, False]}, "or a boolean mask of the", id="mask"),
        pytest.param({"min_cells": 1_000}, "has 1000 cells. Choose more", id="too-few"),
    ],
)
def test_impossible_settings_raise(model, kwargs, message):
    with pytest.raises(ValueError, match=message):
        check_of(model, **kwargs)


def test_zeros_of_real_values_raise(screen):
    model = trained(real_valued(screen), gene_likelihood="normal")
    with pytest.raises(ValueError, match="'zeros' is of counts"):
        check_of(model, statistics="zeros")


def test_minified_data_raise(model):
    qzm, qzv = model.get_latent_representation(return_dist=True)
    model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = qzm, qzv
    model.minify_adata(use_latent_qzm_key="X_latent_qzm", use_latent_qzv_key="X_latent_qzv")
    with pytest.raises(ValueError, match="Minified data has no counts"):
        check_of(model)


def test_untrained_models_and_other_things_raise(screen):
    model = trained(screen)
    with pytest.raises(RuntimeError, match="train"):
        check_of(sams.SAMSVAE(screen, n_latent=2))
    with pytest.raises(TypeError, match="it is of type AnnData"):
        check_of(model.adata)


def hand_made(z, pvalue, observed=1.0, replicated=1.0):
    """A check of one condition with one statistic."""
    layers = {"observed": observed, "replicated": replicated, "z": z, "pvalue": pvalue}
    return ad.AnnData(
        obs=pd.DataFrame({"n_cells": [100]}, index=["A"]),
        var=pd.DataFrame(index=[f"g{j}" for j in range(len(z))]),
        layers={f"mean_{name}": np.broadcast_to(one, (1, len(z))) for name, one in layers.items()},
        uns={"posterior_predictive_check": {"statistics": np.array(["mean"]), "n_samples": 100}},
    )


def test_misfits_by_hand():
    z = np.array([10.0, -1.0, np.nan, -11.0, 0.0])
    check = hand_made(z, pvalue=[0.0, 0.8, np.nan, 1.0, 0.5], observed=2.0)
    every = sams.tl.misfits(check, fdr=1)
    assert list(every["gene"]) == ["g3", "g0", "g1", "g4"]
    p = 2 * stats.t.sf(np.array([11, 10, 1, 0]) / np.sqrt(1.01), 99)
    np.testing.assert_allclose(every["padj"], stats.false_discovery_control(p))
    found = sams.tl.misfits(check, statistic="mean")
    pd.testing.assert_frame_equal(found, every[:2])
    row = {"perturbation": "A", "gene": "g3", "statistic": "mean", "observed": 2, "replicated": 1}
    assert found.iloc[0].drop("padj").to_dict() == {**row, "z": -11, "pvalue": 1}


def test_entries_that_replicates_reach_are_not_listed():
    check = hand_made([10.0], [0.06])
    assert sams.tl.misfits(check, fdr=0.1).empty
    assert len(sams.tl.misfits(check, fdr=0.2)) == 1


@pytest.mark.parametrize(
    ("kind", "observed", "replicated", "least", "z"),
    [
        # one count in 10 cells that have none in any replicate is worth 1
        pytest.param("mean", 0.1, [0, 0, 0], 0.1, 1, id="one-count"),
        pytest.param("mean", 0, [0, 0, 0], 0.1, 0, id="none"),
        pytest.param("mean", 64, [1, 8, 27], 0.1, 2, id="cube-root"),
        pytest.param("mean", 0, [1, 8, 27], 0.1, -12 / np.sqrt(181), id="as-it-is"),
        pytest.param("mean", 4, [1, 2, 3], 0, 2, id="real-mean"),
        pytest.param("mean", 2, [1, 1, 1], 0, 0, id="real-without-spread"),
        pytest.param("variance", np.e**4 - 0.1, np.exp([1, 2, 3]) - 0.1, 0.1, 2, id="logarithm"),
        pytest.param("variance", 64, [1, 8, 27], 0, 2, id="real-variance"),
        pytest.param("zeros", 0.4, [0.1, 0.2, 0.3], 0.05, 2, id="zeros"),
        pytest.param("ate", -0.4, [-0.1, -0.2, -0.3], 0.2, -1, id="ate"),
    ],
)
def test_distance_is_on_the_scale_where_it_is_smaller(kind, observed, replicated, least, z):
    replicated = np.array(replicated, dtype=float)[:, None]
    found = _replicates.compare(kind, np.array([float(observed)]), replicated, least)
    assert found["z"] == pytest.approx(z)
    assert found["replicated"] == replicated.mean()
    assert found["replicated_sd"] == pytest.approx(np.std(replicated, ddof=1))


def test_ties_count_half():
    found = _replicates.compare(
        "zeros", np.array([0.5]), np.array([[0.5], [0.5], [0.6], [0.1]]), 0.1
    )
    assert found["pvalue"] == 0.5


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(lambda check: sams.tl.misfits(check.X), TypeError, "is what", id="array"),
        pytest.param(
            lambda check: sams.tl.misfits(ad.AnnData(np.ones((2, 2)))),
            TypeError,
            "`posterior_predictive_check` returned",
            id="other",
        ),
        pytest.param(
            lambda check: sams.tl.misfits(check, statistic="zeros"),
            ValueError,
            "no statistic 'zeros'; it has 'mean'",
            id="statistic",
        ),
        pytest.param(
            lambda check: sams.tl.misfits(check, fdr=0), ValueError, r"\(0, 1\]; it is 0", id="fdr"
        ),
    ],
)
def test_what_is_no_check_raises(call, error, message):
    with pytest.raises(error, match=message):
        call(hand_made([1.0], [0.5]))
