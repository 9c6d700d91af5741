"""`--template` and `--template-var`: what is wrong with them is said before a model is loaded."""

from pathlib import Path
from typing import Any

import pytest

from ossctl.app.batch.run import BatchModel
from ossctl.app.inference.embedding import LoadedEmbedder
from ossctl.app.inference.template_options import TemplateOptions
from ossctl.app.placement.load_options import ChatTemplate, LoadOptions
from ossctl.errors import UsageError
from tests.support.chat_templates import FAMILIES, chat_template
from tests.support.models import smollm2

LOOP = "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}"


def refusal(file: object = None, *variables: str) -> str:
    options = TemplateOptions(None if file is None else str(file), variables)
    read = options.template if variables == () else options.values
    with pytest.raises(UsageError) as refused:
        read()
    return f"{refused.value.message}. {refused.value.hint}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "does not print each of `messages`"),
        (b"# Read me\n", "does not print each of `messages`"),
        (b"{{ 1/0 }}", "fails on a chat: division by zero"),
        (b"{{ raise_exception('Not for you.') }}", "fails on a chat: Not for you."),
        (b"\n{% for m in messages %}{{ m }}", "is broken: line 2: Unexpected end of template"),
        (b"{{ x|nosuch }}", "is broken: line 1: No filter named 'nosuch'"),
        (b"{% for a in b %}" * 25 + b"{% endfor %}" * 25, "is broken: "),
        (b"x" * 2**18, "is broken: it has more than 131,072 characters"),
        (LOOP.encode(), "loops too long or makes too much text"),
    ],
    ids=["empty", "prose", "failing", "refusing", "unfinished", "filter", "nested", "long", "loops"],
)
def test_a_file_that_is_no_chat_template_is_refused(tmp_path: Path, text: bytes, problem: str) -> None:
    path = tmp_path / "x.jinja"
    path.write_bytes(text)
    said = refusal(path)
    assert said.startswith(f"the chat template {path} {problem}")
    assert "\n" not in said


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\x7fELF\0")
    assert refusal(tmp_path / "none").startswith(f"cannot read {tmp_path / 'none'}: No such file")
    assert refusal(tmp_path).startswith(f"cannot read {tmp_path}: ")
    assert "it is binary" in refusal(tmp_path / "binary")
    assert "no file can have this name" in refusal("a\0b")


@pytest.mark.parametrize("text", [chat_template(), *FAMILIES.values()], ids=["plain", *FAMILIES])
def test_a_chat_template_is_read_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.jinja"
    path.write_text(text, "utf-8")
    assert TemplateOptions(str(path)).template() == ChatTemplate(text, path)
    assert TemplateOptions("").template() is None


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("a=false", False),
        ("a=3", 3),
        ('a="3"', "3"),
        ('a={"b": [1]}', {"b": [1]}),
        ("a=high", "high"),
        ("a=x=y", "x=y"),
        ("a=", ""),
        ("a={", "{"),
        ("a=NaN", "NaN"),
    ],
)
def test_a_variables_value_is_json_or_else_text(given: str, value: Any) -> None:
    assert TemplateOptions(variables=("a=1", given)).values() == {"a": value}


def test_a_variable_that_is_null_is_left_unset() -> None:
    assert TemplateOptions(variables=("a=1", "a=null")).values() == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("enable_thinking", "template variable 'enable_thinking' is not NAME=VALUE"),
        ("=1", "template variable '=1' is not NAME=VALUE"),
        ("a-b=1", "template variable 'a-b=1' is not NAME=VALUE"),
        ("messages=[]", "template variable messages cannot be set: it is made from the request"),
        (f"a={'[' * 101}{']' * 101}", "template variable a: nested too deeply"),
        (f"a={'[' * 99999}{']' * 99999}", "template variable a: nested too deeply"),
        ("reasoning_effort=low", "template variable reasoning_effort has an option. Use --effort"),
    ],
)
def test_a_variable_that_cannot_be_set_is_refused(given: str, message: str) -> None:
    assert refusal(None, given).startswith(message)


def test_the_ids_of_records_depend_on_a_template_that_is_given(tmp_path: Path) -> None:
    path = smollm2()
    loaded = LoadedEmbedder("x", None, lambda _: b"")  # type: ignore[arg-type]

    def fingerprint(template: ChatTemplate | None) -> bytes:
        return BatchModel(path, LoadOptions(template=template)).identity(loaded).fingerprint

    plain, *others = map(
        fingerprint,
        (None, ChatTemplate("a", path), ChatTemplate("b", path), ChatTemplate("a", tmp_path)),
    )
    assert len(plain) == 16
    assert plain != others[0] != others[1]
    assert others[0] == others[2]  # its name does not matter
