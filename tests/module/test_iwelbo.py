"""The importance-weighted objective."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from scvi_sams._constants import MODULE_KEYS
from scvi_sams.module._perturbations import unpack
from tests.module.helpers import VARIANTS, cells, module_of, n_cells_of

# mean fields, at which the sampled terms are those of scipy without more ado
BY_HAND = [
    pytest.param({"effect_guide": "mean_field"}, id="mean-field"),
    pytest.param({}, id="spike-slab"),
    pytest.param({"effect_guide": "mean_field", "mask_prior": None}, id="cpa-vae"),
]


def ready(objective, **settings):
    """A module and cells that it is said to be trained on."""
    module, tensors = module_of(objective=objective, **settings), cells()
    module.perturbations.set_n_cells(n_cells_of(tensors))
    return module, tensors


def loss_of(module, tensors, n_particles, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        return module(tensors, inference_kwargs={"n_samples": n_particles})[2].loss.item()


@pytest.mark.parametrize("n_particles", [1, 4])
@pytest.mark.parametrize("settings", BY_HAND)
def test_objective_equals_a_computation_by_hand_from_the_same_draws(settings, n_particles):
    module, tensors = ready("iwelbo", effect_prior_scale=1.5, **settings)
    found = loss_of(module, tensors, n_particles, 5)
    torch.manual_seed(5)
    with torch.no_grad():
        inference, generative = module(
            tensors, inference_kwargs={"n_samples": n_particles}, compute_loss=False
        )
    px, qz = generative["px"], inference[MODULE_KEYS.QZ_BASAL]
    theta, mean = px.theta.numpy(), px.mean.numpy()
    z = inference[MODULE_KEYS.Z_BASAL].numpy()
    value = stats.nbinom.logpmf(tensors["X"].numpy(), theta, theta / (theta + mean)).sum(-1)
    value += (stats.norm.logpdf(z) - stats.norm.logpdf(z, qz.loc, qz.scale)).sum(-1)
    value = value.reshape(n_particles, 12)

    draw, posterior = inference[MODULE_KEYS.DRAW], module.perturbations
    mask, effect = draw.mask.numpy(), draw.effect.numpy()
    loc = 1.5 * posterior.effects.relative_loc.detach().numpy()[draw.rows]
    scale = 1.5 * np.log1p(np.exp(posterior.effects.raw_scale.detach().numpy()))[draw.rows]
    ratio = stats.norm.logpdf(effect, 0, 1.5) - stats.norm.logpdf(effect, loc, scale)
    if not settings:
        ratio = mask * ratio
    if module.has_masks:
        q = special.expit(posterior.masks.logits.detach().numpy())[draw.rows]
        ratio = ratio + stats.bernoulli.logpmf(mask, 0.01) - stats.bernoulli.logpmf(mask, q)
    n_cells = n_cells_of(tensors).numpy()
    index, dosage = (part.numpy() for part in unpack(tensors["perturbations"]))
    for cell in range(12):
        for t in index[cell][dosage[cell] != 0]:
            row = draw.rows.tolist().index(t)
            value[:, cell] += ratio[:, row].sum(-1) / n_cells[t]
    expected = special.logsumexp(value, axis=0) - np.log(n_particles)
    assert found == pytest.approx(-expected.mean(), rel=1e-5)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_with_one_particle_the_expectation_is_the_evidence_lower_bound(settings):
    """Each particle's summed terms average to the bound, and one particle is their loss."""
    module, tensors = ready("iwelbo", **settings)
    n_particles = 15_000
    torch.manual_seed(1)
    with torch.no_grad():
        inference, generative, losses = module(
            tensors, inference_kwargs={"n_samples": n_particles}
        )
        log_px = module._local_terms(tensors, inference, generative)[0]
        z, qz = inference[MODULE_KEYS.Z_BASAL], inference[MODULE_KEYS.QZ_BASAL]
        log_ratio_z = (stats_normal(z) - qz.log_prob(z)).sum(-1)
        terms = log_px + log_ratio_z + module._global_log_ratio(tensors, inference)
    bound = -losses.reconstruction_loss["reconstruction_loss"] - sum(losses.kl_local.values())
    spread = terms.mean(1).std() / np.sqrt(n_particles)
    assert terms.mean().item() == pytest.approx(bound.mean().item(), abs=5 * spread.item() + 1e-3)


def stats_normal(value):
    """Log density of the standard normal distribution."""
    return torch.as_tensor(stats.norm.logpdf(value.numpy()), dtype=value.dtype)


def test_mean_loss_of_one_particle_is_that_of_the_bound():
    module, tensors = ready("iwelbo", effect_guide="mean_field")
    values = np.array([loss_of(module, tensors, 1, seed) for seed in range(400)])
    module.objective = "elbo"
    expected = loss_of(module, tensors, 60_000, 0)
    error = values.std() / np.sqrt(len(values))
    assert values.mean() == pytest.approx(expected, abs=4 * error)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_more_particles_never_loosen_the_bound(settings):
    module, tensors = ready("iwelbo", **settings)
    module.objective = "elbo"
    losses = [loss_of(module, tensors, 20_000, 0)]
    module.objective = "iwelbo"
    losses += [
        np.mean([loss_of(module, tensors, n, seed) for seed in range(100)]) for n in (5, 25)
    ]
    assert losses[1] < losses[0]
    assert losses[2] < losses[1]


def test_what_is_reported_is_the_bound_whatever_the_objective():
    reported = []
    for objective in ("elbo", "iwelbo"):
        module, tensors = ready(objective)
        torch.manual_seed(2)
        reported.append(module(tensors, inference_kwargs={"n_samples": 3})[2])
    elbo, iwelbo = reported
    assert elbo.loss != iwelbo.loss
    for key in elbo.kl_local:
        torch.testing.assert_close(elbo.kl_local[key], iwelbo.kl_local[key])
    torch.testing.assert_close(elbo.reconstruction_loss, iwelbo.reconstruction_loss)


@pytest.mark.parametrize("objective", ["elbo", "iwelbo"])
def test_mask_kl_weight_adds_the_same_to_either_objective(objective):
    losses = []
    for weight in (0.0, 0.25):
        module, tensors = ready(objective, mask_kl_weight=weight)
        losses.append(loss_of(module, tensors, 3, 0))
    q = torch.sigmoid(module.perturbations.masks.logits.detach())
    kl = q * torch.log(q / 0.01) + (1 - q) * torch.log((1 - q) / 0.99)
    expected = 0.25 * (n_cells_of(tensors) * kl.sum(-1)).sum().item() / 12
    assert losses[1] - losses[0] == pytest.approx(expected, rel=1e-3)


def test_weight_of_the_basal_divergence_enters_either_objective():
    for objective in ("elbo", "iwelbo"):
        module, tensors = ready(objective)
        values = []
        for weight in (1.0, 3.0):
            torch.manual_seed(0)
            kwargs = {"inference_kwargs": {"n_samples": 1}, "loss_kwargs": {"kl_weight": weight}}
            values.append(module(tensors, **kwargs)[2])
        difference = (values[1].loss - values[0].loss).item()
        if objective == "elbo":
            assert difference == pytest.approx(2 * values[0].kl_local["kl_z"].mean().item(), 1e-4)
        assert difference != 0
