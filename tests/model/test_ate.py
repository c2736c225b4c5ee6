"""Average treatment effects."""

import numpy as np
import pytest
import scvi
import torch

import scvi_sams as sams
from scvi_sams.data import _simulate
from scvi_sams.model._conditions import NO_PERTURBATION
from scvi_sams.model._response import Response
from tests.conftest import real_valued, trained


def test_ate_of_means_equals_a_direct_computation(screen):
    model = trained(screen)
    module = model.module
    # one library size and sure masks leave nothing to chance but the basal states
    module.perturbations.masks.logits.data.fill_(50.0)
    module.perturbations.effects.raw_scale.data.fill_(-30.0)
    module.decoder.from_covariates.weight.data.zero_()
    found = model.get_average_treatment_effects(
        ["pert_0", "pert_0+pert_2"], n_samples=20_000, normalization="mean"
    )
    assert list(found.obs_names) == ["pert_0", "pert_0+pert_2"]
    library = screen.X.sum(1)[model.train_indices].mean()
    shift = module.perturbations.effects.relative_loc.detach()
    torch.manual_seed(1)
    z, nothing = torch.randn(20_000, 4), torch.zeros(20_000, 2)

    def mean(offset):
        with torch.no_grad():
            hidden = module.decoder(z + offset, nothing)
        return module.likelihood.to_genes(hidden).softmax(-1).mean(0).detach().numpy() * library

    for row, offset_ in enumerate([shift[0], shift[0] + shift[2]]):
        np.testing.assert_allclose(found.X[row], mean(offset_) - mean(0 * offset_), atol=0.05)


def test_ate_is_repeatable_and_leaves_the_global_state(model):
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = model.get_average_treatment_effects("pert_1", n_samples=50)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()
    second = model.get_average_treatment_effects("pert_1", n_samples=50)
    np.testing.assert_array_equal(first.X, second.X)
    other = model.get_average_treatment_effects("pert_1", n_samples=50, seed=1)
    assert not np.array_equal(first.X, other.X)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"perturbations": "pert_9"}, "nearest", id="unknown"),
        pytest.param({"perturbations": []}, "is empty", id="none"),
        pytest.param({"perturbations": "PERT_1"}, "nearest: 'pert_1'", id="case"),
        pytest.param({"n_samples": 1}, "at least 4", id="n_samples"),
        pytest.param({"normalization": "tpm"}, "'log2_cp10k' or 'mean'", id="normalization"),
    ],
)
def test_bad_ate_request_names_the_culprit(model, kwargs, message):
    with pytest.raises(ValueError, match=message):
        model.get_average_treatment_effects(**kwargs)


def test_conditions_are_read_like_labels(model):
    single, *same = (
        model.get_average_treatment_effects(name, n_samples=40)
        for name in ["pert_1", "pert_1+control", "pert_1 + control"]
    )
    for other in same:
        np.testing.assert_array_equal(other.X, single.X)
    for scale in ("mean", "log2_cp10k"):
        nothing = model.get_average_treatment_effects("control", n_samples=40, normalization=scale)
        np.testing.assert_array_equal(nothing.X, 0)
    one, other = model.get_average_treatment_effects(["pert_0+pert_2", "pert_2+pert_0"]).X
    np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="empty part"):
        model.get_average_treatment_effects("pert_1+")
    with pytest.raises(ValueError, match="names 'pert_1' more than once"):
        model.get_average_treatment_effects("pert_1+pert_1")


