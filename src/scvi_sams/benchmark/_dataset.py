"""Which screen, and which of its columns mean what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
from pydantic import Field

from scvi_sams import datasets
from scvi_sams.benchmark._fields import Labels, Names, SomeNames
from scvi_sams.benchmark._section import Problem, Section, meant
from scvi_sams.data._names import as_tuple, listed, nearest
from scvi_sams.data._screens import SCREENS
from scvi_sams.data._sources import obs_column

if TYPE_CHECKING:
    from anndata import AnnData

_OF_THE_RECIPE = ("perturbation_key", "control", "delimiter", "batch_key", "layer")


class Dataset(Section):
    """A screen.

    Attributes
    ----------
    path, loader
        A file in the data folder, or the name of a function of ``sams.datasets``, whose recipe
        then gives the columns.
    keep
        Columns of obs and the values of cells to keep.
    perturbation_key, control, delimiter
        Column of obs with a label per cell, labels of control cells, and what separates the parts
        of a combination; None if labels are never split. Doses are not read: a compound is one
        condition at all of its doses.
    batch_key, layer
        Column of the batches; layer of the counts, by default X.
    covariate_keys
        Columns whose values make the contexts that are evaluated one by one.
    min_counts
        Least counts of a cell.
    n_top_genes
        Number of highly variable genes; by default all that vary.
    splits
        Names of splits; by default all.
    """

    path: str | None = None
    loader: str | None = None
    keep: dict[str, Labels] = Field(default_factory=dict)
    perturbation_key: str | None = None
    control: Labels | None = None
    delimiter: str | None = "+"
    batch_key: str | None = None
    layer: str | None = None
    covariate_keys: Names = ()
    min_counts: int = Field(0, ge=0)
    n_top_genes: int | None = Field(None, ge=1)
    splits: SomeNames | None = None

    @classmethod
    def problems(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Where it comes from, and the columns that this leaves to give."""
        path, loader = given.get("path"), given.get("loader")
        if path is None and loader is None:
            yield (), "needs a `path` to a file, or a `loader` of sams.datasets"
        elif path is not None and loader is not None:
            yield ("loader",), "goes with no `path`; leave one of them out"
        elif path is not None:
            for key in ("perturbation_key", "control"):
                if given.get(key) is None:
                    yield (key,), "is missing"
        elif isinstance(loader, str) and loader not in SCREENS:
            yield ("loader",), f"no public screen is called {loader!r}{meant(loader, SCREENS)}"
        elif isinstance(loader, str):
            columns = _columns(loader)
            for key in _OF_THE_RECIPE:
                if key in given and as_tuple(given[key]) != as_tuple(columns.get(key)):
                    yield (key,), f"comes from the recipe of {loader!r}; leave it out"

    @classmethod
    def completed(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """What was given, and the columns of the recipe."""
        return {**_columns(given.get("loader")), **given}

    @property
    def columns(self) -> dict[str, Any]:
        """Arguments that tell splits, baselines and ``sams.evaluate`` what was done to a cell."""
        return {
            "perturbation_key": self.perturbation_key,
            "control": list(self.control or ()),
            "delimiter": self.delimiter,
            "covariate_keys": list(self.covariate_keys) or None,
        }

    def file(self, folder: Path) -> Path | None:
        """Its file; None of a loader's."""
        return None if self.path is None else folder / self.path

    def read(self, folder: str | Path) -> AnnData:
        """Read the screen, its counts where they are.

        Parameters
        ----------
        folder
            The data folder; public screens are downloaded to it unless they are there.

        Returns
        -------
        The cells to keep.

        Raises
        ------
        KeyError
            If a column or the layer is missing.
        OSError
            If there is no such file, or it cannot be downloaded.
        ValueError
            If the file is no .h5ad file, a value of ``keep`` is unknown or no cell has them all.
        """
        if self.loader is not None:
            adata = getattr(datasets, self.loader)(folder=folder)
        else:
            adata = _read(Path(folder) / str(self.path))
        for key, values in self.keep.items():
            adata = adata[_kept(adata, key, values)]
        for argument in ("perturbation_key", "batch_key", "covariate_keys"):
            for key in as_tuple(getattr(self, argument)):
                obs_column(adata, key, argument)
        layers = [name for name in adata.layers if name is not None]  # None is X
        if self.layer is not None and self.layer not in layers:
            raise KeyError(
                f"There is no layer {self.layer!r}{nearest(self.layer, layers)}. `layer` must be "
                f"one of {listed(layers, 10) or 'none'}."
            )
        return adata.copy() if adata.is_view else adata


def _columns(loader: object) -> dict[str, Any]:
    """The columns that the recipe of a loader names; none of an unknown one."""
    if not isinstance(loader, str) or loader not in SCREENS:
        return {}
    recipe = datasets.recipe(loader)
    columns = {key: recipe[key] for key in _OF_THE_RECIPE if key in recipe}
    return columns | {"covariate_keys": recipe.get("categorical_covariate_keys") or []}


def _read(path: Path) -> AnnData:
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}; `path` is relative to the data folder.")
    try:
        return ad.read_h5ad(path)
    except OSError as error:
        raise ValueError(f"{path} is not a readable .h5ad file ({error}).") from error


def _kept(adata: AnnData, key: str, values: tuple[str, ...]) -> Any:
    """Which cells have one of some values in a column; never those without a value."""
    column = obs_column(adata, key, "keep").astype(str)
    known = sorted(column.unique())
    for value in values:
        if value not in known:
            raise ValueError(
                f"No cell has {value!r} in column {key!r}{nearest(value, known)}. Values of "
                f"`keep` are among {listed(known, 10) or 'none: no cell is left'}."
            )
    return column.isin(values).to_numpy()
