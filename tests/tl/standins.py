"""Results like those of a trained model, made by hand."""

import anndata as ad
import numpy as np
import pandas as pd

INTERFERON = ["IFNGR1", "IFNGR2", "JAK2", "STAT1"]
OWN_WAY = ["IRF1", "SMAD4"]


def knockouts(seed: int = 0, *, on: str = "dimensions") -> ad.AnnData:
    """25 knockouts: four move one dimension alike, two another each, the others none.

    Others than these have small effects in random directions, as a model leaves them. With
    ``on="genes"`` they are those on 300 genes, by a random decoder.
    """
    rng = np.random.default_rng(seed)
    names = np.array([*INTERFERON, *OWN_WAY, *(f"none_{i}" for i in range(19))])
    inclusion = rng.uniform(0.005, 0.03, size=(25, 20))
    inclusion[6, 3] = 0.2  # rather not
    effect = rng.normal(0, 0.5, size=(25, 20))
    for row, dimension in enumerate([5, 5, 5, 5, 11, 2]):
        inclusion[row, dimension] = 0.99
        effect[row, dimension] = rng.uniform(3, 5) * (-1 if dimension == 11 else 1)
    shift = inclusion * effect
    order = rng.permutation(25)
    data = ad.AnnData(
        shift[order],
        obs=pd.DataFrame(index=names[order]),
        var=pd.DataFrame(index=[f"z{k}" for k in range(20)]),
        layers={"inclusion_probability": inclusion[order]},
    )
    if on == "dimensions":
        return data
    return ad.AnnData(
        data.X @ rng.normal(size=(20, 300)),
        obs=data.obs,
        var=pd.DataFrame(index=[f"gene_{g}" for g in range(300)]),
        layers={"lfsr": np.repeat(1 - inclusion[order].max(1, keepdims=True), 300, axis=1)},
    )
