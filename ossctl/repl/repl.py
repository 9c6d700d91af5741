"""Runs the lines that the user enters: messages and slash commands."""

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from ossctl.app.chat.attachments import mentioned_files, missing_files, read_attachment, with_attachments
from ossctl.app.chat.events import ChatEvent
from ossctl.app.inference.finish import AnswerFinish
from ossctl.app.inference.request import check_takes_tools, check_template_variables, supported_reasoning
from ossctl.app.user_text import Attached
from ossctl.errors import OssctlError, OutputLost, UsageError
from ossctl.repl.answer_display import AnswerDisplay
from ossctl.repl.context_space import ContextSpace
from ossctl.repl.draft_prefill import DraftPrefill
from ossctl.repl.guard import Guard
from ossctl.repl.meter import Meter
from ossctl.repl.registry import Command, Registry, looks_like_command
from ossctl.repl.setup import Leave, Setup
from ossctl.repl.surface import Surface
from ossctl.repl.terminal import PressedTwice, Signals
from ossctl.repl.tool_permission import ToolPermission
from ossctl.repl.wording import complaints, statistics, tokens
from ossctl.text import duration

if TYPE_CHECKING:
    from collections.abc import Generator

    from ossctl.app.chat.model_session import ModelSession

_WAIT_SECONDS = 0.1
_SILENT_SECONDS = 1.0  # of loading; after that a line explains the wait


