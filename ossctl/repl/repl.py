"""The chat at work: a line of the user's becomes an answer or a command, until one of them ends it."""

import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from ossctl.app.chat.attachments import mentioned, not_mentioned, read_attachment, with_attachments
from ossctl.app.chat.context import VisibleWindow
from ossctl.app.chat.events import Answered, ChatEvent
from ossctl.app.chat.transcript import Turn
from ossctl.app.inference.finish import AnswerFinish
from ossctl.app.inference.request import refuse_unsupported
from ossctl.app.user_text import Attached
from ossctl.dialect import ToolCall
from ossctl.errors import OssctlError, UsageError
from ossctl.repl.reading import Reading
from ossctl.repl.registry import Registry
from ossctl.repl.setup import Leave, Setup, Surface, Totals
from ossctl.repl.terminal import Signals, ask
from ossctl.repl.view import PlainView, View, short
from ossctl.repl.wording import complaints, percent, statistics, tokens
from ossctl.text import duration, harmless

if TYPE_CHECKING:
    from ossctl.app.chat.model_session import Talker

_WAIT_SECONDS = 0.1
_LEAST_TOLD = 128  # tokens that the model has yet to read, while the user writes
_LARGEST_COUNTED = 500_000  # characters of a file whose tokens are told beforehand, in about a second


