"""A short generation in each of several places, in a process of its own:
`python -P -m ossctl.app.placement.self_test FILE PLACE…`.

A kernel or a driver that fails may end the process, which must not be the one that reports it. A place is the
name of a device, `cpu` for llama.cpp's plain kernels, or `cpu-extra` for those that want weights in buffers
of their own.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from ossctl.errors import OssctlError

CPU, CPU_EXTRA = "cpu", "cpu-extra"
_PROMPT_TOKENS, _GENERATED, _CTX = 64, 8, 256
_SECONDS = 300  # a large model on a slow disk
# Of the logits' spread. Right kernels differ by up to 6.5 % where they round activations otherwise and the
# prompt is no text: SmolLM2 in Q4_1, with AMX and without. On text it is 4 %, at the same perplexity.
_WRONG = 0.1


@dataclass(frozen=True)
class ProbeRun:
    """Logits after a fixed prompt and after one more fixed token, and the greedy tokens that follow.

    `prompt_speed` and `speed` are tokens a second of the prompt and of the greedy ones.
    """

    logits: list[float]
    tokens: list[int]
    prompt_speed: float
    speed: float


@dataclass(frozen=True)
class ProbeFailure:
    """Why there is no generation; `crashed` and `hung` are the place's own fault, which memory is not."""

    reason: str
    crashed: bool = False
    hung: bool = False


def generate_on(path: Path, *places: str, seconds: float = _SECONDS) -> dict[str, ProbeRun | ProbeFailure]:
    """Run the test of `path` in each place, which may take so many seconds.

    After a place that ends the process the others get another one.
    """
    found: dict[str, ProbeRun | ProbeFailure] = {}
    while left := [place for place in places if place not in found]:
        runs, failure = _in_one_process(path, left, seconds * len(left))
        found |= dict(zip(left, runs, strict=False))
        if len(runs) < len(left):
            found[left[len(runs)]] = failure
    return found


def _in_one_process(path: Path, places: Sequence[str], seconds: float) -> tuple[list[ProbeRun], ProbeFailure]:
    """The generations as far as the process comes, and why it comes no further."""
    command = [sys.executable, "-P", "-m", __name__, str(path), *places]
    said: bytes | str
    try:
        done = subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as late:
        said, failure = late.stdout or b"", ProbeFailure(f"no answer within {seconds:.0f} s", hung=True)
    else:
        said, failure = done.stdout, _failure(done.returncode, done.stderr)
    text = said.decode() if isinstance(said, bytes) else said
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [ProbeRun(**json.loads(line)) for line in lines], failure


def _failure(code: int, stderr: str) -> ProbeFailure:
    lines = ["".join(filter(str.isprintable, line)).strip() for line in stderr.splitlines()]
    last = next(filter(None, reversed(lines)), "")[:_MOST_SHOWN]
    if name := ended_by(code):
        outside = name in _OUTSIDE or _NO_MEMORY.search(stderr)
        return ProbeFailure(f"the process died with {name}{f' ({last})' if last else ''}", not outside)
    return ProbeFailure(last or f"the process ended with {code}")


_MOST_SHOWN = 160  # characters of a driver's last words
# Signals that come from elsewhere; SIGKILL is the kernel's, where memory is short.
_OUTSIDE = ("SIGHUP", "SIGINT", "SIGKILL", "SIGTERM")
# What drivers and ggml say then, before they abort.
_NO_MEMORY = re.compile(r"(out of|not enough) (\w+ )?memory|fail\w* to alloc|alloc\w* fail", re.IGNORECASE)
# Windows has exit codes in place of signals (NTSTATUS, ntstatus.h).
_NT_STATUS = {
    0xC0000005: "an access violation",
    0xC000001D: "an illegal instruction",
    0xC0000409: "an abort",
}


def ended_by(code: int) -> str:
    """What ended a process that left `code`: `SIGILL`; '' if it ended by itself."""
    try:
        return signal.Signals(-code).name if code < 0 else _NT_STATUS.get(code, "")
    except ValueError:
        return f"signal {-code}"


def difference(one: ProbeRun, other: ProbeRun) -> float:
    """The largest difference of two logits, as a share of their spread."""
    spread = max(one.logits) - min(one.logits)
    largest = max(abs(a - b) for a, b in zip(one.logits, other.logits, strict=True))
    return largest / spread if spread else largest


def is_wrong(share: float) -> bool:
    """Whether a difference is more than rounding."""
    return not share <= _WRONG  # not a number is wrong, too


def _generate(path: Path, place: str) -> ProbeRun:
    import numpy as np

    from ossctl.runtime.base import Chunk
    from ossctl.runtime.context import ContextOptions, LlamaRunner
    from ossctl.runtime.model import LlamaModel, ModelOptions

    on_cpu = place in (CPU, CPU_EXTRA)
    options = ModelOptions(0 if on_cpu else -1, () if on_cpu else (place,), repack=place == CPU_EXTRA)
    with LlamaModel(path, options) as model, LlamaRunner(model, ContextOptions(_CTX)) as runner:

        def logits(*tokens: int) -> list[float]:
            chunk = Chunk(0, np.array(tokens, np.int32), wants_logits=True)
            return runner.decode([chunk])[0].tolist()  # type: ignore[no-any-return]

        step = max(1, model.n_vocab // (2 * _PROMPT_TOKENS))
        prompt = [n * step for n in range(_PROMPT_TOKENS)]
        first = logits(*prompt)
        runner.rollback(0, 0)
        started = perf_counter()
        logits(*prompt)  # once more, for the first time brings the weights into memory
        prompt_speed = _PROMPT_TOKENS / (perf_counter() - started)
        last = logits(prompt[1])
        both = first + last
        tokens = []
        started = perf_counter()
        for _ in range(_GENERATED):
            tokens.append(max(range(len(last)), key=last.__getitem__))
            last = logits(tokens[-1])
        speed = _GENERATED / (perf_counter() - started)
    return ProbeRun(both, tokens, prompt_speed, speed)


def main() -> None:
    """Write each generation as a line of JSON; leave with 1 and a reason on stderr where one fails."""
    from ossctl.runtime.crash import crash_reporter

    crash_reporter().stand_aside()
    path, *places = sys.argv[1:]
    for place in places:
        try:
            generation = _generate(Path(path), place)
        except (OssctlError, ValueError) as error:
            sys.exit(str(error))
        sys.stdout.write(json.dumps(asdict(generation)) + "\n")
        sys.stdout.flush()
    os._exit(0)  # freeing what the process had takes longer than the test


if __name__ == "__main__":
    main()
