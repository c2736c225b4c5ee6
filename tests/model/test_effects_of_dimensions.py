"""Responses of genes to latent dimensions."""

import numpy as np
import pytest
import torch

import scvi_sams as sams
from tests.conftest import MODELS, real_valued, trained
from tests.model.screens import dosed_screen, left_alone, planted, planted_model, totals

K = 4


@pytest.fixture(scope="module")
def model():
    model = planted_model()
    model.module.decoder.from_covariates.weight.data.zero_()
    # after a few steps states hardly matter
    model.module.decoder.from_state.weight.data.mul_(2)
    logits = model.module.perturbations.masks.logits.data
    logits.fill_(-50.0)
    logits[[0, 3, 4], 1] = 50.0
    logits[2, 3] = 50.0
    return model


def shifts_of(model):
    """Root mean square of the effects of those that include a dimension, signed as their sum."""
    effects = model.get_perturbation_effects()
    shifts = []
    for q, e in zip(
        effects.layers["inclusion_probability"].T, effects.layers["effect_mean"].T, strict=True
    ):
        on = q > 0.5
        size = np.sqrt(np.average(e[on] ** 2, weights=q[on])) if on.any() else 1.0
        shifts.append(-size if on.any() and (q[on] * e[on]).sum() < 0 else size)
    return np.array(shifts)


def test_responses_of_means_equal_a_direct_computation(model):
    found = model.get_dimension_responses(n_samples=20_000, normalization="mean")
    assert list(found.obs_names) == [f"z{k}" for k in range(K)]
    assert list(found.var_names) == list(model.adata.var_names)
    shifts = shifts_of(model)
    np.testing.assert_allclose(found.obs["shift"], shifts, rtol=1e-5)
    assert list(found.obs["n_perturbations"]) == [0, 3, 0, 1]
    n = 20_000
    rng = np.random.default_rng(1)
    z = torch.as_tensor(rng.normal(size=(n, K)), dtype=torch.float32)
    library = rng.choice(totals(model.adata)[model.train_indices], size=(n, 1))

    def mean(z):
        with torch.no_grad():
            hidden = model.module.decoder(z, torch.zeros(n, 2))
            return model.module.likelihood.to_genes(hidden).softmax(-1).numpy() * library

    for k in range(K):
        response = mean(z + shifts[k].astype(np.float32) * torch.eye(K)[k]) - mean(z)
        error = response.std(0) * np.sqrt(2 / n)
        assert (np.abs(found.X[k] - response.mean(0)) < 5 * error + 1e-3).all()
        assert np.abs(found.X[k]).max() > 20 * error.max()


@pytest.mark.parametrize("normalization", ["log2_cp10k", "mean"])
def test_sign_of_a_dimension_is_no_part_of_its_response(model, normalization):
    """The other sign of states, effects and weights is the same model, shifted the other way."""
    kwargs = {"n_samples": 20_000, "normalization": normalization}
    before = model.get_dimension_responses(**kwargs)
    signed = (
        model.module.decoder.from_state.weight.data,
        model.module.perturbations.effects.relative_loc.data,
    )
    for values in signed:
        values[:, 1] *= -1
    try:
        after = model.get_dimension_responses(**kwargs)
    finally:
        for values in signed:
            values[:, 1] *= -1
    np.testing.assert_allclose(after.obs["shift"], [1, -1, 1, 1] * before.obs["shift"])
    size = np.abs(before.X).max(1, keepdims=True)
    np.testing.assert_allclose(after.X / size, before.X / size, atol=0.05)


def test_turning_the_shifts_of_a_dimension_around_turns_its_response_around(model):
    before = model.get_dimension_responses(n_samples=5_000).X
    effects = model.module.perturbations.effects.relative_loc.data
    effects[:, 1] *= -1
    try:
        after = model.get_dimension_responses(n_samples=5_000).X
    finally:
        effects[:, 1] *= -1
    np.testing.assert_array_equal(after[[0, 2, 3]], before[[0, 2, 3]])
    assert np.corrcoef(after[1], before[1])[0, 1] < -0.5


def test_dimension_that_the_decoder_does_not_read_has_no_response(model):
    weight = model.module.decoder.from_state.weight.data
    kept = weight[:, 1].clone()
    weight[:, 1] = 0
    try:
        found = model.get_dimension_responses(n_samples=50).X
    finally:
        weight[:, 1] = kept
    np.testing.assert_array_equal(found[1], 0)
    assert (np.abs(found[[0, 2, 3]]).max(1) > 0).all()


def test_responses_are_repeatable_and_leave_the_global_state(model):
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    with left_alone(model.adata):
        first, second, other = (
            model.get_dimension_responses(n_samples=20, seed=s) for s in (3, 3, 4)
        )
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()
    np.testing.assert_array_equal(first.X, second.X)
    assert not np.array_equal(first.X, other.X)
    assert first.uns["responses"] == {"normalization": "log2_cp10k", "n_samples": 20, "seed": 3}


def test_responses_need_no_data(model, tmp_path):
    expected = model.get_dimension_responses(n_samples=30)
    model.save(str(tmp_path / "model"))
    loaded = sams.SAMSVAE.load(str(tmp_path / "model"), False, accelerator="cpu")
    found = loaded.get_dimension_responses(n_samples=30)
    np.testing.assert_allclose(found.X, expected.X, atol=1e-6)
    found.write_h5ad(tmp_path / "responses.h5ad")


@pytest.mark.parametrize("name", ["CPAVAE", "SVAEPlus"])
def test_other_models_with_effects_have_responses(name):
    found = planted(trained(dosed_screen(), cls=MODELS[name])).get_dimension_responses(n_samples=9)
    assert found.shape == (K, 30)
    assert np.isfinite(found.X).all()
    if name == "CPAVAE":  # without masks every perturbation shifts every dimension
        assert (found.obs["n_perturbations"] == 6).all()


def test_responses_of_real_values_are_in_their_unit():
    model = trained(real_valued(dosed_screen()), gene_likelihood="normal")
    found = model.get_dimension_responses(n_samples=50)
    assert found.uns["responses"]["normalization"] == "mean"
    before = found.X
    model.module.likelihood.unit.mul_(3)
    after = model.get_dimension_responses(n_samples=50).X
    np.testing.assert_allclose(after, 3 * before, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match=r"'log2_cp10k'.*real values"):
        model.get_dimension_responses(normalization="log2_cp10k")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"n_samples": 1}, "`n_samples` must be at least 2; it is 1", id="n_samples"),
        pytest.param({"normalization": "tpm"}, "'log2_cp10k' or 'mean'.*'tpm'", id="scale"),
    ],
)
def test_bad_responses_request_names_the_culprit(model, kwargs, message):
    with pytest.raises(ValueError, match=message):
        model.get_dimension_responses(**kwargs)