def test_ate_does_not_depend_on_the_data_at_hand(model, screen, tmp_path):
    expected = model.get_average_treatment_effects("pert_1", n_samples=100).X
    model.save(str(tmp_path / "model"))
    shallow = screen[:40].copy()
    shallow.X = shallow.X.copy()
    shallow.X.data = np.ones_like(shallow.X.data)
    for data in (False, shallow):
        loaded = sams.SAMSVAE.load(str(tmp_path / "model"), data, accelerator="cpu")
        found = loaded.get_average_treatment_effects("pert_1", n_samples=100).X
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("dispersion", ["gene", "gene-cell"])
@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_ate_of_logs_equals_independent_sampling(screen, likelihood, dispersion):
    """Also where the arms differ in their dispersions, or in the share of lost counts."""
    model = trained(screen, gene_likelihood=likelihood, dispersion=dispersion)
    module, n = model.module, 20_000
    module.perturbations.masks.logits.data.fill_(50.0)
    module.perturbations.effects.raw_scale.data.fill_(-30.0)
    module.perturbations.effects.relative_loc.data.normal_(std=4)
    module.decoder.from_covariates.weight.data.zero_()
    if dispersion == "gene-cell":
        module.likelihood.log_dispersion.weight.data.mul_(4)
    found = model.get_average_treatment_effects(["pert_0"], n_samples=n).X[0]

    rng = np.random.default_rng(0)
    shift = module.perturbations.effects.relative_loc.detach()[0]
    libraries = np.asarray(screen.X.sum(1)).ravel()[model.train_indices]
    of_mean_total = of_drawn_total = 0.0
    for sign, offset in [(1, shift), (-1, 0 * shift)]:
        library = rng.choice(libraries, n)[:, None]
        with torch.no_grad():
            z = torch.tensor(rng.normal(size=(n, 4)), dtype=torch.float32) + offset
            hidden = module.decoder(z, torch.zeros(n, 2))
            share = module.likelihood.to_genes(hidden).softmax(-1).double().numpy()
            theta = module.likelihood.dispersion(hidden).double().numpy()
        counts, lost = rng.poisson(rng.gamma(theta, library * share / theta)), 0.0
        if likelihood == "zinb":
            lost = torch.sigmoid(module.likelihood.to_dropout(hidden)).detach().numpy()
            counts = counts * (rng.random(counts.shape) > lost)
        mean_total = library * (share * (1 - lost)).sum(1, keepdims=True)
        drawn_total = np.maximum(counts.sum(1, keepdims=True), 1)
        of_mean_total = of_mean_total + sign * np.log2(1 + 1e4 * counts / mean_total).mean(0)
        of_drawn_total = of_drawn_total + sign * np.log2(1 + 1e4 * counts / drawn_total).mean(0)
    np.testing.assert_allclose(found, of_mean_total, atol=0.2)
    # totals vary with the counts, the more so the fewer genes there are: 30 here
    assert np.corrcoef(found, of_drawn_total)[0, 1] > 0.97
    assert np.abs(of_mean_total).max() > 0.5


def open_posterior(model, name="pert_0"):
    """Masks that may be on or off, and effects that are not sure either."""
    posterior = model.module.perturbations
    t = list(model.perturbation_names).index(name)
    posterior.masks.logits.data[t] = torch.tensor([0.0, 1.0, -1.0, -2.0])
    posterior.effects.relative_loc.data[t] = torch.tensor([1.5, -1.0, 2.0, 1.0])
    posterior.effects.raw_scale.data[t] = -1.0
    model.module.decoder.from_state.weight.data.mul_(3)
    model.module.likelihood.to_genes.weight.data.mul_(2)
    return t


def sure_posterior(model):
    """Masks and effects without any uncertainty."""
    posterior = model.module.perturbations
    posterior.masks.logits.data.fill_(50.0)
    posterior.effects.raw_scale.data.fill_(-30.0)
    posterior.effects.relative_loc.data.normal_()


