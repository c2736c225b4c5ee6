"""What can be benchmarked: anything that learns by ``fit`` and answers by ``predict``."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import pandas as pd
from scvi import settings

from scvi_sams._random_state import random_state_restored
from scvi_sams._scvi import _MANAGER_UUID_KEY, _SCVI_UUID_KEY
from scvi_sams.data._names import as_tuple
from scvi_sams.data._sources import obs_column

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from scvi_sams.model._base import PerturbationModel


@runtime_checkable
class Predictor(Protocol):
    """What a model has to have to be benchmarked, as :mod:`scvi_sams.baselines` have it."""

    def fit(
        self,
        adata: AnnData,
        *,
        perturbation_key: str,
        control: str | Sequence[str],
        delimiter: str | None = "+",
        covariate_keys: str | Sequence[str] | None = None,
        layer: str | None = None,
        split_key: str | None = None,
        seed: int = 0,
    ) -> Self:
        """Learn from raw counts, and return itself.

        Parameters
        ----------
        adata
            Cells × genes, not to be changed. No cell of it is ``"test"`` where a benchmark calls.
        perturbation_key
            Column of obs with one label per cell.
        control
            Label of control cells, or several.
        delimiter
            What separates the parts of a combination; ``None`` if labels are never split.
        covariate_keys
            Columns of obs, categorical: predictions are asked for in their values.
        layer
            Layer of the counts; ``X`` by default.
        split_key
            Column of obs: ``"train"`` cells are learned from, ``"val"`` cells say when to stop.
        seed
            Of what is random.

        Returns
        -------
        The predictor itself.
        """

    def predict(
        self,
        perturbations: str | Sequence[str],
        *,
        n_cells: int = 500,
        covariates: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> AnnData:
        """Predict cells of conditions, in each of some contexts.

        Parameters
        ----------
        perturbations
            Labels of conditions, and of control.
        n_cells
            Cells of each condition and context; fewer are fine, one mean profile too.
        covariates
            Values of the covariates, one or several of each.
        seed
            Of what is random.

        Returns
        -------
        AnnData of cells × genes with the labels and covariates in obs, and in
        ``uns["prediction"]["units"]`` what X is: ``"counts"`` or ``"log1p counts per 10,000"``.

        Raises
        ------
        ValueError
            If the model cannot predict one of the conditions.
        """


class ModelPredictor:
    """A model of this package with the interface of :class:`~scvi_sams.benchmark.Predictor`.

    Parameters
    ----------
    model_class
        Such as :class:`~scvi_sams.SAMSVAE`.
    setup
        More arguments of ``setup_anndata``, such as ``{"batch_key": "replicate"}``.
    train
        Arguments of ``train``, such as ``{"max_epochs": 100}``.
    **settings
        Arguments of the model, such as ``n_latent=20``.

    Examples
    --------
    >>> import scvi_sams as sams
    >>> from scvi_sams.benchmark import ModelPredictor
    >>> adata = sams.datasets.simulate(4, n_cells_per_perturbation=20, n_genes=30)
    >>> predictor = ModelPredictor(sams.SAMSVAE, train={"max_epochs": 2}, n_latent=5)
    >>> trained = predictor.fit(adata, perturbation_key="perturbation", control="control", seed=1)
    >>> cells = trained.predict(["pert_1", "pert_2"])
    """

    model: Any

    def __init__(
        self,
        model_class: type[PerturbationModel],
        *,
        setup: Mapping[str, Any] | None = None,
        train: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.model_class = model_class
        self.setup, self.train, self.settings = dict(setup or {}), dict(train or {}), settings

    def fit(
        self,
        adata: AnnData,
        *,
        perturbation_key: str,
        control: str | Sequence[str],
        delimiter: str | None = "+",
        covariate_keys: str | Sequence[str] | None = None,
        layer: str | None = None,
        split_key: str | None = None,
        seed: int = 0,
    ) -> Self:
        """Set a model up and train it.

        Parameters
        ----------
        adata, perturbation_key, control, delimiter, covariate_keys, layer, split_key, seed
            As in :meth:`~scvi_sams.benchmark.Predictor.fit`.

        Returns
        -------
        The predictor itself; the trained model is its attribute ``model``. Models of one
        perturbation per cell take each label as it stands. ``scvi.settings.seed`` and the random
        states are as they were.

        Raises
        ------
        KeyboardInterrupt
            If training is interrupted.
        KeyError, ValueError
            Whatever ``setup_anndata``, the model or ``train`` refuse.
        """
        adata = self.set_up(
            adata,
            perturbation_key=perturbation_key,
            control=control,
            delimiter=delimiter,
            covariate_keys=covariate_keys,
            layer=layer,
            split_key=split_key,
        )
        with random_state_restored():
            settings.seed = seed
            self.model = self.model_class(adata, **self.settings)
            self._take_cells_along()
            try:
                self.model.train(split_key=split_key, **self.train)
            except SystemExit as error:  # what Lightning makes of an interruption
                raise KeyboardInterrupt from error
        if self.model.trainer.interrupted:  # older versions of Lightning return as if trained
            raise KeyboardInterrupt
        return self

    def set_up(
        self,
        adata: AnnData,
        *,
        perturbation_key: str,
        control: str | Sequence[str],
        delimiter: str | None = "+",
        covariate_keys: str | Sequence[str] | None = None,
        layer: str | None = None,
        split_key: str | None = None,
    ) -> AnnData:
        """Set up the cells that a model learns from.

        Parameters
        ----------
        adata, perturbation_key, control, delimiter, covariate_keys, layer, split_key
            As in :meth:`~scvi_sams.benchmark.Predictor.fit`.

        Returns
        -------
        A copy of these cells.
        """
        self._perturbation_key = perturbation_key
        if split_key is not None:
            split = obs_column(adata, split_key, "split_key")
            adata = adata[split.isin(["train", "val"]).to_numpy()]
        adata = adata.copy()
        for key in (_SCVI_UUID_KEY, _MANAGER_UUID_KEY):  # of the data that was given
            adata.uns.pop(key, None)
        self.model_class.setup_anndata(
            adata,
            perturbation_key=perturbation_key,
            control=control,
            delimiter=None if self.model_class._one_perturbation_per_cell else delimiter,
            layer=layer,
            categorical_covariate_keys=list(as_tuple(covariate_keys)) or None,
            **self.setup,
        )
        return adata

    def predict(
        self,
        perturbations: str | Sequence[str],
        *,
        n_cells: int = 500,
        covariates: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> AnnData:
        """Predict counts of cells.

        Batches and continuous covariates are those of training cells.

        Parameters
        ----------
        perturbations, n_cells, covariates, seed
            As in :meth:`~scvi_sams.benchmark.Predictor.predict`.

        Returns
        -------
        AnnData of cells × genes, as of :meth:`~scvi_sams.benchmark.Predictor.predict`.

        Raises
        ------
        ValueError
            If the model cannot predict one of the conditions.
        """
        cells = self.model.predict(
            perturbations, n_cells=n_cells, covariates=covariates, seed=seed
        )
        return _labelled(cells, self._perturbation_key)

    def get_average_treatment_effects(
        self, perturbations: Sequence[str], *, covariates: Mapping[str, Any] | None = None
    ) -> AnnData:
        """Effects of conditions with credible intervals.

        Parameters
        ----------
        perturbations, covariates
            As in the model's :meth:`~scvi_sams.SAMSVAE.get_average_treatment_effects`.

        Returns
        -------
        AnnData of conditions × genes, as there.
        """
        return self.model.get_average_treatment_effects(perturbations, covariates=covariates)

    def get_predictive_iwelbo(self, adata: AnnData, *, seed: int = 0) -> pd.Series:
        """Importance-weighted bound on the likelihood of test cells.

        Parameters
        ----------
        adata
            The cells; they are not changed.
        seed
            Of the random numbers; the global state is not touched.

        Returns
        -------
        One value per cell, in nats, as of :meth:`~scvi_sams.SAMSVAE.get_predictive_iwelbo`.
        """
        with random_state_restored():
            settings.seed = seed
            return self.model.get_predictive_iwelbo(adata.copy())

    def save(self, folder: Path) -> None:
        """Save the trained model.

        Parameters
        ----------
        folder
            Where to; what stood there is replaced.
        """
        self.model.save(str(folder), overwrite=True)

    def load(self, folder: Path, adata: AnnData, **columns: Any) -> None:
        """Load a model that was trained on the same cells.

        Parameters
        ----------
        folder
            Where :meth:`save` wrote it.
        adata
            The cells.
        **columns
            Arguments of :meth:`set_up`.
        """
        adata = self.set_up(adata, **columns)
        self.model = self.model_class.load(str(folder), adata)
        self._take_cells_along()

    def _take_cells_along(self) -> None:
        """Let the copy of the cells go with the model; scvi-tools would keep it."""
        store = self.model._setup_adata_manager_store
        uuid = self.model.adata_manager.adata_uuid
        weakref.finalize(self.model, store.pop, uuid, None).atexit = False


def _labelled(cells: AnnData, key: str) -> AnnData:
    """Predicted cells with their labels in the column that observed ones have them in."""
    if key != "perturbation":
        cells.obs = cells.obs.rename(columns={"perturbation": key})
    return cells
