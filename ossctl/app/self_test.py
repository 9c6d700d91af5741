"""One short generation on one device, in a process of its own: `python -m ossctl.app.self_test FILE DEVICE`.

A driver that fails may end the process, which must not be the one that reports it.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from ossctl.errors import OssctlError

_PROMPT_TOKENS, _GENERATED, _CTX = 64, 8, 256
_SECONDS = 300  # a large model on a slow disk
# Of the logits' spread. Right kernels differ by up to 6.5 % where they round activations otherwise and the
# prompt is no text: SmolLM2 in Q4_1, with and without AMX. On text it is 4 %, at the same perplexity.
_WRONG = 0.1


@dataclass(frozen=True)
class Generation:
    """Logits after a fixed prompt, the greedy tokens that follow, and tokens a second."""

    logits: list[float]
    tokens: list[int]
    speed: float


@dataclass(frozen=True)
class Failure:
    """Why there is no generation."""

    reason: str


def generate_on(path: Path, device: str) -> Generation | Failure:
    """Run the test of `path` on a device, or on the CPU, in a process of its own."""
    command = [sys.executable, "-m", "ossctl.app.self_test", str(path), device]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return Failure(f"no answer within {_SECONDS} s")
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        ended = f"the process ended with {done.returncode}"
        return Failure(said[-1] if said else ended)
    return Generation(**json.loads(done.stdout))


def difference(one: Generation, other: Generation) -> float:
    """The largest difference of two logits, as a share of their spread."""
    spread = max(one.logits) - min(one.logits)
    largest = max(abs(a - b) for a, b in zip(one.logits, other.logits, strict=True))
    return largest / spread if spread else largest


def is_wrong(share: float) -> bool:
    """Whether a difference is more than rounding."""
    return not share <= _WRONG  # not a number is wrong, too


def _generate(path: Path, device: str) -> Generation:
    import numpy as np

    from ossctl.runtime.base import Chunk
    from ossctl.runtime.context import ContextOptions, LlamaRunner
    from ossctl.runtime.model import LlamaModel, ModelOptions

    options = ModelOptions(0, ()) if device == "cpu" else ModelOptions(-1, (device,))
    with LlamaModel(path, options) as model, LlamaRunner(model, ContextOptions(_CTX)) as runner:
        step = max(1, model.n_vocab // (2 * _PROMPT_TOKENS))
        prompt = np.arange(_PROMPT_TOKENS, dtype=np.int32) * step
        first = runner.decode([Chunk(0, prompt, wants_logits=True)])[0].tolist()
        tokens = [max(range(len(first)), key=first.__getitem__)]
        started = perf_counter()
        for _ in range(_GENERATED):
            last = np.array(tokens[-1:], np.int32)
            tokens.append(int(runner.decode([Chunk(0, last, wants_logits=True)])[0].argmax()))
        speed = _GENERATED / (perf_counter() - started)
    return Generation(first, tokens, speed)


def main() -> None:
    """Write the generation as JSON; leave with 1 and a reason on stderr if there is none."""
    path, device = sys.argv[1:]
    try:
        generation = _generate(Path(path), device)
    except (OssctlError, ValueError) as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(generation.__dict__))


if __name__ == "__main__":
    main()
