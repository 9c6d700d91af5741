"""What a project's file may set.

A project's file may have come with a download, so that only what changes answers is taken from it. What runs
programs, reaches the network, writes or deletes files, or answers for the user counts only if the user's own
file lists the folder in `trusted`.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ossctl.config.file import ConfigFile
from ossctl.config.key_lines import Key

TRUSTED = "trusted"
MODEL, PRESET, MCP = "model", "preset", "mcp"

# Options of which no value can do more than change the answer, or how a machine computes it.
HARMLESS = frozenset(
    {
        "assign-ids",
        "choice",
        "cpu-moe",
        "csv",
        "ctx",
        "date",
        "deterministic",
        "device",
        "diff",
        "draft",
        "effort",
        "extract",
        "fail-fast",
        "flat",
        "frequency-penalty",
        "gpu-layers",
        "grammar",
        "judge",
        "keep-input",
        "kv",
        "limit",
        "max-errors",
        "max-reasoning-tokens",
        "max-tokens",
        "min-p",
        "model",
        "n",
        "no-cache",
        "order",
        "parallel",
        "presence-penalty",
        "preset",
        "prompt",
        "quiet",
        "raw",
        "reasoning",
        "regex",
        "repeats",
        "repetition-penalty",
        "retry-cut",
        "retry-failed",
        "sample",
        "schema",
        "schema-retries",
        "seed",
        "show-reasoning",
        "stop",
        "system",
        "temperature",
        "template-var",
        "text",
        "think",
        "threads",
        "timeout",
        "tool",
        "tool-rounds",
        "tool-timeout",
        "top-k",
        "top-p",
        "tsv",
        "ubatch",
        "var",
        "verbose",
    }
)


def restricted(project: ConfigFile, user: ConfigFile | None) -> ConfigFile:
    """The project's file without the keys that it may not set."""
    if user is not None and _is_trusted(project.path.parent, user.values.get(TRUSTED)):
        return project
    withheld: list[Key] = []
    values = _restricted(project.values, (), withheld)
    return replace(project, values=values, withheld=tuple(withheld))


def _is_trusted(folder: Path, listed: object) -> bool:
    folders = listed if isinstance(listed, list) else []
    return folder.resolve() in [
        Path(os.path.expanduser(each)).resolve()  # noqa: PTH111 (never raises)
        for each in folders
        if isinstance(each, str)
    ]


def _restricted(table: Mapping[str, Any], at: Key, withheld: list[Key]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in table.items():
        key = (*at, name)
        if isinstance(value, dict) and _is_section(key):
            values[name] = _restricted(value, key, withheld)
        elif at and name in HARMLESS:
            values[name] = value
        else:
            withheld.append(key)
    return values


def _is_section(key: Key) -> bool:
    """Whether a table at `key` is a section from which harmless options are taken.

    `[batch.status]` and the like are not: they cannot be told from an option's table.
    """
    return key[0] != MCP and len(key) <= (2 if key[0] in (MODEL, PRESET) else 1)
