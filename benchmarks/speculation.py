"""`make bench-draft`: what guessing tokens gains and costs, and whether any answer changes.

    python -m benchmarks.speculation [MODEL.gguf] [--rounds 5] [--tokens 160] [--kv f16|q8_0] [--case NAME]

Each case is answered with and without drafts in turn, in one process. Times are the processor's, summed over
its cores, from the end of the prompt to the end of the answer, so that other programs disturb little.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ossctl.engine.drafts import DraftOptions
from ossctl.engine.engine import Engine
from ossctl.engine.grammar import JsonGrammars
from ossctl.engine.request import Output, Request, Sampling
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


@dataclass(frozen=True)
class Case:
    """What `n_seq` requests at once ask, and how many times as fast the answer should be."""

    name: str
    prompt: str
    goal: float
    n_seq: int = 1
    schema: bool = False


_CASES = (
    Case("copies", f"{_LINES}\n\n{_LINES}\n\n{_LINES[:60]}", 2.5),
    Case("JSON by a schema", f"{_JSON}\n\n{_JSON}\n\n", 1.3, schema=True),
    Case("no copies", "Once upon a time, in a village by the sea,", 0.98),
    Case("8 at once", "A letter to the editor about the harbour:", 0.98, n_seq=8),
)


class Bench:
    """A model with a context for each case."""

    def __init__(self, model: LlamaModel, n_tokens: int, kv_type: str) -> None:
        self._model, self._n_tokens, self._kv_type = model, n_tokens, kv_type
        self._grammars = JsonGrammars(model.vocab)

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
            plain = parts.enter_context(LlamaRunner(self._model, options))
            drafting = parts.enter_context(LlamaRunner(self._model, options))
            engines = Engine(plain), Engine(drafting, drafts=DraftOptions())
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
        started = 0.0
        while engine.busy:
            for output in engine.step():
                outputs[output.id].append(output)
            started = started or (time.process_time() if all(outputs.values()) else 0.0)
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
        bench = Bench(model, args.tokens, args.kv)
        for case in (case for case in _CASES if args.case in (None, case.name)):
            ratios, differ, drafted, accepted = [], 0, 0, 0
            for before, after, equal, engine in bench.compare(case, args.rounds):
                ratios.append(before / after)
                differ += not equal
                drafted, accepted = engine.stats.drafted_tokens, engine.stats.accepted_tokens
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(
                f"{case.name:18} {statistics.median(ratios):.2f} times as fast ({spread}; goal {case.goal}), "
                f"{accepted} of {drafted} guesses right, {differ} of {len(ratios)} rounds differ",
                flush=True,
            )


if __name__ == "__main__":
    main()
