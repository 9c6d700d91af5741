"""Prompts from records, by the user's template."""

from typing import Any

import pytest

from ossctl.errors import RequestError, UsageError
from ossctl.templates.prompt import PromptTemplate


@pytest.mark.parametrize(
    ("template", "record", "prompt"),
    [
        ("Summarise: {{ text }}", {"text": "a <b> & c"}, "Summarise: a <b> & c"),
        ("{{ a.b[1] }}", {"a": {"b": [1, 2]}}, "2"),
        ("{{ record['Full name'] }}", {"Full name": "Ada"}, "Ada"),
        ("{{ record | tojson }}", {"a": "ü"}, '{"a": "ü"}'),
        ("{{ record }}", {"record": "mine"}, "mine"),
        ("{% for x in xs if x %}{{ x }};{% endfor %}", {"xs": [1, 0, 2]}, "1;2;"),
        ("{{ a | default('none') }}", {}, "none"),
        ("a\n{% if x %}\nb\n{% endif %}\n", {"x": 1}, "a\n\nb\n"),
    ],
)
def test_a_template_makes_a_prompt(template: str, record: dict[str, Any], prompt: str) -> None:
    assert PromptTemplate(template).render(record) == prompt


@pytest.mark.parametrize(
    ("template", "record", "said"),
    [
        ("{{ text }}", {"txt": "a"}, "'text' is undefined"),
        ("{{ a.b }}", {"a": {}}, "has no attribute 'b'"),
        ("{{ 1 / n }}", {"n": 0}, "division by zero"),
        ("{{ n + 'x' }}", {"n": 1}, "unsupported operand"),
        ("{{ ''.__class__.__mro__ }}", {}, "unsafe"),
        ("{{ record.clear() }}", {"a": 1}, "unsafe"),
        ("{% for i in range(1000000) %}{% endfor %}", {}, "Range too big"),
        (r"{{ '\ud800' }}", {}, "surrogates not allowed"),
        ("{{ raise_exception('no') }}", {}, "no"),
    ],
)
def test_a_failing_template_reports_why(template: str, record: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError) as failed:
        PromptTemplate(template).render(record)
    assert failed.value.code == "template_failed"
    assert failed.value.message.startswith("--prompt: ")
    assert said in failed.value.message


@pytest.mark.parametrize("template", ["{{ a", "{% if %}", "{{ a | nonsense }}", "{% endfor %}"])
def test_an_invalid_template_is_a_usage_error(template: str) -> None:
    with pytest.raises(UsageError, match="--prompt: "):
        PromptTemplate(template)
