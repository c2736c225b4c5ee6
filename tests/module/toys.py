"""Models so small that their bound can be computed otherwise."""

from __future__ import annotations

import numpy as np
import torch
from scipy import integrate, stats
from torch.distributions import Normal

from scvi_sams.module._correlated import CorrelatedEffects
from scvi_sams.module._module import SAMSVAEModule


def quadrature_kl(mu, sd, prior_sd):
    """Divergence of N(mu, sd²) from N(0, prior_sd²)."""
    density = stats.norm(mu, sd)
    return integrate.quad(
        lambda v: density.pdf(v) * (density.logpdf(v) - stats.norm.logpdf(v, 0, prior_sd)),
        mu - 9 * sd,
        mu + 9 * sd,
    )[0]


class OfGenes(Normal):
    """A distribution of genes, as the module returns."""

    def log_likelihood(self, x):
        return self.log_prob(x).sum(-1)


class LinearGaussian:
    """One latent dimension, x ~ N(a z, s²), and an encoder that says the same of every cell."""

    a, s, q, pi, mu, sd, loc, scale = 1.3, 0.8, 0.35, 0.1, 0.9, 0.3, 0.4, 0.6

    def __init__(self, n=16):
        rng = np.random.default_rng(1)
        self.x = rng.normal(1, 1, size=n)
        self.received = np.arange(n) % 2
        self.module = SAMSVAEModule(
            1, 1, n_latent=1, n_hidden=2, mask_prior=self.pi, mean_field_encoder=True
        ).double()
        posterior = self.module.perturbations
        posterior.masks.logits.data.fill_(np.log(self.q / (1 - self.q)))
        posterior.effects.relative_loc.data.fill_(self.mu)
        posterior.effects.raw_scale.data.fill_(np.log(np.expm1(self.sd)))
        posterior.set_n_cells(torch.tensor([float(self.received.sum())]))
        # the bound is about its terms, not about networks: fix what they return
        self.module.encoder.forward = lambda x, offset, condition=None: Normal(
            torch.full_like(offset, self.loc), torch.full_like(offset, self.scale)
        )
        self.module.generative = lambda z, **_: {"px": OfGenes(self.a * z, self.s)}

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
        kl_z = quadrature_kl(self.loc, self.scale, 1.0)
        total = 0.0
        for x, received in zip(self.x, self.received, strict=True):
            q = self.q * received
            total += q * expected_log_likelihood(x, *shifted)
            total += (1 - q) * expected_log_likelihood(x, self.loc, self.scale) - kl_z
        kl_mask = self.q * np.log(self.q / self.pi)
        kl_mask += (1 - self.q) * np.log((1 - self.q) / (1 - self.pi))
        return total - kl_mask - self.q * quadrature_kl(self.mu, self.sd, 1.0)


def activation(value):
    """GELU: the value times the normal distribution function at it."""
    return value * stats.norm.cdf(value)


def softplus(value):
    """Logarithm of one plus the exponential."""
    return np.logaddexp(0, value)


def linear(layer, value):
    """A torch layer applied to an array."""
    bias = 0 if layer.bias is None else layer.bias.detach().numpy()
    return value @ layer.weight.detach().numpy().T + bias


