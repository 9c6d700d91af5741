"""A line on stderr that is redrawn."""

from typing import TYPE_CHECKING, Self

from ossctl.cli.output import Output
from ossctl.text import harmless

if TYPE_CHECKING:
    from rich.status import Status


class StatusLine:
    """Shows what happens, on a terminal; lasting lines take its place."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self._status: Status | None = None

    def show(self, text: str) -> None:
        """Redraw the line with `text`."""
        if not self.out.is_live:
            return
        from rich.text import Text

        if self._status is None:
            from rich.status import Status

            self._status = Status("", console=self.out.console())
            self._status.start()
        self._status.update(Text(harmless(text)))

    def note(self, text: str) -> None:
        """Print a lasting line."""
        self.hide()
        self.out.note(text)

    def remark(self, text: str) -> None:
        """Print a lasting warning."""
        self.hide()
        self.out.warning(text)

    def hide(self) -> None:
        """Remove the line."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()
