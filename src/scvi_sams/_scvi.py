"""All that is taken from scvi-tools' private parts, which may move with any release of it.

The rest of the package imports these names from here, and else public names only.
"""

from importlib.metadata import version

try:
    from scvi.data._constants import (
        _ADATA_MINIFY_TYPE_UNS_KEY,
        _FIELD_REGISTRIES_KEY,
        _MANAGER_UUID_KEY,
        _SCVI_UUID_KEY,
        _SETUP_ARGS_KEY,
        _SETUP_METHOD_NAME,
    )
    from scvi.data._utils import _get_adata_minify_type, _validate_adata_dataloader_input
    from scvi.model._utils import scrna_raw_counts_properties, use_distributed_sampler
    from scvi.model.base._constants import SAVE_KEYS
    from scvi.model.base._de_core import _de_core
    from scvi.module._constants import MODULE_KEYS
    from scvi.train._config import merge_kwargs
except ImportError as error:
    raise ImportError(
        f"scvi-tools {version('scvi-tools')} lacks something that scvi-sams needs: {error}. "
        "Install a release that this version of scvi-sams supports: pip install -U scvi-sams."
    ) from error

__all__ = [
    "MODULE_KEYS",
    "SAVE_KEYS",
    "_ADATA_MINIFY_TYPE_UNS_KEY",
    "_FIELD_REGISTRIES_KEY",
    "_MANAGER_UUID_KEY",
    "_SCVI_UUID_KEY",
    "_SETUP_ARGS_KEY",
    "_SETUP_METHOD_NAME",
    "_de_core",
    "_get_adata_minify_type",
    "_validate_adata_dataloader_input",
    "merge_kwargs",
    "scrna_raw_counts_properties",
    "use_distributed_sampler",
]
