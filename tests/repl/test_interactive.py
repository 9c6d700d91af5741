"""The loop of a chat on a terminal."""

import os
import signal
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from ossctl.repl.input_prompt import InputPrompt
from ossctl.repl.interactive import run_interactive
from ossctl.runtime.model import LlamaModel
from tests.repl.test_repl import OPTIONS, numbered, setup_of
from tests.support.scripted_chat import scripted_chat

pytestmark = pytest.mark.timeout(20)


def test_just_before_a_prompt_ctrl_c_leaves_only_if_it_is_pressed_again(
    gpt_oss: LlamaModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, to_press = InputPrompt.ask, ["\x03", ""]
    with (
        create_pipe_input() as keys,
        create_app_session(keys, DummyOutput()),
        scripted_chat(gpt_oss, numbered, OPTIONS) as scripted,
    ):

        def ask_late(prompt: InputPrompt, draft: str = "") -> str:
            os.kill(os.getpid(), signal.SIGINT)
            keys.send_text(to_press.pop(0))
            return ask(prompt, draft)

        monkeypatch.setattr(InputPrompt, "ask", ask_late)
        run_interactive(setup_of(scripted, monkeypatch, tmp_path / "history"))
    assert not to_press
