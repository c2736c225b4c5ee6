"""Splits of cells into train, val and test: seeded, hashed, written to obs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_sams.data._names import as_tuple, listed, nearest
from scvi_sams.evaluation._condition_table import column
from scvi_sams.evaluation._held_out import HeldOut
from scvi_sams.evaluation._split_record import (
    check_shares,
    generator,
    stratified_ranks,
    write_split,
)

if TYPE_CHECKING:
    from anndata import AnnData


def random(
    adata: AnnData,
    *,
    stratify_keys: str | Sequence[str] | None = None,
    test_share: float = 0.2,
    validation_share: float = 0.16,
    seed: int = 0,
    key_added: str = "split",
) -> None:
    """Split cells at random, in the same shares within each stratum.

    Parameters
    ----------
    adata
        Cells × genes; gets ``obs[key_added]`` and ``uns[key_added]``.
    stratify_keys
        Columns of obs, such as the perturbation and the batch; each combination of their values is
        split on its own.
    test_share, validation_share
        Shares of all cells.
    seed
        Of the draw.
    key_added
        Column of obs to write, of ``"train"``, ``"val"`` and ``"test"``. ``uns`` of the same name
        holds the method, its settings and a hash of the cells' names and parts.

    Raises
    ------
    KeyError
        If a column is missing.
    ValueError
        If shares are not between 0 and 1 or leave no cell to train on.
    """
    check_shares(test_share=test_share, validation_share=validation_share)
    if test_share + validation_share >= 1:
        raise ValueError(
            f"`test_share` and `validation_share` add up to {test_share + validation_share:g}; "
            "they must leave cells to train on."
        )
    keys = as_tuple(stratify_keys)
    strata = pd.Series(list(zip(*(column(adata, key) for key in keys), strict=True)))
    stratum = pd.factorize(strata)[0] if keys else np.zeros(adata.n_obs, dtype=np.intp)
    rank = stratified_ranks(stratum, generator(seed))
    is_test = rank < test_share
    is_validation = ~is_test & (rank < test_share + validation_share)
    settings = {
        "stratify_keys": list(keys),
        "test_share": test_share,
        "validation_share": validation_share,
    }
    write_split(
        adata,
        is_test,
        is_validation,
        method="random",
        settings=settings,
        seed=seed,
        key_added=key_added,
    )


def combinations(
    adata: AnnData,
    *,
    perturbation_key: str,
    control: str | Sequence[str],
    delimiter: str = "+",
    held_out: Sequence[str] | None = None,
    test_share: float = 0.3,
    seen_share: float = 0.0,
    control_share: float = 0.2,
    validation_share: float = 0.2,
    seed: int = 0,
    key_added: str = "split",
) -> None:
    """Hold out a share of the combinations, none of whose parts becomes unknown by it.

    ``obs[f"{key_added}_parts_seen"]`` says of how many of its parts single cells were trained on
    (-1 where the cell is of no held-out combination): scores differ much between 0, 1 and 2.

    Parameters
    ----------
    adata
        Cells × genes; gets ``obs[key_added]``, ``obs[f"{key_added}_parts_seen"]`` and
        ``uns[key_added]``.
    perturbation_key
        Column of obs with one label per cell.
    control
        Label of control cells, or several.
    delimiter
        What separates the parts of a combination.
    held_out
        Labels of the combinations to hold out; drawn at random by default.
    test_share
        Share of the combinations to hold out. Fewer are where more would leave a perturbation
        without any training cell. Not read with ``held_out``.
    seen_share
        Share of the cells of every other condition in test too: one training then shows how well
        conditions are predicted that were seen, and that were not.
    control_share
        Share of the control cells in test, as the reference of what is observed there.
    validation_share
        Share of the other cells in val, the same of each condition.
    seed, key_added
        As in :func:`random`.

    Raises
    ------
    KeyError
        If a column is missing.
    ValueError
        If a label is malformed, a share is not between 0 and 1, no cell is a control, there is
        nothing that can be held out, or what shall be is no combination of the data or shows a
        perturbation that no other condition does.
    """
    out = HeldOut(adata, perturbation_key=perturbation_key, control=control, delimiter=delimiter)
    table = out.table
    is_combination = [len(parts) > 1 for parts in table.parts]
    if held_out is None:
        out.draw(is_combination, test_share, seed, "combination")
    else:
        out.choose(as_tuple(held_out), is_combination, "combination")
    out.write(
        "combinations", control_share, validation_share, seed, key_added, seen_share=seen_share
    )
    alone = {
        parts[0]
        for parts, is_out in zip(table.parts, out.is_out, strict=True)
        if len(parts) == 1 and not is_out
    }
    n_seen = np.array([len(alone.intersection(parts)) for parts in table.parts])
    adata.obs[f"{key_added}_parts_seen"] = np.where(out.is_out, n_seen, -1)[table.of_cell]


def inverse_combinations(
    adata: AnnData,
    *,
    perturbation_key: str,
    control: str | Sequence[str],
    delimiter: str = "+",
    test_share: float = 0.3,
    control_share: float = 0.2,
    validation_share: float = 0.2,
    seed: int = 0,
    key_added: str = "split",
) -> None:
    """Hold out a share of the single perturbations that are part of a combination.

    Parameters
    ----------
    adata, perturbation_key, control, delimiter, control_share, validation_share, seed, key_added
        As in :func:`combinations`.
    test_share
        Share to hold out of the single perturbations that are part of a combination.

    Raises
    ------
    KeyError, ValueError
        As in :func:`combinations`.
    """
    held_out = HeldOut(
        adata, perturbation_key=perturbation_key, control=control, delimiter=delimiter
    )
    parts_of = held_out.table.parts
    combined = {part for parts in parts_of if len(parts) > 1 for part in parts}
    is_single = [len(parts) == 1 and parts[0] in combined for parts in parts_of]
    held_out.draw(is_single, test_share, seed, "perturbation that a combination shows too")
    held_out.write("inverse_combinations", control_share, validation_share, seed, key_added)


def transfer(
    adata: AnnData,
    *,
    perturbation_key: str,
    control: str | Sequence[str],
    covariate_keys: str | Sequence[str],
    delimiter: str | None = "+",
    test_share: float = 0.3,
    control_share: float = 0.2,
    validation_share: float = 0.2,
    seed: int = 0,
    key_added: str = "split",
) -> None:
    """Hold out perturbations in some covariate values, such as cell lines, and not in others.

    Parameters
    ----------
    adata, perturbation_key, control, delimiter, control_share, validation_share, seed, key_added
        As in :func:`combinations`.
    covariate_keys
        Columns of obs; each combination of their values is a context.
    test_share
        Share to hold out of the pairs of a perturbation and a context, among perturbations that
        several contexts show.

    Raises
    ------
    KeyError, ValueError
        As in :func:`combinations`; also if a context has no control cells, without which nothing
        is known of it.
    """
    held_out = HeldOut(
        adata,
        perturbation_key=perturbation_key,
        control=control,
        delimiter=delimiter,
        covariate_keys=covariate_keys,
    )
    table = held_out.table
    with_control = {
        values for parts, values in zip(table.parts, table.covariates, strict=True) if not parts
    }
    bare = sorted({", ".join(values) for values in set(table.covariates) - with_control})
    if bare:
        raise ValueError(
            f"There are no control cells in {listed(bare)}, so nothing could be said of an effect "
            "there. Drop these cells, or name other `covariate_keys`."
        )
    n_contexts = pd.Series(table.parts).value_counts()
    is_shared = [bool(parts) and n_contexts[parts] > 1 for parts in table.parts]
    held_out.draw(
        is_shared,
        test_share,
        seed,
        "perturbation that several contexts show",
        [(parts,) for parts in table.parts],  # as it is, in another context
    )
    held_out.write("transfer", control_share, validation_share, seed, key_added)


def replicate(
    adata: AnnData,
    *,
    batch_key: str,
    test: str | Sequence[str] | None = None,
    validation_share: float = 0.2,
    seed: int = 0,
    key_added: str = "split",
) -> None:
    """Train on some batches and test on others.

    Parameters
    ----------
    adata, seed, key_added
        As in :func:`random`.
    batch_key
        Column of obs.
    test
        Batches to test on; one drawn at random by default.
    validation_share
        Share of the cells of the other batches in val.

    Raises
    ------
    KeyError
        If the column is missing.
    ValueError
        If a batch is unknown, none is given or left to train on, or the share is not between 0
        and 1.
    """
    check_shares(validation_share=validation_share)
    batch = column(adata, batch_key)
    known, rng = sorted(batch.unique()), generator(seed)
    chosen = (str(rng.choice(known)),) if test is None and known else as_tuple(test)
    if not chosen:
        raise ValueError(
            f"There is no batch to test on; name one of column {batch_key!r}: `test=`."
        )
    for name in chosen:
        if name not in known:
            raise ValueError(f"Column {batch_key!r} has no {name!r}{nearest(name, known)}.")
    if set(chosen) == set(known):
        raise ValueError(f"All of {batch_key!r} is for test; leave a batch to train on.")
    is_test = batch.isin(chosen).to_numpy()
    rank = stratified_ranks(pd.factorize(batch)[0], rng)
    settings = {"batch_key": batch_key, "test": list(chosen), "validation_share": validation_share}
    write_split(
        adata,
        is_test,
        ~is_test & (rank < validation_share),
        method="replicate",
        settings=settings,
        seed=seed,
        key_added=key_added,
    )
