"""llama.cpp's own server as a peer: completions of the same token ids as ours."""

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ossctl.app.bench.server_process import Server, serving


@dataclass(frozen=True)
class Case:
    """The same requests for both sides. `goal` is the ratio to reach.

    `cache_prompt` lets the server take over what its slots hold of a prompt, as we do.
    """

    model: str
    n_seq: int
    n_ctx_seq: int
    threads: int
    n_predict: int
    temperature: float
    prompts: list[list[int]]
    goal: float = 1.0
    cache_prompt: bool = False


@contextlib.contextmanager
def server(program: str, case: Case, options: Sequence[str]) -> Iterator[Server]:
    """A server that is ready for `case`. Raises ServerFailed."""
    command = [
        program, "-m", case.model, "-np", str(case.n_seq), "-c", str(case.n_seq * case.n_ctx_seq),
        "-t", str(case.threads), "-fit", "off", "--no-webui", *options,
    ]  # fmt: skip
    with serving(command) as started:
        yield started


def answer_all(started: Server, case: Case) -> int:
    """Ask for all answers, twice as many at once as there are slots; tokens generated."""
    with ThreadPoolExecutor(2 * case.n_seq) as pool:
        return sum(pool.map(lambda item: _complete(started, case, *item), enumerate(case.prompts)))


def _complete(started: Server, case: Case, number: int, prompt: list[int]) -> int:
    answer = started.complete({
        "prompt": prompt, "n_predict": case.n_predict, "ignore_eos": True, "cache_prompt": case.cache_prompt,
        "temperature": case.temperature, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "seed": number,
        "samplers": ["temperature"],  # nothing but what is asked for
    })  # fmt: skip
    tokens: int = answer["tokens_predicted"]
    return tokens
