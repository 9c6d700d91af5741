"""`--prompt` and `--var`."""

import pytest

from ossctl.app.inference.prompt_template import filled, prompt_template
from ossctl.app.run.options import RunOptions
from ossctl.errors import UsageError


@pytest.mark.parametrize(
    ("template", "variables", "prompt"),
    [
        ("Summarise: {{ input }}", (), "Summarise: text"),
        ("In {{ language }}: {{ input }}", ("language=French",), "In French: text"),
        ("{{ n + 1 }} {{ input }}", ("n=2",), "3 text"),
        ("{{ n }} {{ input }}", ("n=1", "n=2"), "2 text"),
        ("{{ input }}", ("input=other",), "text"),
        ("{{ x | default('y') }}", ("a=b=c",), "y"),
    ],
)
def test_a_template_is_filled_with_the_text_and_the_variables(
    template: str, variables: tuple[str, ...], prompt: str
) -> None:
    assert filled(prompt_template(template, variables), "text") == prompt


def test_mistakes_are_errors_with_a_hint() -> None:
    with pytest.raises(UsageError, match="'language' is undefined") as caught:
        filled(prompt_template("{{ language }}"), "text")
    assert caught.value.hint == "Give it with --var NAME=VALUE."
    for variable in ("x", "=1", "a b=1"):
        with pytest.raises(UsageError, match="expected NAME=VALUE"):
            prompt_template("x", [variable])
    with pytest.raises(UsageError, match="--prompt is empty"):
        prompt_template(" ")


@pytest.mark.parametrize(
    ("template", "words", "prompt"),
    [
        ("<{{ input }}>", ["a", "b"], "<a b>"),
        ("Count to three.", [], "Count to three."),
        ("Answer:", ["a", "b"], "Answer: a b"),
    ],
)
def test_a_run_puts_its_words_into_the_template(
    template: str, words: list[str], prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    request = RunOptions(words, prompt=template).request()
    assert request.spec.conversation.messages[-1].content == prompt


def test_a_template_that_wants_a_text_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match="there is no prompt"):
        RunOptions(prompt="<{{ input }}>").request()


def test_the_input_of_a_record_is_its_prompt_or_text() -> None:
    template = prompt_template("{{ language }}: {{ input }}", ["language=French"])
    assert template.render({"text": "a"}) == "French: a"
    assert template.render({"prompt": "b", "text": "a"}) == "French: b"
    assert template.render({"input": "c", "prompt": "b", "language": "German"}) == "German: c"
