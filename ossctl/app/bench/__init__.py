"""`ossctl bench`: how fast a model is on this machine, and what other settings would bring."""
