"""The time to the first token, of programs that are started for it."""

import errno
import io
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from ossctl.app.bench.first_token import StartedModel
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.library.resolve import NANO_FILE
from ossctl.app.placement.load_options import LoadOptions
from ossctl.errors import OssctlError


def test_a_prompt_may_be_longer_than_the_context_of_a_request_to_a_server(tmp_path: Path) -> None:
    program = StartedModel(NANO_FILE, LoadOptions(device="cpu", threads=1), tmp_path, Interrupt())
    with program.serving(4_200) as ask:
        assert ask("the " * 4_200) > 0


class Ended:
    """A program that has said it is ready and ended. Windows reports that to a writer as EINVAL."""

    class _Requests(io.BytesIO):
        def flush(self) -> None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    stdin, stdout = _Requests(), io.BytesIO(b"{}\n")


def test_a_program_that_has_ended_is_an_error_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StartedModel, "_started", lambda *_: nullcontext(Ended))
    program = StartedModel(NANO_FILE, LoadOptions(), tmp_path, Interrupt())
    with program.serving(1) as ask, pytest.raises(OssctlError, match="has ended"):
        ask("the")
