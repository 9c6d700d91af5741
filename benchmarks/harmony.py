"""`make bench-harmony`: what Harmony costs, beside a step of decoding on the same machine.

    python -m benchmarks.harmony

The text is source code of the standard library. Goals: a conversation of 100,000 tokens is rendered and
tokenized in 0.5 s, an answer is parsed in 5 µs a token, loops are watched for in 1 % of a step.
"""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from ossctl.dialect import Conversation, Message
from ossctl.engine.engine import Engine
from ossctl.engine.grammar import JsonGrammars
from ossctl.engine.repetition import RepetitionDetector
from ossctl.engine.request import Request
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.harmony.markers import Markers
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from tests.support.models import tiny_gpt_oss

_TOKENS = 100_000
_CHARACTERS_A_MESSAGE = 2_000
_SEQUENCES = 32
_ROUNDS = 5
_SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}},
    },
    "required": ["name", "age", "tags"],
}


def seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def dialect_of(model: LlamaModel) -> HarmonyDialect:
    markers = Markers.of(model.vocab)
    assert markers is not None
    return HarmonyDialect(model.vocab, markers, JsonGrammars(model.vocab))


def source_code(path: Path) -> list[int]:
    modules = sorted(Path(json.__file__).parents[1].glob("*.py"))[:80]
    text = "".join(module.read_text("utf-8") for module in modules)
    with LlamaModel(path) as model:
        return model.vocab.tokenize(text)[:_TOKENS]


def rendering(path: Path, tokens: list[int]) -> None:
    """Each round with a model that has not seen a word yet."""
    first, again, alone = [], [], []
    for _ in range(_ROUNDS):
        with LlamaModel(path) as model:
            text = b"".join(map(model.vocab.piece, tokens)).decode("utf-8", "replace")
            starts = range(0, len(text), _CHARACTERS_A_MESSAGE)
            parts = [text[start : start + _CHARACTERS_A_MESSAGE] for start in starts]
            messages = [Message("assistant" if n % 2 else "user", part) for n, part in enumerate(parts)]
            render = partial(dialect_of(model).render, Conversation(tuple(messages)))
            first.append(seconds(render))
            again.append(seconds(render))
            alone.append(seconds(partial(list, map(model.vocab.llama_tokenize, parts))))
            n_tokens = len(render())
    print(
        f"rendering {n_tokens:,} tokens in {len(parts)} messages: {median(first):.2f} s, again "
        f"{median(again):.2f} s, goal 0.5 s; llama.cpp's tokenizer on the same texts {median(alone):.2f} s"
    )


def parsing(model: LlamaModel, tokens: list[int]) -> None:
    dialect = dialect_of(model)
    pieces = seconds(lambda: list(map(model.vocab.piece, tokens)))  # known from here on
    header = dialect.render(Conversation((Message("assistant", "x"),)))
    opening = header[header.index(model.vocab.id_of("<|channel|>") or 0) :][:3]
    rounds = []
    for _ in range(_ROUNDS):
        parser = dialect.parser([])
        rounds.append(seconds(partial(list, map(parser.feed, [*opening, *tokens]))))
        assert parser.answering
    each = median(rounds) / len(tokens) * 1e6
    print(f"parsing: {each:.2f} µs a token, goal 5 (reading {len(tokens):,} pieces first: {pieces:.2f} s)")


def watching(model: LlamaModel, tokens: list[int]) -> None:
    """The detector on text, and on the worst of it: one token in two is the same."""
    cases = {"text": tokens, "every other token the same": [t if n % 2 else 11 for n, t in enumerate(tokens)]}
    step = _seconds_a_token(model)
    for name, case in cases.items():
        detector = RepetitionDetector()
        spent = seconds(partial(list, map(detector.append, case))) / len(case)
        share = f"{spent / step:.2%} of the {step * 1e6:.0f} µs that a step takes for it"
        print(f"watching for loops, {name}: {spent * 1e6:.2f} µs a token, {share}, goal 1 %")


def _seconds_a_token(model: LlamaModel) -> float:
    """Of the fastest model there is: layers of almost nothing, many sequences at once."""
    with LlamaRunner(model, ContextOptions(n_ctx=256, n_seq=_SEQUENCES)) as runner:
        engine = Engine(runner)
        for number in range(_SEQUENCES):
            engine.submit(Request(str(number), np.arange(number, number + 64, dtype=np.int32), 64))
        while engine.busy:
            engine.step()
        return engine.stats.step_seconds / engine.stats.generated_tokens


def constraining(model: LlamaModel) -> None:
    grammars = JsonGrammars(model.vocab)
    build = seconds(lambda: grammars.json({"type": "integer"}, "schema"))
    compiling = seconds(lambda: grammars.json(_SCHEMA, "schema"))
    grammar = grammars.json(_SCHEMA, "schema")
    rng = np.random.default_rng(0)
    masks: list[float] = []
    while not grammar.finished and len(masks) < 500:
        following = grammar.forced()
        for token in following:
            grammar.accept(token)
        if not following:
            started = perf_counter()
            allowed = np.flatnonzero(~grammar.banned())
            masks.append(perf_counter() - started)
            grammar.accept(int(rng.choice(allowed)))
    print(
        f"schemas: vocabulary read in {build:.2f} s once, a schema compiled in {compiling * 1e3:.1f} ms, "
        f"a mask {median(masks) * 1e3:.2f} ms (median of {len(masks)}, longest {max(masks) * 1e3:.1f} ms)"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = tiny_gpt_oss(Path(folder))
        tokens = source_code(path)
        rendering(path, tokens)
        with LlamaModel(path) as model:
            parsing(model, tokens)
            watching(model, tokens)
            constraining(model)


if __name__ == "__main__":
    main()
