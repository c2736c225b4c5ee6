"""Recovery of planted masks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import linear_sum_assignment


def match_dimensions(
    estimated: npt.ArrayLike, true: npt.ArrayLike
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Pair estimated with true latent dimensions so that the true positives are most.

    Latent dimensions have no order, so masks can only be compared after a matching (Hungarian
    algorithm, Kuhn 1955).

    Parameters
    ----------
    estimated, true
        Boolean masks, perturbations × latent dimensions; their numbers of dimensions may differ.

    Returns
    -------
    Matched dimensions of ``estimated`` and of ``true``, each of shape
    ``(min(n_estimated, n_true),)``.
    """
    estimated, true = np.asarray(estimated, dtype=float), np.asarray(true, dtype=float)
    return linear_sum_assignment(estimated.T @ true, maximize=True)


def mask_recovery(
    inclusion_probability: npt.ArrayLike, true: npt.ArrayLike, *, threshold: float = 0.5
) -> pd.Series:
    """Precision, recall and F1 of estimated masks after matching the latent dimensions.

    Entries of dimensions without a partner count too: as false positives, or as misses.

    Parameters
    ----------
    inclusion_probability
        Of shape perturbations × estimated dimensions.
    true
        Planted masks of the same perturbations, perturbations × true dimensions.
    threshold
        Inclusion probability above which an entry is called.

    Returns
    -------
    ``precision``, ``recall`` and ``f1``; NaN where nothing was called, or planted.

    Raises
    ------
    ValueError
        If the numbers of perturbations differ.
    """
    called = np.asarray(inclusion_probability) > threshold
    planted = np.asarray(true) > 0
    if len(called) != len(planted):
        raise ValueError(
            f"The masks are of {len(called)} and of {len(planted)} perturbations; "
            "give the same ones in the same order."
        )
    left, right = match_dimensions(called, planted)
    true_positives = float((called[:, left] & planted[:, right]).sum())
    with np.errstate(invalid="ignore"):
        precision = np.divide(true_positives, called.sum(), dtype=float)
        recall = np.divide(true_positives, planted.sum(), dtype=float)
        f1 = np.divide(2 * true_positives, called.sum() + planted.sum(), dtype=float)
    return pd.Series({"precision": precision, "recall": recall, "f1": f1})
