"""Models as this release writes them, for later ones to load: ``python -m tests.saved.make``.

Each release adds a folder of its own; those that are there are never made anew.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import scvi

import scvi_sams as sams
from tests.conftest import FEW_STEPS, MODELS, SMALL, set_up

HERE = Path(__file__).parent
GIVEN = {
    "SAMSVAE": {"dosage_key": "dosage", "categorical_covariate_keys": ["donor"]},
    "SVAEPlus": {"delimiter": None},
}


def outputs(model, adata):
    """What a loaded model must give again."""
    found = {
        "latent": model.get_latent_representation(adata),
        "ate": model.get_average_treatment_effects("pert_1", n_samples=100).X,
        "elbo_train": model.history["elbo_train"].to_numpy(float),
    }
    if hasattr(model, "get_perturbation_effects"):
        found["effects"] = model.get_perturbation_effects().X
    return found


def main() -> None:
    folder = HERE / sys.argv[1]
    folder.mkdir()
    screen = sams.datasets.simulate(
        4,
        n_cells_per_perturbation=10,
        n_control=30,
        n_genes=20,
        n_latent=3,
        n_combinations=2,
        doses=(0.5, 1.0),
        seed=1,
    )
    screen.obs["donor"] = np.where(np.arange(screen.n_obs) % 2, "d1", "d2")
    screen.uns.clear()
    screen.obsm.clear()
    screen.write_h5ad(folder / "screen.h5ad", compression="gzip")
    for name, cls in MODELS.items():
        scvi.settings.seed = 0
        adata = screen.copy()
        set_up(adata, cls, **GIVEN.get(name, {}))
        model = cls(adata, **SMALL)
        model.train(**FEW_STEPS)
        model.save(str(folder / name))
        np.savez_compressed(folder / name / "expected.npz", **outputs(model, screen.copy()))
    shutil.rmtree("lightning_logs", ignore_errors=True)


if __name__ == "__main__":
    main()
