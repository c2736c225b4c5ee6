"""Models in other processes, and copies of them."""

from __future__ import annotations

import copyreg
from typing import Any
from uuid import uuid4

from mudata._core.file_backing import MuDataFileManager
from scvi.model.base import BaseModelClass


class PicklingMixin(BaseModelClass):
    """Pickling and ``deepcopy``, without what training left behind."""

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name != "trainer"}
        if "_datamodule" in state:  # scvi-tools 1.5 keeps how the last training loaded its cells
            state["_datamodule"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.id = str(uuid4())  # by which scvi-tools finds the data of each model of the process
        if self.adata is not None:
            self._register_manager_for_instance(self.adata_manager)


def _file_of_mudata(file: MuDataFileManager) -> tuple[Any, ...]:
    return MuDataFileManager, (() if file.filename is None else (file.filename, file._filemode))


# as it is, mudata's own reduction cannot be read again
copyreg.pickle(MuDataFileManager, _file_of_mudata)
