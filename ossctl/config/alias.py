"""What the name of a model stands for. Without config files, no parser is loaded."""

from ossctl.config.paths import has_config


def model_behind(name: str) -> str:
    """The model that `name` stands for: `name` itself unless it is an alias. Raises UsageError."""
    if not has_config():
        return name
    from ossctl.config.config import load_config

    return load_config().model_chain(name)[-1]
