"""A folder that holds a model, its data and what must be said of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, get_args

import anndata as ad
import pandas as pd
from mudata import MuData
from scvi import REGISTRY_KEYS as SCVI_KEYS

import scvi_sams
from scvi_sams._atomic import is_taken, replaced_together, whole
from scvi_sams._random_state import random_state_restored
from scvi_sams._scvi import SAVE_KEYS, _get_adata_minify_type
from scvi_sams._tables import wrong_type
from scvi_sams.data._disk import is_on_disk
from scvi_sams.data._names import as_tuple, listed
from scvi_sams.hub._card import model_card
from scvi_sams.hub._optional import huggingface_hub
from scvi_sams.model._base import PerturbationModel
from scvi_sams.model._safe import read_safely

if TYPE_CHECKING:
    from anndata import AnnData

Data = Literal["minified", "full"]
METADATA, CARD = "_scvi_required_metadata.json", "README.md"  # as scvi-hub names them
_OF_MANAGERS = ("_scvi_uuid", "_scvi_manager_uuid")
_QZM, _QZV = "_scvi_sams_shared_qzm", "_scvi_sams_shared_qzv"
FILES = (
    SAVE_KEYS.MODEL_FNAME,
    SAVE_KEYS.ADATA_FNAME,
    SAVE_KEYS.MDATA_FNAME,
    METADATA,
    CARD,
)


def to_hub(
    model: PerturbationModel,
    dir_path: str | Path,
    *,
    license: str,
    data: Data | None = "minified",
    description: str = "",
    metrics: Mapping[str, float] | pd.DataFrame | None = None,
    references: str | Sequence[str] = (),
    training_data_url: str | None = None,
    training_code_url: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a trained model to a folder that can be shared.

    It holds the model, the data, scvi-hub's metadata and a model card that says what was
    perturbed and measured, how the model was trained and calibrated, and how to use it.
    :func:`load_safely` loads it; so does plain :class:`scvi.hub.HubModel`, which unpickles.

    Parameters
    ----------
    model
        A trained model of this package. It and its data stay as they are.
    dir_path
        Folder to write.
    license
        Of model and data, as Hugging Face names it: ``"cc-by-4.0"``, ``"mit"``, ``"other"``.
    data
        What of the data to share.

        - ``"minified"``: all but counts, in whose place latent states stand; X, layers and
          ``raw`` are empty. Predictions, effects, latent states and expressions remain possible.
          Everything else (obs, obsm, uns, var, varm, obsp, varp) is shared: look through it
          first.
        - ``"full"``: all of it
        - None: no cells. Predictions and effects remain possible, also of other cells;
          :class:`scvi.hub.HubModel` then wants ``load_model(adata=False)``, or data.
    description
        What readers of the card should know: the screen, where it is published, caveats.
    metrics
        Scores to show: of names and values, or a table such as ``sams.evaluate(...).summary``.
    references
        To publications, a line each.
    training_data_url, training_code_url
        Where data and code are.
    overwrite
        Whether to replace the model in a folder that exists, and its card. Other files in it
        stay.

    Returns
    -------
    The folder.

    Notes
    -----
    Whatever ``data`` is, the model itself holds library sizes, batches and covariates of up to
    10,000 training cells, without their names, since predictions draw from them, and the names
    of all categories.

    Raises
    ------
    ImportError
        If huggingface_hub is missing: ``pip install "scvi-sams[hub]"``.
    FileExistsError
        If the folder exists and holds anything, without ``overwrite``.
    RuntimeError
        If the model is not trained.
    TypeError
        If ``model`` is none of this package, or of a class derived from one; or ``metrics`` is
        neither a mapping nor a table.
    ValueError
        If ``data`` is none of the above, there is no data to share, a MuData or counts
        on a disk were to be minified, counts stand beside minified data, or the licence or a
        URL is none.

    Examples
    --------
    >>> folder = sams.hub.to_hub(model, "to_share", license="cc-by-4.0")
    >>> shared = sams.hub.load_safely(folder)
    >>> shared.get_average_treatment_effects("KLF1", n_samples=100).shape
    (1, 30)
    """
    if type(model) not in classes().values():
        raise wrong_type(model, "model", f"a trained model, one of {listed(classes())}")
    model._check_if_trained(warn=False)
    folder = Path(dir_path)
    _check(model, license, data)
    if metrics is not None and not isinstance(metrics, Mapping | pd.DataFrame):
        raise wrong_type(metrics, "metrics", "a mapping of names and values, or a DataFrame")
    for name, url in [
        ("training_data_url", training_data_url),
        ("training_code_url", training_code_url),
    ]:
        if url is not None and not re.fullmatch(r"https?://[^/\s]+\S*", url):
            raise ValueError(f"`{name}` must be a URL such as 'https://…'; it is {url!r}.")
    if is_taken(folder) and not (folder.is_dir() and overwrite):
        raise FileExistsError(
            f"{folder} is there already. Name another folder, or pass `overwrite=True`."
        )
    hub = huggingface_hub()
    from scvi.hub import HubMetadata  # it needs huggingface_hub

    metadata = HubMetadata(
        scvi_version=model.registry["scvi_version"],
        anndata_version=version("anndata"),
        model_cls_name=type(model).__name__,
        training_data_url=training_data_url,
        model_parent_module=scvi_sams.__name__,
    )
    card = model_card(
        model,
        license=license,
        data=data,
        description=description,
        metrics=metrics,
        references=as_tuple(references),
        training_data_url=training_data_url,
        training_code_url=training_code_url,
    )
    with replaced_together(folder, leaving=FILES) as written:
        with random_state_restored():
            _save(model, written, data)
        read_safely(written / SAVE_KEYS.MODEL_FNAME)  # as those will who receive it
        metadata.save(str(written / METADATA))
        hub.ModelCard(card).save(written / CARD)
    return folder


