"""`ossctl batch`: `run` is the command, `runner` its main loop."""
