"""Shared models on Hugging Face."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scvi_sams._atomic import whole
from scvi_sams._scvi import SAVE_KEYS
from scvi_sams.hub._folder import CARD, FILES, METADATA, load_safely
from scvi_sams.hub._optional import huggingface_hub

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scvi_sams.model._base import PerturbationModel

logger = logging.getLogger(__name__)


def push(
    dir_path: str | Path,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str = "Model of scvi-sams",
    token: str | None = None,
) -> str:
    """Upload a shared folder to Hugging Face, as one commit.

    Parameters
    ----------
    dir_path
        Folder that :func:`to_hub` wrote. Files that it did not write stay behind.
    repo
        Name of the repository, ``"user/name"``; it is created if it is not there.
    private
        Whether the repository is to be private.
    revision
        Branch to commit to, which is there; the main one by default.
    message
        Of the commit.
    token
        Of Hugging Face, with the right to write; by default that of ``hf auth login`` or of
        the environment variable ``HF_TOKEN``.

    Returns
    -------
    The hash of the commit, to pull exactly this model by.

    Raises
    ------
    ImportError
        If huggingface_hub is missing: ``pip install "scvi-sams[hub]"``.
    ValueError
        If the folder holds no shared model, or ``private`` is asked of a public repository.

    Notes
    -----
    Data that an earlier push shared and this one does not remain in the repository's history.

    ``HubModel.push_to_huggingface_hub`` of scvi-tools 1.4.2 uploads the model only with
    ``push_anndata=False``.
    """
    hub = huggingface_hub()
    folder = Path(dir_path)
    with whole(folder):
        for name in (SAVE_KEYS.MODEL_FNAME, METADATA, CARD):
            if not (folder / name).is_file():
                raise ValueError(f"{folder} holds no {name}; write it with `sams.hub.to_hub`.")
        api = hub.HfApi(token=token)
        api.create_repo(repo, private=private, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise ValueError(f"{repo} is there already, and public; nothing was uploaded.")
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            allow_patterns=list(FILES),
            delete_patterns=[name for name in FILES if not (folder / name).is_file()],
            commit_message=message,
            revision=revision,
        )
    return str(commit.oid)


def pull(
    repo: str,
    *,
    revision: str | None = None,
    adata: AnnData | MuData | bool | None = None,
    cache_dir: str | Path | None = None,
    token: str | None = None,
    **kwargs: Any,
) -> PerturbationModel:
    """Download a model of this package from Hugging Face and load it safely.

    Parameters
    ----------
    repo
        Name of the repository, ``"user/name"``.
    revision
        Branch, tag or hash of a commit. By default the newest, which may be another model
        tomorrow: name the hash where results must last.
    adata
        Data to load the model with; by default the data that was shared, ``False`` for none
        (which is then not downloaded).
    cache_dir
        Where downloads are kept; Hugging Face's folder by default.
    token
        For private repositories; as for :func:`push`.
    **kwargs
        Keywords of :meth:`~scvi_sams.SAMSVAE.load`.

    Returns
    -------
    The model.

    Raises
    ------
    ImportError
        If huggingface_hub is missing: ``pip install "scvi-sams[hub]"``.
    ValueError
        If the model is none of this package or holds something that could run code; see
        :func:`load_safely`.
    """
    hub = huggingface_hub()
    wanted = [SAVE_KEYS.MODEL_FNAME, METADATA, CARD]
    if adata is None:
        wanted += [SAVE_KEYS.ADATA_FNAME, SAVE_KEYS.MDATA_FNAME]
    folder = hub.snapshot_download(
        repo, revision=revision, allow_patterns=wanted, cache_dir=cache_dir, token=token
    )
    if revision is None:
        logger.info(f"{repo} at revision {Path(folder).name}")
    return load_safely(folder, adata, **kwargs)
