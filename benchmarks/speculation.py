"""`make bench-draft`: what drafts gain and cost, and whether any answer changes.

    python -m benchmarks.speculation [MODEL.gguf] [--rounds 5] [--tokens 160] [--kv f16|q8_0] [--case NAME]

Each case is answered with and without drafts in turn, in one process. Times are the processor's, summed over
its cores, from the end of the prompt to the end of the answer, so that other programs disturb little. Where
llama-server is installed, it answers the copies as well, once for each kind of n-grams that it has; those
times are the clock's, on both sides.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ossctl.app.bench.copying import SENTENCES
from ossctl.app.bench.server_process import Server, find_server, serving
from ossctl.app.placement.shapes import shape_of_file
from ossctl.engine.drafts import DENSE, MIXTURE, DraftOptions
from ossctl.engine.engine import Engine
from ossctl.engine.grammar import JsonGrammars
from ossctl.engine.request import Output, Request, Sampling
from ossctl.runtime.base import Chunk, Logits, Tokens
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from tests.support.models import smollm2
from tests.support.scripted import tokens_of

_NAMES = "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune Pluto Ceres Eris Haumea Makemake Sedna"
_PLANETS = _NAMES.split()
_LINES = "\n".join(
    f"{n}. {name} is {n * 37 % 91} units from {_PLANETS[-n]}." for n, name in enumerate(_PLANETS)
)
_ITEMS = [
    {"place": n, "text": f"{a}, {n * 37 % 91} of {b}"}
    for n, (a, b) in enumerate(zip(_PLANETS, _PLANETS[::-1], strict=True))
]
_JSON = json.dumps(_ITEMS, separators=(",", ":"))
_SCHEMA = {
    "type": "array",
    "minItems": len(_PLANETS),
    "items": {
        "type": "object",
        "properties": {"place": {"type": "integer"}, "text": {"type": "string"}},
        "required": ["place", "text"],
        "additionalProperties": False,
    },
}


_MODES = ("none", "ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache")


@dataclass(frozen=True)
class Case:
    """What `n_seq` requests at once ask, and how many times as fast the answer should be."""

    name: str
    prompt: str
    goal: float
    n_seq: int = 1
    schema: bool = False
    forced: bool = False


_TEXT = "\n".join(SENTENCES)
_CASES = (
    Case("copies", f"{_TEXT}\n\n{_TEXT}\n\n{_TEXT[:60]}", 2.5),
    Case("numbers, half copied", f"{_LINES}\n\n{_LINES}\n\n{_LINES[:60]}", 0.98),
    Case("forced copies", f"{_LINES[:120]}\n", 1.3, forced=True),
    Case("JSON by a schema", f"{_JSON}\n\n{_JSON}\n\n", 1.3, schema=True),
    Case("no copies", "Once upon a time, in a village by the sea,", 0.98),
    Case("8 at once", "A letter to the editor about the harbour:", 0.98, n_seq=8),
)


class Peer:
    """llama-server with a kind of n-grams."""

    def __init__(self, mode: str, server: Server, prompt: list[int], n_tokens: int) -> None:
        self.mode, self.speeds = mode, list[float]()
        self._server = server
        self._body = {"prompt": prompt, "n_predict": n_tokens, "ignore_eos": True, "cache_prompt": True}
        self.answer(0)  # the prompt stays in its cache
        self.speeds.clear()

    def answer(self, number: int) -> None:
        """Answer at temperature 0 or with the seed of the round, and note the tokens per second."""
        sampling = {"temperature": 0.0 if number % 2 else 0.7, "samplers": ["temperature"]}
        answer = self._server.complete({**self._body, **sampling, "seed": 100 * number})
        self.speeds.append(answer["timings"]["predicted_per_second"])


def peers_of(model: Path, prompt: list[int], n_tokens: int, parts: ExitStack) -> list[Peer]:
    """A server for each mode; none if llama-server is not installed."""
    if not (program := find_server(os.environ.get("LLAMA_SERVER"))):
        return []
    options = ["-m", str(model), "--parallel", "1", "--ctx-size", "2048", "--flash-attn", "off"]
    return [
        Peer(mode, parts.enter_context(serving([program, *options, "--spec-type", mode])), prompt, n_tokens)
        for mode in _MODES
    ]


class CopyingRunner(LlamaRunner):
    """A model that continues `text`, int32 [n], at each position, whatever it would say."""

    text: Tokens

    def decode(self, chunks: Sequence[Chunk]) -> Logits:
        """The logits, of which that of the text's next token is raised above all."""
        rows = [
            self._lengths[chunk.seq] + len(chunk.tokens) - chunk.n_rows + n
            for chunk in chunks
            for n in range(chunk.n_rows)
        ]
        logits = super().decode(chunks)
        for logit, position in zip(logits, rows, strict=True):
            logit[self.text[(position + 1) % len(self.text)]] = logit.max() + 20
        return logits


