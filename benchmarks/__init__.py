"""What ossctl costs, beside its peers: programs for `python -m`."""
