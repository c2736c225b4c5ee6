"""How well a model did."""
