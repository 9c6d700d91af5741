"""What a run has generated so far, so that it can be logged even if it breaks off."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ossctl.app.inference.finish import answer_finish
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.sessions.transcript import MessageEntry
from ossctl.dialect import Answer, Event, Message, Preamble, Reasoning, content_of


@dataclass
class RunProgress:
    """The requests that are being answered, and their answers. `model` is the name of the model.

    `keep` logs it, if that can be done, and returns a sentence about it, or "".
    """

    model: str = ""
    complete: bool = False
    keep: Callable[[], str] = lambda: ""
    _specs: list[GenerationSpec] = field(default_factory=list)
    _texts: dict[int, dict[type, list[str]]] = field(default_factory=dict)
    _generations: dict[int, Generation] = field(default_factory=dict)

    def begin(self, specs: Sequence[GenerationSpec]) -> None:
        """Note the requests that are sent, or the one after a round of tool calls."""
        self._specs, self._texts, self._generations = [*specs], {}, {}

    def follow(self, index: int, event: Event) -> None:
        """Note a piece of an answer."""
        if isinstance(event, Answer | Preamble | Reasoning):
            texts = self._texts.setdefault(index, {Answer: [], Preamble: [], Reasoning: []})
            texts[type(event)].append(event.text)

    def finish(self, index: int, generation: Generation) -> None:
        """Note a complete answer."""
        self._generations[index] = generation

    def turns(self, start: int) -> Iterator[list[MessageEntry]]:
        """For each answer, the messages of its conversation from number `start` on, and the answer itself."""
        for index, spec in enumerate(self._specs):
            answer = self._answer(index, spec)
            messages = spec.conversation.messages[start:]
            if answer is not None or len(messages) > 1:
                entries = [self._entry(message) for message in messages]
                yield [*entries, *filter(None, [answer])]

    def _answer(self, index: int, spec: GenerationSpec) -> MessageEntry | None:
        """The answer, or what there is of it: without its calls, if their results are missing."""
        generation = self._generations.get(index)
        if generation is None:
            texts = self._texts.get(index)
            if texts is None:
                return None
            content = content_of(texts[Preamble], texts[Answer])
            message = Message("assistant", content, "".join(texts[Reasoning]))
            return replace(self._entry(message), state="stopped")
        calls = tuple(generation.calls) if self.complete else ()
        message = Message(
            "assistant",
            generation.content,
            generation.reasoning,
            calls,
            token_ids=tuple(generation.tokens),
        )
        usage = {
            "prompt_tokens": len(generation.request.prompt),
            "cached_tokens": generation.cached_tokens,
            "completion_tokens": generation.completion_tokens,
            "reasoning_tokens": generation.reasoning_tokens,
        }
        details = {
            "model": self.model,
            "effort": spec.conversation.effort,
            "seed": generation.request.sampling.seed,
            "finish_reason": str(answer_finish(generation)),
            "usage": usage,
            "seconds": {
                "first_token": round(generation.first_token_seconds, 3),
                "total": round(generation.seconds, 3),
            },
        }
        return MessageEntry(
            message, state="stopped" if generation.calls and not calls else "whole", details=details
        )

    def _entry(self, message: Message) -> MessageEntry:
        details = {"model": self.model} if message.role == "assistant" else {}
        return MessageEntry(message, details=details)