class Bench:
    """A model with a context for each case."""

    def __init__(self, model: LlamaModel, n_tokens: int, kv_type: str, drafts: DraftOptions) -> None:
        self._drafts = drafts
        self._model, self._n_tokens, self._kv_type = model, n_tokens, kv_type
        self._grammars = JsonGrammars(model.vocab)
        self.speeds: dict[Engine, float] = {}  # tokens per second by the clock, of the latest answers

    def compare(self, case: Case, rounds: int) -> Iterator[tuple[float, float, bool, Engine]]:
        """By round: seconds without and with drafts, whether answers are equal, and the drafting engine."""
        options = ContextOptions(
            n_ctx=2048,
            n_seq=case.n_seq,
            n_outputs=case.n_seq + 15,
            kv_type=self._kv_type,
            flash_attention=self._kv_type != "f16",
        )
        with ExitStack() as parts:
            kind = CopyingRunner if case.forced else LlamaRunner
            plain, drafting = (parts.enter_context(kind(self._model, options)) for _ in range(2))
            for runner in (plain, drafting):
                if isinstance(runner, CopyingRunner):
                    runner.text = np.array(self._model.vocab.tokenize(case.prompt), np.int32)
            engines = Engine(plain), Engine(drafting, drafts=self._drafts)
            for number in range(rounds + 1):  # the first warms up
                turns = (1, 0) if number % 2 else (0, 1)
                answers = {turn: self._answer(case, engines[turn], number) for turn in turns}
                (before, expected), (after, found) = answers[0], answers[1]
                if number:
                    yield before, after, found == expected, engines[1]

    def _answer(self, case: Case, engine: Engine, number: int) -> tuple[float, list[list[int]]]:
        prompt = np.array(self._model.vocab.tokenize(case.prompt), np.int32)
        for n in range(case.n_seq):
            guide = self._grammars.json(_SCHEMA, "schema") if case.schema else None
            sampling = Sampling(temperature=0 if number % 2 else 0.7, seed=100 * number + n)
            start = prompt if case.n_seq == 1 else np.append(prompt, np.int32(100 + n))
            engine.submit(Request(str(n), start, self._n_tokens, sampling, guide=guide))
        outputs: dict[str, list[Output]] = {str(n): [] for n in range(case.n_seq)}
        started = clock = 0.0
        while engine.busy:
            for output in engine.step():
                outputs[output.id].append(output)
            if not started and all(outputs.values()):
                started, clock = time.process_time(), time.perf_counter()
        self.speeds[engine] = case.n_seq * self._n_tokens / (time.perf_counter() - clock)
        return time.process_time() - started, [tokens_of(each) for each in outputs.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=smollm2())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=160)
    parser.add_argument("--case", choices=[case.name for case in _CASES], help="only this one")
    parser.add_argument("--kv", choices=["f16", "q8_0"], default="f16")
    args = parser.parse_args()
    with LlamaModel(args.model) as model:
        mixture = shape_of_file(args.model).n_expert > 1
        bench = Bench(model, args.tokens, args.kv, DraftOptions(costs=MIXTURE if mixture else DENSE))
        for case in (case for case in _CASES if args.case in (None, case.name)):
            with ExitStack() as parts:
                prompt = model.vocab.tokenize(case.prompt)
                peers = peers_of(args.model, prompt, args.tokens, parts) if case.name == "copies" else []
                _report(bench, case, args.rounds, peers)


def _report(bench: Bench, case: Case, rounds: int, peers: list[Peer]) -> None:
    ratios, speeds, differ, drafted, accepted = list[float](), list[float](), 0, 0, 0
    for number, (before, after, equal, engine) in enumerate(bench.compare(case, rounds), 1):
        ratios.append(before / after)
        speeds.append(bench.speeds[engine])
        for peer in peers:
            peer.answer(number)
        differ += not equal
        drafted, accepted = engine.stats.drafted_tokens, engine.stats.accepted_tokens
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(
        f"{case.name:22} {statistics.median(ratios):.2f} times as fast ({spread}; goal {case.goal}), "
        f"{accepted} of {drafted} drafted tokens accepted, {differ} of {len(ratios)} rounds differ",
        flush=True,
    )
    for peer in peers:
        times = [ours / theirs for ours, theirs in zip(speeds, peer.speeds, strict=True)]
        print(f"  {statistics.median(times):.2f} times llama-server with --spec-type {peer.mode}", flush=True)


if __name__ == "__main__":
    main()
