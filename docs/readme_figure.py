"""Draw the picture of the README from what the demo wrote, and print the table of its numbers.

Usage: ``scvi-sams demo`` and then ``python docs/readme_figure.py scvi-sams-demo``.
"""

import sys
from pathlib import Path

import anndata as ad
import matplotlib.pyplot as plt
import pandas as pd

import scvi_sams as sams


def main(folder: Path) -> None:
    adata = ad.read_h5ad(folder / "screen.h5ad")
    model = sams.SAMSVAE.load(str(folder / "model"), adata, accelerator="cpu")
    truth = adata.uns["truth"]
    effects, ate = model.get_perturbation_effects(), model.get_average_treatment_effects()
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 6.5), width_ratios=[1, 1.5], layout="constrained"
    )
    sams.pl.inclusion_probability(effects, ax=left, title="Which dimension each one shifts")
    sams.pl.ate_agreement(
        ate.X,
        truth["average_treatment_effects"],
        ax=right,
        labels=("estimated ATE (log2 counts per 10,000)", "true ATE (log2 counts per 10,000)"),
    )
    figure.savefig(Path(__file__).parent / "demo.png", dpi=110)
    numbers = pd.read_csv(folder / "result.csv", index_col=0)["value"]
    print("| | value |\n|---|---|")
    print("\n".join(f"| {name} | {value:.2f} |" for name, value in numbers.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
