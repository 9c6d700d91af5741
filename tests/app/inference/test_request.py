"""What is known of a request before its model is."""

import pytest

from ossctl.app.inference.request import GenerationSpec
from ossctl.dialect import Conversation, Message
from ossctl.engine.request import Sampling


@pytest.mark.parametrize(("max_tokens", "writes"), [(None, 500), (20, 20), (4_000, 500)])
def test_how_much_it_reads_and_writes_is_guessed_from_its_text_and_its_limit(
    max_tokens: int | None, writes: int
) -> None:
    messages = (Message("system", "Be brief. " * 4), Message("user", "word " * 800))
    spec = GenerationSpec(Conversation(messages), max_tokens, (), Sampling())
    assert spec.likely_tokens == (1_010, writes)