class Repl:
    """What commands and messages act on."""

    def __init__(self, setup: Setup, surface: Surface, registry: "Registry[Repl]", signals: Signals) -> None:
        self.chat = setup.chat
        self.models = setup.models
        self.describe_plan = setup.describe_plan
        self._make_view = surface.make_view
        self.interactive = surface.interactive
        self.registry = registry
        self.signals = signals
        self.failure: OssctlError | None = None  # the first one
        self.draft = ""  # what stands at the next prompt
        self.editing: Turn | None = None  # the turn that the next message stands for
        self.attached: list[Attached] = []  # what goes with the next message
        self.totals = Totals()
        self.used: VisibleWindow | None = None  # the context, as far as it is known
        self.rate = 0.0  # tokens a second of the latest answer
        self._tell = surface.tell
        self._may_run = setup.may_run_all
        self._said_unsaved = False
        self._remarked: object = None
        self._reading = Reading(setup.chat)

    @cached_property
    def view(self) -> View:
        """Made with the first answer: what it needs is slow to import."""
        return self._make_view()

    def say(self, *lines: str) -> None:
        """Lines for the user, beside the answers."""
        for line in lines:
            self._tell(harmless(line))

    def handle(self, text: str) -> None:
        """A line of the user's. Raises Leave, Interrupted; other errors are said."""
        try:
            if text.startswith("/"):
                self.editing = None
                command, argument = self.registry.parse(text)
                command.run(self, argument)
            elif text.strip():
                self.send(text)
        except KeyboardInterrupt:
            if self.interactive:
                raise Leave from None
            raise
        except UsageError as error:
            self.report(error)
        except OssctlError as error:
            self.signals.check()
            self.report(error)
        finally:
            self.signals.check()
        if self.chat.book.problem and not self._said_unsaved:
            self.say(f"This chat is not saved: {self.chat.book.problem}")
            self._said_unsaved = True

    def report(self, error: OssctlError) -> None:
        """An error, and what to do next."""
        self.failure = self.failure or error
        first, blank, rest = error.message.partition(" ")
        sentence = f"{first[:1].upper() if first.isalpha() else first[:1]}{first[1:]}{blank}{rest}"
        self.say(sentence if sentence.endswith((".", "?", "!", "…")) else f"{sentence}.")
        if error.hint:
            self.say(error.hint)

    def ready(self) -> None:
        """Wait for the model. Raises what loading it raises."""
        if not self.models.settled:
            try:
                self._wait()
            except KeyboardInterrupt:
                raise UsageError("not sent: the model is still loading") from None
        talker = self._adopt()
        if self._remarked is talker:
            return
        settings = self.chat.settings
        refuse_unsupported(settings.effort, settings.max_reasoning_tokens, talker.model)
        _, warning = self.models.described()
        self.say(*filter(None, [warning, *talker.model.remarks]))
        self._remarked = talker

    def send(self, text: str) -> None:
        """Send a message with what is attached to it, and show the answer."""
        self.draft = text
        self.ready()
        n_ctx = self.chat.talker.n_ctx
        files = [*self.attached, *(read_attachment(path, n_ctx) for path in mentioned(text))]
        message = with_attachments(text, files)
        for name in not_mentioned(text):
            self.say(f"@{name} is no file here: it stays text.")
        for file in files[len(self.attached) :]:
            self.say(f"{file.name}: {tokens(self.size_of(file))}")
        editing, before = self.editing, self.chat.transcript
        if self._goes_back_for(message):
            self.draft, self.editing = "", None
            self.attached.clear()
            self.answer(self.chat.send(message, self._allow), text)
            if editing is not None and self.draft:  # stopped before the answer began
                self.chat.go_on_from(before)
                self.editing = editing

    def _goes_back_for(self, message: str) -> bool:
        """Whether to send, from where the turn was that is edited; if not, nothing has changed."""
        before, sends = self.chat.transcript, False
        if self.editing is not None:
            self.chat.go_back_before(self.editing)
        try:
            sends = self._has_room(message)
        finally:
            if self.editing is not None and not sends:
                self.chat.go_on_from(before)
        return sends

    def size_of(self, file: Attached) -> int:
        """Tokens that an attachment adds to a message."""
        empty = self.chat.alone("").used
        return self.chat.alone(with_attachments("", [file])).used - empty

    def described(self, path: Path) -> tuple[bool, str]:
        """(is a warning, text) of what a file would add to a message; the model is loaded."""
        try:
            file = read_attachment(path, self.chat.talker.n_ctx)
            if len(file.text) > _LARGEST_COUNTED:
                return False, f"@{path.name}: {len(file.text) / 1e6:,.1f} MB"
            count = self.size_of(file)
        except OssctlError as error:
            return True, error.message.partition(";")[0]
        free = self.chat.talker.n_ctx - (self.used.used if self.used else 0)
        if count > free:
            return True, f"@{path.name}: {tokens(count)}, {free:,} are free"
        return False, f"@{path.name}: {tokens(count)}"

    def look_ahead(self, draft: str = "") -> None:
        """The user is about to write, and `draft` stands there already."""
        if self.editing is None:
            self._reading.begin(draft)

    def read_along(self, text: str) -> None:
        """The user writes, and `text` is what stands before the cursor."""
        if self.editing is None and not text.startswith("/"):
            self._reading.follow(text)

    def retry(self) -> None:
        """Ask for the last answer again."""
        self.ready()
        self.answer(self.chat.retry(self._allow))

    def answer(self, events: Iterable[ChatEvent], text: str = "") -> None:
        """Show an answer; `text` comes back to the prompt if it was stopped before it began."""
        answered = self.show(events)
        if answered is None:
            return
        if not answered.completion and answered.ending is AnswerFinish.CANCELLED:
            self.say("Stopped before the answer began.")
            self.draft = text
            return
        self._count(answered)
        self.view.note(statistics(answered, self.used))
        self.say(*complaints(answered))

    def show(self, events: Iterable[ChatEvent], view: View | None = None) -> Answered | None:
        """Show what comes; what it was, if it is an answer."""
        answered = None
        view = view or self.view
        with self.signals.interrupts(self.chat.stop if self.interactive else self.signals.interrupt):
            view.begin()
            try:
                for event in events:
                    view.take(event)
                    self.signals.check()
                    if isinstance(event, Answered):
                        answered = event
            finally:
                view.end()
        return answered

    def choose(self, question: str, choices: Sequence[str], default: str) -> str:
        """One of `choices`, by its first letter; `default` where nobody can be asked."""
        if not self.interactive:
            return default
        letters = "/".join(f"[{choice[0]}]{choice[1:]}" for choice in choices)
        self.say(question)
        while True:
            try:
                given = ask(f"{letters}: ").lower()
            except KeyboardInterrupt:
                self.say("")
                return default
            for choice in choices:
                if given and choice.startswith(given):
                    return choice
            if not given:
                return default

    def toolbar(self) -> list[tuple[bool, str]]:
        """(is a warning, text) of what the user should see while typing."""
        parts: list[tuple[bool, str]] = []
        if not self.models.settled:
            return [(False, f"loading {self.models.name} …")]
        if self.models.error is None:
            known = self.chat.is_ready
            self._adopt()
            if not known:
                self.look_ahead()
        parts.append((False, self.chat.model.name or self.models.name))
        if self.chat.effort is not None:
            parts.append((False, f"effort {self.chat.effort}"))
        if self.rate:
            parts.append((False, f"{self.rate:,.1f} tokens/s"))
        done, total = (self.chat.talker.ahead if self.chat.is_ready else None) or (0, 0)
        if total - done >= _LEAST_TOLD:
            parts.append((False, f"reading {done / total:.0%}".replace("%", " %")))
        if self.used is not None and self.used.used:
            nearly = self.used.nearly_full
            parts.append((nearly, f"context {percent(self.used)}{', /compact makes room' if nearly else ''}"))
        if self.attached:
            parts.append((False, f"with {', '.join(Path(file.name).name for file in self.attached)}"))
        if self.chat.book.problem:
            parts.append((True, "not saved"))
        return parts

    def _adopt(self) -> "Talker":
        """The model that is loaded, which answers from here on. Raises what loading it raised."""
        talker = self.models.talker()
        if not self.chat.is_ready or self.chat.talker is not talker:
            self.chat.use(talker, self.models.described()[0])
            self.measure()
        return talker

    def measure(self) -> None:
        """How full the context is now, if there is a model to tell."""
        self.used = self.chat.window() if self.models.settled and self.chat.is_ready else None

    def _wait(self) -> None:
        began = monotonic()
        shown = False
        while not self.models.wait(_WAIT_SECONDS):
            self.signals.check()
            if not shown and monotonic() - began > 1 and self.interactive:
                self.say(f"Loading {self.models.name}; your message is answered when it is there.")
                shown = True
        if shown:
            self.say(f"Loaded after {duration(monotonic() - began)}.")

    def _has_room(self, message: str) -> bool:
        """Whether to send; makes room with the user's leave. Raises UsageError for what never fits."""
        alone = self.chat.alone(message)
        if not alone.fits:
            raise UsageError(
                f"the message has {tokens(alone.used)}, the context {alone.size:,}",
                "Shorten it, or start with a larger --ctx.",
            )
        while not (window := self.chat.window(message)).leaves_room:
            transcript = self.chat.transcript
            if len(transcript.turns) == transcript.hidden:
                return True
            options = ["compact", "drop", *(["send"] if window.fits else []), "not now"]
            chosen = self.choose(
                f"The context is nearly full: {percent(window)} with this message. "
                "Summarise the oldest turns (compact), or leave them out (drop)?",
                options,
                "not now" if self.interactive else "drop",
            )
            if chosen == "send":
                return True
            if chosen == "not now":
                self.say("Not sent. /compact, /undo and /clear make room.")
                return False
            self.make_room(chosen, message)
        return True

    def make_room(self, how: str, message: str = "") -> None:
        """`compact`: summarise the oldest turns; `drop`: leave them out."""
        if how == "compact":
            aside = None if self.interactive else PlainView(sys.stderr, sys.stderr)  # it is no answer
            self.show(self.chat.compact(), aside)
            self.say("The model sees this summary from now on; the turns themselves stay in the session.")
        else:
            count = self.chat.drop_oldest(message)
            turns = "turn" if count == 1 else f"{count} turns"
            self.say(f"The model does not see the oldest {turns} any more. /context shows which.")
        self.measure()

    def _allow(self, call: ToolCall) -> bool:
        if self._may_run:
            return True
        if not self.interactive:
            return False
        self.view.pause()
        chosen = self.choose(
            f"Run {call.name}({short(harmless(call.arguments))})?", ("yes", "no", "always"), "no"
        )
        self._may_run = chosen == "always"
        return chosen != "no"

    def _count(self, answered: Answered) -> None:
        self.measure()
        self.rate = answered.rate
        totals = self.totals
        totals.answers += 1
        totals.computed += answered.computed
        totals.reused += answered.reused
        totals.completion += answered.completion
        totals.seconds += answered.seconds


def tell_on_stderr(line: str) -> None:
    """A line that is no answer, where only answers are wanted on stdout."""
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