@pytest.mark.parametrize("normalization", ["mean", "log2_cp10k"])
def test_intervals_are_coherent(model, normalization):
    open_posterior(model)
    narrow, wide = (
        model.get_average_treatment_effects(
            ["pert_0", "pert_1", "pert_0+pert_2", "control"],
            n_samples=200,
            normalization=normalization,
            credible_mass=mass,
        )
        for mass in (0.5, 0.95)
    )
    np.testing.assert_array_equal(narrow.X, wide.X)
    np.testing.assert_array_equal(narrow.layers["sd"], wide.layers["sd"])
    for found in (narrow, wide):
        assert (found.layers["lower"] <= found.layers["upper"]).all()
    # equal tails hold the mean of what is not too lopsided
    assert (wide.layers["lower"] <= wide.X).all()
    assert (wide.layers["upper"] >= wide.X).all()
    assert (wide.layers["lower"] <= narrow.layers["lower"]).all()
    assert (wide.layers["upper"] >= narrow.layers["upper"]).all()
    perturbed = slice(0, 3)
    spread = [found.layers["upper"] - found.layers["lower"] for found in (narrow, wide)]
    assert (spread[0] < spread[1])[perturbed].all()
    assert ((wide.layers["lfsr"] >= 0) & (wide.layers["lfsr"] <= 1)).all()
    assert (wide.layers["sd"] > 0)[perturbed].all()
    # where sign is nearly sure, the interval leaves zero out, and the other way round
    out = (wide.layers["lower"] > 0) | (wide.layers["upper"] < 0)
    assert not (out & (wide.layers["lfsr"] > 0.025 + 1e-4)).any()
    np.testing.assert_array_equal(wide.layers["lfsr"][3], 1)


def test_credible_mass_and_settings_are_reported(model):
    found = model.get_average_treatment_effects("pert_0", n_samples=50, credible_mass=0.8)
    assert found.uns["ate"]["credible_mass"] == 0.8
    for bad in (0, 1, -0.1, 95):
        with pytest.raises(ValueError, match=r"`credible_mass` must lie in \(0, 1\)"):
            model.get_average_treatment_effects("pert_0", credible_mass=bad)


@pytest.mark.parametrize("normalization", ["mean", "log2_cp10k"])
def test_effects_against_another_condition_are_antisymmetric(model, normalization):
    open_posterior(model)
    kwargs = {"n_samples": 200, "normalization": normalization}
    for one, other in [("pert_0", "pert_1"), ("pert_0+pert_2", "pert_2")]:
        there = model.get_average_treatment_effects(one, control=other, **kwargs)
        back = model.get_average_treatment_effects(other, control=one, **kwargs)
        atol = 1e-5 * np.abs(there.X).max() + 1e-6
        np.testing.assert_allclose(there.X, -back.X, atol=atol)
        np.testing.assert_allclose(there.layers["sd"], back.layers["sd"], rtol=1e-3)
        np.testing.assert_allclose(there.layers["lfsr"], back.layers["lfsr"], atol=1e-4)
        np.testing.assert_allclose(there.layers["lower"], -back.layers["upper"], atol=10 * atol)
        assert there.uns["ate"]["control"] == other


def test_effects_against_another_condition_are_differences_of_effects(model):
    open_posterior(model)
    kwargs = {"n_samples": 300, "normalization": "mean"}
    model.module.perturbations.masks.logits.data.fill_(50.0)
    one, other = model.get_average_treatment_effects(["pert_0", "pert_1"], **kwargs).X
    between = model.get_average_treatment_effects("pert_0", control="pert_1", **kwargs)
    np.testing.assert_allclose(between.X[0], one - other, atol=1e-3 * np.abs(between.X).max())
    nothing = model.get_average_treatment_effects("pert_0", control="pert_0", **kwargs)
    np.testing.assert_array_equal(nothing.X, 0)
    np.testing.assert_array_equal(nothing.layers["lfsr"], 1)


