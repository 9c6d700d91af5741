"""`make bench-chat`: what a turn costs late in a conversation, what drawing costs, when the prompt is there.

    python -m benchmarks.chat [--gpt-oss PATH]

Goals: the first word of turn 50 comes as soon as that of turn 2, within 20 %, for equal new text; an answer
of 5,000 tokens at 100 tokens/s takes less than 10 % of one core to draw; the prompt is there after 0.6 s.
"""

import argparse
import io
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Self

import numpy as np

from ossctl.app.chat.chat import Chat
from ossctl.app.chat.events import ChatEvent
from ossctl.app.chat.model_session import ModelSession
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.sessions.chat_settings import ChatSettings
from ossctl.app.sessions.session_log import SessionLog, SessionModel
from ossctl.app.tools.toolbox import Toolbox
from ossctl.dialect import Answer, Message, Reasoning
from ossctl.engine.grammar import JsonGrammars
from ossctl.repl import rich_view
from ossctl.runtime.base import Chunk, Tokens
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from ossctl.storage.sessions import Sessions
from ossctl.templates.dialect import TemplateDialect
from tests.support.models import smollm2, tiny_gpt_oss
from tests.support.scripted_chat import GivenAnswers, scripted_chat
from tests.support.terminal import Terminal

_TURNS = 50
_ANSWER = "It is as you say, I believe."
_ROUNDS = 9
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


def turns(chat: Chat, model: LlamaModel, options: ContextOptions, header: Sequence[int]) -> None:
    """Time from Enter to the first word of turns 2 and 50, beside that of the decodes alone.

    The last answer, and the message but for its last word, are read before, while the user writes. The model
    writes `header` before the first word.

    Attention costs more behind more cells, and without flash attention, as a plan for a CPU has it, less.
    """
    print(f"{chat.model.name}, {options.n_threads} thread(s): first word after Enter, in ms")
    ours: dict[int, float] = {}
    bare: dict[int, float] = {}
    for turn in (2, _TURNS):
        chat.clear()
        for n in range(1, turn - 1):
            chat.history.add_message(Message("user", _question(n)))
            chat.history.add_message(Message("assistant", _ANSWER))
        _first_word(chat, _question(turn - 1))
        seconds, prompts = [], []
        for n in range(_ROUNDS):
            question = _question(turn + n)
            known = _read_ahead(chat, question)
            seconds.append(_first_word(chat, question))
            prompts.append(_Prompt.of(chat, known))
            chat.undo()
        ours[turn] = statistics.median(seconds)
        bare[turn] = statistics.median(_decodes(model, options, prompts, header))
        print(
            f"  turn {turn:2}, {prompts[0].computed:2} of {len(prompts[0].ids):5,} tokens read: "
            f"{ours[turn] * 1e3:7.1f}, llama.cpp alone {bare[turn] * 1e3:7.1f}, "
            f"{ours[turn] / bare[turn]:.2f} times that"
        )
    print(
        f"  turn {_TURNS} takes {ours[_TURNS] / ours[2]:.2f} times as long as turn 2 (goal 1.2), "
        f"with llama.cpp alone {bare[_TURNS] / bare[2]:.2f} times"
    )


@dataclass(frozen=True)
class _Prompt:
    """What was asked: int32 [n], and how many of its last tokens were not in the cache."""

    ids: Tokens
    computed: int

    @classmethod
    def of(cls, chat: Chat, known: int) -> Self:
        asked = chat.prompts.conversation(chat.transcript.messages()[:-1])
        ids = np.array(chat.model_session.dialect.render(asked), np.int32)
        return cls(ids, len(ids) - known)


def _read_ahead(chat: Chat, question: str) -> int:
    """Have the model read what the next message stands behind, and the message as it is written.

    So many tokens are in the cache then.
    """
    for written in ("", question[: question.rindex(" ") + 1]):
        chat.prefill_ahead(written)
        while chat.model_session.prefill_progress is not None:
            time.sleep(0.001)
    return chat.model_session.cells


