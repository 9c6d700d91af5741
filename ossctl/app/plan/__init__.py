"""How a model would be placed."""
