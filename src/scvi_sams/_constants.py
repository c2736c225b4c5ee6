"""Keys under which data and tensors travel."""

from typing import NamedTuple


class _AnnDataKeys(NamedTuple):
    PERTURBATIONS: str = "perturbations"
    PERTURBATION_NAMES: str = "perturbations_names"
    PACKED_PERTURBATIONS: str = "_scvi_perturbations"
    X_PERTURBED: str = "X_sams"
    X_BASAL: str = "X_sams_basal"
    RESULTS: str = "sams"


class _RegistryKeys(NamedTuple):
    PERTURBATIONS: str = "perturbations"


class _ModuleKeys(NamedTuple):
    PERTURBATIONS: str = "perturbations"
    QZ_BASAL: str = "qz_basal"
    Z_BASAL: str = "z_basal"
    DRAW: str = "draw"
    POSITION: str = "position"
    KL_Z: str = "kl_z"
    KL_PERTURBATIONS: str = "kl_perturbations"


ADATA_KEYS = _AnnDataKeys()
REGISTRY_KEYS = _RegistryKeys()
MODULE_KEYS = _ModuleKeys()