def test_masks_that_both_arms_share_are_no_reason_for_a_spike(model):
    """Against pert_0, the combination with pert_2 is nothing where the masks of pert_2 are off."""
    open_posterior(model)
    logits = model.module.perturbations.masks.logits.data
    logits[:], logits[0], logits[2] = 0.0, 50.0, -50.0
    kwargs = {"n_samples": 200, "control": "pert_0"}
    assert (
        model.get_average_treatment_effects("pert_0+pert_2", **kwargs).layers["lfsr"] > 1 - 1e-6
    ).all()
    logits[0], logits[2] = -50.0, 50.0
    assert (
        model.get_average_treatment_effects("pert_0+pert_2", **kwargs).layers["lfsr"] < 0.6
    ).all()


@pytest.mark.parametrize("normalization", ["mean", "log2_cp10k"])
def test_perturbation_whose_masks_are_off_is_null(model, normalization):
    model.module.perturbations.masks.logits.data[0] = -50.0
    found = model.get_average_treatment_effects(
        ["pert_0", "pert_1"], n_samples=200, normalization=normalization
    )
    np.testing.assert_allclose(found.layers["lfsr"][0], 1, atol=1e-6)
    np.testing.assert_array_equal(found.X[0], 0)
    uncertainty = model.uncertainty_
    _, gamma = uncertainty["misfit"][normalization]
    np.testing.assert_allclose(
        found.layers["sd"][0], np.sqrt(gamma * uncertainty["spread"][normalization]), rtol=1e-5
    )
    # what the decoder does not know adds to a shift
    assert (found.layers["sd"][1] > found.layers["sd"][0]).all()


def test_perturbation_that_is_null_for_sure_has_no_spread_without_misfit(model):
    model.module.perturbations.masks.logits.data[0] = -50.0
    model.uncertainty_["misfit"]["log2_cp10k"] = np.zeros(2)
    found = model.get_average_treatment_effects("pert_0", n_samples=50)
    for layer in ("sd", "lower", "upper"):
        np.testing.assert_array_equal(found.layers[layer], 0)


def test_misfit_widens_what_it_is_of(model):
    open_posterior(model)
    sds = []
    for kappa, gamma in [(0, 0), (5, 0), (0, 0.5)]:
        model.uncertainty_["misfit"]["log2_cp10k"] = np.array([kappa, gamma], dtype=float)
        sds.append(model.get_average_treatment_effects("pert_0", n_samples=200).layers["sd"][0])
    assert (sds[1] > sds[0]).all()
    added = sds[2] ** 2 - sds[0] ** 2
    np.testing.assert_allclose(added, 0.5 * model.uncertainty_["spread"]["log2_cp10k"], rtol=1e-3)


@pytest.mark.parametrize("normalization", ["mean", "log2_cp10k"])
def test_spread_of_masks_and_effects_equals_brute_force(screen, normalization):
    """Many draws, each of which all cells receive."""
    model = trained(screen)
    t = open_posterior(model)
    response = Response(normalization, model.module.likelihood)
    condition = model._condition("pert_0", 1.0)
    with torch.inference_mode():
        cells = model._reference(1_000, "prior", 2_000.0, 99)
        shifts = model.module.perturbations.rsample(torch.tensor([t]), 400).shift[:, 0]
        nothing = model._mean_response(response, cells, NO_PERTURBATION, 0.0)
        effects = torch.stack(
            [model._mean_response(response, cells, condition, shift) for shift in shifts]
        ).numpy()
        effects = effects - nothing.numpy()
        is_on = (shifts != 0).any(-1).numpy()
        found = [
            model._effects(
                [condition],
                NO_PERTURBATION,
                model._reference(1_000, "prior", 2_000.0, seed),
                response,
                seed,
            )
            for seed in range(10)
        ]
    p_zero = found[0].p_zero[0, 0]
    assert p_zero == pytest.approx(1 - is_on.mean(), abs=0.04)
    loc, known = (
        np.mean([getattr(one, name)[0] for one in found], 0) for name in ("loc", "known")
    )
    variance = effects[is_on].var(0)
    # of all genes together, and of each within what the draws and cells leave open
    assert np.median(known / variance) == pytest.approx(1, abs=0.15)
    assert (np.abs(np.log(known / variance)) < 1).all()
    assert (np.abs(loc - effects[is_on].mean(0)) < 0.5 * np.sqrt(variance)).all()
    mean = np.mean([(1 - one.p_zero[0]) * one.loc[0] for one in found], 0)
    np.testing.assert_allclose(mean, effects.mean(0), atol=0.4 * np.sqrt(variance).max())


