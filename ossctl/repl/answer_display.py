"""Shows answers while they are generated, and stops them at Ctrl-C."""

from collections.abc import Generator
from contextlib import closing

from ossctl.app.chat.chat import Chat
from ossctl.app.chat.events import Answered, ChatEvent
from ossctl.repl.footnotes import Footnotes
from ossctl.repl.surface import Surface
from ossctl.repl.terminal import Signals
from ossctl.repl.view import View


class AnswerDisplay:
    """Runs a chat's answer to its end, whatever interrupts it."""

    def __init__(self, chat: Chat, surface: Surface, signals: Signals) -> None:
        self._chat = chat
        self._surface = surface
        self._signals = signals
        self._footnotes = Footnotes()

    def show(self, events: Generator[ChatEvent], view: View | None = None) -> Answered | None:
        """Show the events; return the measurements of an answer, if that is what they are.

        Closes `events` in any case. Raises Interrupted, KeyboardInterrupt at the second Ctrl-C.
        """
        answered = None
        view = view or self._surface.view
        stop = self._chat.stop if self._surface.interactive else self._signals.interrupt
        signals = self._signals
        with closing(events), signals.interrupts(stop), signals.suspends(view.pause):
            view.begin()
            self._footnotes.begin(self._chat.transcript.messages())
            try:
                for event in events:
                    with signals.undisturbed():
                        for shown in self._footnotes.rewritten(event):
                            view.take(shown)
                    self._signals.check()
                    if isinstance(event, Answered):
                        answered = event
            finally:
                with signals.undisturbed():
                    for shown in self._footnotes.end_text():
                        view.take(shown)
                    view.end()
        return answered
