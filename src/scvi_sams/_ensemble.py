"""Models that differ by their seed only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scvi import settings

from scvi_sams._random_state import random_state_restored
from scvi_sams.model._samsvae import SAMSVAE
from scvi_sams.model._training import PerturbationTrainingMixin

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

logger = logging.getLogger("scvi.sams")

ModelT = TypeVar("ModelT", bound=PerturbationTrainingMixin)


def fit_ensemble(
    adata: AnnData | MuData,
    *,
    n_seeds: int = 5,
    seeds: Sequence[int] | None = None,
    model_cls: type[ModelT] = SAMSVAE,  # type: ignore[assignment]  # mypy knows no such defaults
    train_kwargs: dict[str, Any] | None = None,
    **model_kwargs: Any,
) -> list[ModelT]:
    """Train models of one screen that differ by their seed only.

    What they share can be relied on, what differs between them can not:
    :func:`scvi_sams.tl.consensus` aligns their latent dimensions and says which effects are
    stable.

    The first member is the model that its seed gives on its own. Its training, validation and
    test cells are those of all members, so that their bounds are comparable; the seeds of the
    others decide their initial weights, the order of the cells and the samples.

    Parameters
    ----------
    adata
        Data set up with ``model_cls.setup_anndata`` or ``model_cls.setup_mudata``.
    n_seeds
        Number of models, with the seeds 0, 1, 2, …. Not read with ``seeds``.
    seeds
        Seed of each model.
    model_cls
        Class of the models.
    train_kwargs
        Passed on to each ``train``, such as ``max_epochs`` or ``split_key``. Callbacks and
        loggers in it serve all members in turn; in ``checkpoint_dir``, each has its folder.
    **model_kwargs
        Passed on to ``model_cls``, such as ``n_latent``.

    Returns
    -------
    Trained models in the order of their seeds. ``scvi.settings.seed`` and the random states of
    torch, numpy and Python are as they were, after an error too.

    Raises
    ------
    ValueError
        If ``adata`` is not set up for ``model_cls``, there are no seeds, or seeds repeat or are
        not integers from 0 to 2^32 - 1; also for whatever ``model_cls`` or ``train`` refuse.
    KeyboardInterrupt
        If training is interrupted. No further member is trained and none is returned; with
        ``checkpoint_dir`` and ``resume`` in ``train_kwargs``, those that are done are not trained
        again.

    Examples
    --------
    >>> import scvi_sams as sams
    >>> adata = sams.datasets.simulate(4, n_cells_per_perturbation=20, n_genes=30)
    >>> sams.SAMSVAE.setup_anndata(adata, perturbation_key="perturbation", control="control")
    >>> models = sams.fit_ensemble(adata, n_seeds=3, n_latent=5, train_kwargs={"max_epochs": 2})
    >>> agreed = sams.tl.consensus(models)
    """
    seeds = _checked_seeds(n_seeds, seeds)
    train_kwargs = dict(train_kwargs or {})
    members: list[ModelT] = []
    with random_state_restored():
        for seed in seeds:
            logger.info(f"Training member {len(members) + 1} of {len(seeds)}, seed {seed}.")
            settings.seed = seed
            model = model_cls(adata, **model_kwargs)
            own = dict(train_kwargs)
            if own.get("checkpoint_dir") is not None:
                own["checkpoint_dir"] = Path(own["checkpoint_dir"]) / f"seed_{seed}"
            model.train(**own)
            members.append(model)
            train_kwargs["datasplitter_kwargs"] = {
                **(train_kwargs.get("datasplitter_kwargs") or {}),
                "external_indexing": [
                    members[0].train_indices,
                    members[0].validation_indices,
                    members[0].test_indices,
                ],
            }
    return members


def _checked_seeds(n_seeds: int, seeds: Sequence[int] | None) -> list[int]:
    if seeds is None:
        if n_seeds < 1:
            raise ValueError(f"`n_seeds` must be at least 1; it is {n_seeds}.")
        return list(range(n_seeds))
    wrong = [
        seed for seed in seeds if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32
    ]
    if wrong:
        raise ValueError(f"`seeds` are integers from 0 to 2^32 - 1; it holds {wrong[0]!r}.")
    checked = [int(seed) for seed in seeds]
    if not checked:
        raise ValueError("`seeds` is empty; give one for each model, or leave it to `n_seeds`.")
    repeated = sorted({seed for seed in checked if checked.count(seed) > 1})
    if repeated:
        raise ValueError(
            f"`seeds` holds {repeated[0]} more than once; the same seed gives the same model."
        )
    return checked