def _save(model: PerturbationModel, folder: Path, data: Data | None) -> None:
    """Save the model and what is shared of its data."""
    if data == "minified":
        small = without_counts(model)
        small.save(str(folder), save_anndata=True)
    else:
        model.save(str(folder), save_anndata=data is not None)


def _check(model: PerturbationModel, license: str, data: object) -> None:
    if not isinstance(license, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        raise ValueError(
            f"`license` must be a name that Hugging Face knows, such as 'cc-by-4.0', 'mit' or "
            f"'other'; it is {license!r}."
        )
    if data is not None and data not in get_args(Data):
        raise ValueError(f"`data` must be 'minified', 'full' or None; it is {data!r}.")
    if data is not None and model.adata is None:
        raise ValueError("The model was loaded without data; pass `data=None`.")
    if data == "full" and not isinstance(model.adata, MuData):
        kind = _get_adata_minify_type(model.adata)
        if kind is not None and not kind.endswith("_with_counts"):
            raise ValueError("The data is minified and has no counts; pass `data='minified'`.")
    if data == "minified" and isinstance(model.adata, MuData):
        raise ValueError("A MuData cannot be minified; pass `data='full'` or `data=None`.")
    if data == "minified" and is_on_disk(model.adata_manager.get_from_registry(SCVI_KEYS.X_KEY)):
        raise ValueError(
            "Counts on a disk cannot be minified; pass `data='full'` or `data=None`, or load the "
            "model with cells in memory."
        )


def without_counts(model: PerturbationModel) -> PerturbationModel:
    """The model on minified data; it and its data are not changed."""
    adata: AnnData = model.adata
    if _get_adata_minify_type(adata) is not None:
        held = {"X": adata.X, **{f"layers[{key!r}]": x for key, x in adata.layers.items()}}
        counts = [name for name, x in held.items() if x is not None and abs(x).sum() > 0]
        if counts or adata.raw is not None:
            raise ValueError(
                f"The data is minified, but counts are in {', '.join(counts) or 'raw'}. Take them "
                "out, or pass `data='full'` or `data=None`."
            )
        return model
    same = ad.AnnData(
        adata.X,
        obs=adata.obs.copy(),
        var=adata.var.copy(),
        obsm=dict(adata.obsm),
        varm=dict(adata.varm),
        obsp=dict(adata.obsp),
        varp=dict(adata.varp),
        layers=dict(adata.layers),
        # data that passed for the user's would take the place of it in scvi-tools' registry
        uns={key: value for key, value in adata.uns.items() if key not in _OF_MANAGERS},
    )
    with TemporaryDirectory() as saved:
        model.save(saved, overwrite=True)
        device = model.device
        small = type(model).load(
            saved, same, accelerator=device.type, device=device.index or "auto"
        )
    mean, variance = small.get_latent_representation(return_dist=True)
    same.obsm[_QZM], same.obsm[_QZV] = mean, variance
    small.minify_adata(use_latent_qzm_key=_QZM, use_latent_qzv_key=_QZV)
    small.deregister_manager(same)  # scvi-tools would keep it for as long as Python runs
    for key in (_QZM, _QZV):  # kept under keys of the model
        del small.adata.obsm[key]
    return small


def classes() -> dict[str, type[PerturbationModel]]:
    """The models of this package by their names."""
    return {
        name: kind
        for name in scvi_sams.__all__
        if isinstance(kind := getattr(scvi_sams, name), type)
        and issubclass(kind, PerturbationModel)
    }


def load_safely(
    dir_path: str | Path, adata: AnnData | MuData | bool | None = None, **kwargs: Any
) -> PerturbationModel:
    """Load a model of this package from elsewhere without running code of whoever made it.

    The file says which model it is; it is refused if it holds anything but numbers, text and
    arrays. :class:`scvi.hub.HubModel` has no such check: loading through it runs what is in the
    file.

    Parameters
    ----------
    dir_path
        Folder that :func:`to_hub` or ``save`` wrote.
    adata
        Data to load the model with; by default the data in the folder, ``False`` for none.
    **kwargs
        Keywords of :meth:`~scvi_sams.SAMSVAE.load`.

    Returns
    -------
    The model.

    Raises
    ------
    ValueError
        If there is no model, it is none of this package, or it holds something else.
    """
    path = Path(dir_path) / f"{kwargs.get('prefix') or ''}{SAVE_KEYS.MODEL_FNAME}"
    with whole(dir_path):
        name = read_safely(path)[SAVE_KEYS.ATTR_DICT_KEY]["registry_"].get("model_name")
        if not isinstance(name, str) or name not in classes():
            raise ValueError(
                f"{path} holds a {name!r}; models of this package are {listed(classes())}."
            )
        return classes()[name].load(dir_path, adata, safe=True, **kwargs)
