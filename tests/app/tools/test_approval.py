"""What a user sees before a tool runs, and what the answers mean."""

import json
from collections.abc import Iterable
from os import terminal_size

import pytest

from ossctl.app.tools.approval import ToolApproval
from ossctl.app.tools.arguments import program_input
from ossctl.app.tools.question import call_text
from ossctl.dialect import ToolCall

SHORT = ToolCall("note", '{"a": 1}')


class Asked:
    """An approval on a terminal of 40 by 12, with replies in turn; None is Ctrl-C."""

    def __init__(self, *replies: str | None, unasked: bool = False) -> None:
        self.lines: list[str] = []
        self.questions: list[str] = []
        self._replies = iter(replies)
        size = lambda: terminal_size((40, 12))  # noqa: E731
        self.approval = ToolApproval(self.lines.append, self._ask, unasked=unasked, size=size)

    def _ask(self, question: str) -> str:
        self.questions.append(question)
        reply = next(self._replies)
        if reply is None:
            raise KeyboardInterrupt
        return reply

    def allowed(self, *calls: ToolCall) -> list[bool]:
        return [self.approval(call, call_text(call)) for call in calls]


def shown_arguments(lines: Iterable[str]) -> object:
    """The arguments of the rows of one question, put together again."""
    text = "".join(line.strip("\n") for line in lines)
    return json.loads(text.partition("(")[2].removesuffix(")?"))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [("y", True), ("Yes", True), ("a", True), ("n", False), ("no", False), ("", False), (None, False)],
)
def test_only_yes_and_always_allow_a_call(reply: str | None, expected: bool) -> None:
    asked = Asked(reply)
    assert asked.allowed(SHORT) == [expected]
    assert asked.lines[0] == 'Run note({"a":1})?'


def test_an_unclear_answer_is_asked_again() -> None:
    asked = Asked("what", "yesterday", "y")
    assert asked.allowed(SHORT) == [True]
    assert len(asked.questions) == 3


def test_always_is_for_one_tool() -> None:
    asked = Asked("a", "n", "n")
    other = ToolCall("other", "{}")
    assert asked.allowed(SHORT, SHORT, other, SHORT, other) == [True, True, False, True, False]
    assert len(asked.questions) == 3


def test_with_yes_given_nothing_is_asked() -> None:
    asked = Asked(unasked=True)
    assert asked.allowed(SHORT, SHORT) == [True, True]
    assert not asked.lines


@pytest.mark.parametrize(
    "hidden",
    ["x" * 5_000, " " * 3_000 + "rm -rf /", "\n" * 200 + "rm -rf /", "word " * 900, "é漢" * 500],
    ids=["long", "blanks", "newlines", "words", "wide"],
)
def test_all_of_the_arguments_are_shown(hidden: str) -> None:
    call = ToolCall("shell", json.dumps({"command": hidden, "why": "no reason"}))
    asked = Asked(*[""] * 200, "y")
    asked.questions = []
    approved = asked.approval(call, call_text(call))
    assert not approved  # the empty answer to the last question
    assert shown_arguments(asked.lines) == {"command": hidden, "why": "no reason"}
    assert max(map(len, asked.lines)) < 40
    assert len(asked.questions) > len(asked.lines) / 11  # each page waits


@pytest.mark.parametrize("reply", ["n", "No", None])
def test_the_rest_of_a_long_call_can_be_refused_unread(reply: str | None) -> None:
    asked = Asked(reply)
    assert asked.allowed(ToolCall("shell", json.dumps({"command": "x" * 5_000}))) == [False]
    assert asked.questions[0].endswith("more lines; Enter/[n]o: ")


def test_a_long_call_is_neither_allowed_nor_refused_before_it_has_been_shown() -> None:
    asked = Asked("y", "always", "", "y")
    call = ToolCall("shell", json.dumps({"command": "x" * 500}))
    assert asked.allowed(call) == [True]
    assert len({*asked.questions[:3]}) == 1  # asked again
    assert shown_arguments(asked.lines) == {"command": "x" * 500}
    assert asked.questions[-1] == "[y]es/[n]o/[a]lways: "


def test_invisible_and_control_characters_are_shown_as_escapes() -> None:
    text = "a\x1b[2J\x07\x7f\x9b\u202e\u200b\u2028\U000e0041b"
    call = ToolCall("shell", json.dumps({"command": text}))
    asked = Asked("y")
    assert asked.allowed(call) == [True]
    shown = "".join(asked.lines)
    assert all(character.isprintable() for character in shown)
    assert "\\u202e" in shown
    assert shown_arguments(asked.lines) == {"command": text}


def test_what_is_shown_is_what_the_program_gets() -> None:
    call = ToolCall("pay", '{"amount": 1, "to": "a", "amount": 1000}')
    asked = Asked("y")
    asked.allowed(call)
    assert shown_arguments(asked.lines) == json.loads(program_input(call)) == {"amount": 1000, "to": "a"}
