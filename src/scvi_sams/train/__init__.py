"""Training plan and callbacks."""
