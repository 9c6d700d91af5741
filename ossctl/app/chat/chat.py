"""A chat: what was said, how it goes on, and what the model sees of it. It knows no terminal."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from ossctl.app.chat.context import ContextReport, TurnSize, VisibleWindow
from ossctl.app.chat.events import Answered, ChatEvent, ToolRan
from ossctl.app.chat.session_log import Book, Remembered, SessionModel, Writing, title_of
from ossctl.app.chat.settings import ChatSettings
from ossctl.app.chat.transcript import Cut, Said, Transcript, Turn
from ossctl.app.inference.finish import answer_finish
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.tools.command import MAX_ROUNDS, ToolCommand, ToolOutcome
from ossctl.dialect import Answer, Conversation, Effort, Message, Preamble, Reasoning, Tool, ToolCall
from ossctl.engine.request import FinishReason
from ossctl.engine.sequence import common_prefix
from ossctl.errors import OssctlError, RequestError, UsageError

if TYPE_CHECKING:  # what loads llama.cpp's library: the prompt is there before
    from ossctl.app.chat.model_session import Talker
    from ossctl.app.inference.generation import Generation

Allow = Callable[[ToolCall], bool]

_SUMMARISE = (
    "Summarise our conversation so far, for yourself, in at most 200 words: what I want, what was found and "
    "decided, names, numbers and code that will be needed again, and what is still open. Write nothing else."
)
_SUMMARY_SHARE = 4  # of the context: what a summary may take with its reasoning


@dataclass(frozen=True)
class Tools:
    """The functions that the model may call, and the programs behind them."""

    offered: tuple[Tool, ...] = ()
    commands: Mapping[str, ToolCommand] = field(default_factory=dict)


class Chat:
    """One conversation at a time. All calls come from one thread, but for `stop`."""

    def __init__(self, book: Book, settings: ChatSettings, model: SessionModel, tools: Tools) -> None:
        self.book = book
        self.tools = tools
        self.transcript = Transcript()
        self.answers = 0  # of the session so far, those that were tried again among them
        self.latest: Answered | None = None
        self.cells = 0  # of the cache, that the conversation takes since it was last asked or read
        self._settings = settings
        self._model = model
        self._talker: Talker | None = None
        self._stopped = False
        self._head: Conversation | None = None  # what the cache's conversation began with, without messages
        self._today = dt.datetime.now().astimezone().date()

    @property
    def settings(self) -> ChatSettings:
        return self._settings

    @settings.setter
    def settings(self, settings: ChatSettings) -> None:
        settings.sampling(0)  # raises RequestError for what is out of range
        self._settings = settings
        self.book.note_settings(settings, self._model)

    @property
    def model(self) -> SessionModel:
        return self._model

    @property
    def talker(self) -> "Talker":
        """The loaded model. Raises OssctlError while there is none."""
        if self._talker is None:
            raise OssctlError("no model is loaded", "/model NAME loads one.")
        return self._talker

    @property
    def is_ready(self) -> bool:
        """Whether a model is loaded."""
        return self._talker is not None

    @property
    def effort(self) -> Effort | None:
        """The effort in force; None where the model knows none."""
        if self._talker is None or self._talker.model.dialect.default_effort is None:
            return None
        return self._settings.effort or self._talker.model.dialect.default_effort

    def use(self, talker: "Talker | None", model: SessionModel) -> None:
        """From here on this model answers; None: none does."""
        self._talker, self._model, self._head = talker, model, None
        if talker is not None:
            self.book.note_settings(self._settings, model)

    def resume(self, reference: str) -> Remembered:
        """Go on with another session, in its own settings. Raises UsageError."""
        return self._take_up(self.book.open(reference))

    def fork(self) -> Remembered:
        """Go on with a copy of the session, which stays as it is. Raises UsageError."""
        return self._take_up(self.book.fork())

    def clear(self) -> None:
        """Begin another session."""
        self.book.leave()
        self.transcript, self.answers, self.latest = Transcript(), 0, None

    def send(self, text: str, allow: Allow) -> Iterator[ChatEvent]:
        """Say `text`, and get the answer. `allow` is asked before a program is run.

        Stopped before the model began, it is taken back. Raises UsageError for what can't be asked.
        """
        before = self.transcript
        self._add(Said(Message("user", text), created=_now()))
        yield from self._answer(allow, before)

    def look_ahead(self, text: str = "") -> str:
        """Have the model read, while the user writes, what the next message will stand behind, and `text`,
        with which that begins; returns what of `text` that is.

        Where the instructions or the effort, which all else follows, have changed since the last answer, it
        reads nothing before there is `text`: they may be changed back, and until then the cache has all of
        it. Then it reads what `text` stands behind, and that itself when it is asked again.
        """
        head = self._conversation(())
        changed = bool(self.transcript.turns) and self._head not in (None, head)
        if (changed and not text) or self._talker is None or self._talker.failed:
            return ""
        text = "" if changed else text
        one, other = (self.transcript.with_entry(Said(Message("user", text + more))) for more in ("a", "b"))
        with suppress(RequestError):
            first, second = (np.array(self._rendered(each.messages()), np.int32) for each in (one, other))
            common = common_prefix(first, second)
            if 0 < common <= self._talker.n_ctx:
                self._talker.read_ahead(first[:common], self._cache_key, returnable=not text)
                self._head, self.cells = head, common
        return text

    def retry(self, allow: Allow) -> Iterator[ChatEvent]:
        """The last answer again, with the next seed. Raises UsageError without one."""
        turn = self.last_turn
        before = self.transcript
        self._go_back_to(Transcript(self.transcript.entries[: turn.start + 1]))
        yield from self._answer(allow, before)

    def undo(self) -> Turn:
        """Take the last turn back. Raises UsageError without one."""
        turn = self.last_turn
        self._go_back_to(self.transcript.before(turn))
        return turn

    def go_back_before(self, turn: Turn) -> None:
        """Take back that turn and all after it."""
        self._go_back_to(self.transcript.before(turn))

    def go_on_from(self, transcript: Transcript) -> None:
        """Return to what it was, after `go_back_before`."""
        self._go_back_to(transcript)

    def turn(self, number: int) -> Turn:
        """Raises UsageError if there is none of that number."""
        turns = self.transcript.turns
        if not 1 <= number <= len(turns):
            has = f"there are {len(turns)}" if turns else "nothing was said yet"
            raise UsageError(f"there is no message {number}: {has}")
        return turns[number - 1]

    @property
    def last_turn(self) -> Turn:
        """Raises UsageError if nothing was said yet."""
        if not self.transcript.turns:
            raise UsageError("nothing was said yet")
        return self.transcript.turns[-1]

    def stop(self) -> None:
        """End the answer at its next token, from any thread or a signal handler."""
        self._stopped = True
        if self._talker is not None:
            self._talker.stop()

    def window(self, text: str = "") -> VisibleWindow:
        """How full the context is, with `text` as the next message. Raises UsageError for a chat format
        that has no place for something."""
        messages = self.transcript.messages()
        if text:
            messages = (*messages, Message("user", text))
        return VisibleWindow(self._count(messages), self.talker.n_ctx)

    def alone(self, text: str) -> VisibleWindow:
        """How full it would be with nothing before `text`."""
        return VisibleWindow(self._count((Message("user", text),)), self.talker.n_ctx)

    def drop_oldest(self, text: str = "") -> int:
        """Hide as many of the oldest turns as it takes to have room for `text` and an answer; how many."""
        turns, before = self.transcript.turns, self.transcript
        hidden = before.hidden
        for turn in turns[hidden:]:
            self.transcript = before.with_entry(Cut("", turn.last_id))
            if self.window(text).leaves_room:
                break
        cut, self.transcript = self.transcript.cut, before
        if cut is None or self.transcript.tip is None:
            raise UsageError("there is nothing to drop")
        self._add(replace(cut, created=_now()))
        return self.transcript.hidden - hidden

    def compact(self) -> Iterator[ChatEvent]:
        """Have the model summarise the oldest turns, half of what it sees, and see the summary instead.

        Raises UsageError if there is nothing to summarise, OssctlError if it gives no summary.
        """
        count = self._oldest_half()
        asked = Message("user", _SUMMARISE)
        messages = (*self.transcript.messages(count), asked)
        question = self._question(messages)
        most = self.talker.n_ctx // _SUMMARY_SHARE
        conversation = replace(question.conversation, tools=())
        if self.effort is not None:
            conversation = replace(conversation, max_reasoning_tokens=most // 2)
        question = replace(question, conversation=conversation, max_tokens=most, stops=())
        with _as_usage_error():
            generation = self.talker.pose(question)
            yield from self.talker.follow(generation)
        whole = generation.finish in (FinishReason.STOP, FinishReason.LENGTH)
        if not whole or not generation.content.strip():
            raise OssctlError("there is no summary; nothing has changed", "/compact tries again.")
        self._add(Cut(generation.content.strip(), self.transcript.turns[count - 1].last_id, created=_now()))

    def report(self) -> ContextReport:
        """What the context is full of."""
        transcript = self.transcript
        turns, hidden = transcript.turns, transcript.hidden
        bare = Transcript(tuple(entry for entry in transcript.entries if isinstance(entry, Said)))
        sizes = [self._count(bare.messages(n)) for n in range(1, len(turns) + 1)]
        instructions = self._count((Message("user", ""),)) if turns else 0
        rows = [
            TurnSize(turn.number, title_of(turn.text), size - before, turn.number > hidden)
            for turn, size, before in zip(turns, sizes, [instructions, *sizes], strict=False)
        ]
        used = self._count(transcript.messages()) if turns else 0
        seen = sum(row.tokens for row in rows if row.seen)
        window = VisibleWindow(used, self.talker.n_ctx)
        return ContextReport(window, instructions, max(0, used - seen - instructions), tuple(rows))

    def _answer(self, allow: Allow, before: Transcript) -> Iterator[ChatEvent]:
        self._stopped = False
        for _ in range(MAX_ROUNDS):
            started = monotonic()
            try:
                with _as_usage_error():
                    question = self._question(self.transcript.messages())
                    self._head = self._conversation(())
                    generation = self.talker.pose(question, self._cache_key)
                    yield from self._follow(generation, question.sampling.seed, started)
            except OssctlError:
                if self.transcript.awaits_answer:
                    self._go_back_to(before)
                raise
            if not generation.tokens:  # stopped before the model began
                self._go_back_to(before)
                break
            calls = generation.calls
            if self._stopped or not calls or any(call.name not in self.tools.commands for call in calls):
                break
            for call in calls:
                outcome = self._run(call, allow)
                self._add(Said(Message("tool", outcome.result, tool=call.name), created=_now()))
                yield ToolRan(outcome)
            if self._stopped:
                break
        if self.latest is not None:
            yield self.latest

    def _follow(self, generation: "Generation", seed: int, started: float) -> Iterator[ChatEvent]:
        """One generation, kept while it is written."""
        first = 0.0
        parts: dict[type, list[str]] = {Answer: [], Preamble: [], Reasoning: []}
        writing: Writing | None = None
        try:
            for event in self.talker.follow(generation):
                if isinstance(event, Answer | Preamble | Reasoning):
                    first = first or monotonic() - started
                    parts[type(event)].append(event.text)
                    writing = writing or self._writing(seed)
                    writing.so_far([*parts[Preamble], *parts[Answer]], parts[Reasoning])
                yield event
        finally:
            self.latest = self._measured(generation, seed, first, monotonic() - started)
            if generation.tokens:
                writing = writing or self._writing(seed)
                self._finish(writing, generation)

    def _writing(self, seed: int) -> Writing:
        settings = self._settings
        details = {
            "model": self._model.name,
            "seed": seed,
            "effort": self.effort,
            "settings": {**settings.record(), "date": str(settings.date or self._today)},
        }
        return Writing(self.book, self.transcript, details)

    def _finish(self, writing: Writing, generation: "Generation") -> None:
        whole = generation.finish not in (None, FinishReason.CANCELLED)
        message = Message(
            "assistant",
            generation.content,
            generation.reasoning,
            tuple(generation.calls) if whole else (),
            token_ids=tuple(generation.tokens),
        )
        details = self.latest.record() if self.latest else {}
        self.transcript = self.transcript.with_entry(writing.finish(message, details, stopped=not whole))
        self.answers += 1

    def _measured(self, generation: "Generation", seed: int, first: float, seconds: float) -> Answered:
        prompt, n_ctx = len(generation.request.prompt), self.talker.n_ctx
        if generation.finish is None:
            generation.finish = FinishReason.CANCELLED
        self.cells = prompt + generation.completion_tokens
        cut = generation.finish is FinishReason.LENGTH
        return Answered(
            ending=answer_finish(generation),
            prompt=prompt,
            reused=generation.cached_tokens - generation.read_ahead,
            completion=generation.completion_tokens,
            reasoning=generation.reasoning_tokens,
            seed=seed,
            first_token_seconds=first,
            seconds=seconds,
            writing_seconds=generation.seconds - generation.first_token_seconds,
            recovered=tuple(generation.recovered),
            in_reasoning=not generation.content and not generation.calls and bool(generation.reasoning),
            context_full=cut and prompt + generation.completion_tokens >= n_ctx,
        )

    def _run(self, call: ToolCall, allow: Allow) -> ToolOutcome:
        if not allow(call):
            return ToolOutcome(call, "The user does not allow this call.", ok=False)
        return self.tools.commands[call.name].run(call, lambda: not self._stopped)

    def _question(self, messages: tuple[Message, ...]) -> GenerationSpec:
        return self._settings.question(self._conversation(messages), self.answers)

    def _conversation(self, messages: tuple[Message, ...]) -> Conversation:
        settings = self._settings
        system = (Message("system", settings.system),) if settings.system else ()
        return Conversation(
            (*system, *messages),
            self.tools.offered,
            effort=settings.effort,
            date=settings.date or self._today,
            max_reasoning_tokens=settings.max_reasoning_tokens,
        )

    def _count(self, messages: tuple[Message, ...]) -> int:
        if not messages:
            return 0
        with _as_usage_error():
            return len(self._rendered(messages))

    def _rendered(self, messages: tuple[Message, ...]) -> list[int]:
        return self.talker.model.dialect.render(self._conversation(messages))

    def _oldest_half(self) -> int:
        """How many turns, hidden ones among them, reach over half of what the model sees."""
        turns, hidden = self.transcript.turns, self.transcript.hidden
        if len(turns) <= hidden:
            raise UsageError("there is nothing to summarise yet")
        half = self._count(self.transcript.messages()) / 2
        latest = max(hidden + 1, len(turns) - 1)  # the last turn stays, unless it is the only one
        for count in range(hidden + 1, latest):
            if self._count(self.transcript.messages(count)) >= half:
                return count
        return latest

    @property
    def _cache_key(self) -> str:
        return self.book.session or "unsaved"

    def _take_up(self, remembered: Remembered) -> Remembered:
        self.transcript, self.answers = remembered.transcript, remembered.answers
        self.settings = remembered.settings
        self.latest = self._head = None
        return remembered

    def _add(self, entry: Said | Cut) -> None:
        self.transcript = self.transcript.with_entry(self.book.add(self.transcript, entry))

    def _go_back_to(self, transcript: Transcript) -> None:
        """To that transcript; what has left the context does not come back by it."""
        cut, kept = self.transcript.cut, transcript.cut
        self.transcript = transcript
        self.book.go_back_to(transcript)
        if cut is None or (kept is not None and kept.covers >= cut.covers):
            return
        if cut.covers in (turn.last_id for turn in transcript.turns):
            self._add(cut)


@contextmanager
def _as_usage_error() -> Iterator[None]:
    """A question that can't be asked is the user's to change."""
    try:
        yield
    except RequestError as error:
        raise UsageError(error.message) from None


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
