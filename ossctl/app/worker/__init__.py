"""`ossctl worker`: this machine's devices for models that run elsewhere."""
