"""The functions of several sources together, and the calls of one conversation to them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from threading import Event, Lock, Thread
from time import monotonic

from ossctl.app.tools.arguments import json_arguments
from ossctl.app.tools.source import (
    KeepGoing,
    PartlyStarted,
    ToolOutcome,
    ToolSession,
    ToolSource,
    denied,
    failed,
    stopped,
)
from ossctl.dialect import Tool, ToolCall
from ossctl.errors import OssctlError, UsageError

MAX_ROUNDS = 32  # of tool calls per message, unless the user sets another limit
_MAX_AT_ONCE = 8  # calls of one answer
_TICK_SECONDS = 0.1  # between reports that a call still runs
_MAX_NAMED = 20  # functions, in the result of a call to an unknown one

# Whether a call may run; gets the question for the user.
Allow = Callable[[ToolCall, str], bool]


def rounds_exhausted(n_rounds: int) -> str:
    """What the user is told when the model had to answer without more calls."""
    how_often = "once" if n_rounds == 1 else f"{n_rounds} times in a row"
    return f"The model called functions {how_often}, and had to answer without more."


class Toolbox:
    """Functions that the model may call, for any number of conversations.

    Those of `sources` run here. Calls of `declared` ones are the user's to answer: they end the answer. After
    `max_rounds` rounds of tool calls, the model has to answer without more. Where the user can't be asked,
    `unasked` is whether calls that need consent run.
    """

    def __init__(
        self,
        sources: Sequence[ToolSource] = (),
        declared: Sequence[Tool] = (),
        max_rounds: int = MAX_ROUNDS,
        *,
        unasked: bool = True,
    ) -> None:
        self.max_rounds = max_rounds
        self.unasked = unasked
        self._sources = list(sources)
        self._declared = tuple(declared)
        self._tools: dict[ToolSource, tuple[Tool, ...]] = {}  # of the sources that have said which they have
        self._failures: dict[ToolSource, str] = {}
        self._lenient = False
        self._lock = Lock()
        self._started = Event()  # whether all sources have been asked, if that is done on another thread
        self._started.set()

    @property
    def runs_tools(self) -> bool:
        """Whether calls can be run here, all or some."""
        return bool(self._sources)

    @property
    def is_empty(self) -> bool:
        """Whether there are no functions, and none are expected from a source."""
        return not self._sources and not self._declared

    @property
    def sources(self) -> Sequence[ToolSource]:
        """Where the functions that run here come from."""
        return tuple(self._sources)

    @property
    def offered(self) -> tuple[Tool, ...]:
        """All functions. Starts the servers that have to say which they have. Raises OssctlError."""
        return (*self._declared, *(tool for tools in self._asked().values() for tool in tools))

    @property
    def by_name(self) -> Mapping[str, ToolSource]:
        """The source of each function that runs here."""
        return {tool.name: source for source, tools in self._asked().items() for tool in tools}

    def start(self) -> None:
        """Start what has to be started, on another thread; until then its functions are not offered.

        What fails is left out from now on, and `notes` say why.
        """
        if not self._sources:
            return

        def ask() -> None:
            try:
                self._ask_all()
            finally:
                self._started.set()

        self._lenient = True
        self._started.clear()
        Thread(target=ask, name="start tools", daemon=True).start()

    def wait(self, seconds: float = 0.0) -> bool:
        """Wait for at most `seconds`; return whether everything has started, or failed to."""
        return self._started.wait(seconds)

    def add(self, source: ToolSource) -> None:
        """Offer more functions. Raises OssctlError if they cannot be."""
        self._sources.append(source)
        try:
            self._ask(source)
        except BaseException:  # Ctrl-C as well
            self._sources.remove(source)
            raise

    def remove(self, source: ToolSource) -> None:
        """Offer the functions of a source no longer, and end what it has started."""
        with self._lock:
            self._sources.remove(source)
            self._tools.pop(source, None)
        source.close()

    def describe(self, name: str, /) -> str:
        """What runs a function, or that its calls are the user's to answer."""
        source = self.by_name.get(name)
        return source.describe(name) if source else "no program"

    def notes(self) -> Sequence[str]:
        """What the user should know about the functions. Raises as `offered` does."""
        found = [note for source in self._asked() for note in source.notes()]
        return [*found, *self._failures.values()]

    def open(self) -> "ToolRunner":
        """Begin a conversation. Close it when it ends."""
        return ToolRunner(self)

    def close(self) -> None:
        """End all that the sources have started, whatever happens to one of them."""
        with ExitStack() as stack:
            for source in self._sources:
                stack.callback(source.close)

    def _asked(self) -> Mapping[ToolSource, tuple[Tool, ...]]:
        if self._started.is_set():
            self._ask_all()
        with self._lock:
            return dict(self._tools)

    def _ask_all(self) -> None:
        for source in self.sources:
            if source in self._tools or source in self._failures:
                continue
            try:
                self._ask(source)
            except OssctlError as error:
                if not self._lenient:
                    raise
                if isinstance(error, PartlyStarted):
                    self._offer(source, error.tools)
                self._failures[source] = f"Not offered to the model: {error.message}. {error.hint}".strip()

    def _ask(self, source: ToolSource) -> None:
        """Note which functions a source has. It may take long to start: others do not wait for it."""
        self._offer(source, source.tools())

    def _offer(self, source: ToolSource, tools: Sequence[Tool]) -> None:
        with self._lock:
            if source in self._tools:  # asked on another thread meanwhile
                return
            taken = {tool.name for others in (self._declared, *self._tools.values()) for tool in others}
            for tool in tools:
                if tool.name in taken:
                    raise UsageError(f"there are two functions with the name {tool.name}")
                taken.add(tool.name)
            self._tools[source] = tuple(tools)


