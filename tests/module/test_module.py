"""The evidence lower bound and what is read off it."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Normal

from scvi_sams._constants import MODULE_KEYS
from scvi_sams.module._module import SAMSVAEModule
from scvi_sams.module._perturbations import unpack
from scvi_sams.module._predictive import log_mean_exp

T, G = 4, 6


def module_of(**kwargs) -> SAMSVAEModule:
    torch.manual_seed(0)
    module = SAMSVAEModule(G, T, **{"n_latent": 3, "n_hidden": 8} | kwargs)
    module.perturbations.mask.logits.data.normal_()
    module.perturbations.effects.loc.data.normal_()
    return module


def cells(n=12, seed=0) -> dict[str, torch.Tensor]:
    """Cells of one or two perturbations, and controls."""
    rng = np.random.default_rng(seed)
    packed = np.zeros((n, 4), dtype=np.float32)
    packed[:, 0] = rng.integers(T, size=n)
    packed[:, 1] = (packed[:, 0] + 1) % T
    packed[:, 2] = rng.random(n) < 0.8
    packed[:, 3] = packed[:, 2] * (rng.random(n) < 0.4)
    packed[:, :2] *= packed[:, 2:] != 0
    return {
        "X": torch.as_tensor(rng.poisson(4, size=(n, G)) + 1, dtype=torch.float32),
        "perturbations": torch.as_tensor(packed),
        "batch": torch.zeros(n, 1),
    }


def n_cells_of(tensors):
    index, dosage = unpack(tensors["perturbations"])
    return torch.bincount(index[dosage != 0], minlength=T).float()


def subset(tensors, rows):
    return {key: value[rows] for key, value in tensors.items()}


class LinearGaussian:
    """A toy with one latent dimension: x ~ N(a z, s²), whose bound can be computed otherwise."""

    a, s, q, pi, mu, sd, loc, scale = 1.3, 0.8, 0.35, 0.1, 0.9, 0.3, 0.4, 0.6

    def __init__(self, n=16):
        rng = np.random.default_rng(1)
        self.x = rng.normal(1, 1, size=n)
        self.received = np.arange(n) % 2
        self.module = SAMSVAEModule(
            1, 1, n_latent=1, n_hidden=2, mask_prior=self.pi, mean_field_encoder=True
        ).double()
        posterior = self.module.perturbations
        posterior.mask.logits.data.fill_(np.log(self.q / (1 - self.q)))
        posterior.effects.loc.data.fill_(self.mu)
        posterior.effects.raw_scale.data.fill_(np.log(np.expm1(self.sd)))
        posterior.set_n_cells(torch.tensor([float(self.received.sum())]))
        # the bound is about its terms, not about networks: fix what they return
        self.module.encoder.forward = lambda x, offset: Normal(
            torch.full_like(offset, self.loc), torch.full_like(offset, self.scale)
        )
        self.module.generative = lambda z, **_: {"px": Normal(self.a * z, self.s)}

    def tensors(self):
        packed = np.stack([np.zeros(len(self.x)), self.received], axis=1)
        return {
            "X": torch.tensor(self.x)[:, None],
            "perturbations": torch.tensor(packed),
            "batch": torch.zeros(len(self.x), 1),
        }

    def direct(self) -> float:
        """Sum of the bound over all cells, by quadrature and closed forms of scipy."""

        def expected_log_likelihood(x, mean, sd):
            z = stats.norm(mean, sd)
            return integrate.quad(
                lambda v: stats.norm.logpdf(x, self.a * v, self.s) * z.pdf(v),
                mean - 9 * sd,
                mean + 9 * sd,
            )[0]

        shifted = self.loc + self.mu, np.hypot(self.scale, self.sd)
        kl_z = stats_kl(self.loc, self.scale, 1.0)
        total = 0.0
        for x, received in zip(self.x, self.received, strict=True):
            q = self.q * received
            total += q * expected_log_likelihood(x, *shifted)
            total += (1 - q) * expected_log_likelihood(x, self.loc, self.scale) - kl_z
        kl_mask = self.q * np.log(self.q / self.pi)
        kl_mask += (1 - self.q) * np.log((1 - self.q) / (1 - self.pi))
        return total - kl_mask - self.q * stats_kl(self.mu, self.sd, 1.0)


def stats_kl(mu, sd, prior_sd):
    density = stats.norm(mu, sd)
    return integrate.quad(
        lambda v: density.pdf(v) * (density.logpdf(v) - stats.norm.logpdf(v, 0, prior_sd)),
        mu - 9 * sd,
        mu + 9 * sd,
    )[0]


def test_mini_batches_of_an_epoch_average_to_the_bound_of_all_cells():
    toy = LinearGaussian()
    tensors, order = toy.tensors(), np.random.default_rng(0).permutation(16)
    n_particles = 400_000
    total = 0.0
    for batch in np.split(order, 4):
        _, _, losses = toy.module(
            subset(tensors, batch), inference_kwargs={"n_samples": n_particles}
        )
        total += -losses.loss.item() * len(batch)
    assert total / 16 == pytest.approx(toy.direct() / 16, abs=1e-3 * abs(toy.direct() / 16))


def test_loss_is_the_sum_of_its_reported_terms():
    module, tensors = module_of(), cells()
    module.perturbations.set_n_cells(n_cells_of(tensors))
    _, _, losses = module(tensors, inference_kwargs={"n_samples": 3})
    reported = losses.reconstruction_loss["reconstruction_loss"] + sum(losses.kl_local.values())
    torch.testing.assert_close(losses.loss, reported.mean())
    assert all(value.shape == (12,) for value in losses.kl_local.values())


def test_global_terms_of_all_cells_are_the_divergences_once():
    module, tensors = module_of(), cells(40)
    module.perturbations.set_n_cells(n_cells_of(tensors))
    _, _, losses = module(tensors)
    expected = sum(kl.sum() for kl in module.perturbations.kl(torch.arange(T)))
    torch.testing.assert_close(losses.kl_local[MODULE_KEYS.KL_PERTURBATIONS].sum(), expected)


def test_validation_cells_use_the_training_numbers():
    module, tensors = module_of(), cells(40)
    module.perturbations.set_n_cells(10 * n_cells_of(tensors))
    _, _, losses = module(tensors)
    expected = sum(kl.sum() for kl in module.perturbations.kl(torch.arange(T))) / 10
    torch.testing.assert_close(losses.kl_local[MODULE_KEYS.KL_PERTURBATIONS].sum(), expected)


def test_mask_kl_weight_adds_once_per_cell_and_stays_out_of_the_bound():
    plain, weighted = module_of(), module_of(mask_kl_weight=0.25)
    tensors = cells(40)
    losses = []
    for module in (plain, weighted):
        module.perturbations.set_n_cells(n_cells_of(tensors))
        torch.manual_seed(5)
        losses.append(module(tensors)[2])
    kl_mask = plain.perturbations.kl(torch.arange(T))[0]
    expected = 0.25 * (n_cells_of(tensors) * kl_mask).sum() / 40
    torch.testing.assert_close(losses[1].loss - losses[0].loss, expected, rtol=1e-4, atol=1e-4)
    for key, value in losses[0].kl_local.items():
        torch.testing.assert_close(losses[1].kl_local[key], value)


def test_loss_passes_gradcheck():
    module = module_of(n_latent=2, n_hidden=3).double()
    # a relaxed mask is not the derivative of the hard one, so check it where masks are sure
    module.perturbations.mask.logits.data = torch.tensor([[40.0, -40.0]] * T).double()
    tensors = {key: value.double() for key, value in cells(5).items()}
    module.perturbations.set_n_cells(n_cells_of(tensors))
    parameters = dict(module.named_parameters())

    def loss(*values):
        torch.manual_seed(0)
        given = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(module, given, (tensors,))[2].loss

    inputs = tuple(p.detach().requires_grad_() for p in parameters.values())
    assert torch.autograd.gradcheck(loss, inputs, atol=1e-5)


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


def test_importance_weights_equal_a_direct_computation():
    module, tensors = module_of(), cells()
    shifts = module.perturbations.rsample_shifts(torch.arange(T), 2).detach()
    torch.manual_seed(7)
    weights = module.log_importance_weights(tensors, 2, shifts)
    index, dosage = unpack(tensors["perturbations"])
    torch.manual_seed(7)
    shift = torch.stack([sum(dosage[:, [d]] * s[index[:, d]] for d in range(2)) for s in shifts])
    qz = module.encoder(tensors["X"], shift)
    z = qz.rsample().detach()
    share = module.decoder(z + shift, torch.zeros(12, 0)).exp().detach()
    theta = module.log_theta.exp().detach()
    mean = share * tensors["X"].sum(1, keepdim=True)
    expected = (
        stats.nbinom.logpmf(tensors["X"], theta, theta / (theta + mean)).sum(-1)
        + stats.norm.logpdf(z).sum(-1)
        - stats.norm.logpdf(z, qz.loc.detach(), qz.scale.detach()).sum(-1)
    )
    np.testing.assert_allclose(weights, expected, rtol=1e-4)


def test_marginal_likelihood_of_a_linear_model_is_the_closed_form():
    toy = LinearGaussian()
    found = toy.module.marginal_ll(toy.tensors(), 200_000, n_mc_samples_per_pass=100_000)
    # z^b and e are Gaussian, so cells are Gaussian given their mask; e is not scored
    off = stats.norm.pdf(toy.x, 0, np.hypot(toy.a, toy.s))
    spread = np.sqrt(toy.a**2 * (1 + toy.sd**2) + toy.s**2)
    on = stats.norm.pdf(toy.x, toy.a * toy.mu, spread)
    q = toy.q * toy.received
    np.testing.assert_allclose(found, np.log(q * on + (1 - q) * off), atol=0.05)
    mean = toy.module.marginal_ll(
        toy.tensors(), 50_000, return_mean=True, n_mc_samples_per_pass=50_000
    )
    assert mean == pytest.approx(found.mean().item(), abs=0.05)


def test_global_terms_pass_gradcheck_at_undecided_masks():
    module = module_of().double()
    tensors = {key: value.double() for key, value in cells(9).items()}
    module.perturbations.set_n_cells(n_cells_of(tensors))
    parameters = dict(module.perturbations.named_parameters(prefix="perturbations"))
    weights = torch.rand(9, dtype=torch.float64)

    def weighted(*values):
        given = dict(zip(parameters, values, strict=True))
        terms = torch.func.functional_call(module, given, (tensors,))
        return (terms[0] + 2 * terms[1]) @ weights

    module.forward = module._global_terms
    inputs = tuple(p.detach().requires_grad_() for p in parameters.values())
    assert torch.autograd.gradcheck(weighted, inputs)


def test_log_mean_exp_of_equal_values_is_that_value():
    torch.testing.assert_close(log_mean_exp(torch.full((7, 2), -900.0)), torch.full((2,), -900.0))


def test_state_that_was_cached_is_sampled_as_stored():
    module = module_of()
    qzm, qzv = torch.randn(5, 3), torch.full((5, 3), 0.04)
    outputs = module.inference(
        qzm=qzm, qzv=qzv, observed_lib_size=torch.ones(5, 1), n_samples=4_000
    )
    torch.testing.assert_close(outputs["z"].mean(0), qzm, atol=0.02, rtol=0)
    torch.testing.assert_close(outputs["z"].std(0), qzv.sqrt(), atol=0.02, rtol=0)
