"""Working on with what models learned; imported as ``sams.tl``."""

from scvi_sams.tl._consensus import consensus

__all__ = ["consensus"]
