"""The training objective: what it holds, at which scale, and its gradient."""

import pytest
import torch

from scvi_sams._constants import MODULE_KEYS
from scvi_sams.module._correlated import CorrelatedEffects
from tests.module.helpers import (
    VARIANTS,
    T,
    cells,
    divergences,
    module_of,
    n_cells_of,
)

TINY = {"n_latent": 2, "n_hidden": 2}
# the divergence of a correlated guide is an estimate: it depends on the sampled masks
WITHOUT_CHANCE = [
    pytest.param(settings, id=name) for name, settings in VARIANTS.items() if name != "correlated"
]


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_loss_is_the_sum_of_its_reported_terms(settings):
    module, tensors = module_of(**settings), cells()
    module.perturbations.set_n_cells(n_cells_of(tensors))
    _, _, losses = module(tensors, inference_kwargs={"n_samples": 3})
    reported = losses.reconstruction_loss["reconstruction_loss"] + sum(losses.kl_local.values())
    torch.testing.assert_close(losses.loss, reported.mean())
    assert all(value.shape == (12,) for value in losses.kl_local.values())


@pytest.mark.parametrize("settings", WITHOUT_CHANCE)
def test_global_terms_of_all_cells_are_the_divergences_once(settings):
    module, tensors = module_of(**settings), cells(40)
    module.perturbations.set_n_cells(n_cells_of(tensors))
    _, _, losses = module(tensors)
    expected = sum(kl.sum() for kl in divergences(module))
    torch.testing.assert_close(losses.kl_local[MODULE_KEYS.KL_PERTURBATIONS].sum(), expected)


def test_validation_cells_use_the_training_numbers():
    module, tensors = module_of(), cells(40)
    module.perturbations.set_n_cells(10 * n_cells_of(tensors))
    _, _, losses = module(tensors)
    expected = sum(kl.sum() for kl in divergences(module)) / 10
    torch.testing.assert_close(losses.kl_local[MODULE_KEYS.KL_PERTURBATIONS].sum(), expected)


@pytest.mark.parametrize("in_force", [0.0, 0.4, 1.0])
def test_mask_kl_weight_adds_once_per_cell_and_stays_out_of_the_bound(in_force):
    plain, weighted = module_of(), module_of(mask_kl_weight=0.25)
    tensors = cells(40)
    losses = []
    for module in (plain, weighted):
        module.perturbations.set_n_cells(n_cells_of(tensors))
        torch.manual_seed(5)
        losses.append(module(tensors, loss_kwargs={"mask_weight": in_force})[2])
    kl_mask = divergences(plain)[0]
    expected = in_force * 0.25 * (n_cells_of(tensors) * kl_mask).sum() / 40
    torch.testing.assert_close(losses[1].loss - losses[0].loss, expected, rtol=1e-4, atol=1e-4)
    for key, value in losses[0].kl_local.items():
        torch.testing.assert_close(losses[1].kl_local[key], value)


@pytest.mark.parametrize("objective", ["elbo", "iwelbo"])
@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson", "normal"])
def test_loss_passes_gradcheck(likelihood, objective):
    check_gradient(module_of(**TINY, gene_likelihood=likelihood, objective=objective))


@pytest.mark.parametrize("settings", WITHOUT_CHANCE)
def test_loss_of_each_variant_passes_gradcheck(settings):
    check_gradient(module_of(**TINY, dispersion="gene-cell", **settings))


def test_loss_with_correlated_effects_passes_gradcheck():
    module = module_of(**TINY, effect_guide="correlated")
    torch.manual_seed(0)
    module.perturbations.effects = CorrelatedEffects(T, 2, prior_scale=1.5, n_hidden=2)
    check_gradient(module)


def check_gradient(module):
    """Of the loss of a few cells in all parameters, with the random numbers fixed."""
    module.double()
    # a relaxed mask is not the derivative of the hard one, so check it where masks are sure
    if module.has_masks:
        module.perturbations.masks.logits.data = torch.tensor([[40.0, -40.0]] * T).double()
    tensors = {key: value.double() for key, value in cells(4).items()}
    module.perturbations.set_n_cells(n_cells_of(tensors))
    module.train()
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}

    def loss(*values):
        torch.manual_seed(0)
        given = dict(zip(parameters, values, strict=True))
        kwargs = {"inference_kwargs": {"n_samples": 2}}
        return torch.func.functional_call(module, given, (tensors,), kwargs)[2].loss

    inputs = tuple(p.detach().requires_grad_() for p in parameters.values())
    assert torch.autograd.gradcheck(loss, inputs, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(VARIANTS[name], id=name)
        for name in ("spike-slab", "mean-field", "beta", "point", "svae-plus", "cpa-vae")
    ],
)
def test_global_terms_pass_gradcheck_at_undecided_masks(settings):
    module = module_of(**settings).double()
    tensors = {key: value.double() for key, value in cells(9).items()}
    module.perturbations.set_n_cells(n_cells_of(tensors))
    outputs = module(tensors, compute_loss=False)[0]
    parameters = dict(module.perturbations.named_parameters(prefix="perturbations"))
    weights = torch.rand(9, dtype=torch.float64)

    def weighted(*values):
        given = dict(zip(parameters, values, strict=True))
        terms = torch.func.functional_call(module, given, (tensors, outputs))
        return (terms[0] + 2 * terms[1]) @ weights

    module.forward = module._global_terms
    inputs = tuple(p.detach().requires_grad_() for p in parameters.values())
    assert torch.autograd.gradcheck(weighted, inputs)
