"""The user's `config.toml` and a project's `ossctl.toml`: reading, their names, and writing."""