class Repl:
    """The chat, its model and what the user is writing. Slash commands act on it."""

    def __init__(self, setup: Setup, surface: Surface, registry: "Registry[Repl]", signals: Signals) -> None:
        self.chat = setup.chat
        self.model = setup.model
        self.describe_plan = setup.describe_plan
        self.surface = surface
        self.registry = registry
        self.composer = setup.composer
        self.meter = Meter()
        self.first_error: OssctlError | None = None
        self.problem = ""  # the error that the last line ended with
        self._arguments: list[str] = []  # of the last command
        self._obeys = setup.obeys
        self._guard = Guard()
        self._signals = signals
        self._display = AnswerDisplay(setup.chat, surface, signals)
        self._space = ContextSpace(setup.chat, surface, self._display, self.meter)
        self.new_python = setup.new_python
        self._needs_tools = setup.needs_tools
        self._may_run = ToolPermission(surface, allow_all=setup.may_run_all)
        self._prefill = DraftPrefill(setup.chat)
        self._introduced: ModelSession | None = None  # the model whose remarks were shown
        self._warned_unsaved = self._noted_tools = False

    def say(self, *lines: str) -> None:
        """Show lines to the user, apart from the answers."""
        self.surface.say(*lines)

    def handle(self, text: str, *, pasted: bool = False) -> None:
        """Run a line and report its errors. Raises Leave, Interrupted, OutputLost.

        A line that was `pasted` is a message.
        """
        self.problem = ""
        self._arguments = text.split()[1:] if looks_like_command(text) else []
        try:
            self._run(text, pasted=pasted)
        except KeyboardInterrupt as interrupt:
            if not self.surface.interactive:
                raise
            if isinstance(interrupt, PressedTwice):
                raise Leave from None
            self.say("Stopped.")
        except (Leave, OutputLost):
            raise
        except Exception as error:
            if not isinstance(error, UsageError):
                self._signals.check()
            if not isinstance(error, OssctlError) and not self.surface.interactive:
                raise
            self.report_any(error)
        finally:
            self._signals.check()
        self.warn_unsaved()

    def _run(self, text: str, *, pasted: bool) -> None:
        command = self._command(text) if self._obeys and not pasted else None
        if command is not None:
            self.composer.cancel_edit()
            command[0].run(self, command[1])
        elif text.strip():
            self.send(text)

    def _command(self, text: str) -> "tuple[Command[Repl], str] | None":
        """The command in `text`. If it is mistyped, the text stays in the composer."""
        try:
            return self.registry.parse(text)
        except UsageError:
            self.composer.draft = text
            raise

    def report(self, error: OssctlError) -> None:
        """Show an error and its hint."""
        self.first_error = self.first_error or error
        first, blank, rest = error.message.partition(" ")
        is_word = first.isalpha() and first not in self._arguments
        sentence = f"{first[:1].upper() if is_word else first[:1]}{first[1:]}{blank}{rest}"
        self.problem = sentence if sentence.endswith((".", "?", "!", "…")) else f"{sentence}."
        self.say(self.problem)
        if error.hint:
            self.say(error.hint)

    def report_any(self, error: Exception) -> None:
        """Show an error, also an unexpected one."""
        if isinstance(error, OssctlError):
            self.report(error)
            return
        self._guard.note(error)
        self.report(OssctlError(self._guard.problem, "This is a bug; please report it."))

    def warn_unsaved(self) -> None:
        """Tell the user, once, if the chat is not saved, or now saved as a copy."""
        if left := self.chat.log.take_left():
            copy = self.chat.log.session
            self.say(f"Another chat has continued session {left}; this one continues as a copy, {copy}.")
        if self.chat.log.problem and not self._warned_unsaved:
            self.say(f"This chat is not saved: {self.chat.log.problem}")
            self._warned_unsaved = True

    def ready(self) -> None:
        """Wait until the chat has its model and its tools. Raises what loading raises."""
        self.load()
        self._wait(self.chat.tools.wait, "Starting tools.", "tools are still starting")
        if not self._noted_tools:
            self.say(*self.chat.tools.notes())
            self._noted_tools = True

    def load(self) -> None:
        """Wait until the chat has its model. Raises what loading raises."""
        if not self._ensure_load() and self.model.error is not None and self._introduced is not None:
            self.model.start_load()  # it worked before, and may again
        if not self.model.settled:
            self._wait(self.model.wait, f"Loading {self.model.name}.", "the model is still loading")
        session = self.model.session()
        self._use(session)
        if self._introduced is not session:
            settings = self.chat.settings
            supported = supported_reasoning(settings, session.model, settings.optional)
            check_template_variables(settings.template_variables, session.model)
            if supported != settings:
                self.chat.settings = supported
            self._check_tools()
            self.say(*self.model.remarks())
            self._introduced = session

    def _check_tools(self) -> None:
        """Tell the user if the model takes no functions. Raises UsageError at the start of a script."""
        if self.chat.takes_tools or self.chat.tools.is_empty:
            return
        name = self.chat.model.name
        if self._needs_tools and self._introduced is None and not self.surface.interactive:
            check_takes_tools(name, self.chat.model_session.dialect)
        self.say(f"{name} takes no functions, and answers without them: its chat template has none.")

    def update_model(self) -> None:
        """Start to load the model if there is none, and use it once it is loaded. Never waits for it."""
        if self._ensure_load() or not self.model.settled or self.model.error is not None:
            return
        if not self.chat.is_ready:
            self._use(self.model.session())
            self.begin_message()

    def begin_message(self, draft: str = "") -> None:
        """Prefill the prompt before the message that the user is about to write."""
        if self.composer.editing is None:
            self._prefill.begin(draft)

    def follow_message(self, text: str) -> None:
        """Prefill the message that the user is writing, `text` so far."""
        if self.composer.editing is None and not looks_like_command(text):
            self._prefill.follow(text)

    def send(self, text: str) -> None:
        """Send a message with its attachments and show the answer.

        Unless the model begins to answer, the message stays in the composer and the transcript as it was.
        """
        self.composer.draft = text
        self.ready()
        message = self._with_files(text)
        before, edited = self.chat.transcript, self.composer.editing
        if edited is not None:
            self.chat.history.move_to(before.before(edited))
        n_turns = len(self.chat.transcript.turns)
        try:
            if self._space.ensure(message):
                self._answer(self.chat.send(message, self._may_run))
        finally:
            if len(self.chat.transcript.turns) > n_turns:
                self.composer.sent()
            elif edited is not None:
                self.chat.history.move_to(before)

    def retry(self) -> None:
        """Answer the last message again."""
        self.ready()
        self._answer(self.chat.retry(self._may_run))

    def compact(self) -> None:
        """Have the model summarise the oldest turns."""
        self.ready()
        self._space.compact()

    def _answer(self, events: "Generator[ChatEvent]") -> None:
        answered = self._display.show(events)
        if answered is None:
            return
        if not answered.completion and answered.ending is AnswerFinish.CANCELLED:
            self.say("Stopped before the answer began.")
            return
        self.meter.measure(self.chat)
        self.meter.count(answered)
        self.surface.view.note(statistics(answered, self.meter.usage))
        self.say(*complaints(answered))

    def _with_files(self, text: str) -> str:
        """The message with all attached and mentioned files."""
        if not self._obeys:
            return text
        n_ctx = self.chat.model_session.n_ctx
        mentioned = [read_attachment(path, n_ctx) for path in mentioned_files(text)]
        for name in missing_files(text):
            self.say(f"No file {name}; '@{name}' is sent as text.")
        for file in mentioned:
            self.say(f"{file.name}: {tokens(self.size_of(file))}")
        return with_attachments(text, [*self.composer.attachments, *mentioned])

    def size_of(self, file: Attached) -> int:
        """Number of tokens that an attachment adds to a message."""
        return self.chat.context.size_of(with_attachments("", [file]))

    def _ensure_load(self) -> bool:
        """Start to load the model unless it is there; return whether that was needed."""
        if not self.model.needs_load:
            return False
        self.chat.use(None, self.chat.model)
        self.meter.measure(self.chat)
        self.model.start_load()
        return True

    def _use(self, session: "ModelSession") -> None:
        if not self.chat.is_ready or self.chat.model_session is not session:
            self.chat.use(session, self.model.described())
            self.meter.measure(self.chat)

    def _wait(self, wait: Callable[[float], bool], what: str, reason: str) -> None:
        """Call `wait` until it is true. Raises UsageError at Ctrl-C, with the `reason`."""
        began = monotonic()
        shown = False
        try:
            while not wait(_WAIT_SECONDS):
                self._signals.check()
                if not shown and monotonic() - began > _SILENT_SECONDS and self.surface.interactive:
                    self.say(f"{what} Your message will be answered when it is ready.")
                    shown = True
        except KeyboardInterrupt:
            raise UsageError(f"not sent: {reason}") from None
        if shown:
            self.say(f"Ready after {duration(monotonic() - began)}.")