class Family:
    """One gene, one latent dimension, one perturbation, and the module as it is.

    The direct computation reads the parameters and nothing else of the module: networks are
    written out anew, and expectations are sums over fine grids.
    """

    prior_scale = 1.4

    def __init__(self, settings, n=16):
        torch.manual_seed(3)
        rng = np.random.default_rng(1)
        self.settings = settings
        self.x = rng.normal(1, 1, size=n)
        self.dose = np.array([0.0, 1.0, 2.0, 1.0])[np.arange(n) % 4]
        self.module = SAMSVAEModule(
            1,
            1,
            n_latent=1,
            n_hidden=3,
            gene_likelihood="normal",
            effect_prior_scale=self.prior_scale,
            **{"mask_prior": 0.1} | settings,
        )
        if settings.get("effect_guide") == "correlated":
            self.module.perturbations.effects = CorrelatedEffects(
                1, 1, prior_scale=self.prior_scale, n_hidden=3
            )
        self.module.double()
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                if parameter.requires_grad and "raw_scale" not in name:
                    parameter.uniform_(-1, 1)
            self.module.encoder.input_mean.fill_(0.3)
            self.module.encoder.inverse_sd.fill_(0.7)
            self.module.likelihood.origin.fill_(0.5)
            self.module.likelihood.unit.fill_(1.2)
        self.posterior = self.module.perturbations
        self.posterior.set_n_cells(torch.tensor([float((self.dose != 0).sum())]))

    def tensors(self):
        packed = np.stack([np.zeros(len(self.x)), self.dose], axis=1)
        return {
            "X": torch.tensor(self.x)[:, None],
            "perturbations": torch.tensor(packed),
            "batch": torch.zeros(len(self.x), 1),
        }

    @property
    def q(self):
        """Inclusion probability."""
        if self.settings.get("mask_prior", 0.1) is None:
            return 1.0
        return 1 / (1 + np.exp(-self.posterior.masks.logits.item()))

    def effect(self, mask):
        """Mean and standard deviation of the effect given the mask."""
        guide = self.settings.get("effect_guide", "spike_slab")
        effects = self.posterior.effects
        if guide == "none":
            return 0.0, 0.0
        if guide == "correlated":
            hidden = activation(
                linear(effects.from_mask, np.array([mask]))
                + effects.from_perturbation.weight.detach().numpy()[0]
            )
            for layer in effects.trunk.layers:
                hidden = hidden + activation(linear(layer, hidden))
            loc, raw = linear(effects.loc, hidden), linear(effects.raw_scale, hidden)
            scale = softplus(raw.item()) + 1e-6
        else:
            loc = effects.relative_loc.detach().numpy()
            scale = 0.0 if guide == "point" else softplus(effects.raw_scale.item())
        return self.prior_scale * loc.item(), self.prior_scale * scale

    def encoded(self, x, dose, offset):
        """Mean and standard deviation of the basal state."""
        encoder = self.module.encoder
        standardised = np.array([(x - 0.3) * 0.7])
        first = linear(encoder.from_genes, standardised)
        if encoder.from_offset is not None:
            first = first + linear(encoder.from_offset, offset[:, None])
        if self.module.dosage_inputs is not None:
            weight = self.module.dosage_inputs["encoder"].weight.detach().numpy()[0]
            first = first + dose * weight
        hidden = activation(first + np.zeros((len(offset), 3)))
        loc, raw = linear(encoder.loc, hidden)[:, 0], linear(encoder.raw_scale, hidden)[:, 0]
        loc = loc + linear(encoder.linear_loc, standardised)
        if self.settings.get("latent_prior") == "shifted":
            loc = loc - offset
        return loc, softplus(raw) + 1e-4

    def log_likelihood(self, x, dose, z):
        """Log density of x given states."""
        decoder, likelihood = self.module.decoder, self.module.likelihood
        first = linear(decoder.from_state, z[..., None])
        if self.module.dosage_inputs is not None:
            weight = self.module.dosage_inputs["decoder"].weight.detach().numpy()[0]
            first = first + dose * weight
        output = linear(likelihood.to_genes, activation(first))[..., 0]
        sd = 1.2 * np.exp(likelihood.log_dispersion.item()) + 1e-6
        return stats.norm.logpdf(x, 0.5 + 1.2 * output, sd)

    def cell(self, x, dose):
        """Bound of one cell without the global terms."""
        grid = np.linspace(-8, 8, 401)
        weight = stats.norm.pdf(grid) / stats.norm.pdf(grid).sum()
        value = 0.0
        for mask, probability in [(1.0, self.q), (0.0, 1 - self.q)]:
            mean, sd = self.effect(mask)
            offset = dose * mask * (mean + sd * grid)
            loc, scale = self.encoded(x, dose, offset)
            z = loc[:, None] + scale[:, None] * grid + offset[:, None]
            expected = self.log_likelihood(x, dose, z) @ weight
            kl = 0.5 * (scale**2 + loc**2 - 1) - np.log(scale)
            value += probability * (weight @ (expected - kl))
        return value

    def kl_mask(self):
        """Divergence of the mask, and of π where it is unknown."""
        prior, q = self.settings.get("mask_prior", 0.1), self.q
        if prior is None:
            return 0.0
        entropy = stats.bernoulli(q).entropy()
        if isinstance(prior, float):
            return -entropy - q * np.log(prior) - (1 - q) * np.log1p(-prior)
        _, a, b = prior
        if self.settings.get("inclusion_posterior") == "point":
            pi = (a - 1 + q) / (a + b - 1)
            log_joint = q * np.log(pi) + (1 - q) * np.log1p(-pi) + stats.beta.logpdf(pi, a, b)
            return -entropy - log_joint

        def integrand(pi):
            density = stats.beta(a + q, b + 1 - q)
            log_joint = q * np.log(pi) + (1 - q) * np.log1p(-pi) + stats.beta.logpdf(pi, a, b)
            return density.pdf(pi) * (density.logpdf(pi) - log_joint)

        return integrate.quad(integrand, 0, 1)[0] - entropy

    def kl_effects(self):
        """Divergence of the effect."""
        guide = self.settings.get("effect_guide", "spike_slab")
        if guide in ("point", "none"):
            return 0.0
        on, off = (quadrature_kl(*self.effect(mask), self.prior_scale) for mask in (1.0, 0.0))
        return self.q * on + (0.0 if guide == "spike_slab" else (1 - self.q) * off)

    def direct(self) -> float:
        """Sum of the bound over all cells."""
        cells = sum(self.cell(x, dose) for x, dose in zip(self.x, self.dose, strict=True))
        return cells - self.kl_mask() - self.kl_effects()
