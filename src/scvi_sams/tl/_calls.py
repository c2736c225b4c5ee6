"""Which effects are there, at a false discovery rate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from anndata import AnnData

from scvi_sams._tables import check_type, dense, returned_by

_RESULTS = returned_by("get_average_treatment_effects", "get_perturbation_effects")
_WITHOUT_MASKS = {
    "lfsr": "layers['lfsr'] is the rate of wrong signs alone",
    "inclusion_probability": "every inclusion probability is 1",
}


def call_effects(data: AnnData, *, fdr: float = 0.05, max_false_rate: float = 0.5) -> None:
    r"""Call effects at an expected false discovery rate, in place.

    .. math::
        \text{called} = \{i : r_i \le r^*\}, \qquad
        r^* = \max\Big\{r \le r_{\max} : \frac{\sum_i r_i [r_i \le r]}{\sum_i [r_i \le r]}
        \le \text{fdr}\Big\}

    where :math:`r_i` is the posterior probability that calling entry i would be an error. Its
    mean over the called entries is their expected false discovery rate given the data, so the
    largest set whose mean is at most ``fdr`` is called (Newton et al. 2004; Müller et al. 2004).
    All entries of the matrix are called together, and equal :math:`r_i` alike. As good as the
    posterior: a model that is too sure of itself calls too much.

    The mean alone would leave room: where many effects are nearly certain, as those of a strong
    perturbation on all genes, it would let others in that are more likely false than not.
    ``max_false_rate`` leaves these out.

    Parameters
    ----------
    data
        What :meth:`~scvi_sams.SAMSVAE.get_average_treatment_effects` returned, conditions ×
        genes, where :math:`r_i` is the local false sign rate (``layers["lfsr"]``, Stephens
        2017); or what :meth:`~scvi_sams.SAMSVAE.get_perturbation_effects` or
        :func:`~scvi_sams.tl.consensus` did, perturbations × latent dimensions, where :math:`r_i`
        is ``1 - layers["inclusion_probability"]``.
    fdr
        Expected share of false calls among the called, above 0 and below 1.
    max_false_rate
        :math:`r_{\max}`, above which no entry is called, whatever the mean.

    Returns
    -------
    None. Writes into ``data``, over what an earlier call left,

    - ``layers["called"]``: which entries are called, bool
    - ``obs["n_called"]``: their number in each row
    - ``uns["call_effects"]``: ``fdr``; ``max_false_rate``; ``threshold``, the largest
      :math:`r_i` called, NaN if none is; ``expected_fdr``, the mean :math:`r_i` of the called, 0
      if none is; ``n_called``

    Raises
    ------
    TypeError
        If ``data`` is not an AnnData.
    ValueError
        If ``fdr`` or ``max_false_rate`` is out of range, or ``data`` has neither layer, has
        values in it that are no probabilities, or is of a model without masks.

    Notes
    -----
    To a model without masks, such as :class:`~scvi_sams.CPAVAE`, no effect is ever zero: all
    inclusion probabilities are 1, and the local false sign rates are of wrong signs alone, which
    are no false discovery rates. Its genes can be ranked by them
    (:func:`~scvi_sams.tl.rank_genes`), but not called.

    References
    ----------
    Newton, Noueiry, Sarkar & Ahlquist (2004), Detecting differential gene expression with a
    semiparametric hierarchical mixture method, Biostatistics 5.

    Müller, Parmigiani, Robert & Rousseau (2004), Optimal sample size for multiple testing: the
    case of gene expression microarrays, Journal of the American Statistical Association 99.

    Stephens (2017), False discovery rates: a new deal, Biostatistics 18.

    Examples
    --------
    >>> ate = model.get_average_treatment_effects()
    >>> sams.tl.call_effects(ate, fdr=0.05)
    >>> most_first = ate.obs["n_called"].sort_values(ascending=False)
    >>> genes = sams.tl.rank_genes(ate, "STAT1").query("called")
    """
    if not 0 < fdr < 1:
        raise ValueError(f"`fdr` is a share above 0 and below 1; it is {fdr}.")
    check_rate(max_false_rate)
    rates = local_false_rates(data)
    called = rates <= _threshold(rates, fdr, max_false_rate)
    of_called = rates[called]
    data.layers["called"] = called
    data.obs["n_called"] = called.sum(1)
    data.uns["call_effects"] = {
        "fdr": float(fdr),
        "max_false_rate": float(max_false_rate),
        "threshold": float(of_called.max()) if of_called.size else float("nan"),
        "expected_fdr": float(of_called.mean()) if of_called.size else 0.0,
        "n_called": int(called.sum()),
    }


def rows_with_effect(data: AnnData, max_false_rate: float) -> npt.NDArray[np.bool_]:
    """Which rows of ``data`` have an effect, so that their direction means something.

    Those whose surest entry is false with probability ``max_false_rate`` at most, which bounds
    the expected share of wrong rows by the same. The mean over all entries, which
    :func:`call_effects` bounds, would not: strong rows would make room for noise in others.
    Where nothing says how sure the effects are, or the model has no masks, rows that are not zero.

    Parameters
    ----------
    data
        As :func:`call_effects` takes it; the layers may be missing.
    max_false_rate
        From 0 to 1.

    Returns
    -------
    Array of shape ``(data.n_obs,)``.
    """
    nonzero = (dense(data.X) != 0).any(1)
    if _name(data) is None or _is_without_masks(data):
        return nonzero
    return nonzero & (local_false_rates(data) <= max_false_rate).any(1)


def local_false_rates(data: AnnData) -> npt.NDArray[np.float64]:
    """Posterior probability of each entry that calling it would be an error.

    Raises
    ------
    TypeError
        If ``data`` is not an AnnData.
    ValueError
        If ``data`` does not say, or says what is no probability, or is of a model without masks.
    """
    check_is_result(data)
    name = _name(data)
    if name is None:
        raise ValueError(
            "`data` says of no effect how sure it is: it has neither layers['lfsr'] nor "
            f"layers['inclusion_probability']. Give {_RESULTS}."
        )
    if _is_without_masks(data):
        raise ValueError(
            "`data` is of a model without masks, to which no effect is ever zero: "
            f"{_WITHOUT_MASKS[name]}, so that no false discovery rate follows. Use a model with "
            "masks, such as `SAMSVAE`, or rank the genes: `sams.tl.rank_genes`, whose rate is of "
            "signs alone."
        )
    values = dense(data.layers[name])
    wrong = ~((values >= 0) & (values <= 1))  # NaN too
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"layers['{name}'] holds probabilities, but is {values[row, column]} for "
            f"{data.obs_names[row]!r} and {data.var_names[column]!r}."
        )
    return values if name == "lfsr" else 1 - values


def check_is_result(data: object) -> None:
    """Raise a TypeError unless ``data`` is an AnnData."""
    check_type(data, AnnData, "data", _RESULTS)


def check_rate(max_false_rate: float) -> None:
    """Raise a ValueError unless ``max_false_rate`` is a probability."""
    if not 0 <= max_false_rate <= 1:
        raise ValueError(f"`max_false_rate` is from 0 to 1; it is {max_false_rate}.")


def _threshold(rates: npt.NDArray[np.float64], fdr: float, largest: float) -> float:
    """Largest of ``rates``, and at most ``largest``, up to which their mean keeps to ``fdr``.

    NaN, which no rate is below, if there is none.
    """
    distinct, counts = np.unique(rates[rates <= largest], return_counts=True)
    means = np.cumsum(distinct * counts) / np.cumsum(counts)  # never fall
    # a mean that equals fdr may miss it by rounding
    fits = distinct[means <= fdr * (1 + 1e-9)]
    return float(fits.max()) if fits.size else float("nan")


def _name(data: AnnData) -> str | None:
    return next((name for name in ("lfsr", "inclusion_probability") if name in data.layers), None)


def _is_without_masks(data: AnnData) -> bool:
    if _name(data) == "lfsr":
        return not data.uns.get("ate", {}).get("has_masks", True)
    return data.n_obs > 0 and bool((dense(data.layers["inclusion_probability"]) == 1).all())
