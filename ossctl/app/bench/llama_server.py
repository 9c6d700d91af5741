"""llama.cpp's own server, where it is installed: the same batches and waits with the same settings."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import numpy as np

from ossctl.app.bench.estimate import mean_of
from ossctl.app.bench.first_token import N_ANSWER
from ossctl.app.bench.options import Watcher
from ossctl.app.bench.passes import Pass, Phase, Work
from ossctl.app.bench.results import Row, Wait
from ossctl.app.bench.rounds import Effort, repeat
from ossctl.app.bench.server_process import Server, ServerFailed, find_server, serving
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.placement.server_options import server_options
from ossctl.planning.settings import Settings


class LlamaServer:
    """Measures llama-server until it fails once, which is a remark. It runs only while it is measured."""

    def __init__(self, model: Path, watcher: Watcher, interrupt: Interrupt) -> None:
        self._model, self._watcher, self._interrupt = model, watcher, interrupt
        self._program = find_server(os.environ.get("LLAMA_SERVER"))

    @property
    def installed(self) -> bool:
        """Whether there is one, and it has not failed."""
        return self._program is not None

    def with_speeds(self, settings: Settings, rows: Sequence[Row], n_vocab: int, effort: Effort) -> list[Row]:
        """`rows` with the speed of its generation, as far as it has been measured."""
        done: list[Row] = []
        if rows and self._is_wanted:
            with self._tolerated(), self._started(settings) as server:
                done += self._rows(ServerSide(server, n_vocab), rows, effort)
        return [*done, *rows[len(done) :]]

    def with_waits(self, settings: Settings, waits: Sequence[Wait], text: str, rounds: int) -> list[Wait]:
        """`waits` with its times to the first token, cold and warm, as far as they have been measured."""
        seconds: dict[str, list[float]] = {"cold": [], "warm": []}
        with self._tolerated():
            for number in range(rounds):
                if not self._is_wanted:
                    break
                cold, warm = self._first_tokens(settings, text, number)
                seconds["cold"].append(cold)
                seconds["warm"].append(warm)
        return [
            msgspec.structs.replace(wait, llama_server=mean_of(seconds[wait.what]))
            if seconds.get(wait.what)
            else wait
            for wait in waits
        ]

    @property
    def _is_wanted(self) -> bool:
        return self.installed and self._interrupt.keep_going()

    def _rows(self, side: "ServerSide", rows: Sequence[Row], effort: Effort) -> Iterator[Row]:
        for row in rows:
            self._watcher.step(f"llama-server, sequences: {row.sequences}")
            work = Work(row.sequences, row.prompt_tokens, row.generated_tokens)
            side.run(work)  # warms up
            passes = repeat(work, {"server": side}, effort, self._interrupt.keep_going)["server"]
            if not passes:
                return
            speed = mean_of([each.generation.speed for each in passes])
            generation = msgspec.structs.replace(row.generation, llama_server=speed)
            yield msgspec.structs.replace(row, generation=generation)

    def _first_tokens(self, settings: Settings, text: str, number: int) -> tuple[float, float]:
        """Seconds from its start, and from a request to it when it knows all of the prompt but the end."""
        self._watcher.step("time to first token of llama-server")

        def ask(server: Server, question: str) -> float:
            prompt = f"{text}\n\nQuestion {number}{question}?"
            request = {"prompt": prompt, "n_predict": N_ANSWER, "temperature": 0, "cache_prompt": True}
            return server.first_token(request)

        began = perf_counter()
        with self._started(settings) as server:
            loaded = perf_counter() - began
            return loaded + ask(server, ""), ask(server, ", again")

    @contextmanager
    def _started(self, settings: Settings) -> Iterator[Server]:
        def on_start(kill: Callable[[], None]) -> None:
            self._interrupt.on_signal = kill
            if not self._interrupt.keep_going():
                kill()

        command = [str(self._program), "-m", str(self._model), *server_options(settings, prompt_cache=0)]
        try:
            with serving(command, on_start) as server:
                yield server
        finally:
            self._interrupt.on_signal = lambda: None

    @contextmanager
    def _tolerated(self) -> Iterator[None]:
        try:
            yield
        except ServerFailed as error:
            self._program = None
            if self._interrupt.keep_going():
                self._watcher.remarks([f"{error}. The comparison with it is left out."])


class ServerSide:
    """llama-server, asked for all sequences at once, with the sampling that is our default."""

    def __init__(self, server: Server, n_vocab: int) -> None:
        self._server, self._n_vocab = server, n_vocab

    def run(self, work: Work) -> Pass:
        """One request with all prompts, which then start together. Raises ServerFailed."""
        answer = self._server.complete({
            "prompt": [prompt.tolist() for prompt in work.prompts(self._n_vocab)],
            "n_predict": work.generated_tokens + 1, "ignore_eos": True, "cache_prompt": False,
            "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "samplers": ["temperature"],
        })  # fmt: skip
        return pass_of(answer, work)


class _Timings(msgspec.Struct):
    prompt_ms: float
    predicted_n: int
    predicted_ms: float


class _Answer(msgspec.Struct):
    timings: _Timings


def pass_of(answer: Any, work: Work) -> Pass:
    """What the server reports for each sequence, as one pass. Raises ServerFailed.

    `predicted_ms` is the time after the first of `predicted_n` tokens. Speeds of sequences add up.
    """
    try:
        answers = msgspec.convert(answer if isinstance(answer, list) else [answer], list[_Answer])
        each = [answer.timings for answer in answers]
        n_tokens = [timings.predicted_n - 1 for timings in each]
        speed = sum(n / one.predicted_ms * 1000 for n, one in zip(n_tokens, each, strict=True))
        prefill = max(one.prompt_ms for one in each) / 1000
    except (msgspec.ValidationError, ValueError, ZeroDivisionError) as error:
        raise ServerFailed(f"llama-server gave an answer without timings: {error}") from None
    if n_tokens != [work.generated_tokens] * work.sequences or speed <= 0 or prefill <= 0:
        wanted = f"{work.generated_tokens + 1} tokens for each of {work.sequences} prompts"
        raise ServerFailed(f"llama-server has not generated {wanted}")
    generation = Phase(sum(n_tokens), sum(n_tokens) / speed, 0.0)
    prompts = Phase(work.sequences * work.prompt_tokens, prefill, 0.0)
    return Pass(prompts, generation, np.empty((0, work.sequences), np.int32))
