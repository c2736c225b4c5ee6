"""Interactions of pairs of perturbations, as figures read them."""

from __future__ import annotations

import pandas as pd

from scvi_sams.data._names import listed


def observed_pairs(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Entries of pairs that were observed, under two string levels: pair and gene.

    Raises
    ------
    ValueError
        If the frame is empty or not one of interactions, or no pair was observed.
    """
    if frame.index.nlevels != 2:
        raise ValueError("The table of `get_interactions` has the two levels pair and gene.")
    if missing := [name for name in columns if name not in frame]:
        raise ValueError(f"The table lacks {listed(missing)} of `get_interactions`.")
    if frame.empty:
        raise ValueError("The table of interactions is empty.")
    observed = frame.loc[frame["interaction"].notna()].copy()
    if observed.empty:
        raise ValueError("No pair was observed, so that no interaction is known.")
    pairs = [p if isinstance(p, str) else "+".join(p) for p in observed.index.get_level_values(0)]
    genes = observed.index.get_level_values(1).astype(str)
    observed.index = pd.MultiIndex.from_arrays([pairs, genes], names=["pair", "gene"])
    return observed
