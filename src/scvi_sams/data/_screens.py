"""What is known of the public screens: where they are published, and how to set them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Recipe = Mapping[str, str | list[str] | None]


class Screen(NamedTuple):
    """A published screen.

    Attributes
    ----------
    title
        Cells and perturbations, in a line.
    citation
        Whom to cite, with DOI.
    url
        Address of the file.
    known_hash
        Checksum that its publisher gives, or None if we know of none.
    file_name
        Name of the file on disk.
    recipe
        Keyword arguments of ``setup_anndata``.
    """

    title: str
    citation: str
    url: str
    known_hash: str | None
    file_name: str
    recipe: Recipe


# scPerturb (Peidli et al. 2024, 10.1038/s41592-023-02144-y), version 1.4
_SCPERTURB = "https://zenodo.org/records/13350497/files"
# PerturBench (Wu et al. 2024, 10.48550/arXiv.2408.10609)
_PERTURBENCH = "https://huggingface.co/datasets/altoslabs/perturbench/resolve/main"
_GEO_SERIES = "https://ftp.ncbi.nlm.nih.gov/geo/series"

SCREENS: dict[str, Screen] = {
    "norman_2019": Screen(
        title="K562, CRISPR activation of single genes and pairs",
        citation="Norman et al. 2019, https://doi.org/10.1126/science.aax4438",
        url=f"{_SCPERTURB}/NormanWeissman2019_filtered.h5ad?download=1",
        known_hash="md5:c870e6967d91c017d9da827bab183cd6",
        file_name="NormanWeissman2019_filtered.h5ad",
        recipe={
            "perturbation_key": "perturbation",
            "control": "control",
            "delimiter": "_",
            "batch_key": "gemgroup",
        },
    ),
    "replogle_2022_k562": Screen(
        title="K562, CRISPR interference of essential genes",
        citation="Replogle et al. 2022, https://doi.org/10.1016/j.cell.2022.05.013",
        url=f"{_SCPERTURB}/ReplogleWeissman2022_K562_essential.h5ad?download=1",
        known_hash="md5:d8cba17576d1a8afc0f7d71b79cad0f7",
        file_name="ReplogleWeissman2022_K562_essential.h5ad",
        recipe={
            "perturbation_key": "perturbation",
            "control": "control",
            "delimiter": None,
            "batch_key": "batch",
        },
    ),
    "srivatsan_2020": Screen(
        title="A549, K562 and MCF7, 188 compounds at four doses (sci-Plex 3)",
        citation="Srivatsan et al. 2020, https://doi.org/10.1126/science.aax6234",
        url=f"{_SCPERTURB}/SrivatsanTrapnell2020_sciplex3.h5ad?download=1",
        known_hash="md5:c9e70629505d98c7ca1a837f62b14e89",
        file_name="SrivatsanTrapnell2020_sciplex3.h5ad",
        recipe={
            "perturbation_key": "perturbation",
            "control": "control",
            "delimiter": None,  # "(+)-JQ1" is one compound
            "dosage_key": "dosage",
            "batch_key": "replicate",
            "categorical_covariate_keys": ["cell_line"],
        },
    ),
    "frangieh_2021": Screen(
        title="Melanoma cells, CRISPR knockout, in three conditions (Perturb-CITE-seq)",
        citation="Frangieh et al. 2021, https://doi.org/10.1038/s41588-021-00779-1",
        # version 1.3: we know no checksum of this file in later versions
        url="https://zenodo.org/records/10044268/files/FrangiehIzar2021_RNA.h5ad?download=1",
        known_hash="md5:dc438f53c476a3dd562898654d48ed15",
        file_name="FrangiehIzar2021_RNA.h5ad",
        recipe={
            "perturbation_key": "perturbation",
            "control": "control",
            "delimiter": None,
            "categorical_covariate_keys": ["perturbation_2"],
        },
    ),
    "jiang_2024": Screen(
        title="Six cell lines, CRISPR interference, under five stimuli (Perturb-seq)",
        citation="Jiang et al. 2025, https://doi.org/10.1038/s41556-025-01622-z",
        url=f"{_PERTURBENCH}/jiang24_processed.h5ad.gz",
        known_hash="sha256:dd890a8019b8a615010963b32e6e28ce42fd0b94a749602bc93efb2fa8af56cc",
        file_name="jiang24_processed.h5ad.gz",
        recipe={
            "perturbation_key": "condition",
            "control": "control",
            "delimiter": "+",
            "layer": "counts",
            "batch_key": "Batch_info",
            "categorical_covariate_keys": ["cell_type", "treatment"],
        },
    ),
    "mcfaline_figueroa_2023": Screen(
        title="Three glioblastoma lines, CRISPR interference, under drugs (sci-Plex-GxE)",
        citation="McFaline-Figueroa et al. 2024, https://doi.org/10.1016/j.xgen.2023.100487",
        url=f"{_PERTURBENCH}/mcfaline23_gxe_processed.h5ad.gz",
        known_hash="sha256:34db710ad850b5b5fd478d123f1c10ae3d5aaa013fce6061be8216ea27aed215",
        file_name="mcfaline23_gxe_processed.h5ad.gz",
        recipe={
            "perturbation_key": "condition",
            "control": "control",
            "delimiter": "+",
            "layer": "counts",
            "categorical_covariate_keys": ["cell_type", "treatment"],
        },
    ),
    "op3": Screen(
        title="Blood cells of three donors, 144 compounds (Open Problems)",
        citation="Szałata et al. 2024, GEO GSE279945, https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE279945",
        url=f"{_GEO_SERIES}/GSE279nnn/GSE279945/suppl/GSE279945_sc_counts_processed.h5ad",
        known_hash=None,
        file_name="GSE279945_sc_counts_processed.h5ad",
        recipe={
            "perturbation_key": "sm_name",
            "control": "Dimethyl Sulfoxide",
            "delimiter": None,
            "batch_key": "donor_id",
            "categorical_covariate_keys": ["cell_type"],
        },
    ),
    "papalexi_2021": Screen(
        title="THP-1, CRISPR knockout of 25 genes (ECCITE-seq)",
        citation="Papalexi et al. 2021, https://doi.org/10.1038/s41588-021-00778-2",
        url=f"{_SCPERTURB}/PapalexiSatija2021_eccite_RNA.h5ad?download=1",
        known_hash="md5:d9e8bfe20b0e7b0919be042e8fcf6d03",
        file_name="PapalexiSatija2021_eccite_RNA.h5ad",
        recipe={
            "perturbation_key": "target",
            "control": "control",
            "delimiter": None,
            "batch_key": "hto",
        },
    ),
    "kang_2018": Screen(
        title="Blood cells of eight donors, with and without interferon beta",
        citation="Kang et al. 2018, https://doi.org/10.1038/nbt.4042",
        url="https://figshare.com/ndownloader/files/34464122",
        known_hash=None,
        file_name="kang_counts_25k.h5ad",
        recipe={
            "perturbation_key": "perturbation",
            "control": "ctrl",
            "delimiter": None,
            "batch_key": "replicate",
            "categorical_covariate_keys": ["cell_type"],
        },
    ),
}
