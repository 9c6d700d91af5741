"""What is known of a request before its model is."""

from dataclasses import dataclass

import pytest

from ossctl.app.inference.options import json_format_of
from ossctl.app.inference.request import GenerationSpec, schema_remarks, supported_reasoning
from ossctl.dialect import Conversation, Effort, JsonFormat, Message
from ossctl.engine.request import Sampling
from ossctl.errors import UsageError


@pytest.mark.parametrize(("max_tokens", "writes"), [(None, 500), (20, 20), (4_000, 500)])
def test_how_much_it_reads_and_writes_is_guessed_from_its_text_and_its_limit(
    max_tokens: int | None, writes: int
) -> None:
    messages = (Message("system", "Be brief. " * 4), Message("user", "word " * 800))
    spec = GenerationSpec(Conversation(messages), max_tokens, (), Sampling())
    assert spec.likely_tokens == (1_010, writes)


@dataclass
class _Model:
    dialect: "_Dialect"
    name: str = "tiny"


@dataclass
class _Dialect:
    reasoning_settings: frozenset[str]


PLAIN, REASONING = (
    _Model(_Dialect(frozenset())),
    _Model(_Dialect(frozenset({"effort", "max_reasoning_tokens"}))),
)


def supported(
    model: _Model, effort: Effort | None, budget: int | None, *optional: str
) -> tuple[Effort | None, int | None]:
    settings = Conversation((), effort=effort, max_reasoning_tokens=budget)
    found = supported_reasoning(settings, model, optional)  # type: ignore[arg-type]
    return found.effort, found.max_reasoning_tokens


def test_a_setting_of_the_environment_holds_for_models_that_have_it() -> None:
    assert supported(REASONING, "low", 5, "effort", "max_reasoning_tokens") == ("low", 5)
    assert supported(PLAIN, "low", 5, "effort", "max_reasoning_tokens") == (None, None)
    assert supported(PLAIN, None, None) == (None, None)
    budget_only = _Model(_Dialect(frozenset({"max_reasoning_tokens"})))
    assert supported(budget_only, "low", 5, "effort") == (None, 5)
    switch = Conversation((), think="off")
    assert supported_reasoning(switch, PLAIN, ["think"]).think is None  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^--think is not for tiny: its chat format has no such setting$"):
        supported_reasoning(switch, PLAIN)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("effort", "budget", "option"), [("low", 5, "--effort"), (None, 0, "--max-reasoning-tokens")]
)
def test_a_setting_of_the_command_line_that_the_model_lacks_is_refused(
    effort: Effort | None, budget: int | None, option: str
) -> None:
    assert supported(REASONING, effort, budget) == (effort, budget)
    with pytest.raises(UsageError, match=f"^{option} is not for tiny: its chat format has no such setting$"):
        supported(PLAIN, effort, budget, *(["max_reasoning_tokens"] if effort else []))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('{"type": "strnig"}', "--schema is not a JSON schema: at /type: 'strnig' is not a type, must be "),
        ('{"items": [{"minimum": "1"}]}', "--schema is not a JSON schema: at /items"),
        ("[1]", "--schema is not a JSON object"),
        ("{", "--schema is not valid JSON: "),
    ],
)
def test_what_is_no_schema_is_an_error_of_the_command_line(given: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        json_format_of(given)
    assert caught.value.message.startswith(message)


def test_what_is_not_held_while_sampling_is_a_remark() -> None:
    schema = {"properties": {name: {"not": {"minimum": 3}} for name in "abcdefg"}}
    (remark,) = schema_remarks(JsonFormat(schema))
    listed = ", ".join(f"not at /properties/{name}" for name in "abcde")
    assert remark == f"Checked in the finished answer, not while sampling: {listed} and 2 more."
    assert [*schema_remarks(JsonFormat({"type": "object"})), *schema_remarks(None)] == []
