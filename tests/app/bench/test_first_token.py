"""The time to the first token, of programs that are started for it."""

from pathlib import Path

from ossctl.app.bench.first_token import StartedModel
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.library.resolve import NANO_FILE
from ossctl.app.placement.load_options import LoadOptions


def test_a_prompt_may_be_longer_than_the_context_of_a_request_to_a_server(tmp_path: Path) -> None:
    program = StartedModel(NANO_FILE, LoadOptions(device="cpu", threads=1), tmp_path, Interrupt())
    with program.serving(4_200) as ask:
        assert ask("the " * 4_200) > 0
