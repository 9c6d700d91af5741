"""llama.cpp's own benchmark, where it is installed: the same lengths with the same settings."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ossctl.app.bench.estimate import Estimate, mean_of
from ossctl.app.bench.results import Row
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.placement.server_options import placement_options
from ossctl.planning.settings import Settings

_PROGRAM = "llama-bench"
_SECONDS = 1800  # until all repetitions of one test are complete


def with_llama_bench(
    model: Path, settings: Settings, rows: Sequence[Row], rounds: int, interrupt: Interrupt
) -> list[Row]:
    """`rows` of single sequences with the speeds that llama-bench reports, if it is installed.

    It measures prompts from an empty cache, and generation behind a prompt, without sampling. A signal kills
    it, and leaves the remaining rows as they are.
    """
    program = shutil.which(_PROGRAM)
    if program is None or not rounds:
        return [*rows]
    command = [program, "-m", str(model), *_arguments(settings), "-r", str(rounds), "-o", "json"]
    return [_completed(row, _ask(command, row, interrupt)) for row in rows]


def _completed(row: Row, found: dict[str, Estimate]) -> Row:
    changed = {
        phase: msgspec.structs.replace(getattr(row, phase), llama_bench=found.get(phase))
        for phase in ("prefill", "generation")
    }
    return msgspec.structs.replace(row, **changed)


def _ask(command: Sequence[str], row: Row, interrupt: Interrupt) -> dict[str, Estimate]:
    tests = {
        "prefill": ["-p", str(row.prompt_tokens), "-n", "0"],
        "generation": ["-p", "0", "-n", str(row.generated_tokens), "-d", str(row.prompt_tokens)],
    }
    found = {}
    for phase, test in tests.items():
        if interrupt.keep_going() and (speeds := _speeds(_output([*command, *test], interrupt))):
            found[phase] = mean_of(speeds)
    return found


def _output(command: Sequence[str], interrupt: Interrupt) -> bytes:
    """What it prints until it ends, is interrupted or takes too long."""
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        with interrupt.killing(process.kill), contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_SECONDS)[0]
        process.kill()
    return b""


def _arguments(settings: Settings) -> list[str]:
    return [
        "-t", str(settings.threads),
        "-b", str(settings.batch),
        "-ub", str(settings.ubatch),
        "-ctk", settings.kv_type.value,
        "-ctv", settings.kv_type.value,
        "-fa", "1" if settings.flash_attention else "0",
        "-ngl", str(settings.gpu_layers),
        *placement_options(settings, "/"),
    ]  # fmt: skip


def _speeds(text: bytes) -> list[float]:
    """Tokens per second of each repetition; none if the program has failed."""
    try:
        results: list[dict[str, Any]] = json.loads(text)
        return [float(speed) for speed in results[0]["samples_ts"] if speed > 0]
    except (ValueError, LookupError, TypeError):
        return []
