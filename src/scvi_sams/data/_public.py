"""Named loaders of public screens."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
from scipy import sparse

from scvi_sams.data._download import data_folder, fetch, gunzip
from scvi_sams.data._names import listed, nearest
from scvi_sams.data._screens import SCREENS, Recipe, Screen

_RECIPE_KEY = "recipe"


def recipe(screen: ad.AnnData | str) -> dict[str, Any]:
    """How to set up a public screen.

    .. code-block:: python

        adata = sams.datasets.norman_2019()
        sams.SAMSVAE.setup_anndata(adata, **sams.datasets.recipe(adata))

    Parameters
    ----------
    screen
        A screen from one of the loaders (also after it was written and read: ``uns["recipe"]``
        holds the recipe as JSON), or the name of a loader.

    Returns
    -------
    Keyword arguments of ``setup_anndata``.

    Raises
    ------
    KeyError
        If the AnnData came from no loader.
    ValueError
        If there is no loader of that name.
    """
    if isinstance(screen, str):
        if screen not in SCREENS:
            raise ValueError(
                f"There is no public screen {screen!r}{nearest(screen, SCREENS)}. "
                f"There are {listed(SCREENS, len(SCREENS))}."
            )
        return deepcopy(dict(SCREENS[screen].recipe))
    if _RECIPE_KEY not in screen.uns:
        raise KeyError(
            f"adata.uns has no {_RECIPE_KEY!r}: it came from no loader of `sams.datasets`. Pass "
            "the arguments of `setup_anndata` yourself."
        )
    return json.loads(screen.uns[_RECIPE_KEY])


def norman_2019(*, folder: str | Path | None = None, progress: bool = True) -> ad.AnnData:
    """K562, CRISPR activation of 105 genes, alone and in pairs (Norman et al. 2019).

    From scPerturb, 0.7 GB, checked by Zenodo's md5. Labels of pairs are ``"A_B"``.

    Parameters
    ----------
    folder
        Where the file is kept; by default the folder that the environment variable
        ``SCVI_SAMS_DATA_DIR`` names, else the user's cache.
    progress
        Whether to show the progress of the download.

    Returns
    -------
    AnnData of raw counts. ``uns["recipe"]`` holds the arguments of ``setup_anndata``, which
    :func:`recipe` reads, ``uns["citation"]`` whom to cite. Cells without a label, batch or
    covariate are left out; ``uns["n_unlabelled"]`` counts them.

    Raises
    ------
    ConnectionError
        If the server cannot be reached, or the connection is cut; the next call continues.
    OSError
        If the server refuses.
    ValueError
        If the checksum is wrong.
    KeyError
        If the file lacks a column of the recipe.

    References
    ----------
    https://doi.org/10.1126/science.aax4438
    """
    return _load("norman_2019", folder, progress)


def replogle_2022_k562(*, folder: str | Path | None = None, progress: bool = True) -> ad.AnnData:
    """K562, CRISPR interference of essential genes (Replogle et al. 2022).

    From scPerturb, 1.5 GB, checked by Zenodo's md5. 310,385 cells, stored dense; read into a
    sparse matrix.

    Parameters
    ----------
    folder, progress
        As in :func:`norman_2019`.

    Returns
    -------
    AnnData of raw counts, as of :func:`norman_2019`, whose errors are those of this one.

    References
    ----------
    https://doi.org/10.1016/j.cell.2022.05.013
    """
    return _load("replogle_2022_k562", folder, progress)


def srivatsan_2020(*, folder: str | Path | None = None, progress: bool = True) -> ad.AnnData:
    """A549, K562 and MCF7 under 188 compounds at four doses (sci-Plex 3, Srivatsan et al. 2020).

    From scPerturb, 2.5 GB, checked by Zenodo's md5. 799,317 cells × 110,983 genes: the counts
    alone take 12 GB of memory. ``obs["dosage"]`` is added: log10 of the dose in nM over its value
    at the highest, so that 10, 100, 1,000 and 10,000 nM are 0.25, 0.5, 0.75 and 1.

    Parameters
    ----------
    folder, progress
        As in :func:`norman_2019`.

    Returns
    -------
    AnnData of raw counts, as of :func:`norman_2019`, whose errors are those of this one.

    References
    ----------
    https://doi.org/10.1126/science.aax6234
    """

    def dosage(adata: ad.AnnData) -> None:
        nanomolar = adata.obs["dose_value"].astype(float)
        adata.obs["dosage"] = np.log10(nanomolar.clip(lower=1)) / 4  # 10⁴ nM is the highest

    return _load("srivatsan_2020", folder, progress, dosage)


def frangieh_2021(*, folder: str | Path | None = None, progress: bool = True) -> ad.AnnData:
    """Melanoma cells, CRISPR knockout of 248 genes in three conditions (Frangieh et al. 2021).

    The RNA of the screen, from scPerturb (version 1.3), 1.5 GB, checked by Zenodo's md5. The
    conditions (control, co-culture with T cells, interferon gamma) are ``obs["perturbation_2"]``.
    Labels are those of the file. Of a cell with several guides they are said to name the first
    gene only, and to call it a control if a guide of it is non-targeting; ``obs["guide_id"]``
    lists its guides.

    Parameters
    ----------
    folder, progress
        As in :func:`norman_2019`.

    Returns
    -------
    AnnData of raw counts, as of :func:`norman_2019`, whose errors are those of this one.

    References
    ----------
    https://doi.org/10.1038/s41588-021-00779-1
    """
    return _load("frangieh_2021", folder, progress)


def jiang_2024(*, folder: str | Path | None = None, progress: bool = True) -> ad.AnnData:
    """Six cell lines, CRISPR interference, under five stimuli (Jiang et al. 2025).

    From PerturBench, 15 GB, checked by its sha256, and more once decompressed; the ``.gz`` may
    then be deleted. 1,628,476 cells × 15,473 genes. Counts are in ``layers["counts"]``; X is
    normalised.

    Parameters
    ----------
    folder, progress
        As in :func:`norman_2019`.

    Returns
    -------
    AnnData of raw counts, as of :func:`norman_2019`, whose errors are those of this one.

    References
    ----------
    https://doi.org/10.1038/s41556-025-01622-z
    """
    return _load("jiang_2024", folder, progress)


def mcfaline_figueroa_2023(
    *, folder: str | Path | None = None, progress: bool = True
) -> ad.AnnData:
    """Three glioblastoma lines, CRISPR interference, under drugs (McFaline-Figueroa et al. 2024).

    From PerturBench, 5.5 GB, checked by its sha256, and more once decompressed; the ``.gz`` may
    then be deleted. 892,800 cells. Counts are in ``layers["counts"]``; X is normalised. The file
    names RNASEL ``"RcontrolSEL"``.

    Parameters
    ----------
    folder, progress
        As in :func:`norman_2019`.

    Returns
    -------
    AnnData of raw counts, as of :func:`norman_2019`, whose errors are those of this one.

    References
    ----------
    https://doi.org/10.1016/j.xgen.2023.100487
    """
    return _load("mcfaline_figueroa_2023", folder, progress)


def op3(*, folder: str | Path | None = None, progress: bool = True) -> ad.AnnData:
    """Blood cells of three donors under 144 compounds (OP3, Szałata et al. 2024).

    From GEO, which publishes no checksum: the size and the kind of the file are checked. All
    compounds have one dose, but for positive controls.

    Parameters
    ----------
    folder, progress
        As in :func:`norman_2019`.

    Returns
    -------
    AnnData of raw counts, as of :func:`norman_2019`, whose errors are those of this one.

    References
    ----------
    https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE279945
    """
    return _load("op3", folder, progress)


def papalexi_2021(*, folder: str | Path | None = None, progress: bool = True) -> ad.AnnData:
    """THP-1, CRISPR knockout of 25 genes (ECCITE-seq, Papalexi et al. 2021).

    The RNA of the screen, from scPerturb, 0.15 GB, checked by Zenodo's md5. 20,729 cells.
    ``obs["perturbation"]`` names guides (``"STAT1g2"``); ``obs["target"]`` is added, their genes.

    Parameters
    ----------
    folder, progress
        As in :func:`norman_2019`.

    Returns
    -------
    AnnData of raw counts, as of :func:`norman_2019`, whose errors are those of this one.

    References
    ----------
    https://doi.org/10.1038/s41588-021-00778-2
    """

    def target(adata: ad.AnnData) -> None:
        guide = adata.obs["perturbation"].astype("string")
        adata.obs["target"] = guide.str.replace(r"g\d+$", "", regex=True).astype("category")

    return _load("papalexi_2021", folder, progress, target)


def kang_2018(*, folder: str | Path | None = None, progress: bool = True) -> ad.AnnData:
    """Blood cells of eight donors, with and without interferon beta (Kang et al. 2018).

    As counted for pertpy, from figshare, 38 MB; we know of no published checksum: the size and
    the kind of the file are checked. One stimulus is too few perturbations for the models, so
    ``obs["perturbation"]`` is added: ``"ctrl"``, or the stimulus in a cell type such as
    ``"stim in B cells"``, whose effects may be shared. The file's own label is ``obs["label"]``.

    Parameters
    ----------
    folder, progress
        As in :func:`norman_2019`.

    Returns
    -------
    AnnData of raw counts, as of :func:`norman_2019`, whose errors are those of this one.

    References
    ----------
    https://doi.org/10.1038/nbt.4042
    """

    def stimulus(adata: ad.AnnData) -> None:
        label = adata.obs["label"].astype("string")
        within = label + " in " + adata.obs["cell_type"].astype("string")
        adata.obs["perturbation"] = within.mask(label == "ctrl", "ctrl").astype("category")

    return _load("kang_2018", folder, progress, stimulus)


def _load(
    name: str,
    folder: str | Path | None,
    progress: bool,
    add_columns: Callable[[ad.AnnData], None] | None = None,
) -> ad.AnnData:
    screen = SCREENS[name]
    adata = _read(_file_of(screen, data_folder() if folder is None else Path(folder), progress))
    try:
        if add_columns is not None:
            add_columns(adata)
        labelled = adata.obs[_columns(screen.recipe)].notna().all(axis=1).to_numpy()
    except KeyError as error:
        raise KeyError(
            f"{screen.file_name} lacks a column of its recipe ({error.args[0]}); it has "
            f"{listed(adata.obs.columns, 20)}. If it was put there by hand, move it away and call "
            "again to download it."
        ) from error
    if not labelled.all():
        adata = adata[labelled].copy()
    adata.uns[_RECIPE_KEY] = json.dumps(screen.recipe)
    adata.uns["citation"] = screen.citation
    adata.uns["n_unlabelled"] = int((~labelled).sum())
    return adata


def _file_of(screen: Screen, folder: Path, progress: bool) -> Path:
    packed = screen.file_name.endswith(".gz")
    unpacked = folder / screen.file_name.removesuffix(".gz")
    if packed and unpacked.exists():
        return unpacked  # the packed file may be gone
    path = fetch(
        screen.url,
        file_name=screen.file_name,
        known_hash=screen.known_hash,
        folder=folder,
        progress=progress,
    )
    return gunzip(path) if packed else path


def _columns(recipe: Recipe) -> list[str]:
    """Columns without which a cell is of no use; doses of controls are not read."""
    covariates = recipe.get("categorical_covariate_keys") or []
    named = [recipe.get("perturbation_key"), recipe.get("batch_key"), *covariates]
    return [str(column) for column in named if column is not None]


def _read(path: Path) -> ad.AnnData:
    """Read a file; its counts become sparse by rows, its names unique."""
    with h5py.File(path) as file:
        dense = isinstance(file["X"], h5py.Dataset)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* names are not unique", category=UserWarning)
        adata = ad.read_h5ad(path, as_sparse=["X"] if dense else ())
    adata.obs_names_make_unique()
    adata.var_names_make_unique()
    if sparse.issparse(adata.X):
        adata.X = adata.X.tocsr()
    return adata
