"""What a model file holds, and how it is read."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import anndata as ad
import h5py
import mudata
import pandas as pd
import pyro
import torch
from scvi.model.base import BaseMinifiedModeModelClass

from scvi_sams._atomic import is_taken, replaced_together, whole
from scvi_sams._scvi import _FIELD_REGISTRIES_KEY, SAVE_KEYS
from scvi_sams.model._safe import read_safely, setup_method

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


class SavingMixin(BaseMinifiedModeModelClass):
    """scvi-tools' saving, of plain values only, and its loading."""

    history_: dict[str, Any] | None

    @classmethod
    def load(
        cls,
        dir_path: str | Path,
        adata: AnnData | MuData | bool | None = None,
        accelerator: str = "auto",
        device: int | str = "auto",
        prefix: str | None = None,
        *,
        safe: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Load a saved model.

        Parameters
        ----------
        dir_path
            Folder that ``save`` wrote.
        adata
            Data of the same genes; it need not be set up. By default the data that was saved with
            the model; ``False`` for none.
        accelerator, device
            Where to put the model.
        prefix
            Of the names of the saved files.
        safe
            Whether to refuse a file that holds anything but numbers, text and arrays. Loading a
            model otherwise unpickles it, which runs whatever code its author put there: say
            ``safe=True`` of models that come from elsewhere.
        **kwargs
            Further keywords of scvi-tools' ``load``.

        Returns
        -------
        The model.

        Raises
        ------
        ValueError
            If there is no model, it is of another class or other perturbations than the data,
            or, with ``safe``, it holds something that could run code, its data lie in other
            files, or ``backup_url`` is given.
        """
        if safe and kwargs.get("backup_url") is not None:
            raise ValueError("`safe=True` loads what is there; download it first.")
        with whole(dir_path):
            if not safe:
                model = super().load(dir_path, adata, accelerator, device, prefix, **kwargs)
            else:
                saved = read_safely(Path(dir_path) / f"{prefix or ''}{SAVE_KEYS.MODEL_FNAME}")
                if adata is None:
                    setup = setup_method(saved[SAVE_KEYS.ATTR_DICT_KEY]["registry_"])
                    adata = _saved_data(dir_path, prefix, setup)
                # scvi-tools reads what was found to be harmless, not the file that could change
                with TemporaryDirectory() as folder:
                    torch.save(saved, Path(folder) / SAVE_KEYS.MODEL_FNAME)
                    model = super().load(folder, adata, accelerator, device, **kwargs)
        if model.history_ is not None:
            model.history_ = _history(model.history_)
        return model

    def save(
        self,
        dir_path: str | Path,
        prefix: str | None = None,
        overwrite: bool = False,
        save_anndata: bool = False,
        save_kwargs: dict[str, Any] | None = None,
        legacy_mudata_format: bool = False,
        datamodule: Any = None,
        **anndata_write_kwargs: Any,
    ) -> None:
        """Save the model.

        If it fails, or the process is killed, the folder holds what it held before; a folder that
        others load from or save to meanwhile holds one model or the other.

        Parameters
        ----------
        dir_path
            Folder to write.
        prefix
            Of the names of the files.
        overwrite
            Whether to replace a model in a folder that exists. Other files in it stay, and so does
            data saved with it, unless ``save_anndata``.
        save_anndata
            Whether to save the data, too.
        save_kwargs, legacy_mudata_format, datamodule
            As in scvi-tools' ``save``.
        **anndata_write_kwargs
            Keywords of the data's ``write``.

        Raises
        ------
        OSError
            If the disk is full.
        ValueError
            If the folder exists, without ``overwrite``, or there is no data to save.
        """
        if not overwrite and is_taken(dir_path):
            raise ValueError(
                f"{dir_path} already exists. Name another folder, or pass `overwrite=True`."
            )
        if save_anndata and self.adata is None:
            raise ValueError("The model was loaded without data; pass `save_anndata=False`.")
        is_backed = save_anndata and self.adata.isbacked
        # scvi-tools saves what Pyro holds of all models; these have no part in it
        with replaced_together(dir_path) as folder, pyro.get_param_store().scope():
            super().save(
                str(folder),
                prefix,
                overwrite=True,
                save_anndata=save_anndata and not is_backed,
                save_kwargs=save_kwargs,
                legacy_mudata_format=legacy_mudata_format,
                datamodule=datamodule,
                **anndata_write_kwargs,
            )
            if is_backed:  # its own `write` would make it read from the new file from then on
                is_mudata = isinstance(self.adata, mudata.MuData)
                name = SAVE_KEYS.MDATA_FNAME if is_mudata else SAVE_KEYS.ADATA_FNAME
                write = mudata.write_h5mu if is_mudata else ad.io.write_h5ad
                write(folder / f"{prefix or ''}{name}", self.adata, **anndata_write_kwargs)

    def _get_user_attributes(self) -> list[tuple[str, Any]]:
        """Attributes as plain values, which are loaded safely and by any version of pandas."""
        attributes = dict(super()._get_user_attributes())
        registry = dict(attributes["registry_"])
        registry[_FIELD_REGISTRIES_KEY] = dict(registry[_FIELD_REGISTRIES_KEY])
        attributes["registry_"] = registry
        if attributes["history_"] is not None:
            attributes["history_"] = {
                name: table.to_dict(orient="tight")
                for name, table in attributes["history_"].items()
            }
        return list(attributes.items())


def _history(tables: Any) -> dict[str, pd.DataFrame]:
    try:
        return {
            name: pd.DataFrame.from_dict(table, orient="tight") for name, table in tables.items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("The history of the saved model is damaged.") from error


def _saved_data(dir_path: str | Path, prefix: str | None, setup: str) -> AnnData | MuData | bool:
    """Data that was saved with a model, or False."""
    is_mudata = setup == "setup_mudata"
    name = SAVE_KEYS.MDATA_FNAME if is_mudata else SAVE_KEYS.ADATA_FNAME
    path = Path(dir_path) / f"{prefix or ''}{name}"
    if not path.is_file():
        return False
    with h5py.File(path) as file:
        _check_is_whole(file, path)
    return mudata.read_h5mu(path) if is_mudata else ad.read_h5ad(path)


def _check_is_whole(group: h5py.Group, path: Path) -> None:
    """Raise if the file reads from other files, which whoever made it would choose."""
    for name in group:
        link = group.get(name, getlink=True)
        found = None if isinstance(link, h5py.ExternalLink) else group.get(name)
        if found is None or (
            isinstance(found, h5py.Dataset) and (found.external or found.is_virtual)
        ):
            raise ValueError(f"{path} was not loaded: {group.name}/{name} is read from elsewhere.")
        if isinstance(found, h5py.Group):
            _check_is_whole(found, path)