def _question(n: int) -> str:
    return f"{n:3}: {'What do you make of this sentence? ' * 4}".rstrip()


def _first_word(chat: Chat, text: str) -> float:
    """Seconds until it is there, from all that is done when Enter is pressed."""
    began = time.perf_counter()
    chat.context.usage_without_history(text)
    chat.usage(text)
    seconds = 0.0
    for event in chat.send(text, lambda *_: True):
        if isinstance(event, Reasoning | Answer):
            seconds = seconds or time.perf_counter() - began
    return seconds


def _decodes(
    model: LlamaModel, options: ContextOptions, prompts: Sequence[_Prompt], header: Sequence[int]
) -> Iterator[float]:
    """Seconds for the new tokens of each prompt and then, one by one, the header's."""
    known = min(len(prompt.ids) - prompt.computed for prompt in prompts)
    with LlamaRunner(model, options) as runner:
        for at in range(0, known, runner.n_ubatch):
            piece = prompts[0].ids[at : min(known, at + runner.n_ubatch)]
            runner.decode([Chunk(0, piece, wants_logits=False)])
        snapshot = runner.snapshot(0)
        for prompt in prompts:
            runner.rollback(0, known, snapshot)
            new = len(prompt.ids) - prompt.computed
            if new > known:
                runner.decode([Chunk(0, prompt.ids[known:new], wants_logits=False)])
            began = time.perf_counter()
            runner.decode([Chunk(0, prompt.ids[new:], wants_logits=True)])
            for token in header:
                runner.decode([Chunk(0, np.array([token], np.int32), wants_logits=True)])
            yield time.perf_counter() - began


def turns_of_gpt_oss(path: Path, folder: Path, n_threads: int = 1) -> None:
    """With the tiny one's thin layers and whole vocabulary, what is not llama.cpp's weighs most.

    A file of the 20B takes long, and behind its experts attention hardly counts.
    """

    def answers(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
        return repeat(dialect.spelt("I have to think about that. " * 4, _ANSWER))

    options = ContextOptions(n_ctx=16_384, n_seq=4, unified=True, n_threads=n_threads, flash_attention=False)
    with (
        LlamaModel(path) as model,
        scripted_chat(model, answers, options, Sessions.open(folder / f"{path.stem}.db")) as scripted,
    ):
        turns(scripted.chat, model, options, scripted.dialect.spelt("", "")[:3])


def turns_of_smollm2(folder: Path) -> None:
    """A real model of 135 M parameters; two words of an answer are enough."""
    options = ContextOptions(n_ctx=8_192, n_seq=4, unified=True, n_threads=1, flash_attention=False)
    with LlamaModel(smollm2()) as model, LlamaRunner(model, options) as runner:
        assert model.chat_template is not None
        dialect = TemplateDialect(model.chat_template, model.vocab, JsonGrammars(model.vocab))
        with ModelSession(LoadedModel("SmolLM2", runner, dialect, model.vocab.piece)) as session:
            log = SessionLog(Sessions.open(folder / "smollm2.db"))
            named = SessionModel("smollm2", "SmolLM2")
            chat = Chat(log, ChatSettings(max_tokens=2), named, Toolbox())
            chat.use(session, named)
            turns(chat, model, options, ())


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--gpt-oss", type=Path, help="measure the turns of this file alone")
    args = parser.parse_args()
    if args.gpt_oss:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
            turns_of_gpt_oss(args.gpt_oss, Path(folder), os.cpu_count() or 1)
        return
    start()
    mixed = "".join(_PARTS) * 10
    drawing(mixed, "prose, lists, code and tables")
    drawing("".join(f"word{n} " for n in range(10_000)), "one paragraph of 5,000 tokens")
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(action="ignore"),
    ):
        turns_of_gpt_oss(tiny_gpt_oss(Path(folder)), Path(folder))
        turns_of_smollm2(Path(folder))


if __name__ == "__main__":
    main()
