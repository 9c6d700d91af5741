"""What makes ossctl's files, and checks it on devices: programs for `python -m`."""
