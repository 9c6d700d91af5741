"""`ossctl compare`: the same prompts through several models and settings, side by side."""