@pytest.mark.parametrize("normalization", ["mean", "log2_cp10k"])
def test_common_cells_take_most_of_the_noise_out(screen, normalization):
    """Against as many cells of their own in each arm."""
    model = trained(screen)
    sure_posterior(model)
    response = Response(normalization, model.module.likelihood)
    condition = model._condition("pert_0", 1.0)
    offset = model._expected_offset(condition)
    paired, unpaired = [], []
    with torch.inference_mode():
        for seed in range(24):
            paired.append(
                model.get_average_treatment_effects(
                    "pert_0", n_samples=100, normalization=normalization, seed=seed
                ).X[0]
            )
            arms = [
                model._mean_response(
                    response, model._reference(100, "prior", "observed", own), received, shift
                )
                for own, received, shift in [
                    (1_000 + seed, condition, offset),
                    (2_000 + seed, NO_PERTURBATION, 0 * offset),
                ]
            ]
            unpaired.append((arms[0] - arms[1]).numpy())
    ratio = np.var(paired, axis=0).mean() / np.var(unpaired, axis=0).mean()
    assert ratio < 0.4
    # and of the same thing
    error = np.sqrt((np.var(unpaired, axis=0) + np.var(paired, axis=0)) / 24)
    assert (np.abs(np.mean(paired, 0) - np.mean(unpaired, 0)) < 6 * error).all()


def test_more_cells_converge(screen):
    model = trained(screen)
    sure_posterior(model)

    def noise(n_samples):
        return np.std(
            [
                model.get_average_treatment_effects("pert_0", n_samples=n_samples, seed=seed).X[0]
                for seed in range(32)  # of 8, a spread is off by a third
            ],
            axis=0,
        ).mean()

    few, many = noise(100), noise(1_600)
    assert many == pytest.approx(few / 4, rel=0.4)


def test_effects_do_not_depend_on_how_many_cells_are_computed_at_once(model, monkeypatch):
    expected = model.get_average_treatment_effects("pert_0", n_samples=230)
    monkeypatch.setattr("scvi_sams.model._arms._ELEMENTS_AT_ONCE", 30 * 17)
    found = model.get_average_treatment_effects("pert_0", n_samples=230)
    np.testing.assert_allclose(found.X, expected.X, atol=1e-5)
    np.testing.assert_allclose(found.layers["sd"], expected.layers["sd"], rtol=1e-4)


@pytest.mark.parametrize("name", ["CPAVAE", "ConditionalVAE"])
def test_models_without_masks_have_no_spike(screen, name):
    model = trained(screen, cls=getattr(sams, name))
    found = model.get_average_treatment_effects("pert_0", n_samples=100)
    assert (found.layers["lfsr"] <= 0.5).all()
    middle = (found.layers["lower"] + found.layers["upper"]) / 2
    np.testing.assert_allclose(middle, found.X, atol=1e-5)
    half = (found.layers["upper"] - found.layers["lower"]) / 2
    np.testing.assert_allclose(half, 1.959964 * found.layers["sd"], rtol=1e-3)


