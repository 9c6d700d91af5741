"""`make bench-chat`: what a turn costs late in a conversation, what drawing costs, when the prompt is there.

    python tests/bench/chat.py

Goals: the first token of turn 50 comes as soon as that of turn 2, within 20 %, for equal new text; an answer
of 5,000 tokens at 100 tokens/s takes less than 10 % of one core to draw; the prompt is there after 0.6 s.
"""

import io
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "app"))
sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

import numpy as np
from models import smollm2, tiny_gpt_oss
from scripted_chat import GivenAnswers, scripted_chat
from terminal import Terminal

from ossctl.app.chat.events import ChatEvent
from ossctl.dialect import Answer
from ossctl.repl import rich_view
from ossctl.runtime.base import Chunk
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel

_TURNS = 50
_ROUNDS = 5
_TOKENS, _RATE = 5_000, 100.0

_PROSE = "This is a sentence of some **importance**, with `code` in it, and a few more words to fill a line. "
_PARTS = (
    "## A heading\n\n",
    *(f"{_PROSE * 6}\n\n" for _ in range(2)),
    *(f"- {_PROSE}\n" for _ in range(6)),
    "\n```python\n",
    *(f"def function_{n}(x: int) -> int:\n    return x * {n}  # a comment\n\n" for n in range(15)),
    "```\n\n| name | value |\n|---|---|\n",
    *(f"| row {n} | {n * n} |\n" for n in range(12)),
    "\n",
)


def turns(model: LlamaModel) -> None:
    """Seconds from Enter to the first token at turns 2 and 50, beside llama.cpp's for the same new tokens.

    In a model this small attention, which grows with what was said, is most of the work.
    """

    def answers(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
        while True:
            yield dialect.spelt("I have to think about that. " * 4, "It is as you say, I believe.")

    options = ContextOptions(n_ctx=16_384, n_seq=4, unified=True, n_threads=1)
    taken: dict[int, list[float]] = {2: [], _TURNS: []}
    bare: dict[int, list[float]] = {2: [], _TURNS: []}
    for _ in range(_ROUNDS):
        steps = []
        with scripted_chat(model, answers, options) as scripted:
            for n in range(1, _TURNS + 1):
                answered = scripted.ask(f"{n:3}: {'What do you make of this sentence? ' * 4}")
                asked = scripted.chat._conversation(scripted.chat.transcript.messages()[:-1])
                prompt = np.array(scripted.dialect.render(asked), np.int32)
                steps.append(prompt[len(prompt) - answered.computed :])
                if n in taken:
                    taken[n].append(answered.first_token_seconds)
        with LlamaRunner(model, options) as runner:
            for n, step in enumerate(steps, start=1):
                began = time.perf_counter()
                runner.decode([Chunk(0, step, wants_logits=True)])
                if n in bare:
                    bare[n].append(time.perf_counter() - began)
    (early, late), (bare_early, bare_late) = (
        [statistics.median(of[n]) for n in (2, _TURNS)] for of in (taken, bare)
    )
    print(f"first token of turn 2 after {early * 1e3:.1f} ms, of turn {_TURNS} after {late * 1e3:.1f} ms")
    print(f"{late / early:34.2f} times (goal 1.2)")
    print(f"llama.cpp alone: {bare_early * 1e3:.1f} and {bare_late * 1e3:.1f} ms")
    print(f"beyond that {(early - bare_early) * 1e3:.1f} and {(late - bare_late) * 1e3:.1f} ms")


def drawing(text: str, name: str) -> None:
    """CPU time of a view that gets an answer at the pace of a model."""
    pieces = [text[at : at + 4] for at in range(0, _TOKENS * 4, 4)]
    view = rich_view.RichView(io.StringIO())
    view.begin()
    began, used = time.monotonic(), time.process_time()
    for n, piece in enumerate(pieces):
        event: ChatEvent = Answer(piece)
        view.take(event)
        time.sleep(max(0.0, began + (n + 1) / _RATE - time.monotonic()))
    view.end()
    share = (time.process_time() - used) / (time.monotonic() - began)
    print(f"{name:34} {share:6.1%} of one core at {_RATE:.0f} tokens/s (goal 10 %)")


def start() -> None:
    """Seconds until the prompt is there, and takes a key."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(_ROUNDS * 2):
            with Terminal("chat", "-m", smollm2(), cwd=Path(folder)) as terminal:
                terminal.wait(r"(?m)^>")
                terminal.press("a")
                terminal.wait("> a")
                seconds.append(time.monotonic() - terminal.started)
    print(f"the prompt takes keys after {statistics.median(seconds):.2f} s (goal 0.6)")


def main() -> None:
    start()
    mixed = "".join(_PARTS) * 10
    drawing(mixed, "prose, lists, code and tables")
    drawing("".join(f"word{n} " for n in range(10_000)), "one paragraph of 5,000 tokens")
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(action="ignore"),
        LlamaModel(tiny_gpt_oss(Path(folder))) as model,
    ):
        turns(model)


if __name__ == "__main__":
    main()
