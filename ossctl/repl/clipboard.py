"""Copies to the clipboard, with the system's program or through the terminal."""

import base64
import shutil
import subprocess
import sys

from ossctl.errors import UsageError

_PROGRAMS = (
    ("wl-copy", "WAYLAND_DISPLAY"),
    ("xclip", "DISPLAY"),
    ("pbcopy", ""),
    ("clip.exe", ""),
)
_ARGUMENTS = {"xclip": ["-selection", "clipboard"]}
_MAX_BYTES = 74_994  # of base64 in one escape sequence; xterm's limit is 100,000 for all of it
_SECONDS = 5.0


def copy_text(text: str) -> str:
    """Copy `text` and return how, as the end of a sentence. Raises UsageError if there is no clipboard."""
    import os

    for program, display in _PROGRAMS:
        path = shutil.which(program)
        if path is None or (display and not os.environ.get(display)):
            continue
        try:
            subprocess.run(  # noqa: S603 (a system program that reads the text from its input)
                [path, *_ARGUMENTS.get(program, [])],
                input=text.encode("utf-16-le" if program == "clip.exe" else "utf-8"),
                check=True,
                timeout=_SECONDS,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return f"with {program}"
    encoded = base64.b64encode(text.encode())
    if not sys.stdout.isatty() or len(encoded) > _MAX_BYTES:
        raise UsageError("there is no clipboard to copy to", "/save FILE writes the chat.")
    sys.stdout.write(f"\x1b]52;c;{encoded.decode()}\x07")  # xterm's control sequence for the clipboard
    sys.stdout.flush()
    return "through the terminal, if it allows that"
