"""A chat with a model: one conversation at a time, which can be continued, changed and left for another."""

from collections.abc import Generator
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import numpy as np

from ossctl.app.chat.answer_loop import AnswerLoop
from ossctl.app.chat.context_window import ContextAccounting, ContextReport, ContextUsage
from ossctl.app.chat.events import Answered, ChatEvent
from ossctl.app.chat.history import ChatHistory
from ossctl.app.chat.prompts import PromptBuilder, request_errors_as_usage_errors
from ossctl.app.local_date import local_date
from ossctl.app.sessions.chat_settings import ChatSettings
from ossctl.app.sessions.session_log import SavedSession, SessionLog, SessionModel
from ossctl.app.sessions.transcript import Transcript, Turn
from ossctl.app.tools.source import ToolSource
from ossctl.app.tools.toolbox import Allow, Toolbox
from ossctl.dialect import Conversation, Effort, Message
from ossctl.engine.request import FinishReason
from ossctl.errors import OssctlError, RequestError

if TYPE_CHECKING:  # loads llama.cpp's library, which the prompt does not wait for
    from ossctl.app.chat.model_session import ModelSession


class Chat:
    """All calls come from one thread, except for `stop` and `context`."""

    def __init__(self, log: SessionLog, settings: ChatSettings, model: SessionModel, tools: Toolbox) -> None:
        self.history = ChatHistory(log)
        self.tools = tools
        self._runner = tools.open()
        self.latest: Answered | None = None
        self._settings = settings
        self._model = model
        self._model_session: ModelSession | None = None
        self._answering: AnswerLoop | None = None
        self._cached_start: Conversation | None = None  # of the latest prompt, without its messages
        self._today = local_date()

    @property
    def log(self) -> SessionLog:
        return self.history.log

    @property
    def transcript(self) -> Transcript:
        return self.history.transcript

    @property
    def settings(self) -> ChatSettings:
        return self._settings

    @settings.setter
    def settings(self, settings: ChatSettings) -> None:
        """Raises RequestError for a value out of range."""
        settings.sampling(0)
        self._settings = settings
        self.log.note_settings(settings, self._model)

    @property
    def model(self) -> SessionModel:
        return self._model

    @property
    def model_session(self) -> "ModelSession":
        """The loaded model. Raises OssctlError if there is none."""
        if self._model_session is None:
            raise OssctlError("no model is loaded", "/model NAME loads one.")
        return self._model_session

    @property
    def is_ready(self) -> bool:
        """Whether a model is loaded."""
        return self._model_session is not None

    @property
    def effort(self) -> Effort | None:
        """The effort of the next answer. None if no model is loaded or none is known."""
        if self._model_session is None or "effort" not in self._model_session.dialect.reasoning_settings:
            return None
        return self._settings.effort or self._model_session.dialect.default_effort

    @property
    def prompts(self) -> PromptBuilder:
        """Builds prompts with the current settings."""
        return PromptBuilder(self._settings, self.tools.offered if self.takes_tools else (), self._today)

    @property
    def takes_tools(self) -> bool:
        """Whether the model, if it is known, takes functions; those of `tools` are only offered then."""
        return self._model_session is None or self._model_session.dialect.takes_tools

    @property
    def context(self) -> ContextAccounting:
        """Counts prompt tokens with the current settings and model, on any thread."""
        model = self.model_session
        return ContextAccounting(self.prompts, model.dialect, model.n_ctx)

    def use(self, model_session: "ModelSession | None", model: SessionModel) -> None:
        """Answer with this model from now on. None unloads the current one."""
        self._model_session, self._model, self._cached_start = model_session, model, None
        if model_session is not None:
            self.log.note_settings(self._settings, model)

    def resume(self, reference: str) -> SavedSession:
        """Continue a saved session with its settings. Raises UsageError."""
        saved = self._load(self.log.open(reference))
        self._runner.close()
        return saved

    def fork(self) -> SavedSession:
        """Continue with a copy of the session. Raises UsageError."""
        return self._load(self.log.fork())

    def clear(self) -> None:
        """Start a new session."""
        self.history.start_new()
        self._runner.close()
        self.latest = None

    def offer(self, source: ToolSource) -> None:
        """Offer the model more functions from now on. Raises OssctlError if they cannot be."""
        self.tools.add(source)

    def withdraw(self, source: ToolSource) -> None:
        """Offer the functions of a source no longer."""
        self._runner.forget(source)
        self.tools.remove(source)

    def close(self) -> None:
        """End all that tools have started."""
        self._runner.close()
        self.tools.close()

    def send(self, text: str, allow: Allow) -> Generator[ChatEvent]:
        """Send a message and yield the events of the answer. `allow` is asked before each tool runs.

        If it is stopped before the model begins to answer, the message is taken back. Raises UsageError if
        the model cannot take the message.
        """
        loop = self._answer_loop()
        self.history.add_message(Message("user", text))
        yield from self._answer(loop, allow)

    def retry(self, allow: Allow) -> Generator[ChatEvent]:
        """Replace the last answer by one with the next seed. Raises UsageError if there is none."""
        loop, turn = self._answer_loop(), self.history.last_turn
        self.history.move_to(Transcript(self.transcript.entries[: turn.start + 1]))
        yield from self._answer(loop, allow)

    def stop(self) -> None:
        """Stop the answer at its next token. May be called from any thread and from signal handlers."""
        if self._answering is not None:
            self._answering.stop()
        if self._model_session is not None:
            self._model_session.stop()

    def undo(self) -> Turn:
        """Take back the last turn. Raises UsageError if there is none."""
        turn = self.history.last_turn
        self.history.move_to(self.transcript.before(turn))
        return turn

    def usage(self, text: str = "") -> ContextUsage:
        """How much of the context is used, with `text` as the next message. Raises UsageError."""
        return self.context.usage(self.transcript, text)

    def report(self) -> ContextReport:
        """What fills the context. Raises UsageError."""
        return self.context.report(self.transcript)

    def drop_oldest(self, text: str = "") -> int:
        """Hide turns from the model until `text` and an answer fit; return how many. Raises UsageError."""
        before = self.transcript.hidden
        cut = self.context.cut_for(self.transcript, text)
        self.history.add_cut("", cut.covers)
        return self.transcript.hidden - before

    def compact(self) -> Generator[ChatEvent]:
        """Have the model summarise the older half of what it sees, and show it the summary instead.

        Raises UsageError if there is nothing to summarise, OssctlError if the model writes no summary.
        """
        model = self.model_session
        count = self.context.turns_to_summarise(self.transcript)
        messages = self.transcript.messages(count)
        with request_errors_as_usage_errors():
            spec = self.prompts.summary(
                messages,
                self.history.n_answers,
                model.n_ctx,
                reasons="max_reasoning_tokens" in model.dialect.reasoning_settings,
            )
            generation = model.prepare(spec)
            with closing(model.stream(generation)) as events:
                yield from events
        complete = generation.finish in (FinishReason.STOP, FinishReason.LENGTH)
        summary = generation.content.strip()
        if not complete or not summary:
            stopped = generation.finish in (None, FinishReason.CANCELLED)
            what = "the summary was stopped" if stopped else "the model wrote no summary"
            raise OssctlError(f"{what}; nothing has changed", "/compact tries again.")
        self.history.add_cut(summary, self.transcript.turns[count - 1].last_id)

    def prefill_ahead(self, draft: str = "") -> str:
        """Start to prefill the next prompt up to `draft`, the start of its message; return the part included.

        If instructions or effort have changed since the last answer, nothing of the cache can be used, but
        they may be changed back. So without a draft nothing happens then, and the first call with one
        prefills the prompt before it.
        """
        model = self._model_session
        start = self.prompts.conversation()
        changed = bool(self.transcript.turns) and self._cached_start not in (None, start)
        if (changed and not draft) or model is None or model.failed or not self.tools.wait():
            return ""
        draft = "" if changed else draft
        with suppress(RequestError):
            prefix = model.dialect.render_prefix(*self.prompts.draft(self.transcript, draft))
            if 0 < len(prefix) <= model.n_ctx:
                prompt = np.array(prefix, np.int32)
                model.prefill_ahead(prompt, self.history.cache_key, checkpoint=not draft)
                self._cached_start = start
        return draft

    def _answer(self, loop: AnswerLoop, allow: Allow) -> Generator[ChatEvent]:
        self._answering, self._cached_start = loop, self.prompts.conversation()
        try:
            with closing(loop.run(allow)) as events:
                yield from events
        finally:
            self._answering = None
            self.latest = loop.latest or self.latest

    def _answer_loop(self) -> AnswerLoop:
        """For an answer that leaves no trace in the transcript as it is now, if the model does not begin."""
        settings = {**self._settings.record(), "date": str(self.prompts.date)}
        details = {"model": self._model.name, "effort": self.effort, "settings": settings}
        return AnswerLoop(self.history, self.model_session, self.prompts, self._runner, details)

    def _load(self, saved: SavedSession) -> SavedSession:
        self.history.load(saved)
        if self._model_session is None:
            self._model = saved.model  # the session's until another one is loaded
        saved.settings.sampling(0)  # which checks them
        self._settings = saved.settings
        self.log.note_settings(self._settings, self._model, now=False)
        self.latest = self._cached_start = None
        return saved