class ToolRunner:
    """Runs the calls of one conversation. Used from one thread at a time."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self._sessions: dict[ToolSource, ToolSession] = {}

    @property
    def max_rounds(self) -> int:
        """The limit of rounds of tool calls per message."""
        return self._toolbox.max_rounds

    def can_run(self, calls: Sequence[ToolCall], offered: Sequence[Tool]) -> bool:
        """Whether there are calls, and none is to a function among those `offered` that the user answers.

        A call to an unknown function gets an error as its result, so that the model can correct it.
        """
        if not calls or not self._toolbox.runs_tools:
            return False
        users = {tool.name for tool in offered}.difference(self._toolbox.by_name)
        return not any(call.name in users for call in calls)

    def run(
        self, calls: Sequence[ToolCall], allow: Allow, keep_going: KeepGoing
    ) -> Iterator[ToolOutcome | ToolCall]:
        """Run the calls that `allow` allows while `keep_going()` is true.

        Yields outcomes in the order of the calls, and now and then the call that runs. Calls of concurrent
        sources run at the same time, after the user has been asked about each.
        """
        with ThreadPoolExecutor(_MAX_AT_ONCE, "tool") as pool:
            for together, group in groupby(calls, self._is_concurrent):
                for batch in [list(group)] if together else ([call] for call in group):
                    refused = [self._refusal(call, allow, keep_going) for call in batch]
                    started = [
                        refusal or pool.submit(self._timed, call, keep_going)
                        for call, refusal in zip(batch, refused, strict=True)
                    ]
                    for call, outcome in zip(batch, started, strict=True):
                        yield from _awaited(call, outcome)

    def close(self) -> None:
        """End what the conversation has started. It may begin again."""
        with ExitStack() as stack:
            while self._sessions:
                stack.callback(self._sessions.popitem()[1].close)

    def forget(self, source: ToolSource) -> None:
        """End what the conversation has started with a source."""
        if source in self._sessions:
            self._sessions.pop(source).close()

    def _is_concurrent(self, call: ToolCall) -> bool:
        source = self._toolbox.by_name.get(call.name)
        return source is not None and source.concurrent

    def _refusal(self, call: ToolCall, allow: Allow, keep_going: KeepGoing) -> ToolOutcome | None:
        """The outcome of a call that does not run. The user is not asked about one that cannot."""
        if not keep_going():
            return stopped(call)
        if reason := self._fault(call):
            return failed(call, reason)
        try:
            question = self._session(call).question(call)
        except OSError as error:
            return _unavailable(call, error)
        if question is None or allow(call, question):
            return None
        return denied(call) if keep_going() else stopped(call)

    def _fault(self, call: ToolCall) -> str:
        if call.name not in self._toolbox.by_name:
            names = sorted(self._toolbox.by_name)
            more = ", …" if len(names) > _MAX_NAMED else ""
            return f"there is no function {call.name}; there are: {', '.join(names[:_MAX_NAMED])}{more}"
        if call.cut:
            return "the call was cut off before its end; make it shorter"
        try:
            json_arguments(call)
        except ValueError as error:
            return str(error)
        return ""

    def _timed(self, call: ToolCall, keep_going: KeepGoing) -> ToolOutcome:
        started = monotonic()
        try:
            outcome = self._session(call).run(call, keep_going)
        except OSError as error:  # such as a full disk: no reason to end a batch
            outcome = _unavailable(call, error)
        return replace(outcome, seconds=monotonic() - started)

    def _session(self, call: ToolCall) -> ToolSession:
        source = self._toolbox.by_name[call.name]
        if source not in self._sessions:
            self._sessions[source] = source.open()
        return self._sessions[source]


def _unavailable(call: ToolCall, error: OSError) -> ToolOutcome:
    return failed(call, f"{call.name} cannot run now: {error.strerror or error}")


def _awaited(call: ToolCall, outcome: ToolOutcome | Future[ToolOutcome]) -> Iterator[ToolOutcome | ToolCall]:
    """Yield the call until it ends, then its outcome."""
    while not isinstance(outcome, ToolOutcome):
        if wait([outcome], _TICK_SECONDS).done:  # a tool itself may raise TimeoutError
            outcome = outcome.result()
        else:
            yield call
    yield outcome
