"""Whether a model could have made the data it is of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import anndata as ad
import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS as SCVI_KEYS

from scvi_sams._scvi import _get_adata_minify_type
from scvi_sams._tables import check_type
from scvi_sams.data._names import as_tuple, listed
from scvi_sams.model._base import PerturbationModel
from scvi_sams.model._received import CellConditions
from scvi_sams.model._simulation import chosen
from scvi_sams.tl._replicates import LAYERS, compare, replicated_statistics

STATISTICS = ("mean", "variance", "zeros", "ate")


def posterior_predictive_check(
    model: PerturbationModel,
    adata: AnnData | MuData | None = None,
    *,
    indices: Sequence[int] | npt.NDArray[Any] | None = None,
    perturbations: str | Sequence[str] | None = None,
    n_samples: int = 100,
    statistics: Sequence[str] | None = None,
    basal: Literal["posterior", "prior"] = "posterior",
    min_cells: int = 10,
    batch_size: int | None = None,
    seed: int = 0,
    silent: bool = False,
) -> AnnData:
    r"""Compare the cells of each condition with cells that the model replicates.

    .. math::
        p_{cg} = P(T_g(x^r_c) > T_g(x_c)) + \tfrac12 P(T_g(x^r_c) = T_g(x_c)), \qquad
        x^r_i \sim p(x | z^b_i + o_i), \quad M, E \sim q

    the posterior predictive p-value (Rubin 1984; Gelman, Meng & Stern 1996) of a statistic T of
    gene g over the cells :math:`x_c` of condition c. Each of ``n_samples`` replicates r draws
    masks and effects (M, E) once for all cells, then every cell's basal state :math:`z^b_i` given
    its offset :math:`o_i`, then what is measured, at the cell's own library size and covariates.
    A value near 0 says that the data have more of T than the model makes, near 1 less; a model
    that fits has few near either.

    Parameters
    ----------
    model
        A trained model.
    adata
        Data set up like the model's; the model's own by default.
    indices
        Cells to check; all by default. Cells that the model was trained on are used twice, which
        draws p-values towards 1/2 (Bayarri & Berger 2000): check held-out cells, such as
        ``np.flatnonzero(adata.obs["split"] == "test")``.
    perturbations
        Conditions to check, at all their doses in the data, such as ``"KLF1"``,
        ``"KLF1+MAP2K6"`` or the control; all of them by default.
    n_samples
        Number of replicates.
    statistics
        Some of

        - ``"mean"``, ``"variance"``: of what was measured (n - 1)
        - ``"zeros"``: share of cells without a count; not of real values
        - ``"ate"``: mean of y less that of the control cells, which are replicated by the same
          draws; :math:`y = \log_2(1 + 10^4 x / \sum x)`, or x of real values. Needs controls.

        By default all that the data and the model's likelihood allow.
    basal
        Where basal states come from. ``"posterior"``: from each cell itself, which asks whether
        the model can reproduce these cells. ``"prior"``: as of new cells, which asks whether it
        knows what the perturbation does (a mixed replicate; Marshall & Spiegelhalter 2003); the
        sharper question about effects, since states that are read off a cell make up in part for
        effects that are wrong.
    min_cells
        Conditions with fewer cells are left out.
    batch_size
        Cells at a time.
    seed
        Of the random numbers; the global state is not touched.
    silent
        Whether to show no progress bar.

    Returns
    -------
    AnnData of shape conditions × genes, the control first, then by name; a dose other than 1
    stands in the name, as in ``"KLF1 (0.5)"``. ``X`` is empty.

    - ``layers["<statistic>_observed"]``: of the data
    - ``layers["<statistic>_replicated"]``, ``layers["<statistic>_replicated_sd"]``: mean and
      standard deviation over the replicates
    - ``layers["<statistic>_pvalue"]``: :math:`p_{cg}`, whose steps ``n_samples`` decides
    - ``layers["<statistic>_z"]``: how far out the data are, as :func:`misfits` defines it
    - ``obs["n_cells"]``, ``obs["perturbation"]``, ``obs["dose"]``: what was checked; the dose is
      NaN unless the perturbations share one
    - ``uns["posterior_predictive_check"]``: the settings, and the number of conditions left out

    The control's own ATE is NaN throughout.

    Raises
    ------
    RuntimeError
        If the model is not trained.
    TypeError
        If ``model`` is none of this package.
    ValueError
        If the data is minified, ``indices`` chooses no cells or some that are not there, no
        condition has ``min_cells`` cells, one that is asked for has not, or an argument is out of
        range.

    See Also
    --------
    misfits : where the model misfits most.

    Notes
    -----
    Each cell is read once and only sums over cells are kept, so memory grows neither with cells
    × genes × replicates nor with the number of conditions × replicates.

    :class:`scvi.criticism.PosteriorPredictiveCheck` stores all replicated cells and compares
    statistics over the whole data. It takes these models, but each mini-batch draws masks and
    effects anew, so that their uncertainty averages out; p-values of a condition then claim too
    much. Use it to compare likelihoods, and this to ask which effects are right.

    Examples
    --------
    >>> test = np.flatnonzero(adata.obs["split"] == "test")
    >>> check = sams.tl.posterior_predictive_check(
    ...     model, indices=test, basal="prior", silent=True
    ... )
    >>> p = check.layers["ate_pvalue"][1:]  # the control has no ATE
    >>> share_outside = ((p < 0.025) | (p > 0.975)).mean()  # 0.05 if the model is right
    >>> worst = sams.tl.misfits(check, statistic="ate").head()
    """
    wanted = "a trained model of this package, such as `SAMSVAE`"
    check_type(model, PerturbationModel, "model", wanted)
    model._check_if_trained(warn=False)
    for name, value in [("n_samples", n_samples), ("min_cells", min_cells)]:
        if value < 2:
            raise ValueError(f"`{name}` must be at least 2; it is {value}.")
    if basal not in ("posterior", "prior"):
        raise ValueError(f"`basal` must be 'posterior' or 'prior'; it is {basal!r}.")
    adata = model._validate_anndata(adata)
    minified = None if isinstance(adata, MuData) else _get_adata_minify_type(adata)
    if minified is not None or model.minified_data_type is not None:
        raise ValueError(
            "Minified data has no counts to compare with. Load the model with the full data: "
            "`load(path, adata)`."
        )
    cells = chosen(adata, indices, "indices")
    found = CellConditions.of(model, adata, cells)
    shown = found.rows(perturbations, min_cells)
    kinds = _kinds(model, statistics, found.n_controls() >= min_cells, min_cells)
    simulated = sorted({*shown, 0} if "ate" in kinds else shown)

    genes = model.gene_names
    layers = {
        f"{kind}_{layer}": np.full((len(shown), len(genes)), np.nan, dtype=np.float32)
        for kind in kinds
        for layer in LAYERS
    }
    for position, observed, replicated in replicated_statistics(
        model,
        adata,
        cells,
        found.only(simulated),
        n_samples=n_samples,
        basal=basal,
        batch_size=batch_size,
        seed=seed,
        silent=silent,
    ):
        if simulated[position] not in shown:
            continue  # a control that others are compared with
        row = shown.index(simulated[position])
        n_cells = int(found.table["n_cells"].iloc[shown[row]])
        for kind in (kind for kind in kinds if kind in observed):
            least = _one_count(model, kind) / n_cells
            compared = compare(kind, observed[kind][0], replicated[kind], least)
            for layer, values in compared.items():
                layers[f"{kind}_{layer}"][row] = values
    return ad.AnnData(
        obs=found.table.iloc[shown],
        var=pd.DataFrame(index=genes),
        layers=layers,
        uns={
            "posterior_predictive_check": {
                "statistics": np.array(kinds),
                "n_samples": n_samples,
                "basal": basal,
                "min_cells": min_cells,
                "seed": seed,
                "control": found.spelling.control,
                "n_left_out": len(found.table) - len(shown),
            }
        },
    )


def _kinds(
    model: PerturbationModel, asked: str | Sequence[str] | None, has_controls: bool, min_cells: int
) -> tuple[str, ...]:
    """Statistics to compute: those asked for, or all that are possible."""
    impossible = {}
    if not model.module.likelihood.is_of_counts:
        impossible["zeros"] = "is of counts, and this model is one of real values"
    if not has_controls:
        impossible["ate"] = f"takes at least `min_cells` control cells, here {min_cells}"
    if asked is None:
        return tuple(kind for kind in STATISTICS if kind not in impossible)
    kinds = as_tuple(asked)
    unknown = [kind for kind in kinds if kind not in STATISTICS]
    if unknown or not kinds:
        raise ValueError(f"`statistics` are some of {listed(STATISTICS)}; they are {asked!r}.")
    for kind in kinds:
        if kind in impossible:
            raise ValueError(f"The statistic {kind!r} {impossible[kind]}. Leave it out.")
    return tuple(dict.fromkeys(kinds))


def _one_count(model: PerturbationModel, kind: str) -> float:
    """What one count in one cell adds to the sum of a statistic over cells; 0 of real values."""
    if not model.module.likelihood.is_of_counts:
        return 0.0
    if kind != "ate":
        return 1.0
    return float(np.log2(1 + 1e4 / np.median(model.reference_cells_[SCVI_KEYS.OBSERVED_LIB_SIZE])))
