"""Generate a few tokens on several targets in another process:
`python -P -m ossctl.app.placement.self_test FILE TARGET…`.

A broken kernel or driver may crash the process, so the process that reports it must be another one. A target
is the name of a device, `cpu` for llama.cpp's plain kernels, or `cpu-extra` for its optimised CPU kernels,
which need weights in buffers of their own.
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
# A share of the range of logits. Correct kernels differ by up to 6.5 % if they round activations differently
# and the prompt is not text (SmolLM2 in Q4_1, with AMX and without). On text it is 4 %, at the same
# perplexity.
_MAX_DIFFERENCE = 0.1


@dataclass(frozen=True)
class ProbeRun:
    """Logits after a fixed prompt and after one more fixed token, and the greedy tokens that follow.

    `prompt_speed` (prefill) and `speed` (decode) are in tokens per second.
    """

    logits: list[float]
    tokens: list[int]
    prompt_speed: float
    speed: float


@dataclass(frozen=True)
class ProbeFailure:
    """Why a target generated nothing. If it `crashed` or `hung`, it is not for lack of memory."""

    reason: str
    crashed: bool = False
    hung: bool = False


def probe(path: Path, *targets: str, seconds: float = _SECONDS) -> dict[str, ProbeRun | ProbeFailure]:
    """Test the model at `path` on each target, with a time limit of `seconds` per target.

    After a target that ends the process, the remaining ones run in a new process.
    """
    results: dict[str, ProbeRun | ProbeFailure] = {}
    while remaining := [target for target in targets if target not in results]:
        runs, failure = _probe_until_failure(path, remaining, seconds * len(remaining))
        results |= dict(zip(remaining, runs, strict=False))
        if len(runs) < len(remaining):
            results[remaining[len(runs)]] = failure
    return results


def _probe_until_failure(
    path: Path, targets: Sequence[str], seconds: float
) -> tuple[list[ProbeRun], ProbeFailure]:
    """The runs of the first targets, and why the next one failed."""
    command = [sys.executable, "-P", "-m", __name__, str(path), *targets]
    output: bytes | str
    try:
        done = subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        output, failure = error.stdout or b"", ProbeFailure(f"no result within {seconds:.0f} s", hung=True)
    else:
        output, failure = done.stdout, _failure(done.returncode, done.stderr)
    text = output.decode() if isinstance(output, bytes) else output
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [ProbeRun(**json.loads(line)) for line in lines], failure


def _failure(code: int, stderr: str) -> ProbeFailure:
    lines = ["".join(filter(str.isprintable, line)).strip() for line in stderr.splitlines()]
    last = next(filter(None, reversed(lines)), "")[:_MAX_SHOWN]
    if name := ended_by(code):
        external = name in _EXTERNAL_SIGNALS or _NO_MEMORY.search(stderr)
        return ProbeFailure(f"the process died with {name}{f' ({last})' if last else ''}", not external)
    return ProbeFailure(last or f"the process ended with exit code {code}")


_MAX_SHOWN = 160  # characters of the last line on stderr
_EXTERNAL_SIGNALS = ("SIGHUP", "SIGINT", "SIGKILL", "SIGTERM")  # the kernel sends SIGKILL if memory is short
# Messages of drivers and ggml before they abort for lack of memory.
_NO_MEMORY = re.compile(r"(out of|not enough) (\w+ )?memory|fail\w* to alloc|alloc\w* fail", re.IGNORECASE)
# Windows has exit codes in place of signals (NTSTATUS, ntstatus.h).
_NT_STATUS = {
    0xC0000005: "an access violation",
    0xC000001D: "an illegal instruction",
    0xC0000409: "an abort",
}


def ended_by(code: int) -> str:
    """The signal that ended a process with exit code `code`, such as `SIGILL`; "" if there was none."""
    try:
        return signal.Signals(-code).name if code < 0 else _NT_STATUS.get(code, "")
    except ValueError:
        return f"signal {-code}"


def difference(one: ProbeRun, other: ProbeRun) -> float:
    """The largest difference between two logits, as a share of their range."""
    spread = max(one.logits) - min(one.logits)
    largest = max(abs(a - b) for a, b in zip(one.logits, other.logits, strict=True))
    return largest / spread if spread else largest


def is_wrong(share: float) -> bool:
    """Whether a difference is larger than rounding explains."""
    return not share <= _MAX_DIFFERENCE  # also for NaN


def _generate(path: Path, target: str) -> ProbeRun:
    import numpy as np

    from ossctl.runtime.base import Chunk
    from ossctl.runtime.context import ContextOptions, LlamaRunner
    from ossctl.runtime.model import LlamaModel, ModelOptions

    on_cpu = target in (CPU, CPU_EXTRA)
    options = ModelOptions(0 if on_cpu else -1, () if on_cpu else (target,), repack=target == CPU_EXTRA)
    with LlamaModel(path, options) as model, LlamaRunner(model, ContextOptions(_CTX)) as runner:

        def logits(*tokens: int) -> list[float]:
            chunk = Chunk(0, np.array(tokens, np.int32), wants_logits=True)
            return runner.decode([chunk])[0].tolist()  # type: ignore[no-any-return]

        step = max(1, model.n_vocab // (2 * _PROMPT_TOKENS))
        prompt = [n * step for n in range(_PROMPT_TOKENS)]
        first = logits(*prompt)
        runner.rollback(0, 0)
        started = perf_counter()
        logits(*prompt)  # again, because the first time pages in the weights
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
    """Write each run as a line of JSON. Exits with 1 and a reason on stderr at the first failure."""
    from ossctl.runtime.crash import crash_reporter

    crash_reporter().stand_aside()
    path, *targets = sys.argv[1:]
    for target in targets:
        try:
            run = _generate(Path(path), target)
        except (OssctlError, ValueError) as error:
            sys.exit(str(error))
        sys.stdout.write(json.dumps(asdict(run)) + "\n")
        sys.stdout.flush()
    os._exit(0)  # freeing memory takes longer than the test


if __name__ == "__main__":
    main()
