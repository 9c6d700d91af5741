"""llama.cpp's own benchmark, where it is installed: the same lengths with the same settings."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ossctl.app.bench.estimate import Estimate, mean_of
from ossctl.app.bench.results import Row
from ossctl.planning.settings import Settings

_PROGRAM = "llama-bench"


def with_llama_bench(model: Path, settings: Settings, rows: Sequence[Row], rounds: int) -> list[Row]:
    """`rows` of single sequences with the speeds that llama-bench reports, if it is installed.

    It measures prompts from an empty cache, and generation behind a prompt, without sampling.
    """
    program = shutil.which(_PROGRAM)
    if program is None or not rows or not rounds:
        return [*rows]
    return [_completed(row, _ask(program, model, settings, row, rounds)) for row in rows]


def _completed(row: Row, found: dict[str, Estimate]) -> Row:
    changed = {
        phase: msgspec.structs.replace(getattr(row, phase), llama_bench=found.get(phase))
        for phase in ("prefill", "generation")
    }
    return msgspec.structs.replace(row, **changed)


def _ask(program: str, model: Path, settings: Settings, row: Row, rounds: int) -> dict[str, Estimate]:
    tests = {
        "prefill": ["-p", str(row.prompt_tokens), "-n", "0"],
        "generation": ["-p", "0", "-n", str(row.generated_tokens), "-d", str(row.prompt_tokens)],
    }
    found = {}
    for phase, test in tests.items():
        command = [program, "-m", str(model), *_arguments(settings), "-r", str(rounds), "-o", "json", *test]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if speeds := _speeds(done.stdout):
            found[phase] = mean_of(speeds)
    return found


def _arguments(settings: Settings) -> list[str]:
    placed = ["-dev", "/".join(settings.devices)] if settings.devices else []
    if settings.devices and settings.experts_in_ram:
        placed += ["-ncmoe", str(len(settings.experts_in_ram))]
    return [
        "-t", str(settings.threads),
        "-b", str(settings.batch),
        "-ub", str(settings.ubatch),
        "-ctk", settings.kv_type.value,
        "-ctv", settings.kv_type.value,
        "-fa", "1" if settings.flash_attention else "0",
        "-ngl", str(settings.gpu_layers),
        *placed,
    ]  # fmt: skip


def _speeds(text: str) -> list[float]:
    """Tokens per second of each repetition; none if the program has failed."""
    try:
        results: list[dict[str, Any]] = json.loads(text)
        return [float(speed) for speed in results[0]["samples_ts"] if speed > 0]
    except (ValueError, LookupError, TypeError):
        return []
