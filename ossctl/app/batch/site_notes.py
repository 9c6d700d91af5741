"""The share of each site in a batch, in a file beside the output, for `ossctl batch status`."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ossctl.app.batch.summary import BatchSummary, SiteProgress

_SECONDS = 1.0  # between writes, unless a site dies

Watch = Callable[[BatchSummary], None]


@dataclass
class SitesSoFar:
    """The sites of a run after some `seconds`."""

    seconds: float = 0.0
    sites: list[SiteProgress] = field(default_factory=list)

    def report(self) -> list[dict[str, object]]:
        """As in `--report`."""
        return [site.report(self.seconds) for site in self.sites]


_decoder = msgspec.json.Decoder(SitesSoFar)


def read_sites(output: Path) -> SitesSoFar:
    """The sites of the run that writes or has written `output`; none after a complete run."""
    with suppress(OSError, msgspec.DecodeError):
        return _decoder.decode(_path(output).read_bytes())
    return SitesSoFar()


class SiteNotes:
    """Keeps the file up to date, and does nothing without an output. Errors are ignored."""

    def __init__(self, output: Path | None) -> None:
        self._path = None if output is None else _path(output)
        self._next = 0.0
        self._deaths: list[int] = []

    def watched(self, watch: Watch) -> Watch:
        """`watch`, after a note of the sites."""

        def noted(summary: BatchSummary) -> None:
            if self._path is not None and summary.sites:
                self._note(summary, self._path)
            watch(summary)

        return noted

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
        part = path.with_name(f"{path.name}.part")
        with suppress(OSError):
            part.write_bytes(msgspec.json.encode(SitesSoFar(summary.seconds, summary.sites)))
            part.replace(path)


def _path(output: Path) -> Path:
    path = output.resolve()
    return path.with_name(f".{path.name}.sites")
