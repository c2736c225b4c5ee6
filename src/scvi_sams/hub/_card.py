"""What readers must know of a shared model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from scvi import REGISTRY_KEYS as SCVI_KEYS

import scvi_sams
from scvi_sams._constants import REGISTRY_KEYS
from scvi_sams.data._field import PerturbationField
from scvi_sams.data._names import as_tuple
from scvi_sams.hub._optional import huggingface_hub
from scvi_sams.model._base import PerturbationModel
from scvi_sams.model._conditions import SeenConditions

TITLES = {
    "SAMSVAE": "SAMS-VAE",
    "CPAVAE": "CPA-VAE",
    "SVAEPlus": "SVAE+",
    "ConditionalVAE": "Conditional VAE",
}
PAPER = (
    "Bereket & Karaletsos (2023). Modelling Cellular Perturbations with the Sparse Additive "
    "Mechanism Shift Variational Autoencoder. NeurIPS. [arXiv:2311.02794]"
    "(https://arxiv.org/abs/2311.02794)"
)
_DATA = {
    "minified": "Latent states of the cells, without their counts.",
    "full": "The cells with their counts.",
    None: "No cells; the model holds library sizes and covariates that predictions draw from.",
}
_LOAD = """\
import scvi_sams as sams

model = sams.hub.pull("user/name")  # or sams.hub.load_safely("folder")
model.get_average_treatment_effects({name!r})  # conditions × genes, with intervals"""


def model_card(
    model: PerturbationModel,
    *,
    license: str,
    data: str | None,
    description: str,
    metrics: Mapping[str, float] | pd.DataFrame | None,
    references: Sequence[str],
    training_data_url: str | None,
    training_code_url: str | None,
) -> str:
    """Markdown of the card, with the header that Hugging Face reads."""
    name = type(model).__name__
    header = huggingface_hub().ModelCardData(
        license=license,
        library_name="scvi-tools",
        tags=[
            "biology",
            "genomics",
            "single-cell",
            "perturbation",
            "scvi-sams",
            f"model_cls_name:{name}",
            f"scvi_version:{model.registry['scvi_version']}",
            f"anndata_version:{version('anndata')}",
        ],
    )
    places = {"training data": training_data_url, "training code": training_code_url}
    parts = [
        f"---\n{header.to_yaml()}\n---",
        f"# {TITLES[name]} of a perturbation screen",
        description.strip(),
        "## Use",
        '```bash\npip install "scvi-sams[hub]"\n```',
        f"```python\n{_LOAD.format(name=str(model.perturbation_names[0]))}\n```",
        "Loaded like this, no code from the files is run. `scvi.hub.HubModel` loads them too, and "
        "unpickles them.",
        "## What was perturbed and measured",
        _table(_screen(model)),
        "## Training",
        _table(_training(model)),
        "## Calibration",
        _calibration(model),
        *(["## Metrics", _metrics(metrics)] if metrics is not None else []),
        "## Settings",
        _table(_settings(model)),
        "## Data",
        " ".join([_DATA[data], *(f"The {key}: {url}." for key, url in places.items() if url)]),
        "## Licence and references",
        f"Licence of model and data: {' '.join(license.split())}. scvi-sams is BSD-3-Clause.",
        "\n".join(f"- {' '.join(line.split())}" for line in [*references, PAPER]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _screen(model: PerturbationModel) -> dict[str, Any]:
    fields = model.registry["field_registries"]
    x, perturbations = (
        fields[key]["state_registry"] for key in (SCVI_KEYS.X_KEY, REGISTRY_KEYS.PERTURBATIONS)
    )
    seen = SeenConditions(**model.seen_conditions_)
    sizes = [len(members) for members in seen.n_cells]
    doses = sorted({float(dose) for some in seen.doses.values() for dose in some})
    batches = fields[SCVI_KEYS.BATCH_KEY]["state_registry"].get("categorical_mapping", ())
    setup = model.registry["setup_args"]
    covariates = [
        *(setup.get("categorical_covariate_keys") or ()),
        *(setup.get("continuous_covariate_keys") or ()),
    ]
    splits = (model.train_indices_, model.validation_indices_, model.test_indices_)
    n_cells = sum(len(indices) for indices in splits)
    controls = as_tuple(perturbations[PerturbationField.CONTROL_KEY])
    return {
        "Cells": f"{n_cells:,}, of which {len(model.train_indices_):,} in training, "
        f"{seen.n_cells.get((), 0):,} of them controls",
        "Genes": f"{len(model.gene_names):,}: {_named(model.gene_names)}",
        "Measured": x["holds"],
        "Perturbations": f"{len(model.perturbation_names):,}: {_named(model.perturbation_names)}",
        "Control labels": _named(controls) if controls else "none",
        "Conditions in training": f"{sum(size == 1 for size in sizes):,} single, "
        f"{sum(size > 1 for size in sizes):,} combinations",
        "Doses": _named(f"{dose:g}" for dose in doses) or "none",
        "Batches": f"{len(batches):,}" if setup.get("batch_key") else "none",
        "Covariates": _named(covariates) if covariates else "none",
    }


def _training(model: PerturbationModel) -> dict[str, Any]:
    history = model.history_ or {}
    found: dict[str, Any] = {}
    if "elbo_train" in history:
        found["Epochs"] = len(history["elbo_train"])
    if "elbo_validation" in history:
        bound = -float(history["elbo_validation"].to_numpy(float).min())
        found["Best bound of the validation cells"] = f"{bound:.3f} nats per cell"
    if hasattr(model, "get_perturbation_effects"):
        effects = model.get_perturbation_effects()
        if "inclusion_probability" in effects.layers:
            is_on = np.asarray(effects.layers["inclusion_probability"]) > 0.5
            found["Perturbations with an effect (inclusion probability > 0.5)"] = (
                f"{is_on.any(1).sum():,} of {effects.n_obs:,}"
            )
    found["Versions"] = (
        f"scvi-sams {scvi_sams.__version__}, scvi-tools {model.registry['scvi_version']}"
    )
    return found


def _calibration(model: PerturbationModel) -> str:
    kappa, gamma = next(iter(model.uncertainty_["misfit"].values()))
    scale = next(iter(model.uncertainty_["misfit"]))
    return (
        "Credible intervals of average treatment effects hold the uncertainty of masks and "
        "effects, that of the decoder, and what the model did not fit of the effects that the "
        f"training cells show: {kappa:.3g} times the variance of the decoder and {gamma:.3g} "
        f"times that between cells (`{scale}`). They are no statement about cells unlike those "
        "of the training."
    )


def _settings(model: PerturbationModel) -> dict[str, Any]:
    given = {**model.init_params_["non_kwargs"], **model.registry["setup_args"]}
    return {f"`{key}`": f"`{value!r}`" for key, value in given.items()}


def _metrics(metrics: Mapping[str, float] | pd.DataFrame) -> str:
    if isinstance(metrics, pd.DataFrame):
        table = metrics.reset_index() if metrics.index.names != [None] else metrics
        columns = [str(column) for column in table.columns]
        rows = [[_text(value) for value in row] for row in table.itertuples(index=False)]
        return _rows(columns, rows)
    return _table({key: _text(value) for key, value in metrics.items()})


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def _table(entries: Mapping[str, Any]) -> str:
    return _rows(["", ""], [[key, str(value)] for key, value in entries.items()])


def _rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )


def _named(names: Iterable[object], most: int = 20) -> str:
    shown = [str(name) for name in names]
    more = f" and {len(shown) - most:,} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
