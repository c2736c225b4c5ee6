"""Train on one or two processes; run by test_distributed.py. Arguments: data, devices, folder."""

import sys

import scvi
import torch

import scvi_sams as sams


def main() -> None:
    data, devices, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    scvi.settings.seed = 0
    adata = sams.datasets.open_store(data)
    if adata.uns["where"] == "memory":
        adata = adata.to_memory()
    sams.SAMSVAE.setup_anndata(adata, perturbation_key="perturbation", control="control")
    model = sams.SAMSVAE(adata, n_latent=4, n_hidden=16, mask_kl_weight=0.0)
    model.train(
        max_epochs=40,
        batch_size=128 // devices,
        split_key="split",
        accelerator="cpu",
        devices=devices,
        early_stopping_patience=1_000,
        enable_progress_bar=False,
        plan_kwargs={"n_steps_dense": 100, "n_steps_mask_kl": 0},
        **({"strategy": "ddp"} if devices > 1 else {}),
    )
    parameters = torch.cat([p.detach().ravel() for p in model.module.parameters()])
    torch.save(parameters, f"{folder}/rank_{model.trainer.global_rank}.pt")
    if model.trainer.is_global_zero:
        model.save(f"{folder}/model")


if __name__ == "__main__":
    main()
