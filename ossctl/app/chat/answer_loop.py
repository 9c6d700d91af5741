"""Generates the answer to a message: runs the tools that the model calls and continues with their results."""

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from ossctl.app.chat.events import Answered, ChatEvent, ToolRan, ToolRunning
from ossctl.app.chat.history import ChatHistory
from ossctl.app.chat.prompts import PromptBuilder, request_errors_as_usage_errors
from ossctl.app.inference.finish import AnswerFinish, answer_finish
from ossctl.app.sessions.session_log import AnswerWriter
from ossctl.app.tools.rounds import ResultSpace
from ossctl.app.tools.toolbox import Allow, ToolRunner
from ossctl.dialect import Answer, Message, Preamble, Reasoning, ToolCall, ToolChoice
from ossctl.engine.request import FinishReason
from ossctl.errors import OssctlError

if TYPE_CHECKING:  # these load llama.cpp's library, which the prompt does not wait for
    from ossctl.app.chat.model_session import ModelSession
    from ossctl.app.inference.generation import Generation


class AnswerLoop:
    """Answers one message. Created before the message is added to the history.

    `details` are saved with each message that the model writes.
    """

    def __init__(
        self,
        history: ChatHistory,
        model: "ModelSession",
        prompts: PromptBuilder,
        tools: ToolRunner,
        details: Mapping[str, Any],
    ) -> None:
        self.latest: Answered | None = None
        self._history = history
        self._before = history.transcript
        self._model = model
        self._prompts = prompts
        self._tools = tools
        self._details = details
        self._stopped = False

    def stop(self) -> None:
        """Call no more tools. May be called from any thread and from signal handlers."""
        self._stopped = True

    def run(self, allow: Allow) -> Generator[ChatEvent]:
        """Generate messages until one calls no tool. `allow` is asked before a tool runs.

        If the model does not begin to answer, the history is as it was before. Raises UsageError if the model
        cannot take the prompt.
        """
        max_rounds = self._tools.max_rounds
        for n_rounds in range(max_rounds + 1):
            try:
                generation = yield from self._generate(may_call=n_rounds < max_rounds)
            except OssctlError:
                if self._history.transcript.awaits_answer:
                    self._history.move_to(self._before)
                raise
            if not generation.tokens:
                self._history.move_to(self._before)
                break
            calls = generation.calls
            if self._stopped or n_rounds == max_rounds or not self._tools.can_run(calls, self._prompts.tools):
                break
            conversation = self._prompts.conversation(self._history.transcript.messages())
            space = ResultSpace(self._model.model, conversation, generation)
            for result in space.fit(self._tools.run(calls, allow, lambda: not self._stopped)):
                if isinstance(result, ToolCall):
                    yield ToolRunning(result)
                    continue
                self._history.add_message(Message("tool", result.result, tool=result.call.name))
                yield ToolRan(result)
            if self._stopped:
                self._end_stopped()
                break
        if self.latest is not None:
            yield replace(self.latest, exhausted_rounds=n_rounds if n_rounds == max_rounds else 0)

    def _end_stopped(self) -> None:
        if self.latest is not None:
            self.latest = replace(self.latest, ending=AnswerFinish.CANCELLED)

    def _generate(self, *, may_call: bool) -> Generator[ChatEvent, None, "Generation"]:
        started = monotonic()
        with request_errors_as_usage_errors():
            spec = self._prompts.answer(self._history.transcript.messages(), self._history.n_answers)
            if not may_call:
                spec = replace(spec, conversation=replace(spec.conversation, tool_choice=ToolChoice("none")))
            generation = self._model.prepare(spec, self._history.cache_key)
            yield from self._follow(generation, spec.sampling.seed, started)
        return generation

    def _follow(self, generation: "Generation", seed: int, started: float) -> Generator[ChatEvent]:
        """Yield the events of one generation, and save it meanwhile."""
        first = 0.0
        parts: dict[type, list[str]] = {Answer: [], Preamble: [], Reasoning: []}
        writer: AnswerWriter | None = None
        details = {**self._details, "seed": seed}
        try:
            with closing(self._model.stream(generation)) as events:
                for event in events:
                    if isinstance(event, Answer | Preamble | Reasoning):
                        first = first or monotonic() - started
                        parts[type(event)].append(event.text)
                        writer = writer or self._history.start_answer(details)
                        writer.update([*parts[Preamble], *parts[Answer]], parts[Reasoning])
                    yield event
        finally:
            self.latest = self._measured(generation, seed, first, monotonic() - started)
            if generation.tokens:
                self._finish(writer or self._history.start_answer(details), generation, self.latest)

    def _measured(self, generation: "Generation", seed: int, first: float, seconds: float) -> Answered:
        if generation.finish is None:
            generation.finish = FinishReason.CANCELLED
        prompt, completion = len(generation.request.prompt), generation.completion_tokens
        cut = generation.finish is FinishReason.LENGTH
        return Answered(
            ending=answer_finish(generation),
            prompt=prompt,
            reused=generation.cached_tokens - self._model.n_prefilled_ahead,
            completion=completion,
            reasoning=generation.reasoning_tokens,
            seed=seed,
            first_token_seconds=first,
            seconds=seconds,
            writing_seconds=generation.seconds - generation.first_token_seconds,
            recovered=tuple(generation.recovered),
            drafted=generation.drafted,
            accepted=generation.accepted,
            in_reasoning=not generation.content and not generation.calls and bool(generation.reasoning),
            context_full=cut and prompt + completion >= self._model.n_ctx,
        )

    def _finish(self, writer: AnswerWriter, generation: "Generation", measured: Answered) -> None:
        stopped = generation.finish is FinishReason.CANCELLED
        message = Message(
            "assistant",
            generation.content,
            generation.reasoning,
            () if stopped else tuple(generation.calls),
            token_ids=tuple(generation.tokens),
        )
        self._history.finish_answer(writer.finish(message, measured.record(), stopped=stopped))
