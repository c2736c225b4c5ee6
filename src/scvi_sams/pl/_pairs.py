"""Interactions of pairs of perturbations, as figures read them."""

from __future__ import annotations

import pandas as pd

from scvi_sams._tables import check_type, returned_by
from scvi_sams.data._names import listed


def observed_pairs(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Entries of pairs that were observed, under two string levels: pair and gene.

    Raises
    ------
    TypeError
        If it is no DataFrame.
    ValueError
        If the frame is empty or not one of interactions, or no pair was observed.
    """
    check_type(frame, pd.DataFrame, "interactions", returned_by("get_interactions"))
    if frame.index.nlevels != 2:
        raise ValueError("The table of `get_interactions` has the two levels pair and gene.")
    if missing := [name for name in columns if name not in frame]:
        raise ValueError(f"The table lacks {listed(missing)} of `get_interactions`.")
    if frame.empty:
        raise ValueError("The table of interactions is empty.")
    observed = frame.loc[frame["interaction"].notna()].copy()
    if observed.empty:
        raise ValueError("No pair was observed, so that no interaction is known.")
    levels = [observed.index.get_level_values(level).astype(str) for level in (0, 1)]
    observed.index = pd.MultiIndex.from_arrays(levels, names=["pair", "gene"])
    return observed
