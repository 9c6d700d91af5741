"""A conversation on this machine, without a terminal."""
