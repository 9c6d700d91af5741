"""Turns of models with a chat template decode what is new and what the template has changed, and no more."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import sleep

import numpy as np
import numpy.typing as npt
import pytest

from ossctl.dialect import Conversation
from ossctl.engine.grammar import JsonGrammars
from ossctl.runtime.base import Chunk
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from ossctl.templates.dialect import TemplateDialect
from tests.support.scripted_chat import Saying, WatchedChat, watched_chat
from tests.support.small_models import ARCHITECTURES, small_model

Ids = npt.NDArray[np.int32]
OPTIONS = ContextOptions(n_ctx=2048, n_threads=1)

_TURN = "<|im_start|>{{ m.role }}\n%s<|im_end|>\n"
_PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n%s{% endif %}"
_LATEST = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}"
    "{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
)
_REASONING = (
    "{% if m.reasoning_content and loop.index0 > ns.last %}"
    "<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
)


def template(*, reasoning: str = "", opening: str = "") -> str:
    turns = "{% for m in messages %}" + _TURN.replace("%s", reasoning + "{{ m.content }}") + "{% endfor %}"
    return _LATEST + turns + _PROMPT.replace("%s", opening)


@dataclass(frozen=True)
class Format:
    """A template, and what its model writes."""

    template: str
    answer: str


FORMATS = {
    "no reasoning": Format(template(), "Answer {} of the model."),
    "drops reasoning": Format(
        template(reasoning=_REASONING), "<think>\nhm hm hm\n</think>\n\nAnswer {} of the model."
    ),
    "opens reasoning": Format(
        template(reasoning=_REASONING, opening="<think>\n"), "hm hm hm\n</think>\n\nAnswer {} of the model."
    ),
}
KINDS = pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)


class GivenAnswers(TemplateDialect):
    """A template, where every answer is the next of `answers`."""

    answers: Iterator[Sequence[int]]

    def guide(self, conversation: Conversation, prompt: Sequence[int]) -> Saying:
        return Saying(next(self.answers), 259)


_SLOW = ("mamba", "lfm2")
_MODELS = [pytest.param(name, marks=pytest.mark.slow if name in _SLOW else ()) for name in ARCHITECTURES]


@pytest.fixture(scope="module", params=_MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaModel]:
    folder: Path = tmp_path_factory.mktemp("models")
    with LlamaModel(small_model(folder / "model.gguf", request.param)) as loaded:
        yield loaded


@dataclass
class Talk:
    """A chat whose answers are given. `wholes` are the tokens in the cache after each answer."""

    watched: WatchedChat
    dialect: GivenAnswers
    prompts: list[Ids]
    wholes: list[Ids]

    def ask(self, text: str) -> int:
        """Send `text`; return the number of prompt tokens that were decoded for the answer."""
        chat = self.watched.chat
        self.watched.ask(text)
        conversation = chat.prompts.conversation(chat.transcript.messages()[:-1])
        self.prompts.append(np.array(self.dialect.render(conversation), np.int32))
        answer = chat.transcript.answers[-1].message.token_ids
        self.wholes.append(np.concatenate([self.prompts[-1], np.array(answer[:-1], np.int32)]))
        return self.watched.prompt_tokens_decoded()

    def read_ahead(self) -> int:
        """Prefill the prompt up to the next message; return the number of tokens decoded."""
        self.watched.runner.chunks.clear()
        self.watched.chat.prefill_ahead()
        while self.watched.chat.model_session.prefill_progress is not None:
            sleep(0.001)
        return sum(len(chunk.tokens) for chunk in self.watched.runner.chunks)


@contextmanager
def talk_with(model: LlamaModel, form: Format) -> Iterator[Talk]:
    dialect = GivenAnswers(form.template, model.vocab, JsonGrammars(model.vocab))
    words = model.vocab.tokenize
    dialect.answers = ([*words(form.answer.format(n)), model.vocab.end_id] for n in range(100))
    with watched_chat(model, dialect, OPTIONS) as watched:
        yield Talk(watched, dialect, [], [])


def common(a: Ids, b: Ids) -> int:
    """Length of the common prefix."""
    shorter = min(len(a), len(b))
    return int(np.argmin(np.append(a[:shorter] == b[:shorter], False)))


def assert_as_fresh(model: LlamaModel, talk: Talk) -> None:
    """The logits behind the latest prompt are those of a fresh evaluation."""
    with LlamaRunner(model, OPTIONS) as runner:
        fresh = runner.decode([Chunk(0, talk.prompts[-1], wants_logits=True)])[0]
        assert talk.watched.runner.first_logits is not None
        assert np.abs(talk.watched.runner.first_logits - fresh).max() < 0.01 * np.abs(fresh).max()


@KINDS
def test_a_turn_decodes_what_is_new_and_what_the_template_changed(model: LlamaModel, form: Format) -> None:
    with talk_with(model, form) as talk:
        costs = [talk.ask(f"Question {turn}, please.") for turn in range(4)]
        assert_as_fresh(model, talk)
        assert costs[0] == len(talk.prompts[0])
        for cost, whole, prompt in zip(costs[1:], talk.wholes, talk.prompts[1:], strict=False):
            assert cost == len(prompt) - common(whole, prompt)
        assert all(cost < 100 for cost in costs)


@KINDS
def test_what_is_read_ahead_is_not_read_again(model: LlamaModel, form: Format) -> None:
    with talk_with(model, form) as talk:
        talk.watched.chat.settings = replace(talk.watched.chat.settings, system="Be brief, if you can.")
        costs = [(talk.read_ahead(), talk.ask(f"Question {turn}, please.")) for turn in range(4)]
        assert_as_fresh(model, talk)
        after = len(talk.prompts[0]) - costs[0][0]
        assert [asked for _, asked in costs] == [after] * 4
        turns = zip(costs[1:], talk.wholes, talk.prompts[1:], strict=False)
        for (ahead, _), whole, prompt in turns:
            assert ahead == len(prompt) - after - common(whole, prompt)


@KINDS
def test_another_message_instead_decodes_that_message(model: LlamaModel, form: Format) -> None:
    with talk_with(model, form) as talk:
        for turn in range(3):
            talk.read_ahead()
            talk.ask(f"Question {turn}, please.")
        for text in ("Another, please.", "Or this one."):
            talk.watched.chat.undo()
            assert talk.read_ahead() == 0
            cost = talk.ask(text)
            assert_as_fresh(model, talk)
            assert cost == len(talk.prompts[-1]) - common(talk.prompts[-2], talk.prompts[-1])
