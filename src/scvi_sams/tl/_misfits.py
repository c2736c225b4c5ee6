"""Where a model misfits."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import stats

from scvi_sams.data._names import listed

_KEY = "posterior_predictive_check"


def misfits(check: AnnData, *, statistic: str | None = None, fdr: float = 0.05) -> pd.DataFrame:
    r"""List where the data differ most from what the model replicates.

    .. math::
        z_{cg} = \frac{h(T_g(x_c)) - \bar h_{cg}}{\max(s_{cg}, u_{cg})}

    for statistic T of gene g over the cells :math:`x_c` of condition c, with mean
    :math:`\bar h_{cg}` and standard deviation :math:`s_{cg}` of :math:`h(T)` over R replicates,
    and :math:`u_{cg}`, what a single count more adds to the replicated statistic (0 for real
    values): genes that hardly any replicated cell expresses are not listed for one count. h is the
    identity or what takes the skew off: the logarithm of the variance of counts, the cube root
    (Wilson & Hilferty 1931) of their mean and of the variance of real values; z is the one of the
    two that is nearer to 0, since each has a tail that is too long.

    An entry is listed if :math:`z_{cg} / \sqrt{1 + 1 / R}` is too far out for Student's t
    distribution with R - 1 degrees of freedom, the rate of false discoveries among all entries
    of the statistic being ``fdr`` (Benjamini & Hochberg 1995), and the posterior predictive
    p-value is within ``fdr`` / 2 of either end. That p-value alone comes in steps of 1 / R,
    and could tell apart thousands of entries with thousands of replicates only.

    Parameters
    ----------
    check
        What :func:`posterior_predictive_check` returned, or some of its rows and columns.
    statistic
        One of its statistics; all of them by default.
    fdr
        Rate of false discoveries, in (0, 1]; 1 lists every entry.

    Returns
    -------
    DataFrame with one row per entry, the largest :math:`|z|` first: ``perturbation`` (the
    condition), ``gene``, ``statistic``, ``observed``, ``replicated`` (mean), ``z``, ``pvalue``
    (posterior predictive: near 0 if more was observed than replicated, near 1 if less) and
    ``padj`` (of z).

    Raises
    ------
    TypeError
        If ``check`` is no such AnnData.
    ValueError
        If it has no such ``statistic``, or ``fdr`` is out of range.

    Notes
    -----
    A model is simpler than the cells, so with enough of them everything misfits somewhere. The
    sizes, ``observed`` against ``replicated``, say whether it matters.
    """
    if not isinstance(check, AnnData) or _KEY not in check.uns:
        raise TypeError("`check` is what `posterior_predictive_check` returned.")
    if not 0 < fdr <= 1:
        raise ValueError(f"`fdr` is a rate in (0, 1]; it is {fdr}.")
    settings = check.uns[_KEY]
    kinds = [str(kind) for kind in settings["statistics"]]
    if statistic is not None and statistic not in kinds:
        raise ValueError(
            f"`check` has no statistic {statistic!r}; it has {listed(kinds)}. Name it in "
            "`statistics=` of the check."
        )
    tables = [_table(check, kind) for kind in kinds if statistic in (None, kind)]
    table = pd.concat(tables, ignore_index=True)
    in_tail = np.minimum(table["pvalue"], 1 - table["pvalue"]) <= fdr / 2
    table = table[(table["padj"] <= fdr) & in_tail]
    return table.sort_values("z", key=np.abs, ascending=False, kind="stable", ignore_index=True)


def _table(check: AnnData, kind: str) -> pd.DataFrame:
    """All entries of one statistic, by condition."""
    table = pd.DataFrame(
        {
            "perturbation": np.repeat(check.obs_names.to_numpy(), check.n_vars),
            "gene": np.tile(check.var_names.to_numpy(), check.n_obs),
            "statistic": kind,
            **{
                layer: np.asarray(check.layers[f"{kind}_{layer}"], dtype=float).ravel()
                for layer in ("observed", "replicated", "z", "pvalue")
            },
        }
    ).dropna(subset=["z"])
    n_samples = check.uns[_KEY]["n_samples"]
    t = table["z"].abs() / np.sqrt(1 + 1 / n_samples)
    p = 2 * stats.t.sf(t, n_samples - 1)
    table["padj"] = stats.false_discovery_control(p) if len(p) else p
    return table
