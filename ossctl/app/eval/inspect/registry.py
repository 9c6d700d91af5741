"""The entry point of Inspect's group `inspect_ai`: what ossctl registers there."""

from inspect_ai.model import ModelAPI, modelapi


@modelapi("ossctl")
def ossctl() -> type[ModelAPI]:
    """Models as in `ossctl run -m`: `inspect eval task.py --model ossctl/20b`."""
    from ossctl.app.eval.inspect.provider import OssctlAPI  # Inspect loads all entry points, used or not

    return OssctlAPI
