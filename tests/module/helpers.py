"""Small modules and cells for them."""

from __future__ import annotations

import numpy as np
import torch

from scvi_sams.module._module import SAMSVAEModule
from scvi_sams.module._perturbations import unpack

T, G = 4, 6
# what sets the models of the family apart
VARIANTS = {
    "spike-slab": {},
    "mean-field": {"effect_guide": "mean_field"},
    "correlated": {"effect_guide": "correlated"},
    "beta": {"mask_prior": ("beta", 1.0, 5.0)},
    "point": {"mask_prior": ("beta", 1.5, 5.0), "inclusion_posterior": "point"},
    "cpa-vae": {"effect_guide": "mean_field", "mask_prior": None},
    "svae-plus": {
        "effect_guide": "point",
        "mask_prior": ("beta", 1.0, 5.0),
        "inclusion_posterior": "point",
        "latent_prior": "shifted",
    },
    "conditional": {"effect_guide": "none", "mask_prior": None, "latent_prior": "standard"},
}


def module_of(**kwargs) -> SAMSVAEModule:
    """A module whose posterior is nothing special."""
    torch.manual_seed(0)
    module = SAMSVAEModule(G, T, **{"n_latent": 3, "n_hidden": 8} | kwargs)
    with torch.no_grad():
        for name, parameter in module.perturbations.named_parameters():
            if parameter.requires_grad and ("logits" in name or "relative_loc" in name):
                parameter.normal_()
        if module.dosage_inputs is not None:
            for part in module.dosage_inputs.values():
                part.weight.normal_()
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


def n_cells_of(tensors) -> torch.Tensor:
    """Number of cells of each perturbation."""
    index, dosage = unpack(tensors["perturbations"])
    return torch.bincount(index[dosage != 0], minlength=T).float()


def subset(tensors, rows):
    """Some of the cells."""
    return {key: value[rows] for key, value in tensors.items()}


def divergences(module) -> tuple[torch.Tensor, torch.Tensor]:
    """Divergences of masks and effects of all perturbations."""
    posterior = module.perturbations
    return posterior.kl(posterior.rsample(posterior.everything, 1))
