"""A site: an engine in another process, which may die. The driver of a batch gives it lines and gets records.

The driver has the input, its order, the output and `--resume`. A site has a model and answers lines in any
order; `worker.SiteWorker` does that in whatever process it is in. Between the two are the messages below,
over a pipe, ssh or anything else. Only the driver's job is pickled: what comes from a site is data.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from ossctl import __version__
from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.run import BatchModel
from ossctl.app.sites.last_words import cause_of
from ossctl.app.tools.options import ToolOptions
from ossctl.build import VERSION
from ossctl.dialect import Effort, Think
from ossctl.errors import ExitCode
from ossctl.planning.workload import Workload

BEAT_SECONDS = 3.0  # between heartbeats
FROZEN_SECONDS = 12.0  # without any, after which a site is lost


@dataclass(frozen=True)
class SiteJob:
    """Everything that a site needs besides the lines. It can be pickled.

    `tools` run at the site; the files of `--tool` are not read again. If there are `cpus`, the site's process
    runs only on these. If there is a `reference`, the site finds or pulls the model that it means,
    instead of `model.path`. A `distant` site ends when the driver is silent.
    """

    model: BatchModel
    parser: LineParser
    workload: Workload
    tools: ToolOptions
    deterministic: bool = False
    flat: bool = False
    keep_input: bool = False
    cpus: tuple[int, ...] = ()
    reference: str = ""
    may_pull: bool = False
    distant: bool = False


class SiteLine(msgspec.Struct, frozen=True, array_like=True):
    """A `Line` of the input that can be read; `index` counts the input's lines from 0."""

    index: int
    number: int
    data: bytes = b""
    fields: dict[str, Any] | None = None


class Counts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a line adds to the `BatchSummary`: its integers by name, its error, and buckets of latencies."""

    sums: dict[str, int] = {}
    error: tuple[str, str] | None = None  # code and message
    latency: dict[int, int] = {}
    first_token: dict[int, int] = {}
    longest: tuple[float, float] = (0.0, 0.0)


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The first message of a process: its versions of ossctl and llama.cpp."""

    ossctl: str
    llama_cpp: str


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded. `fingerprint` identifies it, as `ModelIdentity` does.

    `effort`, `max_reasoning_tokens` and `think` are the job's defaults as the model supports them. `embeds`
    is whether the lines are requests for embeddings. `seconds` is the time to load.
    """

    name: str
    fingerprint: bytes
    n_seq: int
    n_ctx: int
    ossctl: str
    llama_cpp: str
    embeds: bool = False
    effort: Effort | None = None
    max_reasoning_tokens: int | None = None
    think: Think | None = None
    remarks: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    seconds: float = 0.0


class Done(msgspec.Struct, frozen=True, tag=True):
    """The record of a line, answered or failed, without a newline."""

    index: int
    record: bytes
    counts: Counts


class Stats(msgspec.Struct, frozen=True, tag=True):
    """The running requests, as in `BatchSummary`."""

    running: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    slowest: tuple[str, float] | None = None


class Beat(msgspec.Struct, frozen=True, tag=True):
    """A heartbeat, sent every `BEAT_SECONDS` whatever else the site does."""


class Note(msgspec.Struct, frozen=True, tag=True):
    """What the user should know about the site."""

    text: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The site cannot answer, for a reason that a restart would not change: the fields of an OssctlError."""

    exit_code: int
    message: str
    hint: str = ""


def version_refusal(ossctl: str, llama_cpp: str) -> Failed | None:
    """Why a site with these versions of ossctl and llama-cpp-python cannot be used; None if it can."""
    if (ossctl, llama_cpp) == (__version__, VERSION):
        return None
    theirs = f"ossctl {ossctl} with llama-cpp-python {llama_cpp}"
    message = f"it has {theirs}, and this machine has {__version__} with {VERSION}"
    return Failed(ExitCode.FAILED, message, "Install the same versions there.")


class Left(msgspec.Struct, frozen=True, tag=True):
    """The site ends by itself before all lines are answered, and none is to blame."""

    reason: str
    hint: str = ""

    def as_lost(self) -> "Lost":
        """The death that follows."""
        return Lost(self.reason, innocent=True, hint=self.hint)


class Ended(msgspec.Struct, frozen=True, tag=True):
    """All lines are answered, and the site has freed its model."""


class Lost(msgspec.Struct, frozen=True, tag=True):
    """The site is dead. The driver's side of a transport says so, and for which `reason`.

    `innocent` is whether no line can have caused it: its machine, the network or a worker was lost.
    """

    reason: str
    stderr: str = ""  # its last lines
    innocent: bool = False
    hint: str = ""

    @property
    def cause(self) -> str:
        """The reason with what the process said last, in one line."""
        return cause_of(self.reason, self.stderr)


FromSite = Hello | Ready | Done | Stats | Beat | Note | Failed | Left | Ended
SiteEvent = FromSite | Lost


class Site(Protocol):
    """The driver's side of one site. Its methods return at once.

    Its events are delivered on any thread. The last one is Lost, or Ended after `finish`.
    """

    def start(self, deliver: Callable[[SiteEvent], None]) -> None:
        """Start the site, which delivers Ready, Failed or Lost."""

    def submit(self, lines: Sequence[SiteLine]) -> None:
        """Have lines answered. Does nothing once the site is lost."""

    def finish(self) -> None:
        """Say that there are no more lines."""

    def kill(self) -> None:
        """End the site now, with all that it has started. Safe to call at any time, and from any thread."""
