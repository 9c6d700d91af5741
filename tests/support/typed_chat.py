"""Type the lines of standard input into a chat on a pseudo-terminal, and print its screen.

python typed_chat.py ossctl chat -m nano < messages
"""

import sys
import time

import pexpect
import pyte

_COLUMNS, _ROWS = 250, 200  # nothing wraps or scrolls away
_SECONDS = 30.0
_QUIET = 0.25  # seconds without output after which the chat waits for the next message


def main(command: list[str], messages: list[str]) -> str:
    """What the screen shows after `messages`."""
    screen = pyte.Screen(_COLUMNS, _ROWS)
    stream = pyte.ByteStream(screen)
    program, *arguments = command
    process: pexpect.spawn[bytes] = pexpect.spawn(program, arguments, dimensions=(_ROWS, _COLUMNS))
    process.delaybeforesend = None

    def take_in(seconds: float) -> bool:
        try:
            data = process.read_nonblocking(65_536, seconds)
        except (pexpect.TIMEOUT, pexpect.EOF):
            return False
        stream.feed(data)
        for _ in range(data.count(b"\x1b[6n")):  # where is the cursor?
            process.send(f"\x1b[{screen.cursor.y + 1};{screen.cursor.x + 1}R")
        return True

    def is_waiting() -> bool:
        loaded = any("effort" in line for line in screen.display[screen.cursor.y + 1 :])
        return loaded and screen.display[screen.cursor.y].rstrip() == ">"

    for message in messages:
        deadline = time.monotonic() + _SECONDS
        while take_in(_QUIET) or not is_waiting():
            if time.monotonic() > deadline or not process.isalive():
                sys.exit("\n".join(line.rstrip() for line in screen.display))
        process.send(f"{message}\r")
    while take_in(_QUIET) or process.isalive():
        pass
    return "\n".join(line.rstrip() for line in screen.display).rstrip()


if __name__ == "__main__":
    print(main(sys.argv[1:], sys.stdin.read().splitlines()))
