"""The prompt without a terminal: what ends it."""

import signal
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from ossctl.errors import Interrupted
from ossctl.repl.prompt import Prompt


@pytest.mark.timeout(20)
def test_a_signal_that_came_just_before_the_prompt_ends_it(tmp_path: Path) -> None:
    def check() -> None:
        raise Interrupted(signal.SIGTERM)

    with create_pipe_input() as keys, create_app_session(keys, DummyOutput()):
        prompt = Prompt(tmp_path / "history", lambda _: [], lambda *_: [], lambda: None, check)
        with pytest.raises(Interrupted):
            prompt.ask()
