"""The scvi-tools classes."""
