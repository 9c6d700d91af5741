"""Hides secrets in the values of config files, for what is shown of them."""

import re
from collections.abc import Mapping
from typing import Any

from ossctl.config.key_lines import Key
from ossctl.config.trust import MCP

HIDDEN = "***"

_NAME = re.compile(r"token|key|secret|passw|auth|credential|cookie", re.IGNORECASE)
_OPTION = re.compile(r"--?[\w-]*(?:token|key|secret|passw|auth|credential|cookie)[\w-]*", re.IGNORECASE)
_HIDDEN_TABLES = {"env", "headers"}  # of an MCP server

_IN_TEXT = (
    re.compile(rf"({_OPTION.pattern}[= ])\S+", re.IGNORECASE),
    re.compile(r"(\b[A-Z_]*(?:TOKEN|KEY|SECRET|PASSWORD)[A-Z_]*=)\S+"),
    re.compile(r"(\bBearer )\S+", re.IGNORECASE),
    re.compile(r"()\b(?:sk|pk|hf|gh[opsu]|xox[abp]|glpat)[-_][\w-]{8,}"),
    re.compile(r"(https?://)[^/\s@]+(?=@)", re.IGNORECASE),
    re.compile(r"(https?://[^\s?#]*[?#])\S+", re.IGNORECASE),
)


def without_secrets(key: Key, value: Any, *, is_option: bool) -> Any:
    """The value at `key` without what may be secret. The name of an option tells nothing: `max-tokens`."""
    if not is_option and (_NAME.search(key[-1]) or (key[0] == MCP and key[-1] in _HIDDEN_TABLES)):
        return _all_hidden(value)
    return _cleaned(value)


def _all_hidden(value: Any) -> Any:
    return dict.fromkeys(value, HIDDEN) if isinstance(value, Mapping) else HIDDEN


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        for pattern in _IN_TEXT:
            value = pattern.sub(rf"\g<1>{HIDDEN}", value)
        return value
    if isinstance(value, Mapping):
        return {name: HIDDEN if _NAME.search(name) else _cleaned(each) for name, each in value.items()}
    if isinstance(value, list):
        after_option = [False, *(isinstance(each, str) and bool(_OPTION.fullmatch(each)) for each in value)]
        return [
            HIDDEN if after and isinstance(each, str) else _cleaned(each)
            for each, after in zip(value, after_option, strict=False)
        ]
    return value
