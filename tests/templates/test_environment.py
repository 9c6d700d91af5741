"""Jinja as Transformers gives it to chat templates, with limits on what a template does."""

import time
from typing import Any

import pytest

from ossctl.templates.environment import chat_environment, rendered
from ossctl.templates.limits import TemplateTooLarge


def text_of(template: str, **variables: Any) -> str:
    return rendered(chat_environment().from_string(template), variables)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("a{% generation %}b{{ x }}{% endgeneration %}c", "ab1c"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{{ {'b': 'é', 'a': 1}|tojson }}", '{"b": "é", "a": 1}'),
        ("{{ {'b': 'é', 'a': 1}|tojson(ensure_ascii=True, sort_keys=True) }}", '{"a": 1, "b": "\\u00e9"}'),
        ("{{ [1, 2]|tojson(separators=(',', ':')) }}", "[1,2]"),
        ("{{ [1]|tojson(indent=2) }}", "[\n  1\n]"),
        ("{{ [{'a': 1}, {'a': 2}]|map(attribute='a')|tojson }}", "[1, 2]"),
        ("{{ '<b>'|tojson }}", '"<b>"'),
        ("{{ ('{\"a\": [1]}'|from_json).a[0] + 1 }}", "2"),
        ("{% set l = [] %}{% set _ = l.append(x) %}{{ l }}", "[1]"),
        ("{% set n = namespace(l=[]) %}{{ n.l.append(1) }}{{ n.l.append(2) }}{{ n.l.pop(0) }}", "NoneNone1"),
        ("{{ 'a' ~ x ~ none ~ missing }}", "a1None"),
        ("{% for k, v in {'a': x}.items() %}{{ k }}{{ v }}{{ loop.last }}{% endfor %}", "a1True"),
        ("{% macro m(a, b=[x]) %}{{ a }}{{ b[0] }}{% endmacro %}{{ m('y') }}", "y1"),
        ("{{ x is none }}{{ missing is defined }}{{ 'abc'[::-1] }}", "FalseFalsecba"),
    ],
)
def test_templates_render_as_in_transformers(template: str, text: str) -> None:
    assert text_of(template, x=1) == text


LOOP = "{% for i in range(90000) %}"


@pytest.mark.parametrize(
    "template",
    [
        LOOP * 3 + "{% endfor %}" * 3,
        LOOP + "{{ 'x' * 100000 }}{% endfor %}",
        "{% set ns = namespace(x='xy') %}" + LOOP + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='xy') %}" + LOOP + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}" + LOOP + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=9) %}" + LOOP + "{% set ns.x = ns.x * ns.x %}{% endfor %}",
        "{% set x = [1] %}" + LOOP + "{% set _ = x.append(x + x) %}{% endfor %}",
        "{% macro f(n) %}{{ f(n - 1) if n }}{{ f(n - 1) if n }}{% endmacro %}{{ f(60) }}",
        "{% set x %}" + LOOP + LOOP + "x" * 1000 + "{% endfor %}{% endfor %}{% endset %}",
        "{{ 2 ** 99999999 }}",
        "{{ 'x'.ljust(99999999) }}",
        "{{ 'x'|indent(99999999) }}",
        "{{ [1]|tojson(indent=99999999) }}",
        "{{ '%99999999d' % 1 }}",
        "{{ '{:99999999}'.format(1) }}",
        "{% set x = 'x' * 100000 %}{{ x.replace('x', x) }}",
        "{% set x = 'x' * 100000 %}{{ x|replace('x', x) }}",
        "{% set x = 'x' * 100000 %}{{ x.join(x|list) }}",
        "{% set x = 'x' * 100000 %}{{ x|list|join(x) }}",
        "{% set x = range(90000)|list %}" + LOOP + "{% set _ = x|sort %}{% endfor %}",
        "{% set x = range(90000)|list %}" + LOOP + "{% set _ = 0.5 in x %}{% endfor %}",
        "{% set x = range(90000)|list %}" + LOOP + "{% set _ = x|map('string')|list %}{% endfor %}",
        "{% set x = 'x' * 100000 %}" + LOOP + "{% set _ = x[::-1] %}{% endfor %}",
        "{% set ns = namespace(t=()) %}" + LOOP + "{% set ns.t = (ns.t, ns.t) %}{{ {ns.t: 1} }}{% endfor %}",
        "{{ ([[1]] * 90000)|sum(start=[]) }}",
    ],
)
def test_a_template_that_does_too_much_is_stopped(template: str) -> None:
    start = time.monotonic()
    with pytest.raises(TemplateTooLarge):
        text_of(template)
    assert time.monotonic() - start < 20


def test_a_long_conversation_is_within_the_limits() -> None:
    messages = [{"role": "user", "content": "x" * 2000}] * 2000
    template = "{% for m in messages %}{{ '<' ~ m.role ~ '>' + m.content|trim + '</>' }}{% endfor %}"
    assert len(text_of(template, messages=messages)) == 2000 * 2009
