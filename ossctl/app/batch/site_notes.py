"""What a run has done so far, in a file beside the output, for `ossctl batch status`."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ossctl.app.batch.summary import BatchSummary, SiteProgress

_SECONDS = 1.0  # between writes, unless a site dies

Watch = Callable[[BatchSummary], None]


@dataclass
class RunSoFar:
    """The lines that a run has answered after some `seconds`, the tokens it generated, and its sites."""

    seconds: float = 0.0
    answered: int = 0
    completion_tokens: int = 0
    sites: list[SiteProgress] = field(default_factory=list)

    def report(self) -> list[dict[str, object]]:
        """As in `--report`."""
        return [site.report(self.seconds) for site in self.sites]


_decoder = msgspec.json.Decoder(RunSoFar)


def read_run(output: Path) -> RunSoFar:
    """The run that writes `output`, or a stopped one that had sites; an empty one after a complete run."""
    with suppress(OSError, msgspec.DecodeError):
        return _decoder.decode(_path(output).read_bytes())
    return RunSoFar()


class SiteNotes:
    """Keeps the file up to date, and does nothing without an output. Errors are ignored."""

    def __init__(self, output: Path | None) -> None:
        self._path = None if output is None else _path(output)
        self._next = 0.0
        self._deaths: list[int] = []
        self._has_sites = False

    def watched(self, watch: Watch) -> Watch:
        """`watch`, after a note of the run."""

        def noted(summary: BatchSummary) -> None:
            if self._path is not None:
                self._note(summary, self._path)
            watch(summary)

        return noted

    def close(self) -> None:
        """Delete the file unless it has sites, which `status` shows after the run, too."""
        if not self._has_sites:
            self.remove()

    def remove(self) -> None:
        """Delete the file."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _note(self, summary: BatchSummary, path: Path) -> None:
        deaths = [len(site.deaths) for site in summary.sites]
        if summary.seconds < self._next and deaths == self._deaths:
            return
        self._next, self._deaths = summary.seconds + _SECONDS, deaths
        self._has_sites = bool(summary.sites)
        part = path.with_name(f"{path.name}.part")
        with suppress(OSError):
            part.write_bytes(msgspec.json.encode(_so_far(summary)))
            part.replace(path)


def _so_far(summary: BatchSummary) -> RunSoFar:
    answered, tokens = summary.done + summary.failed, summary.completion_tokens
    return RunSoFar(summary.seconds, answered, tokens + summary.running_tokens, summary.sites)


def _path(output: Path) -> Path:
    path = output.resolve()
    return path.with_name(f".{path.name}.sites")
