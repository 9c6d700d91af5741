"""A conversation with a model on this machine, independent of how it is displayed."""
