"""What comes in: labels, guides, fields and simulated screens."""
