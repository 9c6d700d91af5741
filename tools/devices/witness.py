"""A process that loads nothing and tells what is free on a device: `python -m tools.devices.witness NAME`.

To the process that loads, a driver may show less than it takes: its own context is there before it can ask.
"""

import subprocess
import sys
from types import TracebackType
from typing import Self

from ossctl.runtime.devices import list_devices


def free_bytes(name: str) -> int:
    """Bytes that are free on the device of that name, as this process sees it."""
    return next((device.free for device in list_devices() if device.name == name), 0)


class Witness:
    """Asks the other process. Use it in a `with`."""

    def __init__(self, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.devices.witness", name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def free(self) -> int:
        """Bytes that are free now, in its eyes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


def main() -> None:
    for _ in sys.stdin:
        print(free_bytes(sys.argv[1]), flush=True)


if __name__ == "__main__":
    main()
