"""The last lines that a program has printed, for when it fails."""

_KEPT_BYTES = 2_000
_LINE_CHARACTERS = 200


class LastLines:
    """Keeps the last bytes of what is added."""

    def __init__(self) -> None:
        self._data = b""

    def add(self, data: bytes) -> None:
        self._data = (self._data + data[-_KEPT_BYTES:])[-_KEPT_BYTES:]

    def text(self, lines: int = 5) -> str:
        """The last `lines` that are not empty, without control characters."""
        text = self._data.decode("utf-8", "replace")
        printed = ("".join(filter(str.isprintable, line)).strip() for line in text.splitlines())
        return "\n".join([line[:_LINE_CHARACTERS] for line in printed if line][-lines:])
