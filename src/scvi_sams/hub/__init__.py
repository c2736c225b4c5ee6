"""Sharing trained models: folders that scvi-hub reads, model cards, and safe loading."""

from scvi_sams.hub._folder import load_safely, to_hub
from scvi_sams.hub._remote import pull, push

__all__ = ["load_safely", "pull", "push", "to_hub"]
