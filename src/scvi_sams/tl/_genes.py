"""The genes that a perturbation moves."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from scvi_sams._tables import check_type, dense, find, returned_by


def rank_genes(ate: AnnData, condition: str, *, n_genes: int | None = None) -> pd.DataFrame:
    """Genes of one condition, the surest effects first.

    Parameters
    ----------
    ate
        What :meth:`~scvi_sams.SAMSVAE.get_average_treatment_effects` returned.
    condition
        One of its conditions (``ate.obs_names``), such as ``"KLF1"`` or ``"KLF1+MAP2K6"``.
    n_genes
        Number of genes; all by default.

    Returns
    -------
    DataFrame indexed by gene, sorted by ``lfsr`` and, where that is equal, by the size of the
    effect. Its columns:

    - ``effect``: posterior mean of the average treatment effect, in the units of ``ate``
      (``ate.uns["ate"]["normalization"]``)
    - ``sd``, ``lower``, ``upper``: its posterior standard deviation and credible interval
    - ``lfsr``: probability that the effect is zero or has the other sign; of a model without
      masks, to which no effect is zero, that of the other sign alone
    - ``called``: whether :func:`~scvi_sams.tl.call_effects` called it, if that was run

    Raises
    ------
    TypeError
        If ``ate`` is not an AnnData.
    ValueError
        If there is no such condition (the nearest ones are named), ``n_genes`` is below 1, or
        ``ate`` is something else.

    Examples
    --------
    >>> ate = model.get_average_treatment_effects()
    >>> sams.tl.call_effects(ate)
    >>> sams.tl.rank_genes(ate, "STAT1", n_genes=20).shape
    (20, 6)
    """
    wanted = returned_by("get_average_treatment_effects")
    check_type(ate, AnnData, "ate", wanted)
    if "lfsr" not in ate.layers:
        raise ValueError(f"`ate` is {wanted}; this has no layers['lfsr'].")
    if n_genes is not None and n_genes < 1:
        raise ValueError(f"`n_genes` must be at least 1; it is {n_genes}.")
    row = find([condition], ate.obs_names, "condition")
    columns = {"effect": dense(ate.X[row])[0]}
    for name in ("sd", "lower", "upper", "lfsr"):
        if name in ate.layers:
            columns[name] = dense(ate.layers[name][row])[0]
    if "called" in ate.layers:
        columns["called"] = dense(ate.layers["called"][row])[0].astype(bool)
    genes = pd.DataFrame(columns, index=ate.var_names.copy())
    order = np.lexsort((-genes["effect"].abs(), genes["lfsr"]))
    return genes.iloc[order[:n_genes]]
