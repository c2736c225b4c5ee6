"""The probabilistic model: torch only, no AnnData."""