def test_real_values_have_the_posterior_of_a_regression(screen):
    """A decoder of known hidden states: uncertainty is that of the regression on them."""
    model = trained(real_valued(screen), gene_likelihood="normal")
    sure_posterior(model)
    model.uncertainty_["misfit"]["mean"] = np.zeros(2)
    model.module.decoder.from_covariates.weight.data.zero_()
    found = model.get_average_treatment_effects("pert_0", n_samples=500)

    module = model.module
    shift = module.perturbations.effects.relative_loc[0].detach()
    nothing = torch.zeros(500, 2)
    with torch.no_grad():
        basal = model._reference(500, "prior", "observed", 0).z_basal
        moved = (module.decoder(basal + shift, nothing) - module.decoder(basal, nothing)).mean(0)
        weights, unit = module.likelihood.to_genes.weight, module.likelihood.unit
        np.testing.assert_allclose(found.X[0], unit * (weights @ moved), atol=1e-4)
    learned = model.uncertainty_
    gram = learned["axes"] * learned["size"] @ learned["axes"].T
    for g in range(30):
        precision = learned["information"][g] * gram + learned["precision"][g] * np.eye(16)
        variance = moved.numpy() @ np.linalg.solve(precision, moved.numpy()) * unit[g].item() ** 2
        assert found.layers["sd"][0, g] == pytest.approx(variance**0.5, rel=1e-3)


def true_effects(seed, n_perturbations, n_cells=20_000, **sizes):
    """Truth of a simulated screen over more cells than it comes with."""
    rng = np.random.default_rng(seed)
    masks, effects = _simulate._masks_and_effects(
        n_perturbations, sizes["n_latent"], 0.2, 0.3, 3.0, rng
    )
    simulated = _simulate._random_screen(masks * effects, sizes["n_genes"], 2, 5_000.0, rng)
    z, batch = rng.normal(size=(n_cells, sizes["n_latent"])), rng.integers(2, size=n_cells)
    found = _simulate.treatment_effects(
        lambda z: _simulate.log_share(simulated.counts(z, batch, rng)).mean(0), masks * effects, z
    )
    return np.where(masks.any(1, keepdims=True), found, 0.0)  # without noise where there is none


@pytest.fixture(scope="module")
def known_screens():
    """Models of two screens, the true effects, and which perturbations have any."""
    screens = []
    for seed in range(2):
        scvi.settings.seed = 0
        sizes = {"n_perturbations": 12, "n_genes": 60, "n_latent": 4, "seed": seed}
        adata = sams.datasets.simulate(n_cells_per_perturbation=100, n_control=300, **sizes)
        truth = true_effects(**sizes)
        noisy = adata.uns["truth"]["average_treatment_effects"]
        assert np.sqrt(np.mean((noisy - truth) ** 2)) < 0.04
        sams.SAMSVAE.setup_anndata(
            adata, perturbation_key="perturbation", control="control", batch_key="batch"
        )
        model = sams.SAMSVAE(adata, n_latent=8, n_hidden=32)
        model.train(max_epochs=400, batch_size=256, enable_progress_bar=False, accelerator="cpu")
        screens.append((model, truth, np.any(adata.uns["truth"]["masks"], axis=1)))
    return screens


METHODS = ["get_average_treatment_effects", "get_combined_effects"]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_intervals_cover_true_effects(known_screens, method):
    covered = []
    for model, truth, is_effect in known_screens:
        found = getattr(model, method)()
        inside = (found.layers["lower"] <= truth) & (truth <= found.layers["upper"])
        covered.append(inside[is_effect].mean())
        assert inside[~is_effect].mean() > 0.97
        assert np.corrcoef(found.X.ravel(), truth.ravel())[0, 1] > 0.97
    assert 0.88 < np.mean(covered) < 0.98


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fdr", [0.05, 0.1, 0.2])
def test_called_effects_keep_the_false_discovery_rate(known_screens, method, fdr):
    n_called = n_false = 0
    for model, truth, _ in known_screens:
        found = getattr(model, method)()
        sams.tl.call_effects(found, fdr=fdr)
        called = found.layers["called"]
        n_called += called.sum()
        n_false += (called & (np.sign(found.X) != np.sign(truth))).sum()
    assert n_called > 300
    assert n_false <= 1.5 * fdr * n_called
